"""Takeovers, as every upstream must do them: one taker, who alone moves the cursor from then on, in its own batches."""

from __future__ import annotations

import asyncio

import pytest

from deora.upstream.base import Applied, CarriedMove, Cursor, CursorKey, Delivery, Moved, Outcome, Refused, Upstream
from tests.contracts.conftest import Bench
from tests.contracts.test_upstream import KEY, Sender, create, entry, set_, update

TAKER = CursorKey("box2", "epoch7", 0)
OTHER = CursorKey("box3", "epoch1", 0)
THIRD = CursorKey("box4", "epoch4", 0)
INCREMENT = entry(update("a/1", {"n": {"$increment": 1}}, upsert=True))


class Taker(Sender):
    """A box that sends entries of cursors that it has taken over."""

    def __init__(self, upstream: Upstream, key: CursorKey = TAKER) -> None:
        super().__init__(upstream, key)
        self.places: dict[CursorKey, Cursor] = {}

    async def take(self, key: CursorKey, predecessor: str | None = None) -> Cursor:
        cursor = await self.upstream.take_over(key, self.key.box, predecessor)
        assert isinstance(cursor, Cursor)
        self.places[key] = cursor
        return cursor

    async def carry(self, batch_id: str, *entries: bytes, applied: bytes = b"carried") -> Outcome:
        """Sends a batch that moves all cursors taken over."""
        carried = [CarriedMove(key, place.seq, place.batch_id, applied) for key, place in self.places.items()]
        delivery = Delivery(self.key, self.seq, self.batch_id, batch_id, b"own", list(entries), tuple(carried))
        outcome = await self.upstream.apply(delivery)
        if isinstance(outcome, Applied):
            self.seq, self.batch_id = self.seq + 1, batch_id
            self.places = {
                key: Cursor(place.seq + 1, batch_id, applied, self.key.box) for key, place in self.places.items()
            }
        return outcome


async def test_the_marker_shows_what_the_source_had_applied(bench: Bench) -> None:
    source = Sender(bench.make())
    await source.send("b1", entry(set_("a/1", {})), applied=b"x")
    taken = Cursor(1, "b1", b"x", TAKER.box)
    assert await bench.make().take_over(KEY, TAKER.box) == taken
    assert await source.send("b2", entry(set_("a/2", {}))) == Moved()
    assert await source.send("fence:b2") == Moved()
    assert await source.upstream.read_cursor(KEY) == taken
    assert await bench.all_documents() == {"a/1": b"{}"}


async def test_a_source_that_has_sent_nothing_is_fenced_as_well(bench: Bench) -> None:
    source = Sender(bench.make())
    assert await bench.make().take_over(KEY, TAKER.box) == Cursor(0, "", b"", TAKER.box)
    assert await source.send("b1", INCREMENT) == Moved()
    assert await source.send("fence:b1") == Moved()
    assert await source.upstream.read_cursor(KEY) == Cursor(0, "", b"", TAKER.box)
    assert await bench.all_documents() == {}


async def test_who_has_it_takes_it_again_and_nobody_else_does(bench: Bench) -> None:
    await Sender(bench.make()).send("b1", INCREMENT, applied=b"x")
    taken = Cursor(1, "b1", b"x", TAKER.box)
    assert [await bench.make().take_over(KEY, box) for box in (TAKER.box, TAKER.box, OTHER.box)] == [taken] * 3


async def test_of_two_takers_at_once_one_has_it(bench: Bench) -> None:
    takers = [CursorKey(f"taker{index}", "e", 0) for index in range(4)]
    answers = await asyncio.gather(*(bench.make().take_over(KEY, taker.box) for taker in takers))
    held = {answer.taken_by if isinstance(answer, Cursor) else answer for answer in answers}
    assert len(held) == 1
    assert held < {taker.box for taker in takers}


async def test_a_marker_may_be_handed_on_by_its_taker_alone(bench: Bench) -> None:
    upstream = bench.make()
    await upstream.take_over(KEY, TAKER.box)
    refused = await upstream.take_over(KEY, OTHER.box, predecessor=THIRD.box)
    assert isinstance(refused, Cursor)
    assert refused.taken_by == TAKER.box
    assert await upstream.take_over(KEY, OTHER.box, predecessor=TAKER.box) == Cursor(0, "", b"", OTHER.box)
    assert await upstream.take_over(KEY, TAKER.box) == Cursor(0, "", b"", OTHER.box)


async def test_a_source_that_sends_meanwhile_is_covered_or_fenced(bench: Bench) -> None:
    """Whatever the marker's answer shows is all that the source ever did."""
    source = Sender(bench.make())
    await source.send("b0", INCREMENT)

    async def sending() -> int:
        landed = 1
        for number in range(1, 60):
            if await source.send(f"b{number}", INCREMENT) != Applied():
                break
            landed += 1
        return landed

    async def taking() -> Cursor:
        await asyncio.sleep(0.02)
        while not isinstance(cursor := await bench.make().take_over(KEY, TAKER.box), Cursor):
            await asyncio.sleep(0)
        return cursor

    landed, cursor = await asyncio.gather(sending(), taking())
    assert cursor.seq == landed
    assert await bench.read_document("a/1") == b'{"n":%d}' % landed


