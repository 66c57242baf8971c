"""The replayer's calls to the store: which frames they are, and what becomes of lost and refused ones."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from deora.errors import Problem
from deora.replay.batches import Batch
from deora.replay.calls import Calls
from deora.wire.frames import Decoder, Kind, Role, encode, pack, unpack
from deora.wire.link import Link
from tests.fakes.clock import ManualClock
from tests.fakes.loop import run


class Wire(Link):
    """A link that keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[int, list[Any]]] = []

    def send(self, frame: bytes) -> None:
        [(kind, _, aux, _, ident, body)] = Decoder().feed(frame)
        assert (kind, aux) == (Kind.CALL, Role.STORE)
        self.sent.append((ident, unpack(body)))


class Exchange:
    """Calls on such a link, and the other side's part."""

    def __init__(self) -> None:
        self.calls = Calls()
        self.wire = Wire()
        self.calls.link = self.wire

    def reply(self, ident: int, value: Any, problem: bool = False) -> None:
        """A REPLY comes."""
        [frame] = Decoder().feed(encode(Kind.REPLY, ident, pack(value), aux=int(problem)))
        self.calls.replied(frame)

    def refuse(self, ident: int, problem: Problem) -> None:
        """A REPLY that refuses comes."""
        self.reply(ident, problem.to_wire(), problem=True)

    async def ask(self, call: Coroutine[Any, Any, Any], value: Any) -> tuple[list[Any], Any]:
        """Makes a call that is answered with `value`: the call's operation and its result."""
        task = asyncio.ensure_future(call)
        await asyncio.sleep(0)
        ident, operation = self.wire.sent[-1]
        assert not task.done()
        self.reply(ident, value)
        return operation, await task


def go(main: Coroutine[Any, Any, None]) -> float:
    """Runs a scenario on a manual clock; how many seconds it took."""
    clock = ManualClock()
    start_s = clock.monotonic_s()
    run(main, clock)
    return clock.monotonic_s() - start_s


def test_each_call_is_one_frame_to_the_store() -> None:
    async def scenario() -> None:
        exchange = Exchange()
        calls = exchange.calls
        operation, opened = await exchange.ask(calls.open("primary"), ["box", "epoch", 7, "b7"])
        assert (operation, opened) == (["open", "primary"], ("box", "epoch"))
        claimed = ["b8", 2, 7, "b7", [[20, b"x"], [21, b"y"]]]
        operation, batch = await exchange.ask(calls.next("primary", 500, 3000, 0.8), claimed)
        assert operation == ["next", "primary", 500, 3000, 0.8]
        assert batch == Batch("b8", 2, 7, "b7", [20, 21], [b"x", b"y"])
        operation, paused = await exchange.ask(calls.attempted("primary", "b8", "no answer"), True)
        assert (operation, paused) == (["attempted", "primary", "b8", "no answer"], True)
        operation, paused = await exchange.ask(calls.paused("primary"), False)
        assert (operation, paused) == (["paused", "primary"], False)
        operation, _ = await exchange.ask(calls.split("primary", "b8", [1, 2], 8, "fence:b8"), None)
        assert operation == ["split", "primary", "b8", [1, 2], 8, "fence:b8"]
        operation, _ = await exchange.ask(calls.settle("primary", "b8", None, 8, "b8"), None)
        assert operation == ["settle", "primary", "b8", None, 8, "b8"]
        operation, _ = await exchange.ask(calls.settle("primary", "b8", "refused", 8, "fence:b8"), None)
        assert operation == ["settle", "primary", "b8", "refused", 8, "fence:b8"]

    assert go(scenario()) == 0


def test_replies_find_their_calls_in_any_order() -> None:
    async def scenario() -> None:
        exchange = Exchange()
        tasks = [asyncio.ensure_future(exchange.calls.paused(name)) for name in ("primary", "secondary")]
        await asyncio.sleep(0)
        (first, _), (second, _) = exchange.wire.sent
        assert first != second
        exchange.reply(second, True)
        exchange.reply(first, False)
        assert await asyncio.gather(*tasks) == [False, True]

    go(scenario())


def test_a_call_that_finds_no_store_is_made_again() -> None:
    async def scenario() -> None:
        exchange = Exchange()
        task = asyncio.ensure_future(exchange.calls.paused("primary"))
        for attempt in range(20):
            await asyncio.sleep(0.1)
            assert len(exchange.wire.sent) == attempt + 1
            exchange.refuse(exchange.wire.sent[-1][0], Problem("unavailable", "the store is not up"))
        await asyncio.sleep(0.1)
        idents = [ident for ident, _ in exchange.wire.sent]
        assert len(set(idents)) == 21, "an answer to an earlier attempt could be taken for this one's"
        exchange.reply(idents[0], True)
        await asyncio.sleep(0)
        assert not task.done()
        exchange.reply(idents[-1], True)
        assert await task

    assert go(scenario()) > 2


def test_a_refusal_is_raised() -> None:
    async def scenario() -> None:
        exchange = Exchange()
        task = asyncio.ensure_future(exchange.calls.paused("tertiary"))
        await asyncio.sleep(0)
        exchange.refuse(exchange.wire.sent[-1][0], Problem("not-found", "there is no upstream 'tertiary'"))
        with pytest.raises(Problem, match="tertiary"):
            await task

    go(scenario())


def test_a_call_that_nobody_waits_for_any_more_is_forgotten() -> None:
    async def scenario() -> None:
        exchange = Exchange()
        task = asyncio.ensure_future(exchange.calls.paused("primary"))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        assert exchange.calls._waiting == {}
        exchange.reply(exchange.wire.sent[-1][0], True)
        exchange.reply(4711, True)
        assert exchange.calls._waiting == {}

    go(scenario())
