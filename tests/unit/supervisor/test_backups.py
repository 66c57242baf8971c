"""When a backup is due, what becomes of it, and what status shows."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from deora.config.schema import Config
from deora.errors import Problem
from deora.observe.health import BackupState
from deora.supervisor.backups import AGAIN_S, FIRST_S, Backups
from deora.wire.frames import Kind, encode, pack
from tests.fakes.arbiter import Arbitrate, Bench, Fake, arbitration

FACTS = {"file": "/b/x.db", "size": 7, "took_s": 0.5}
EVERY_S = 900.0


@pytest.fixture
def arbitrate(monkeypatch: pytest.MonkeyPatch) -> Arbitrate:
    return arbitration(monkeypatch)


class Scheduled:
    """Backups of an instance whose zygote is up. `now_s` is what its ticks are told."""

    def __init__(self, bench: Bench, directory: str | None = "/b") -> None:
        self.bench = bench
        self.config = Config.from_wire({"operations": {"backup": {"dir": directory}}})
        bench.arbiter.queue = {"node": "n1"}
        self.backups = Backups(self.config, "/data", bench.arbiter)
        self.now_s = self.backups._due_s - FIRST_S

    def tick(self, seconds: float = 1.0) -> None:
        self.now_s += seconds
        self.backups.tick(self.now_s)

    @property
    def made(self) -> list[Fake]:
        """The processes so far."""
        return [fake for fake in self.bench.fakes if fake.slot == "backup"]

    @property
    def state(self) -> BackupState:
        found = self.backups.state(self.now_s)
        assert found is not None
        return found

    async def ends(self, count: int, *event: Any) -> Fake:
        """The so manieth process is there, says something and ends."""
        await self.bench.until(lambda: len(self.made) == count and self.made[-1].heard(Kind.INIT))
        fake = self.made[-1]
        run = self.backups._run
        assert run is not None
        if event:
            say(fake, *event)
            await self.bench.until(lambda: run.facts is not None or run.error is not None)
        fake.process.kill()
        await asyncio.wait_for(run.ended.wait(), 5)
        return fake


def say(fake: Fake, *event: Any) -> None:
    fake.sock.sendall(encode(Kind.EVENT, 0, pack(list(event))))


def test_one_is_made_when_it_is_due_and_the_next_one_an_interval_later(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.arbiter.zygotes.start()
        one = Scheduled(bench)
        one.tick(FIRST_S - 1)
        assert one.made == []
        one.tick(1)
        fake = await one.ends(1, "done", FACTS, 100.0)
        assert fake.init["backup"] == {"node": "n1"}
        assert fake.init["role"] == "backup"
        state = one.state
        assert (state.file, state.size_bytes, state.took_s, state.error) == ("/b/x.db", 7, 0.5, None)
        assert state.age_s is not None
        assert not state.is_late
        # It was 100 s old when it was found, so the next one is due as much earlier.
        one.now_s = one.backups._due_s - EVERY_S + 100
        one.tick(EVERY_S - 101)
        assert len(one.made) == 1
        one.tick(2)
        await one.ends(2, "done", FACTS, 0.0)

    arbitrate(talk)


def test_a_failure_is_told_and_tried_again_later_each_time(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.arbiter.zygotes.start()
        one = Scheduled(bench)
        one.tick(FIRST_S)
        await one.ends(1, "failed", "no disk", "mount it")
        assert (one.state.error, one.state.hint, one.state.failures) == ("no disk", "mount it", 1)
        first_s = one.backups._due_s
        one.now_s = first_s
        one.tick(0)
        await one.ends(2)
        assert "its process ended: killed by SIGKILL" in str(one.state.error)
        assert one.state.failures == 2
        one.now_s = one.backups._due_s
        one.tick(0)
        await one.ends(3, "done", FACTS, 0.0)
        assert (one.state.error, one.state.failures) == (None, 2)

    arbitrate(talk)


def test_one_that_hangs_is_late_and_no_other_is_begun(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.arbiter.zygotes.start()
        one = Scheduled(bench)
        one.tick(FIRST_S)
        await bench.until(lambda: one.made)
        for _ in range(3):
            assert not one.state.is_late
            one.tick(EVERY_S)
        one.tick(EVERY_S)
        assert one.state.is_late
        assert one.state.running
        assert len(one.made) == 1
        await one.backups.stop()
        assert not one.state.running

    arbitrate(talk)


def test_without_a_folder_or_a_store_none_is_made(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.arbiter.zygotes.start()
        none, early = Scheduled(bench, None), Scheduled(bench)
        bench.arbiter.queue = {}
        for one in (none, early):
            one.tick(10 * EVERY_S)
            await asyncio.sleep(0.01)
            assert one.made == []
        assert none.backups.state(none.now_s) is None
        # A reload brings the folder.
        bench.arbiter.queue = {"node": "n1"}
        none.backups.configure(early.config)
        none.tick(0)
        await none.ends(1, "done", FACTS, 0.0)

    arbitrate(talk)


def test_an_operators_is_made_at_once_and_shown(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.arbiter.zygotes.start()
        one = Scheduled(bench)
        with pytest.raises(Problem, match="no backup was made"):
            one.backups.show()
        assert await one.backups.order(json.dumps({"file": "/x/b.db", "force": True}).encode()) == {"number": 1}
        with pytest.raises(Problem, match="another backup is being made"):
            await one.backups.order(b'{"file": "/x/b.db"}')
        await bench.until(lambda: one.made and one.made[-1].heard(Kind.INIT))
        assert one.made[0].init["backup"] == {"file": "/x/b.db", "force": True}
        say(one.made[0], "progress", "copying", 5, 10)
        await bench.until(lambda: one.backups.show()["done"])
        assert {"phase": "copying", "done": 5, "total": 10, "running": True}.items() <= one.backups.show().items()
        await one.ends(1, "done", FACTS, 0.0)
        assert {"running": False, "backup": FACTS, "error": None}.items() <= one.backups.show().items()
        # It is no scheduled one.
        assert one.state.age_s is None

    arbitrate(talk)


@pytest.mark.parametrize(
    "content",
    [b"", b"[]", b"{}", b'{"file": 1}', b'{"file": "b.db"}', b'{"file": "/b", "force": 1}', b'{"file": "/\\u0000"}'],
)
def test_what_is_no_order(arbitrate: Arbitrate, content: bytes) -> None:
    async def talk(bench: Bench) -> None:
        with pytest.raises(Problem) as caught:
            await Scheduled(bench).backups.order(content)
        assert caught.value.kind == "bad-request"

    arbitrate(talk)


def test_a_zygote_that_cannot_start_it(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.arbiter.zygotes.start()
        bench.zygotes[-1].is_broken = True
        one = Scheduled(bench)
        before_s = one.backups._due_s
        one.tick(FIRST_S)
        await bench.until(lambda: one.state.error)
        assert "could not be started" in str(one.state.error)
        assert one.backups._due_s < before_s + 2 * AGAIN_S

    arbitrate(talk)
