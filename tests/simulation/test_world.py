"""The clock, the draws and the loops that a simulated world is made of."""

from __future__ import annotations

import asyncio

import pytest

from tests.simulation.sockets import as_socket, socketpair
from tests.simulation.world import Violation, World, new_process


def steps(world: World, count: int) -> None:
    for _ in range(count):
        world.step(world.now_s + 1000)
    world.enter(None)


def test_time_passes_only_where_nothing_else_can_happen() -> None:
    world, seen = World(1), list[float]()
    loop = new_process(world, "one")

    async def work() -> None:
        await asyncio.sleep(100)
        seen.append(loop.time())
        async with asyncio.timeout(50):
            with pytest.raises(asyncio.CancelledError):
                await asyncio.Event().wait()
            seen.append(loop.time())
            raise asyncio.CancelledError

    task = loop.create_task(work())
    steps(world, 8)
    assert [round(moment) for moment in seen] == [100, 150]
    assert isinstance(task.exception(), TimeoutError)
    assert world.steps == 8


def test_callbacks_of_one_process_keep_their_order_and_those_of_two_do_not() -> None:
    orders = set()
    for seed in range(30):
        world, order = World(seed), list[str]()
        for name in "ab":
            loop = new_process(world, name)
            for number in range(2):
                loop.call_soon(order.append, f"{name}{number}")
        steps(world, 4)
        assert [each for each in order if each[0] == "a"] == ["a0", "a1"]
        orders.add(tuple(order))
    assert len(orders) == 6


def test_a_killed_process_does_nothing_more() -> None:
    world, done = World(1), list[str]()
    loop = new_process(world, "one")

    async def work() -> None:
        await asyncio.sleep(1)
        done.append("slept")

    loop.call_soon(done.append, "called")
    loop.call_later(1, done.append, "timer")
    loop.create_task(work())
    loop.kill()
    steps(world, 5)
    assert done == []


def test_a_frozen_process_goes_on_later() -> None:
    world, done = World(1), list[float]()
    loop = new_process(world, "one")
    loop.freeze(5)
    loop.call_soon(lambda: done.append(world.now_s))
    steps(world, 3)
    assert len(done) == 1
    assert done[0] > 5


def test_a_failure_in_a_process_is_the_worlds() -> None:
    world = World(1)
    new_process(world, "one").call_soon(lambda: 1 // 0)
    with pytest.raises(Violation, match="ZeroDivisionError"):
        steps(world, 1)
    world.enter(None)


def test_a_world_in_which_nobody_does_anything_is_stuck() -> None:
    with pytest.raises(Violation, match="nobody"):
        World(1).step()


def test_what_a_dead_process_wrote_arrives_before_its_end() -> None:
    world = World(1)
    ours, theirs = socketpair(world, None, None)
    for number in range(20):
        theirs.write(b"%02d" % number)
    theirs.close()
    theirs.write(b"never")
    steps(world, 60)
    assert b"".join(ours.inbox) == b"".join(b"%02d" % number for number in range(20))
    assert ours.ended


def test_a_protocol_is_fed_and_told_of_the_end() -> None:
    world, seen = World(1), list[object]()

    class Protocol(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            seen.append(data)

        def connection_lost(self, exc: Exception | None) -> None:
            seen.append(exc)

    loop = new_process(world, "one")
    ours, theirs = socketpair(world, loop, None)
    theirs.write(b"x")
    theirs.close()
    steps(world, 2)
    loop.create_task(loop.connect_accepted_socket(Protocol, as_socket(ours)))
    steps(world, 5)
    assert seen == [b"x", None]
