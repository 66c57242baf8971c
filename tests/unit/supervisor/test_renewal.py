"""Every child in place of its former self, with children that are mere processes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from deora.config.schema import Config
from deora.errors import StartError
from deora.supervisor import renewal as module
from deora.supervisor.renewal import RenewalError, renew
from deora.supervisor.roster import State
from deora.wire.frames import Kind
from tests.fakes.arbiter import Arbitrate, Bench, Fake

NEW = Config.from_wire({"servers": {"secondary": {"id": "B", "workers": 2, "weight": 5, "priority": 2}}})


def start(bench: Bench, monkeypatch: pytest.MonkeyPatch, new: Config = NEW) -> asyncio.Task[list[str]]:
    class Start:
        start = staticmethod(bench.start_zygote)

    monkeypatch.setattr(module, "Zygote", Start)
    return asyncio.ensure_future(renew(bench.arbiter, bench.config, new))


async def comes(bench: Bench, slot: str, former: Fake | None) -> Fake:
    def is_there() -> Any:
        fakes = [fake for fake in bench.fakes if fake.slot == slot and fake is not former]
        return fakes and fakes[-1].heard(Kind.INIT)

    await bench.until(is_there)
    return bench.last(slot)


async def follows(bench: Bench, slot: str) -> Fake:
    """A new worker comes, and the old one is seen off."""
    former = bench.last(slot)
    new = await comes(bench, slot, former)
    new.hello()
    await bench.hears(former, Kind.STOP)
    former.kill()
    return new


async def gives_way(bench: Bench, slot: str) -> Fake:
    """The store or the replayer is asked to end, and the next one comes."""
    former = bench.last(slot)
    await bench.hears(former, Kind.STOP)
    assert bench.last(slot) is former
    former.kill()
    new = await comes(bench, slot, former)
    new.hello()
    return new


def test_workers_first_then_the_store_then_the_replayer(arbitrate: Arbitrate, monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        renewing = start(bench, monkeypatch)
        first = await follows(bench, "primary")
        assert first.init["config"] == NEW.to_wire()
        await follows(bench, "secondary")
        assert not bench.last("store").heard(Kind.STOP)
        added = await comes(bench, "secondary-2", None)
        added.hello()
        assert not bench.last("replayer").heard(Kind.STOP)
        await gives_way(bench, "store")
        await gives_way(bench, "replayer")
        assert await renewing == ["store", "primary", "secondary", "secondary-2", "replayer"]
        assert list(bench.arbiter.children) == ["store", "primary", "secondary", "secondary-2", "replayer"]
        weights = [child.server.weight for child in bench.arbiter.workers() if child.server is not None]
        assert weights == [70, 5, 5]
        # Of the two zygotes the new one is there, and the old one has ended.
        assert bench.arbiter.zygotes.pid == bench.zygotes[1].pid
        assert bench.zygotes[0].process.poll() is not None

    arbitrate(talk)


def test_slots_that_are_not_wanted_any_more_are_given_up(arbitrate: Arbitrate, monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        renewing = start(bench, monkeypatch, Config.from_wire({}))
        await follows(bench, "primary")
        leaving = bench.last("secondary-2")
        await follows(bench, "secondary")
        await bench.hears(leaving, Kind.STOP)
        leaving.kill()
        await gives_way(bench, "store")
        await gives_way(bench, "replayer")
        await renewing
        assert list(bench.arbiter.children) == ["store", "primary", "secondary", "replayer"]
        await bench.until(lambda: not bench.arbiter.succession.leaving)

    arbitrate(talk, NEW.to_wire())


def test_where_the_first_worker_cannot_start_all_is_as_it_was(
    arbitrate: Arbitrate, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        pids = {slot: child.pid for slot, child in bench.arbiter.children.items()}
        renewing = start(bench, monkeypatch)
        (await comes(bench, "primary", bench.last("primary"))).kill()
        with pytest.raises(RenewalError, match="a new primary cannot start") as failed:
            await renewing
        assert failed.value.is_reverted
        assert {slot: child.pid for slot, child in bench.arbiter.children.items()} == pids
        assert bench.arbiter.zygotes.pid == bench.zygotes[0].pid
        assert bench.zygotes[1].process.poll() is not None
        # And who is started for another reason gets the old configuration.
        bench.last("secondary").kill()
        await bench.until(lambda: bench.state("secondary") is State.STARTING)
        assert (await bench.up("secondary")).init["config"] == bench.config.to_wire()

    arbitrate(talk)


def test_without_a_new_zygote_nothing_is_touched(arbitrate: Arbitrate, monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        fakes = list(bench.fakes)
        bench.zygote_failures = 1
        with pytest.raises(StartError):
            await start(bench, monkeypatch)
        assert bench.fakes == fakes

    arbitrate(talk)


def test_a_store_that_cannot_start_is_named_and_the_rest_is_new(
    arbitrate: Arbitrate, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        renewing = start(bench, monkeypatch, bench.config)
        await follows(bench, "primary")
        await follows(bench, "secondary")
        former = bench.last("store")
        await bench.hears(former, Kind.STOP)
        former.kill()
        monkeypatch.setattr("deora.supervisor.arbiter.pause_s", lambda *_: 600.0)
        (await comes(bench, "store", former)).kill()
        await gives_way(bench, "replayer")
        with pytest.raises(RenewalError, match="the new store cannot start") as failed:
            await renewing
        assert not failed.value.is_reverted

    arbitrate(talk)
