"""The cursors whose entries a batch carries."""

from __future__ import annotations

import asyncio

import pytest

from deora.errors import DeoraError
from deora.replay.batches import Batch
from deora.replay.carrying import Carrying, Lost
from deora.replay.coverage import CROWDED_BYTES, Coverage
from deora.upstream.base import CarriedMove, Cursor, CursorKey, Failure, Unclear

BOX = "me.e2"
OLD, OTHER = CursorKey("a", "e", 0), CursorKey("b", "e", 0)
BATCH = Batch("b7", 0, 6, "b6", [4, 5, 9, 1], [b""] * 4, {1: OTHER, 2: OLD, 3: OTHER})
ALONE = Batch("b8", 0, 7, "b7", [9], [b""], {0: OLD})


class Upstream:
    """Cursors; what was asked for."""

    def __init__(self, **cursors: Cursor | Failure | None) -> None:
        self.cursors = cursors
        self.asked: list[str] = []

    async def read(self, key: CursorKey) -> Cursor | Failure | None:
        self.asked.append(key.node)
        return self.cursors.get(key.node)


def prepare(carrying: Carrying, batch: Batch) -> Failure | Lost | None:
    return asyncio.run(carrying.prepare(batch, BOX))


def test_a_batch_names_its_entries_by_whose_they_are() -> None:
    assert BATCH.own_numbers == [4]
    assert BATCH.carried == {OLD: [9], OTHER: [5, 1]}
    assert BATCH.entries == [(None, 4), (OTHER, 5), (OLD, 9), (OTHER, 1)]
    plain = Batch("b", 0, 0, "", [4, 5], [b"", b""])
    assert (plain.own_numbers, plain.carried, plain.entries) == ([4, 5], {}, [(None, 4), (None, 5)])


def test_moves_follow_one_another() -> None:
    upstream = Upstream(a=Cursor(3, "x", Coverage(8).encode(), BOX), b=Cursor(0, "", b"", BOX))
    carrying = Carrying(upstream.read)
    assert prepare(carrying, BATCH) is None
    moves = carrying.moves(BATCH)
    covered = [Coverage(9).encode(), Coverage(1, [(5, 5)]).encode()]
    assert moves == (CarriedMove(OLD, 3, "x", covered[0]), CarriedMove(OTHER, 0, "", covered[1]))
    carrying.landed("b7", moves)
    assert prepare(carrying, ALONE) is None
    assert upstream.asked == ["a", "b"], "what is known is not read again"
    assert carrying.moves(ALONE) == (CarriedMove(OLD, 4, "b7", covered[0]),)
    carrying.forget()
    assert prepare(carrying, ALONE) is None
    assert upstream.asked == ["a", "b", "a"]


def test_one_entry_refused_is_covered_apart() -> None:
    carrying = Carrying(Upstream(a=Cursor(3, "x", Coverage(8).encode(), BOX)).read)
    assert prepare(carrying, ALONE) is None
    [move] = carrying.moves(ALONE, refused=True)
    assert Coverage.decode(move.applied) == Coverage(9, [], [9])


@pytest.mark.parametrize(
    ("cursor", "holder"),
    [
        (None, "upstream knows of no takeover"),
        (Cursor(3, "x", b""), "upstream knows of no takeover"),
        (Cursor(3, "x", b"", "you.e1"), "you.e1"),
    ],
)
def test_a_marker_that_does_not_name_this_box_is_lost(cursor: Cursor | None, holder: str) -> None:
    lost = prepare(Carrying(Upstream(a=cursor).read), ALONE)
    assert isinstance(lost, Lost)
    assert "a.e" in lost.reason
    assert holder in lost.reason


def test_what_cannot_be_read_is_said() -> None:
    assert prepare(Carrying(Upstream(a=Unclear("no route")).read), ALONE) == Unclear("no route")
    with pytest.raises(DeoraError, match="format 9"):
        prepare(Carrying(Upstream(a=Cursor(1, "x", b"\x09", BOX)).read), ALONE)


def test_many_exceptions_crowd_it() -> None:
    crowded = Coverage(0, [(number, number) for number in range(2, 2 * CROWDED_BYTES, 2)])
    carrying = Carrying(Upstream(a=Cursor(3, "x", crowded.encode(), BOX)).read)
    assert not carrying.is_crowded
    prepare(carrying, ALONE)
    assert carrying.is_crowded
