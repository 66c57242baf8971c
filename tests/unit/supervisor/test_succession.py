"""One worker in place of another, with children that are mere processes."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest

from deora.supervisor import succession as succession_module
from deora.supervisor.roster import Duty, State
from deora.wire.answers import answer
from deora.wire.frames import Frame, Kind
from deora.wire.link import Link
from tests.fakes.arbiter import PATIENCE_S, Arbitrate, Bench, Fake
from tests.fakes.star import incoming, received


def say(fake: Fake, frame: Frame) -> None:
    """A worker answers a REQUEST."""
    fake.say(Kind.ANSWER, answer(200, fake.slot.encode(), server=b"s", request_id=b"r"), ident=frame[4], aux=200)


async def comes(bench: Bench, slot: str, former: Fake) -> Fake:
    """The worker that is to replace another, once it has been told who it is."""
    await bench.until(lambda: bench.last(slot) is not former and bench.last(slot).heard(Kind.INIT))
    return bench.last(slot)


def test_the_old_one_goes_when_the_new_one_is_ready_and_it_holds_nothing(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        old = bench.last("primary")
        held = [incoming("GET", "/v1/documents/a/b") for _ in range(2)]
        for request in held:
            bench.dispatch.accept(request)
            await asyncio.sleep(0)
        [frame] = await bench.hears(old, Kind.REQUEST)
        bench.arbiter.children["primary"].member.duty = Duty.READY
        replacing = asyncio.ensure_future(bench.arbiter.succession.replace("primary"))
        new = await comes(bench, "primary", old)
        assert (new.generation, bench.state("primary")) == (2, State.UP)
        # Until its HELLO the old one serves.
        assert bench.arbiter.children["primary"].pid == old.process.pid
        new.hello()
        await bench.until(lambda: bench.arbiter.children["primary"].pid == new.process.pid)
        assert bench.dispatch.inflight("primary") == 1
        assert not old.heard(Kind.STOP)
        # What is committed meanwhile the old one must hear of: it may still read.
        bench.last("store").say(Kind.NOTICE, ["a/b"])
        await bench.hears(old, Kind.NOTICE)
        say(old, frame)
        await bench.hears(old, Kind.STOP)
        assert not replacing.done()
        old.kill()
        assert await replacing is None
        assert len(received(held[0])) + len(received(held[1])) == 1
        assert bench.arbiter.children["primary"].member.restarts == 1
        assert bench.arbiter.everyone() == list(bench.arbiter.children.values())

    arbitrate(talk)


def test_what_the_old_one_does_not_finish_in_time_goes_to_others_and_it_is_killed(
    arbitrate: Arbitrate, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        old = bench.last("primary")
        requests = [incoming("GET", "/v1/documents/a/b") for _ in range(2)]
        for request in requests:
            bench.dispatch.accept(request)
            await asyncio.sleep(0)
        replacing = asyncio.ensure_future(bench.arbiter.succession.replace("primary"))
        new = await comes(bench, "primary", old)
        new.hello()
        # Before it has gone: it is not its end that frees them.
        await bench.until(lambda: len(new.heard(Kind.REQUEST)) + len(bench.last("secondary").heard(Kind.REQUEST)) == 2)
        assert [child.pid for child in bench.arbiter.succession.leaving] == [old.process.pid]
        assert await replacing is None
        assert bench.dispatch.inflight("primary") + bench.dispatch.inflight("secondary") == 2
        assert len(new.heard(Kind.REQUEST)) + len(bench.last("secondary").heard(Kind.REQUEST)) == 2
        assert old.process.wait(PATIENCE_S) in (0, -signal.SIGKILL)  # 0: reaped by the arbiter

    monkeypatch.setattr(succession_module, "KILL_AFTER_S", 0.0)
    arbitrate(talk, {"servers": {"drain_timeout_s": 0}})


def test_one_that_cannot_start_changes_nothing(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        old = bench.last("primary")
        replacing = asyncio.ensure_future(bench.arbiter.succession.replace("primary"))
        new = await comes(bench, "primary", old)
        new.say(Kind.EVENT, ["cannot-boot", "no such file", None])
        new.kill()
        assert await replacing == "no such file"
        child = bench.arbiter.children["primary"]
        assert (child.pid, child.member.state, child.member.reason) == (old.process.pid, State.UP, None)
        assert not old.heard(Kind.STOP)
        assert bench.arbiter.everyone() == list(bench.arbiter.children.values())
        assert len([fake for fake in bench.fakes if fake.slot == "primary"]) == 2

    arbitrate(talk)


def test_one_that_dies_before_it_is_told_who_it_is_cannot_start(
    arbitrate: Arbitrate, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        old = bench.last("primary")
        opens = Link.open

        async def open_late(*arguments: Any) -> Link:
            """Once the kernel has told the arbiter of the end."""
            bench.last("primary").kill()
            await bench.until(lambda: not bench.arbiter.succession.coming)
            return await opens(*arguments)

        monkeypatch.setattr(Link, "open", open_late)
        reason = await bench.arbiter.succession.replace("primary")
        assert reason == "ended before it was ready: killed by SIGKILL"
        child = bench.arbiter.children["primary"]
        assert (child.pid, child.member.state) == (old.process.pid, State.UP)

    arbitrate(talk)


def test_an_old_one_that_dies_first_leaves_its_place(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        old = bench.last("primary")
        bench.arbiter.children["primary"].member.duty = Duty.DRAIN
        replacing = asyncio.ensure_future(bench.arbiter.succession.replace("primary"))
        new = await comes(bench, "primary", old)
        old.kill()
        await bench.until(lambda: bench.state("primary") is State.STARTING)
        new.hello()
        assert await replacing is None
        assert bench.arbiter.children["primary"].pid == new.process.pid
        assert bench.arbiter.children["primary"].member.duty is Duty.DRAIN
        assert len([fake for fake in bench.fakes if fake.slot == "primary"]) == 2

    arbitrate(talk)


def test_two_who_ask_at_once_get_one_new_worker(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        old = bench.last("primary")
        replacing = [asyncio.ensure_future(bench.arbiter.succession.replace("primary")) for _ in range(2)]
        new = await comes(bench, "primary", old)
        new.hello()
        await bench.hears(old, Kind.STOP)
        old.kill()
        assert await asyncio.gather(*replacing) == [None, None]
        assert len([fake for fake in bench.fakes if fake.slot == "primary"]) == 2

    arbitrate(talk)


def test_one_that_waits_for_its_next_start_is_started_at_once(
    arbitrate: Arbitrate, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        monkeypatch.setattr("deora.supervisor.arbiter.pause_s", lambda *_: 1000.0)
        first = bench.last("primary")
        first.kill()
        second = await comes(bench, "primary", first)
        second.kill()
        await bench.until(lambda: bench.state("primary") is State.DELAYED)
        replacing = asyncio.ensure_future(bench.arbiter.succession.replace("primary"))
        third = await comes(bench, "primary", second)
        third.hello()
        assert await replacing is None
        assert bench.state("primary") is State.UP

    arbitrate(talk)


def test_a_stop_ends_the_new_and_the_old(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        old = bench.last("primary")
        bench.arbiter.succession.start_replacing("primary")
        new = await comes(bench, "primary", old)
        stopping = asyncio.ensure_future(bench.arbiter.stop(asyncio.get_running_loop().time() + 5))
        for fake in (old, new, bench.last("secondary"), bench.last("replayer")):
            await bench.hears(fake, Kind.STOP)
            fake.kill()
        await bench.until(lambda: bench.last("store").heard(Kind.STOP))
        bench.last("store").kill()
        await stopping
        assert all(child.pid is None for child in bench.arbiter.everyone())

    arbitrate(talk)
