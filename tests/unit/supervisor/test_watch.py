"""Who is taken out, who is replaced: children that are mere processes, and time by hand."""

from __future__ import annotations

import asyncio
import signal
from typing import Any

import pytest

from deora.supervisor import watch as watch_module
from deora.supervisor.children import Child
from deora.supervisor.roster import Duty, State
from deora.supervisor.watch import LOOK_S, OTHERS_HANG_S, REPLACE_AGAIN_S, Watch
from deora.wire.frames import Kind
from tests.fakes.arbiter import PATIENCE_S, Arbitrate, Bench
from tests.fakes.star import incoming

HANG_S = 2.0


class Looks:
    """A watch whose time passes by hand, and children that answer their pings, but for those that are `deaf`."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.watch = Watch(bench.config, bench.arbiter)
        self.now_s = max(child.since_s for child in bench.arbiter.children.values())
        self.deaf: set[str] = set()
        self._answered: dict[int, int] = {}

    async def pass_time(self, seconds: float) -> None:
        for _ in range(round(seconds / LOOK_S)):
            self.now_s += LOOK_S
            self.watch.look(self.now_s)
            await asyncio.sleep(0)
            await self.bench.until(self._are_heard)

    def _are_heard(self) -> bool:
        """Whether all who are not deaf have been heard; they answer what has reached them."""
        for fake in self.bench.fakes:
            pings = fake.heard(Kind.PING)
            if fake.slot not in self.deaf and len(pings) > self._answered.get(id(fake), 0):
                self._answered[id(fake)] = len(pings)
                fake.say(Kind.PONG, ident=pings[-1][4])
        children = self.bench.arbiter.everyone()
        return not any(child.pulse.owed_ping for child in children if child.is_judged and self._hears(child))

    def _hears(self, child: Child) -> bool:
        return child.member.slot not in self.deaf

    def is_whole(self) -> bool:
        return {child.member.state for child in self.bench.arbiter.children.values()} == {State.UP}


def test_who_answers_is_left_alone(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        # A request that takes long by design: its worker answers pings.
        bench.dispatch.accept(incoming("GET", "/v1/documents/a/b"))
        looks = Looks(bench)
        await looks.pass_time(20)
        assert looks.is_whole()
        assert len(bench.fakes) == 4
        # One ping in half a second at least, whatever the interval of heartbeats.
        assert all(len(fake.heard(Kind.PING)) >= 40 for fake in bench.fakes)

    arbitrate(talk)


@pytest.mark.parametrize("is_busy", [True, False])
def test_who_hangs_is_taken_out_in_time(arbitrate: Arbitrate, is_busy: bool) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        looks = Looks(bench)
        await looks.pass_time(1)
        hung = bench.last("primary")
        looks.deaf.add("primary")
        while is_busy and not bench.dispatch.inflight("primary"):
            bench.dispatch.accept(incoming("GET", "/v1/documents/a/b"))
            await asyncio.sleep(0)
        began_s = looks.now_s
        child = bench.arbiter.children["primary"]
        while child.worker is not None:
            await looks.pass_time(LOOK_S)
        assert HANG_S - LOOK_S < looks.now_s - began_s < HANG_S + 0.7
        assert hung.process.wait(PATIENCE_S) in (0, -signal.SIGKILL)  # 0: reaped by the arbiter
        # What it held went elsewhere before it had ended.
        assert bench.dispatch.inflight("primary") == 0
        assert looks.bench.state("secondary") is State.UP

    arbitrate(talk)


def test_the_store_and_the_replayer_have_longer(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        looks = Looks(bench)
        looks.deaf |= {"store", "replayer"}
        await looks.pass_time(OTHERS_HANG_S - 1)
        assert looks.is_whole()
        hung = [bench.last("store"), bench.last("replayer")]
        await looks.pass_time(2)
        await bench.until(lambda: bench.last("store") not in hung and bench.last("replayer") not in hung)

    arbitrate(talk)


def test_a_suspended_machine_is_held_against_nobody(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        looks = Looks(bench)
        for _ in range(20):
            looks.deaf |= {"primary", "secondary", "store", "replayer"}
            await looks.pass_time(1)
            looks.now_s += 3600
            looks.watch.look(looks.now_s)
            looks.deaf.clear()
            await looks.pass_time(1)
        assert looks.is_whole()
        assert len(bench.fakes) == 4

    arbitrate(talk)


def test_nobody_judges_one_in_maintenance(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        bench.arbiter.children["primary"].member.duty = Duty.MAINT
        looks = Looks(bench)
        looks.deaf.add("primary")
        await looks.pass_time(3 * HANG_S)
        assert looks.is_whole()

    arbitrate(talk)


HEARTBEATS: dict[str, Any] = {
    "loadbalancer": {"health_check": {"interval_s": 1, "rise": 2, "fall": 3, "hang_timeout_s": 20}}
}


def test_heartbeats_take_a_worker_out_and_in_again(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        looks = Looks(bench)
        member = bench.arbiter.children["primary"].member
        await looks.pass_time(3)
        assert member.shown == "up"
        looks.deaf.add("primary")
        await looks.pass_time(2)
        assert member.shown == "up"
        await looks.pass_time(2.5)
        assert (member.shown, member.reason) == ("down", "3 heartbeats in a row had no answer")
        assert [child.member.slot for child in bench.arbiter.serving()] == ["secondary"]
        looks.deaf.clear()
        await looks.pass_time(0.9)
        assert member.shown == "down"
        await looks.pass_time(2.2)
        assert (member.shown, member.reason) == ("up", None)
        assert len(bench.fakes) == 4

    arbitrate(talk, HEARTBEATS)


def test_a_large_worker_is_replaced_and_not_again_and_again(
    arbitrate: Arbitrate, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        large = bench.last("primary")
        sizes = {large.process.pid: bench.config.servers.max_memory + 1}
        monkeypatch.setattr(watch_module, "resident_bytes", lambda pid: sizes.get(pid, 0))
        looks = Looks(bench)
        await looks.pass_time(1.2)
        await bench.until(lambda: bench.last("primary") is not large and bench.last("primary").heard(Kind.INIT))
        fresh = bench.last("primary")
        sizes[fresh.process.pid] = sizes[large.process.pid]
        assert bench.state("primary") is State.UP
        fresh.hello()
        await bench.hears(large, Kind.STOP)
        large.kill()
        await looks.pass_time(5)
        assert bench.last("primary") is fresh
        await looks.pass_time(REPLACE_AGAIN_S)
        await bench.until(lambda: bench.last("primary") is not fresh)
        assert len([fake for fake in bench.fakes if fake.slot == "secondary"]) == 1

    arbitrate(talk)
