"""Orders of an operator, with children that are mere processes."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from deora.errors import Problem
from deora.supervisor.orders import Done, Orders
from deora.supervisor.roster import Duty, State
from deora.wire.answers import answer
from deora.wire.frames import Frame, Kind
from tests.fakes.arbiter import Arbitrate, Bench, Fake
from tests.fakes.star import incoming

TWO = {"servers": {"secondary": {"workers": 2}}}


def orders_of(bench: Bench) -> Orders:
    return Orders(bench.arbiter, bench.dispatch)


async def refusal(order: Awaitable[Done]) -> Problem:
    """The Problem with which an order is refused."""
    with pytest.raises(Problem) as caught:
        await order
    return caught.value


async def held_by(bench: Bench, slot: str) -> tuple[Fake, Frame]:
    """A worker, and a request that it holds."""
    while not bench.dispatch.inflight(slot):
        bench.dispatch.accept(incoming("GET", "/v1/documents/a/b"))
        await asyncio.sleep(0)
    fake = bench.last(slot)
    await bench.until(lambda: fake.heard(Kind.REQUEST))
    return fake, fake.heard(Kind.REQUEST)[0]


async def goes_to(bench: Bench) -> set[str]:
    """The slots that take new requests."""
    slots = {child.member.slot for child in bench.arbiter.workers()}
    before = {slot: bench.dispatch.inflight(slot) for slot in slots}
    for _ in range(6):
        bench.dispatch.accept(incoming("GET", "/v1/documents/a/b"))
        await asyncio.sleep(0)
    return {slot for slot in slots if bench.dispatch.inflight(slot) > before[slot]}


@pytest.mark.parametrize("duty", [Duty.DRAIN, Duty.MAINT])
def test_a_drain_is_over_when_nothing_is_held(arbitrate: Arbitrate, duty: Duty) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        orders = orders_of(bench)
        fake, frame = await held_by(bench, "primary")
        draining = asyncio.ensure_future(orders.drain("primary") if duty is Duty.DRAIN else orders.maint("primary"))
        await bench.until(lambda: bench.arbiter.children["primary"].member.shown == duty.value)
        assert await goes_to(bench) == {"secondary"}
        assert not draining.done()
        fake.say(Kind.ANSWER, answer(200, b"", server=b"s", request_id=b"r"), ident=frame[4], aux=200)
        told = await draining
        assert told == {"slot": "primary", "state": duty.value, "pid": fake.process.pid, "redispatched": 0}
        # A new process in the slot changes nothing.
        fake.kill()
        await bench.until(lambda: bench.last("primary") is not fake)
        await bench.up("primary")
        assert bench.arbiter.children["primary"].member.shown == duty.value
        assert await goes_to(bench) == {"secondary"}
        assert (await orders.ready("primary"))["state"] == "up"
        assert await goes_to(bench) == {"primary", "secondary"}

    arbitrate(talk)


def test_what_is_not_finished_in_time_goes_to_another(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        await held_by(bench, "primary")
        before = bench.dispatch.inflight("secondary")
        told = await orders_of(bench).drain("primary")
        assert told["redispatched"] == 1
        assert bench.dispatch.inflight("primary") == 0
        assert bench.dispatch.inflight("secondary") == before + 1

    arbitrate(talk, {"servers": {"drain_timeout_s": 0}})


def test_a_drain_that_is_called_off_takes_nothing_back(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        orders = orders_of(bench)
        await held_by(bench, "primary")
        draining = asyncio.ensure_future(orders.drain("primary"))
        await bench.until(lambda: bench.arbiter.children["primary"].member.duty is Duty.DRAIN)
        await orders.ready("primary")
        told = await draining
        assert (told["state"], told["redispatched"]) == ("up", 0)
        assert bench.dispatch.inflight("primary") == 1

    arbitrate(talk)


def test_the_last_one_is_not_taken(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        orders = orders_of(bench)
        await orders.drain("primary")
        for order in (orders.drain("secondary"), orders.maint("secondary")):
            problem = await refusal(order)
            assert (problem.status, problem.detail) == (409, "no worker but secondary is up and ready to serve")
            assert problem.hint is not None
        assert bench.arbiter.children["secondary"].member.duty is Duty.READY
        # It is drained already: again is no fault.
        assert (await orders.maint("primary"))["state"] == "maint"
        await orders.ready("primary")
        bench.last("primary").kill()
        await bench.until(lambda: bench.state("primary") is not State.UP)
        assert (await refusal(orders.drain("secondary"))).status == 409

    arbitrate(talk)


def test_an_unknown_worker(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        orders = orders_of(bench)
        for order in (orders.drain("store"), orders.maint("x"), orders.ready("x"), orders.restart("replayer")):
            problem = await refusal(order)
            assert (problem.status, problem.hint) == (404, "the workers are primary, secondary")

    arbitrate(talk)


def test_a_failover_and_its_end(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        orders = orders_of(bench)
        fake, frame = await held_by(bench, "primary")
        failing_over = asyncio.ensure_future(orders.failover())
        await bench.until(lambda: bench.arbiter.children["primary"].member.stands_by)
        assert await goes_to(bench) == {"secondary", "secondary-2"}
        assert not failing_over.done()
        fake.say(Kind.ANSWER, answer(200, b"", server=b"s", request_id=b"r"), ident=frame[4], aux=200)
        assert await failing_over == {"failover": True, "redispatched": 0}
        fake.kill()
        await bench.until(lambda: bench.last("primary") is not fake)
        await bench.up("primary")
        assert await goes_to(bench) == {"secondary", "secondary-2"}
        assert (await orders.failover())["failover"]
        bench.arbiter.succession.drain_s = 0.0  # it holds requests that nobody answers
        await orders.drain("secondary-2")
        assert (await refusal(orders.drain("secondary"))).status == 409
        assert await orders.recover() == {"failover": False}
        assert await goes_to(bench) == {"primary", "secondary"}

    arbitrate(talk, TWO)


def test_no_failover_to_nobody(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        orders = orders_of(bench)
        await orders.drain("secondary")
        assert (await refusal(orders.failover())).status == 409
        assert await goes_to(bench) == {"primary"}

    arbitrate(talk)


def test_while_the_others_cannot_start_one_that_stands_by_helps_out(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        await orders_of(bench).failover()
        for failures in range(2):
            fake = bench.last("secondary")
            fake.kill()
            await bench.until(lambda: bench.last("secondary") is not fake)  # noqa: B023 - called at once
            assert await goes_to(bench) == (set() if failures == 0 else {"primary"})
        await bench.up("secondary")
        assert await goes_to(bench) == {"secondary"}

    arbitrate(talk)


def test_a_restart_that_fails_says_why(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        old = bench.last("primary")
        restarting = asyncio.ensure_future(orders_of(bench).restart("primary"))
        await bench.until(lambda: bench.last("primary") is not old)
        bench.last("primary").kill()
        problem = await refusal(restarting)
        assert (problem.status, "killed by SIGKILL" in problem.detail) == (503, True)

    arbitrate(talk)


def test_a_restart_tells_the_new_process(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        old = bench.last("primary")
        restarting = asyncio.ensure_future(orders_of(bench).restart("primary"))
        await bench.until(lambda: bench.last("primary") is not old and bench.last("primary").heard(Kind.INIT))
        bench.last("primary").hello()
        await bench.hears(old, Kind.STOP)
        old.kill()
        told = await restarting
        assert (told["pid"], told["state"]) == (bench.last("primary").process.pid, "up")

    arbitrate(talk)
