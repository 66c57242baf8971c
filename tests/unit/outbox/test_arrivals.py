"""Entries that come in from another box."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deora.documents.writes import Write, encode_writes
from deora.outbox.arrivals import Arrival, take_in
from deora.outbox.selection import Limits
from tests.fakes.recount import check_figures
from tests.fakes.store import StoreFile, set_

PAYLOAD = encode_writes([Write("delete", "a/1", None)])


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StoreFile]:
    opened = StoreFile(tmp_path / "store.db")
    opened.commit(set_("a/1", {}))
    yield opened
    opened.close()


def arrival(number: int, *, dead: bool = False, priority: int = 5) -> Arrival:
    return Arrival(number, dead, priority, 77, 3, "no" if dead else None, 1, PAYLOAD)


def take(store: StoreFile, *arrivals: Arrival, holds: bool = False) -> None:
    """Takes these in behind the entry that is there, of the document with the id 1."""
    outbox = store.service.outbox
    upstream = outbox.upstreams["primary"]
    store.db.execute("BEGIN")
    origin = outbox.origins.add(upstream.id, "n", "e")
    rows = [(index, index, origin, [1], each) for index, each in enumerate(arrivals, start=2)]
    take_in(store.db, upstream, rows, 5, holds=holds)
    outbox.flush()
    store.db.execute("COMMIT")


def test_they_count_as_what_they_are(store: StoreFile) -> None:
    take(store, arrival(40), arrival(41, dead=True), arrival(39, priority=9))
    check_figures(store.db, store.service.outbox)
    assert store.states() == {1: 0, 2: 0, 3: 2, 4: 0}
    upstream = store.service.outbox.upstreams["primary"]
    assert (upstream.pending, upstream.tail, upstream.dead, upstream.number) == (3, 3, 1, 1)
    kept = store.rows("SELECT number, created_us, attempts, error, origin FROM entries WHERE id = 3")
    assert kept == [(41, 77, 3, "no", 1)]


def test_a_batch_says_whose_they_are(store: StoreFile) -> None:
    take(store, arrival(40), arrival(1))
    upstream = store.service.outbox.upstreams["primary"]
    batch = store.service.outbox.next_batch(upstream, Limits())
    assert batch is not None
    entries = batch.to_wire(upstream)[-1]
    assert [entry[0] for entry in entries] == [1, 40, 1]
    assert [entry[2:] for entry in entries] == [[], [["n", "e"]], [["n", "e"]]]
    # The next store, and the next lane, are handed the very same.
    store.reopen()
    again = store.service.outbox.next_batch(store.service.outbox.upstreams["primary"], Limits())
    assert again is not None
    assert again.to_wire(upstream) == batch.to_wire(upstream)


@pytest.mark.parametrize("holds", [True, False])
def test_a_dead_one_holds_what_is_younger_where_that_is_wanted(store: StoreFile, holds: bool) -> None:
    take(store, arrival(40, dead=True), arrival(41), holds=holds)
    batch = store.claim()
    assert batch is not None
    assert batch.numbers == ([1] if holds else [1, 41])
