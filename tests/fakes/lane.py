"""A lane between a real store and an upstream in memory, on a manual clock, with a crash wherever a test wants one."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from deora.documents.writes import Write, decode_writes
from deora.replay.batches import Batch
from deora.replay.breaker import Breaker
from deora.replay.lane import Lane
from deora.replay.restored import Known
from deora.replay.terms import LaneSettings, Status, StoreCalls
from deora.upstream.base import Cursor, CursorKey, Delivery, Failure, Outcome, Page, Unauthorised, Unclear
from tests.fakes.calls import StoreWithCalls
from tests.fakes.checker import Findings, Sent, check, logs_of
from tests.fakes.checker import Outcome as Told
from tests.fakes.clock import ManualClock
from tests.fakes.store import update
from tests.fakes.upstream import FakeUpstream


class Points:
    """Counts the points at which a lane waits for somebody else, and makes it stand still for ever at one of them."""

    def __init__(self, crash_at: int | None = None) -> None:
        self.passed: list[str] = []
        self.crash_at = crash_at
        self.crashed = False

    async def reach(self, name: str) -> None:
        """Called before each request to the outside and after its answer."""
        self.passed.append(name)
        await asyncio.sleep(0)
        if len(self.passed) == self.crash_at:
            self.crashed = True
            await asyncio.Event().wait()


class _PointedStore:
    """The store's calls with a point on each side: `StoreCalls`."""

    def __init__(self, calls: StoreCalls, points: Points, asked: list[tuple[int, float]]) -> None:
        self._calls = calls
        self._points = points
        self._asked = asked

    async def open(self, upstream: str) -> tuple[str, str]:
        await self._points.reach("open asked")
        answer = await self._calls.open(upstream)
        await self._points.reach("open answered")
        return answer

    async def next(self, upstream: str, max_writes: int, max_bytes: int, urgent_share: float) -> Batch:
        await self._points.reach("next asked")
        self._asked.append((max_writes, urgent_share))
        batch = await self._calls.next(upstream, max_writes, max_bytes, urgent_share)
        await self._points.reach("next answered")
        return batch

    async def paused(self, upstream: str) -> bool:
        await self._points.reach("paused asked")
        paused = await self._calls.paused(upstream)
        await self._points.reach("paused answered")
        return paused

    async def attempted(self, upstream: str, batch_id: str, error: str) -> bool:
        await self._points.reach("attempted asked")
        paused = await self._calls.attempted(upstream, batch_id, error)
        await self._points.reach("attempted answered")
        return paused

    async def split(self, upstream: str, batch_id: str, at: list[int], seq: int, cursor_id: str) -> None:
        await self._points.reach("split asked")
        await self._calls.split(upstream, batch_id, at, seq, cursor_id)
        await self._points.reach("split answered")

    async def known(self, upstream: str) -> Known:
        await self._points.reach("known asked")
        known = await self._calls.known(upstream)
        await self._points.reach("known answered")
        return known

    async def survey(self, upstream: str, covered: list[Any]) -> tuple[int, int | None]:
        await self._points.reach("survey asked")
        found = await self._calls.survey(upstream, covered)
        await self._points.reach("survey answered")
        return found

    async def requeue(self, upstream: str, seq: int, cursor_id: str, covered: list[Any]) -> int:
        await self._points.reach("requeue asked")
        count = await self._calls.requeue(upstream, seq, cursor_id, covered)
        await self._points.reach("requeue answered")
        return count

    async def settle(self, upstream: str, batch_id: str, error: str | None, seq: int, cursor_id: str) -> None:
        await self._points.reach("settle asked")
        await self._calls.settle(upstream, batch_id, error, seq, cursor_id)
        await self._points.reach("settle answered")


class PointedUpstream(FakeUpstream):
    """An upstream with a point on each side of a lane's or an import's call."""

    def __init__(self, upstream: FakeUpstream, points: Points) -> None:
        super().__init__()
        self._upstream = upstream
        self._points = points

    async def read_cursor(self, key: CursorKey) -> Cursor | Unclear | Unauthorised | None:
        await self._points.reach("cursor asked")
        cursor = await self._upstream.read_cursor(key)
        await self._points.reach("cursor answered")
        return cursor

    async def apply(self, delivery: Delivery) -> Outcome:
        await self._points.reach("batch sent")
        outcome = await self._upstream.apply(delivery)
        await self._points.reach("batch answered")
        return outcome

    async def take_over(self, key: CursorKey, taker: str, predecessor: str | None = None) -> Cursor | Failure:
        await self._points.reach("marker sent")
        cursor = await self._upstream.take_over(key, taker, predecessor)
        await self._points.reach("marker answered")
        return cursor

    async def read_documents(self, key: CursorKey, paths: list[str]) -> Page | Failure:
        await self._points.reach("documents asked")
        page = await self._upstream.read_documents(key, paths)
        await self._points.reach("documents answered")
        return page

    async def close(self) -> None:
        await self._upstream.close()


