"""An import that is interrupted between any two of its steps, and repeated: zeros, whatever the source did meanwhile.

Two boxes in one process: real stores, real lanes, the real handler; upstream is in memory.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from deora.errors import Problem
from deora.replay.coverage import Coverage
from deora.replay.terms import LaneSettings
from deora.upstream.base import CursorKey
from tests.fakes.importing import Importer, exported, sender_of, until_crashed
from tests.fakes.lane import LaneBench, Points, numbered
from tests.fakes.loop import run
from tests.fakes.upstream import Call, Fault

WRITTEN, DOCUMENTS = 30, 5
REFUSED = "d/3"


class LandedUnheard(Points):
    """Crashes when a batch has landed and its answer has not been heard, once `left` or fewer entries wait."""

    def __init__(self, bench: LaneBench, left: int) -> None:
        super().__init__()
        self._bench = bench
        self._left = left
        self._applied = 0

    async def reach(self, name: str) -> None:
        applied = len(self._bench.upstream.applied)
        if name == "batch answered" and applied > self._applied and self._bench.store.waiting() <= self._left:
            self.crash_at = len(self.passed) + 1
        self._applied = applied
        await super().reach(name)


class World:
    """Box A, half drained, some dead, its last batch landed and not settled; and box B, which is to have it all."""

    def __init__(self, folder: Path) -> None:
        self.a = LaneBench(folder / "a", settings=LaneSettings(max_writes=3))
        self.b = self.another(folder / "b")
        self.a.upstream.refused[REFUSED] = "no such table"
        self.a.write_numbered(WRITTEN, DOCUMENTS)
        self.a.points = LandedUnheard(self.a, 12)
        run(self.a.until(lambda: False), self.a.clock)
        self.a.points = Points()
        self.b.store.write_each([numbered("e/0", number) for number in range(3)])
        self.sender, self.lines = sender_of(self.a.store), exported(self.a.store)
        assert {line["state"] for line in self.lines} == {"pending", "inflight", "dead"}

    def another(self, folder: Path) -> LaneBench:
        """One more box at the same upstream."""
        box = LaneBench(folder, settings=LaneSettings(max_writes=4))
        if hasattr(self, "a"):
            box.upstream = self.a.upstream
        box.store.reopen(replace(box.store.settings, fresh_us=60_000_000))
        return box

    @property
    def key(self) -> CursorKey:
        """A's cursor."""
        return CursorKey(self.sender["node"], self.sender["epoch"], 0)

    def import_all(self, box: LaneBench | None = None) -> dict[str, int]:
        """The import, undisturbed."""
        box = box or self.b
        return run(Importer(box).run(self.sender, self.lines), box.clock)

    def let_a_go_on(self) -> None:
        """A runs on, until it has nothing left or finds the marker."""
        store = self.a.store
        run(self.a.until(lambda: store.waiting() == 0 or self.a.status.state == "stopped"), self.a.clock)

    def check(self, dead: int = WRITTEN // DOCUMENTS) -> None:
        """Nothing lost, nothing doubled, order kept; what upstream refuses is dead in B."""
        payloads = [payload for _, payload in self.a.upstream.applied]
        assert len(payloads) == len(set(payloads)), "an entry took effect twice"
        held = {path: orjson.loads(data) for path, data in self.a.upstream.documents.items()}
        for number in range(DOCUMENTS):
            path = f"d/{number}"
            if path != REFUSED:
                assert held[path] == {"log": (log := list(range(number, WRITTEN, DOCUMENTS))), "n": len(log)}
        assert held["e/0"]["n"] == 3
        assert REFUSED not in held
        assert len(self.b.store.entries("dead")) == dead
        covered = Coverage.decode(self.a.upstream.cursors[self.key].applied)
        for line in self.lines:
            [write] = line["writes"]
            assert covered.covers(line["number"]) is (write["update"]["path"] != REFUSED)

    def close(self) -> None:
        self.a.store.close()
        self.b.store.close()


@contextmanager
def a_world(folder: Path) -> Iterator[World]:
    world = World(folder)
    try:
        yield world
    finally:
        world.close()


def test_a_queue_moves_to_another_box(tmp_path: Path) -> None:
    with a_world(tmp_path) as world:
        counts = world.import_all()
        assert counts["imported"] + counts["alreadyUpstream"] == len(world.lines)
        assert counts["alreadyUpstream"] > 0, "the batch that had landed and was not settled"
        before = world.b.store.views()
        run(world.b.drain(), world.b.clock)
        world.check()
        # What waited was shown as it came out, the dead writes too.
        assert world.b.store.views() == before
        assert orjson.loads(before["d/3"])["n"] == WRITTEN // DOCUMENTS
        for path, data in world.a.upstream.documents.items():
            assert path not in before or before[path] == data
        world.let_a_go_on()
        assert world.a.status.state == "stopped"
        assert world.b.key.box in str(world.a.status.last_error)
        assert world.import_all() == {
            "imported": 0,
            "alreadyUpstream": len(world.lines) - 6,
            "alreadyHere": 6,
        }
        world.check()


def steps_of(folder: Path) -> list[str]:
    """The points that an undisturbed import passes."""
    with a_world(folder) as world:
        points = Points()
        run(Importer(world.b, points).run(world.sender, world.lines), world.b.clock)
        return points.passed


def test_interrupted_between_any_two_steps_and_repeated(tmp_path: Path) -> None:
    steps = steps_of(tmp_path / "steps")
    assert {"marker sent", "marker answered", "page sent", "page answered", "documents asked"} <= set(steps)
    for crash_at in range(1, len(steps) + 1):
        with a_world(tmp_path / str(crash_at)) as world:
            points = Points(crash_at)
            crashed = run(until_crashed(Importer(world.b, points), points, world.sender, world.lines), world.b.clock)
            assert crashed, crash_at
            if crash_at % 2:
                world.b.store.reopen()
            if crash_at % 3 == 0:
                run(world.b.drain(), world.b.clock)
            world.let_a_go_on()
            world.import_all()
            run(world.b.drain(), world.b.clock)
            world.check()


def outcome(world: World) -> Problem | None:
    """With what an import ends."""
    try:
        world.import_all()
    except Problem as problem:
        return problem
    return None


@pytest.mark.parametrize("seed", range(6))
def test_calls_that_get_lost_on_the_way(tmp_path: Path, seed: int) -> None:
    """Lost requests and lost answers, of the marker, of the batches and of A, which goes on all the while."""
    print(f"seed {seed}")
    dice = random.Random(seed)

    def faults(_: Call) -> Fault | None:
        return dice.choice([Fault.LOST, Fault.UNANSWERED]) if dice.random() < 0.1 else None

    with a_world(tmp_path) as world:
        world.a.upstream.faults = faults
        failures: list[Problem | None] = []
        while not failures or failures[-1] is not None:
            failures.append(outcome(world))
            assert len(failures) < 200
        assert {problem.kind for problem in failures if problem is not None} <= {"unavailable"}
        assert all(problem.hint for problem in failures if problem is not None)
        world.let_a_go_on()
        run(world.b.drain(), world.b.clock)
        world.a.upstream.faults = lambda _: None
        world.check()


def test_of_two_boxes_one_has_it_and_the_other_is_told_which(tmp_path: Path) -> None:
    with a_world(tmp_path) as world:
        world.import_all()
        other = world.another(tmp_path / "c")
        before = world.a.upstream.cursors[world.key]
        with pytest.raises(Problem, match=f"taken over by {world.b.key.box} already") as caught:
            world.import_all(other)
        assert caught.value.status == 409
        assert other.store.waiting() == 0
        assert world.a.upstream.cursors[world.key] == before
        run(world.b.drain(), world.b.clock)
        world.check()
        other.store.close()


def test_a_queue_moves_on_to_a_third_box(tmp_path: Path) -> None:
    """B took A's queue over and dies half way: C gets both, and what B had applied of A's is not applied again."""
    with a_world(tmp_path) as world:
        world.import_all()
        b = world.b
        b.store.write_each([numbered("e/1", number) for number in range(3)])
        b.points = LandedUnheard(b, 6)
        run(b.until(lambda: False), b.clock)
        b.points = Points()
        sender, lines = sender_of(b.store), exported(b.store)
        assert {line["node"] for line in lines} == {world.key.node, b.key.node}
        key_b = b.key
        world.b = c = world.another(tmp_path / "c")
        run(Importer(c).run(sender, lines), c.clock)
        run(c.drain(), c.clock)
        world.check()
        assert orjson.loads(b.upstream.documents["e/1"]) == {"log": [0, 1, 2], "n": 3}
        # B, which still lives, holds nothing that it may send.
        run(b.until(lambda: b.status.state == "stopped"), b.clock)
        assert c.key.box in str(b.status.last_error)
        assert world.a.upstream.cursors[key_b].taken_by == world.a.upstream.cursors[world.key].taken_by == c.key.box
        b.store.close()


def test_what_the_source_accepts_after_its_queue_was_taken_can_follow(tmp_path: Path) -> None:
    with a_world(tmp_path) as world:
        world.import_all()
        world.a.write_numbered(5, DOCUMENTS)
        world.sender, world.lines = sender_of(world.a.store), exported(world.a.store)
        counts = world.import_all()
        assert counts["imported"] == 5
        run(world.b.drain(), world.b.clock)
        held: dict[str, Any] = {path: orjson.loads(data) for path, data in world.a.upstream.documents.items()}
        for number in range(DOCUMENTS):
            if f"d/{number}" != REFUSED:
                assert held[f"d/{number}"]["log"] == list(range(number, WRITTEN + 5, DOCUMENTS))


def test_without_the_marker_nothing_of_it_is_sent(tmp_path: Path) -> None:
    """The lane moves only cursors that name this box: an import that forgot the marker would stop it."""
    with a_world(tmp_path) as world:
        world.import_all()
        cursor = world.a.upstream.cursors[world.key]
        world.a.upstream.cursors[world.key] = replace(cursor, taken_by=None)
        applied = len(world.a.upstream.applied)
        run(world.b.until(lambda: bool(world.b.shown) and world.b.status.state == "stopped"), world.b.clock)
        assert world.key.box in str(world.b.status.last_error)
        own = [payload for _, payload in world.a.upstream.applied[applied:]]
        assert all(b"e/0" in payload for payload in own)


@pytest.mark.parametrize("moment", ["before the import", "before its entries are sent", "while they are sent"])
def test_upstream_is_restored_under_the_taker(tmp_path: Path, moment: str) -> None:
    """The cursors that were taken over went back with upstream, perhaps to before the marker."""
    with a_world(tmp_path) as world:
        upstream, store = world.a.upstream, world.b.store
        backups = {"before the import": upstream.backup()}
        world.import_all()
        backups["before its entries are sent"] = upstream.backup()
        left = store.waiting() // 2
        run(world.b.until(lambda: store.waiting() <= left), world.b.clock)
        backups["while they are sent"] = upstream.backup()
        run(world.b.drain(), world.b.clock)
        world.check()
        upstream.restore(backups[moment])
        known = store.service.outbox.upstreams["primary"]

        def is_in_step() -> bool:
            cursor = upstream.cursors.get(world.b.key)
            return store.waiting() == 0 and cursor is not None and cursor.seq == known.seq

        run(world.b.until(is_in_step, 600), world.b.clock)
        world.check()
        assert upstream.cursors[world.key].taken_by == world.b.key.box