async def test_the_taker_moves_it_in_its_own_batches(bench: Bench) -> None:
    source = Sender(bench.make())
    await source.send("s1", INCREMENT, applied=b"x")
    taker = Taker(bench.make())
    await taker.take(KEY)
    for number in range(1, 4):
        assert await taker.carry(f"t{number}", INCREMENT, applied=b"%d" % number) == Applied()
    assert await taker.upstream.read_cursor(TAKER) == Cursor(3, "t3", b"own")
    assert await taker.upstream.read_cursor(KEY) == Cursor(4, "t3", b"3", TAKER.box)
    assert await bench.make().read_cursor(KEY) == Cursor(4, "t3", b"3", TAKER.box)
    assert await bench.read_document("a/1") == b'{"n":4}'
    assert await source.send("s2", INCREMENT) == Moved()


async def test_a_batch_may_carry_several_and_then_none(bench: Bench) -> None:
    taker = Taker(bench.make())
    for key in (KEY, OTHER, CursorKey("box2", "epoch6", 0)):
        await taker.take(key)
    assert await taker.carry("t1", INCREMENT) == Applied()
    assert await taker.send("t2", INCREMENT) == Applied()
    assert await taker.carry("t3", INCREMENT) == Applied()
    for key in taker.places:
        assert await bench.make().read_cursor(key) == Cursor(2, "t3", b"carried", TAKER.box)
    assert await bench.read_document("a/1") == b'{"n":3}'


async def test_the_next_client_of_the_taker_goes_on(bench: Bench) -> None:
    taker = Taker(bench.make())
    await taker.take(KEY)
    await taker.carry("t1", INCREMENT)
    await bench.close()
    taker.upstream = bench.make()
    assert await taker.carry("t2", INCREMENT) == Applied()
    assert await taker.upstream.read_cursor(KEY) == Cursor(2, "t2", b"carried", TAKER.box)


@pytest.mark.parametrize("stranger", ["nobody took it", "another took it", "handed on", "elsewhere", "own elsewhere"])
async def test_a_carried_cursor_that_is_not_as_expected_moves_nothing(bench: Bench, stranger: str) -> None:
    source = Sender(bench.make())
    await source.send("s1", INCREMENT, applied=b"x")
    taker = Taker(bench.make())
    if stranger == "nobody took it":
        taker.places[KEY] = Cursor(1, "s1", b"x")
    elif stranger == "another took it":
        taker.places[KEY] = Cursor(1, "s1", b"x")
        await bench.make().take_over(KEY, OTHER.box)
    else:
        await taker.take(KEY)
        await taker.carry("t1", INCREMENT)
    if stranger == "handed on":
        await bench.make().take_over(KEY, OTHER.box, predecessor=TAKER.box)
    elif stranger == "elsewhere":
        taker.places[KEY] = Cursor(1, "s1", b"x", TAKER.box)
    elif stranger == "own elsewhere":
        taker.seq -= 1
    before = await bench.all_documents(), [await source.upstream.read_cursor(key) for key in (KEY, TAKER)]
    assert await taker.carry("t2", INCREMENT) == Moved()
    assert await taker.carry("fence:t2") == Moved()
    assert (await bench.all_documents(), [await source.upstream.read_cursor(key) for key in (KEY, TAKER)]) == before


async def test_a_batch_that_carries_takes_effect_once(bench: Bench) -> None:
    taker = Taker(bench.make())
    await taker.take(KEY)
    moves = (CarriedMove(KEY, 0, "", b"x"),)
    twice = Delivery(TAKER, 0, "", "t1", b"", [INCREMENT], moves)
    assert [await bench.make().apply(twice) for _ in range(3)] == [Applied(), Moved(), Moved()]
    assert await bench.read_document("a/1") == b'{"n":1}'


async def test_a_refused_batch_moves_no_cursor_and_its_fence_moves_all(bench: Bench) -> None:
    taker = Taker(bench.make())
    await taker.take(KEY)
    await taker.carry("t1", entry(create("a/1", {})))
    refused = await taker.carry("t2", entry(set_("a/2", {})), entry(create("a/1", {"n": 1})))
    assert isinstance(refused, Refused)
    assert await taker.upstream.read_cursor(KEY) == Cursor(1, "t1", b"carried", TAKER.box)
    assert await taker.carry("fence:t2", applied=b"refused") == Applied()
    assert await taker.upstream.read_cursor(KEY) == Cursor(2, "fence:t2", b"refused", TAKER.box)
    assert await bench.all_documents() == {"a/1": b"{}"}


async def test_a_taker_that_was_taken_over_itself_sends_nothing(bench: Bench) -> None:
    taker = Taker(bench.make())
    await taker.take(KEY)
    await taker.carry("t1", INCREMENT)
    await bench.make().take_over(TAKER, OTHER.box)
    assert await taker.carry("t2", INCREMENT) == Moved()
    assert await bench.read_document("a/1") == b'{"n":1}'
