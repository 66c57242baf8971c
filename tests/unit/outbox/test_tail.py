"""Entries that stand in no queue: when a batch may be taken from them, and when they join."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from deora.outbox import storage
from deora.outbox.selection import Limits
from tests.fakes.recount import stored_queue_rows
from tests.unit.outbox.test_storage import Box, ids


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    found = Box(tmp_path / "store.db")
    yield found
    found.check()
    found.db.close()


def queued(box: Box) -> int:
    """How many entries stand in queues."""
    heads, followers = stored_queue_rows(box.db)
    return len({row[2] for row in heads} | {row[1] for row in followers})


def test_where_nothing_waits_in_a_queue_all_of_the_tail_is_taken(box: Box) -> None:
    for document, priority in ((1, 5), (1, 9), (2, 0), (3, 5)):
        box.enqueue([document], priority=priority)
    box.enqueue([1, 3], priority=7)
    batch = box.claim()
    assert ids(batch) == [1, 2, 3, 4, 5]
    assert queued(box) == 0
    assert batch is not None
    box.done(batch)
    assert box.claim() is None


def test_a_tail_that_is_equally_urgent_is_taken_by_age(box: Box) -> None:
    for document in (1, 2, 1, 3):
        box.enqueue([document])
    batch = box.claim(Limits(max_writes=3))
    assert ids(batch) == [1, 2, 3]
    assert queued(box) == 0
    assert batch is not None
    box.enqueue([1], priority=9)
    box.done(batch)
    assert ids(box.claim(Limits(max_writes=2))) == [4, 5]


def test_a_tail_that_must_be_chosen_from_joins(box: Box) -> None:
    for priority in (1, 2, 9, 3):
        box.enqueue([priority], priority=priority)
    assert ids(box.claim(Limits(max_writes=1, urgent_share=1.0))) == [3]
    assert queued(box) == 4


def test_what_comes_behind_queues_joins_them(box: Box) -> None:
    for priority in (1, 2, 9, 3):
        box.enqueue([priority], priority=priority)
    batch = box.claim(Limits(max_writes=1, urgent_share=1.0))
    assert batch is not None
    box.enqueue([2], priority=9)
    box.done(batch)
    assert ids(box.claim(Limits(max_writes=1, urgent_share=1.0))) == [2]
    assert queued(box) == 4


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tails of 20 entries at most, of which 8 join at once."""
    monkeypatch.setattr(storage, "TAIL_AT_MOST", 20)
    monkeypatch.setattr(storage, "JOINED_AT_ONCE", 8)


@pytest.mark.usefixtures("small_steps")
def test_a_long_tail_joins_by_itself(box: Box) -> None:
    box.upstream().paused = True
    for number in range(20):
        box.enqueue([number % 7])
    assert queued(box) == 0
    box.enqueue([1])
    assert (queued(box), box.upstream().tail) == (8, 13)
    box.reopen()
    assert box.upstream().tail == 13


@pytest.mark.usefixtures("small_steps")
def test_a_claim_waits_until_all_of_the_tail_has_joined(box: Box) -> None:
    for number in range(17):
        box.enqueue([number], priority=number % 10)
    for joined in (8, 16):
        assert box.claim(Limits(max_writes=3)) is None
        assert queued(box) == joined
    assert ids(box.claim(Limits(max_writes=5))) == [1, 7, 8, 9, 10]


@pytest.mark.usefixtures("small_steps")
def test_when_nothing_else_is_to_do_the_tail_joins_in_parts(box: Box) -> None:
    for number in range(17):
        box.enqueue([number], priority=number % 2)
    assert not box.outbox.is_joined()
    assert [box.outbox.join_some() for _ in range(3)] == [True, True, False]
    box.commit()
    assert box.outbox.is_joined()
    assert queued(box) == 17


def test_a_batch_from_the_tail_that_is_split_stands_before_what_came_since(box: Box) -> None:
    box.enqueue([1])
    box.enqueue([1, 2])
    batch = box.claim()
    assert batch is not None
    box.enqueue([1], priority=9)
    box.outbox.join_all()
    box.commit()
    assert queued(box) == 3
    assert box.outbox.split(box.upstream(), batch.id, [1], 1, "fence")
    box.commit()
    first = box.claim()
    assert ids(first) == [1]
    assert first is not None
    box.dead(first)
    second = box.claim()
    assert ids(second) == [2]
    assert second is not None
    box.done(second)
    assert ids(box.claim()) == [3]


def test_what_waits_for_a_dead_entry_is_not_taken_from_the_tail(box: Box) -> None:
    box.enqueue([1])
    batch = box.claim()
    assert batch is not None
    box.dead(batch, holds=True)
    box.enqueue([1])
    assert box.claim() is None
    box.enqueue([2])
    assert ids(box.claim()) == [3]


def test_a_tail_that_goes_by_age_need_not_join(box: Box) -> None:
    for number in range(7):
        box.enqueue([number])
    assert box.upstream().goes_by_age
    assert not box.outbox.join_some()
    assert box.claim(Limits(max_writes=3)) is not None
    assert box.upstream().goes_by_age
    box.enqueue([9], priority=9)
    assert not box.outbox.join_some()
    box.commit()
    assert queued(box) == 5