class LaneBench:
    """Everything around one lane."""

    def __init__(self, folder: Path, *, seed: int = 0, settings: LaneSettings | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.clock = ManualClock()
        self.store = StoreWithCalls(folder / "store.db", self.clock)
        self.upstream = FakeUpstream()
        self.settings = settings or LaneSettings()
        self.threshold = 5
        self.timeout_s = 60.0
        self.points = Points()
        self.dice = random.Random(seed)
        self.slept_s: list[float] = []
        self.asked: list[tuple[int, float]] = []
        """(max_writes, urgent_share) of each claim"""
        self.shown: list[tuple[float, Status]] = []
        self.written = 0
        self.history: list[Sent] = []
        """what `write_numbered` wrote, for the checker"""
        self.lane: Lane | None = None

    @property
    def key(self) -> CursorKey:
        """The lane's cursor."""
        return CursorKey(*self.store.service.identity, 0)

    @property
    def status(self) -> Status:
        """What status shows now."""
        return self.shown[-1][1]

    def new_lane(self) -> Lane:
        """A lane as a replayer makes it that has just started."""

        async def sleep(seconds: float) -> None:
            await self.points.reach("sleep")
            self.slept_s.append(seconds)
            await asyncio.sleep(seconds)

        def report(_: str, status: Status) -> None:
            self.shown.append((self.clock.monotonic_s(), replace(status)))

        self.lane = Lane(
            "primary",
            PointedUpstream(self.upstream, self.points),
            _PointedStore(self.store.calls, self.points, self.asked),
            self.settings,
            Breaker(self.threshold, self.timeout_s),
            self.clock,
            sleep=sleep,
            random=self.dice.random,
            report=report,
        )
        return self.lane

    async def until(self, holds: Callable[[], bool], within_s: float = 3600.0) -> None:
        """Lets a lane run until something holds, or until it crashes; then it is gone."""
        task = asyncio.ensure_future(self.new_lane().run())
        await self.watch(task, holds, within_s)
        task.cancel()
        await asyncio.wait({task})

    async def watch(self, task: Awaitable[None], holds: Callable[[], bool], within_s: float = 3600.0) -> None:
        """The same for a lane that runs already and goes on."""
        assert isinstance(task, asyncio.Future)
        end_s = self.clock.monotonic_s() + within_s
        while not holds() and not self.points.crashed:
            if task.done():
                task.result()
            waiting = self.store.waiting()
            assert self.clock.monotonic_s() < end_s, f"not within {within_s} s; {waiting} wait; {self.shown[-1:]}"
            await asyncio.sleep(0.1)

    async def drain(self, within_s: float = 3600.0) -> None:
        """Lets a lane run until nothing waits any more."""
        await self.until(lambda: self.store.waiting() == 0, within_s)

    # -- numbered writes, so that a lost, a doubled and a misplaced one can be told

    def write_numbered(self, count: int, documents: int, at_once: int = 100) -> None:
        """`count` commits, each adding its number to the list of one of the documents, one after the other."""
        numbers = range(self.written, self.written + count)
        writes = [numbered(f"d/{number % documents}", number) for number in numbers]
        self.history += [Sent(str(number), f"d/{number % documents}", Told.OK, number) for number in numbers]
        self.written += count
        for start in range(0, count, at_once):
            self.store.write_each(writes[start : start + at_once])

    def findings(self) -> Findings:
        """The checker's word on all numbered writes: what upstream holds, and what the queue still does."""
        held = {path: orjson.loads(data) for path, data in self.upstream.documents.items()}
        applied = {path: [str(number) for number in log] for path, log in logs_of(held).items()}
        queued: dict[str, list[str]] = {}
        for entry in self.store.entries():
            for write in entry["writes"] if entry["state"] != "done" else ():
                [number] = write["update"]["data"]["log"]["$arrayUnion"]
                queued.setdefault(write["update"]["path"], []).append(str(number))
        return check(self.history, applied, queued)

    def check(self, *, dead: set[str] | None = None) -> None:
        """Nothing lost, nothing doubled, order kept: each document holds its numbers in order, each once.

        `dead`: the documents all of whose entries upstream has refused.
        """
        dead = dead or set()
        assert self.store.waiting() == 0
        payloads = [payload for _, payload in self.upstream.applied]
        assert len(payloads) == len(set(payloads)), "an entry took effect twice"
        held = {path: orjson.loads(data) for path, data in self.upstream.documents.items()}
        documents = {entry_path(payload) for payload in payloads} | set(held)
        assert documents.isdisjoint(dead)
        views = {path: orjson.loads(data) for path, data in self.store.views().items()}
        for path, view in views.items():
            assert view["log"] == sorted(view["log"])
            assert view["n"] == len(view["log"])
            assert path in dead or held[path] == view, path
        assert sum(len(view["log"]) for view in views.values()) == self.written
        assert {path for entry in self.store.entries("dead") for path in paths(entry)} == dead
        assert sum(len(views[path]["log"]) for path in dead) == len(self.store.entries("dead"))


def numbered(path: str, number: int) -> Write:
    """A write that leaves its number behind, and that an update made twice would betray."""
    return update(path, {"log": {"$arrayUnion": [number]}, "n": {"$increment": 1}}, upsert=True)


def entry_path(payload: bytes) -> str:
    """The document of an entry of one write."""
    [write] = decode_writes(payload)
    return write.path


def paths(entry: dict[str, object]) -> list[str]:
    """The documents of a listed entry."""
    writes = entry["writes"]
    assert isinstance(writes, list)
    return [members["path"] for write in writes for members in write.values()]
