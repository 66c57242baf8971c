"""Entries that upstream's cursor decides: the queues, the counts and the dead letters follow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deora.outbox import judged
from deora.outbox.states import State
from tests.fakes.store import StoreFile, update


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StoreFile]:
    """A store with three entries, two of them of one document."""
    made = StoreFile(tmp_path / "store.db")
    for path in ("a/1", "a/1", "a/2"):
        made.commit(update(path, {"n": {"$increment": 1}}, upsert=True))
    yield made
    made.close()


def figures(store: StoreFile) -> tuple[int, int, int]:
    primary = store.service.outbox.upstreams["primary"]
    return primary.pending, primary.dead, primary.done


@pytest.mark.parametrize("joined", [True, False])
def test_each_way_there_and_back(store: StoreFile, joined: bool) -> None:
    outbox = store.service.outbox
    primary = outbox.upstreams["primary"]
    store.db.execute("BEGIN")
    if joined:
        outbox.join_all()
    first, second, third = outbox.load([1, 2, 3])
    judged.found_refused(outbox, primary, first, 7, "no", holds=False)
    judged.found(outbox, primary, third, State.PENDING, 7)
    outbox.flush()
    store.db.execute("COMMIT")
    assert figures(store) == (1, 1, 1)
    assert store.rows("SELECT entry, holds FROM dead_letters") == [(1, 0)]
    assert store.rows("SELECT state, error FROM entries ORDER BY id") == [(2, "no"), (0, None), (1, None)]
    store.db.execute("BEGIN")
    judged.found(outbox, primary, first, State.DEAD, 8)
    judged.requeue(outbox, primary, third)
    outbox.join_all()
    store.db.execute("COMMIT")
    assert figures(store) == (2, 0, 1)
    assert store.rows("SELECT entry FROM dead_letters") == []
    heads = sorted(head for entry in (second, third) for head in entry.heads)
    assert [row[0] for row in store.rows("SELECT id FROM heads ORDER BY id")] == heads
    store.reopen()
    assert figures(store) == (2, 0, 1)
