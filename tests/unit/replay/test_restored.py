"""Upstream is restored from a backup: it ends with every acknowledged write exactly once, in order, whenever that is.

The world is that of tests/unit/replay/test_lane.py: a real store, an upstream in memory, manual time.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from deora.documents.writes import Write, decode_writes
from deora.outbox.figures import LOST
from deora.replay.restored import RESTORED
from deora.replay.terms import LaneSettings
from deora.store import restored as store_restored
from deora.upstream.base import Moved, Refused, Unauthorised, Unclear
from tests.fakes.lane import LaneBench, numbered
from tests.fakes.loop import run
from tests.fakes.store import encode_commit, set_, settings_with
from tests.fakes.upstream import Backup, Call, FakeUpstream, Fault, no_faults

HOUR_S = 3600.0


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[LaneBench]:
    """A lane's world."""
    made = LaneBench(tmp_path, settings=LaneSettings(max_writes=4))
    yield made
    made.store.close()


def go(bench: LaneBench, main: Coroutine[Any, Any, None]) -> None:
    run(main, bench.clock)


def deliver(bench: LaneBench, count: int, documents: int = 5) -> None:
    """Writes, and has all of it delivered."""
    bench.write_numbered(count, documents)
    go(bench, bench.drain())


def is_in_step(bench: LaneBench) -> bool:
    """Whether all that waited is upstream, and the queue knows where its cursor stands."""
    known, cursor = bench.store.service.outbox.upstreams["primary"], bench.upstream.cursors.get(bench.key)
    return bench.store.waiting() == 0 and cursor is not None and cursor.seq == known.seq


async def come_to_terms(bench: LaneBench) -> None:
    """Lets a lane run until all is well again."""
    await bench.until(lambda: is_in_step(bench), within_s=600)


def release_all(upstream: FakeUpstream) -> None:
    while upstream.held_up:
        assert upstream.release() == Moved()


def test_what_a_backup_lacks_is_sent_again_without_anybodys_hand(bench: LaneBench) -> None:
    deliver(bench, 20)
    backup = bench.upstream.backup()
    deliver(bench, 30)
    bench.upstream.restore(backup)
    go(bench, come_to_terms(bench))
    bench.check()
    assert (bench.status.state, bench.status.last_error) == ("up", None)
    deliver(bench, 10)
    bench.check()


def test_an_upstream_that_was_wiped_gets_all_of_it(bench: LaneBench) -> None:
    deliver(bench, 30)
    bench.upstream.restore(FakeUpstream().backup())
    go(bench, come_to_terms(bench))
    bench.check()


def test_an_entry_keeps_its_number_and_its_place_before_what_waits(bench: LaneBench) -> None:
    backup = bench.upstream.backup()
    deliver(bench, 8, documents=1)
    bench.upstream.restore(backup)
    bench.write_numbered(8, documents=1)
    go(bench, come_to_terms(bench))
    assert [orjson.loads(decode_writes(payload)[0].data or b"")[0][2] for _, payload in bench.upstream.applied] == [
        [number] for number in range(16)
    ]
    assert bench.store.rows("SELECT id, number FROM entries ORDER BY id") == [(n, n) for n in range(1, 17)]


def test_while_it_is_paused_a_restore_is_left_alone(bench: LaneBench) -> None:
    """An operator who restores upstream pauses it first: what can be seen of it meanwhile means nothing."""
    deliver(bench, 10)
    backup = bench.upstream.backup()
    deliver(bench, 10)
    bench.store.pause(True)
    bench.upstream.restore(FakeUpstream().backup())

    async def scenario() -> None:
        task = asyncio.ensure_future(bench.new_lane().run())
        await asyncio.sleep(600)
        assert bench.upstream.cursors == {}
        bench.upstream.restore(backup)
        bench.store.pause(False)
        await bench.watch(task, lambda: is_in_step(bench), within_s=60)
        task.cancel()

    go(bench, scenario())
    bench.check()
    assert len(bench.upstream.applied) == 20


# -- late copies


def hold_the_next_batch(bench: LaneBench) -> None:
    """The next batch is held up by the network; its second copy lands."""
    bench.upstream.faults = lambda call: Fault.LATE if call.kind == "apply" and not bench.upstream.held_up else None


def test_a_late_copy_of_a_batch_of_before_cannot_land_any_more(bench: LaneBench) -> None:
    deliver(bench, 10)
    backup = bench.upstream.backup()
    hold_the_next_batch(bench)
    deliver(bench, 10)
    bench.upstream.restore(backup)
    go(bench, come_to_terms(bench))
    release_all(bench.upstream)
    bench.check()


def test_a_late_copy_that_lands_before_the_cursor_is_moved_is_believed(bench: LaneBench) -> None:
    """At each call of the lane, up to the one that moves the cursor."""
    deliver(bench, 10)
    backup = bench.upstream.backup()
    hold_the_next_batch(bench)
    deliver(bench, 10)
    held = list(bench.upstream.held_up)
    for call in range(1, 4):
        bench.upstream.restore(backup)
        bench.upstream.held_up = list(held)
        first = len(bench.upstream.calls)

        def faults(met: Call, at: int = first + call - 1) -> None:
            if met.index == at and bench.upstream.held_up:
                bench.upstream.release()

        bench.upstream.faults = faults
        go(bench, come_to_terms(bench))
        bench.check()


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.UNANSWERED, Fault.LATE, Fault.SILENT, Unauthorised("not yet")])
def test_the_move_of_the_cursor_may_fail_as_any_call(bench: LaneBench, fault: Any) -> None:
    deliver(bench, 10)
    backup = bench.upstream.backup()
    deliver(bench, 10)
    bench.upstream.restore(backup)
    first = len(bench.upstream.calls)
    bench.upstream.faults = lambda call: fault if call.kind == "fence" and call.index < first + 4 else None
    go(bench, come_to_terms(bench))
    release_all(bench.upstream)
    bench.check()


def test_where_the_cursor_cannot_be_moved_nothing_is_sent_and_status_says_why(bench: LaneBench) -> None:
    deliver(bench, 10)
    backup = bench.upstream.backup()
    deliver(bench, 10)
    bench.upstream.restore(backup)
    bench.upstream.faults = lambda call: Refused("read-only") if call.kind == "fence" else None
    go(bench, bench.until(lambda: bool(bench.shown) and bench.status.state == "stopped", within_s=60))
    assert "read-only" in str(bench.status.last_error)
    assert len(bench.upstream.applied) == 10
    bench.upstream.faults = no_faults
    go(bench, come_to_terms(bench))
    bench.check()


# -- restored more than once


def test_a_restore_that_is_undone_doubles_nothing(bench: LaneBench) -> None:
    """At each point of coming to terms with an old backup, what was there before is put back."""
    deliver(bench, 10)
    backup = bench.upstream.backup()
    deliver(bench, 10)
    crashes = 0
    for point in range(1, 38):
        newest = bench.upstream.backup()
        bench.upstream.restore(backup)
        bench.points.crash_at = len(bench.points.passed) + point
        go(bench, bench.until(lambda: is_in_step(bench), within_s=600))
        crashes += bench.points.crashed
        bench.points.crashed, bench.points.crash_at = False, None
        bench.upstream.restore(newest)
        if point % 2:
            bench.store.reopen()
        go(bench, come_to_terms(bench))
        bench.check()
    assert 25 < crashes < 37, "from the first point to behind the last one"


def test_an_older_backup_and_then_a_younger_one(bench: LaneBench) -> None:
    older = bench.upstream.backup()
    deliver(bench, 10)
    younger = bench.upstream.backup()
    deliver(bench, 10)
    bench.upstream.restore(older)
    bench.upstream.delay_s = 0.2
    go(bench, bench.until(lambda: len(bench.upstream.applied) == 4, within_s=60))
    bench.upstream.restore(younger)
    go(bench, come_to_terms(bench))
    bench.check()


def test_a_cursor_that_another_box_moved_meanwhile_stops_the_lane(bench: LaneBench) -> None:
    deliver(bench, 10)
    bench.upstream.restore(FakeUpstream().backup())
    bench.points.crash_at = len(bench.points.passed) + 12
    go(bench, bench.until(lambda: False, within_s=60))
    bench.points.crashed = False
    assert bench.store.service.outbox.upstreams["primary"].batch_id == LOST
    for _ in range(20):
        bench.upstream.move_as_another_box(bench.key)
    go(bench, bench.until(lambda: bool(bench.shown) and bench.status.state == "stopped", within_s=60))
    assert "cloned" in str(bench.status.last_error)


# -- beyond what is kept


def beyond_reach(bench: LaneBench) -> tuple[Backup, Backup]:
    """Twelve entries, of which the first eight are pruned, and an empty upstream. Backups: of the eight, of all."""
    bench.store.reopen(settings_with(max_entries=100_000, max_bytes=2**30, retention_s=int(HOUR_S)))
    deliver(bench, 8)
    eight = bench.upstream.backup()
    bench.clock.advance(2 * HOUR_S)
    deliver(bench, 4)
    while bench.store.service.housekeep()[1]:
        pass
    assert len(bench.store.states()) == 4
    everything = bench.upstream.backup()
    bench.upstream.restore(FakeUpstream().backup())
    return eight, everything


def test_where_retention_does_not_reach_nothing_is_sent(bench: LaneBench, caplog: pytest.LogCaptureFixture) -> None:
    beyond_reach(bench)
    with caplog.at_level(logging.ERROR):
        go(bench, bench.until(lambda: bool(bench.shown) and bench.status.state == "stopped", within_s=60))
        bench.write_numbered(5, documents=5)

        async def scenario() -> None:
            task = asyncio.ensure_future(bench.new_lane().run())
            await asyncio.sleep(60)
            seen = len(bench.shown)
            await asyncio.sleep(600)
            assert {status.state for _, status in bench.shown[seen:]} <= {"stopped"}, "status must not flap"
            task.cancel()

        go(bench, scenario())
    assert (bench.upstream.cursors, bench.upstream.applied) == ({}, [])
    reason = str(bench.status.last_error)
    assert "8, accepted before " in reason
    assert "deora upstream resume primary --accept-loss" in reason
    assert {record.getMessage() for record in caplog.records} == {f"replay stopped: {reason}"}
    # What is kept stays for as long as it takes.
    bench.clock.advance(100 * HOUR_S)
    bench.store.reopen()
    while bench.store.service.housekeep()[1]:
        pass
    assert len(bench.store.entries("done")) == 4
    assert bench.store.waiting() == 5


@pytest.mark.parametrize("crash", [False, True])
def test_an_operator_may_go_on_without_what_is_lost(
    bench: LaneBench, caplog: pytest.LogCaptureFixture, crash: bool
) -> None:
    beyond_reach(bench)
    refused = bench.store.operate("acceptLoss", "primary")
    assert refused.problem is not None
    assert refused.problem.status == 409
    go(bench, bench.until(lambda: bool(bench.shown) and bench.status.state == "stopped", within_s=60))
    with caplog.at_level(logging.WARNING):
        assert bench.store.operate("acceptLoss", "primary").value == {"upstream": "primary", "accepted": 8}
    [told] = [record for record in caplog.records if "accepted the loss" in record.getMessage()]
    assert vars(told)["numbers"] == [[1, 8]]
    if crash:
        bench.store.reopen()
    go(bench, come_to_terms(bench))
    assert [payload for _, payload in bench.upstream.applied] == [
        payload for (payload,) in bench.store.rows("SELECT payload FROM entries ORDER BY id")
    ]
    # What was given up once is not missed again.
    bench.upstream.restore(FakeUpstream().backup())
    go(bench, come_to_terms(bench))
    assert len(bench.upstream.applied) == 4


@pytest.mark.parametrize("whole", [False, True])
def test_with_a_younger_backup_in_place_it_goes_on_by_itself(bench: LaneBench, whole: bool) -> None:
    eight, everything = beyond_reach(bench)
    go(bench, bench.until(lambda: bool(bench.shown) and bench.status.state == "stopped", within_s=60))
    bench.write_numbered(5, documents=5)
    bench.upstream.restore(everything if whole else eight)
    go(bench, come_to_terms(bench))
    bench.check()


def test_what_was_dropped_or_retried_is_not_missed(bench: LaneBench) -> None:
    empty = bench.upstream.backup()
    bench.upstream.refused = {"d/1": "no", "d/2": "no", "d/3": "no"}
    deliver(bench, 5)
    dead = [int(str(entry["id"])) for entry in bench.store.entries("dead")]
    bench.upstream.refused = {"d/3": "no"}
    bench.store.operate("drop", dead[0])
    bench.store.operate("retry", dead[1], False)
    go(bench, bench.drain())
    bench.upstream.restore(empty)
    go(bench, come_to_terms(bench))
    assert set(bench.upstream.documents) == {"d/0", "d/2", "d/4"}
    assert [entry["id"] for entry in bench.store.entries("dead")] == [dead[2]], "it is dead still"
    assert bench.upstream.cursors[bench.key].batch_id != RESTORED


# -- crashes


def trouble(bench: LaneBench) -> None:
    """A backup in the middle, a refused entry behind it, some entries that wait, and a network that does harm."""
    deliver(bench, 6)
    backup = bench.upstream.backup()
    deliver(bench, 9)
    bench.upstream.restore(backup)
    bench.write_numbered(5, documents=5)
    first = len(bench.upstream.calls)
    faults = {first + 2: Fault.UNANSWERED, first + 5: Fault.LATE, first + 8: Fault.UNANSWERED}
    bench.upstream.faults = lambda call: faults.get(call.index)


@pytest.mark.parametrize("first", [1, *(pytest.param(first, marks=pytest.mark.torture) for first in (2, 3, 4))])
def test_a_crash_between_any_two_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int) -> None:
    """Of the lane, and at every other one of the store as well; a quarter of all points."""
    monkeypatch.setattr(store_restored, "WRITES_AT_ONCE", 2)
    bench = LaneBench(tmp_path / "whole", settings=LaneSettings(max_writes=4))
    trouble(bench)
    before = len(bench.points.passed)
    go(bench, come_to_terms(bench))
    bench.check()
    points = len(bench.points.passed) - before
    assert points > 40
    bench.store.close()
    for point in range(first, points + 1, 4):
        bench = LaneBench(tmp_path / f"{point}", settings=LaneSettings(max_writes=4))
        trouble(bench)
        bench.points.crash_at = len(bench.points.passed) + point
        go(bench, bench.until(lambda bench=bench: is_in_step(bench), within_s=600))  # type: ignore[misc]
        bench.points.crashed, bench.points.crash_at = False, None
        if point // 4 % 2:
            bench.store.reopen()
        go(bench, come_to_terms(bench))
        release_all(bench.upstream)
        try:
            bench.check()
        except AssertionError as error:
            error.add_note(f"crashed at point {point}: {bench.points.passed[bench.points.passed.index('known asked')]}")
            raise
        bench.store.close()


# -- against chance


class World:
    """Commits of one to three documents, each of which leaves its number in all of them; backups; restores."""

    def __init__(self, bench: LaneBench, documents: int) -> None:
        self.bench = bench
        self.documents = documents
        self.written: dict[int, list[str]] = {}
        self.backups: list[Backup] = [bench.upstream.backup()]

    def write(self, count: int) -> None:
        """So many commits, of random priority."""
        bench, dice = self.bench, self.bench.dice
        frames = []
        for _ in range(count):
            number = len(self.written)
            paths = [f"d/{name}" for name in dice.sample(range(self.documents), dice.choice((1, 1, 2, 3)))]
            self.written[number] = paths
            writes: list[Write] = [numbered(path, number) for path in paths]
            if dice.random() < 0.1:
                writes.append(set_(f"last/{number % 3}", {"number": number}))
            frames.append(encode_commit(next(bench.store.ids), writes, priority=dice.choice((0, 5, 5, 9))))
        if frames:
            group = bench.store.handle(*frames)
            assert all(answer.problem is None for answer in group.answers.values())

    def restore(self) -> None:
        """Puts one of the backups in place; the younger ones stay."""
        self.bench.upstream.restore(self.bench.dice.choice(self.backups))

    def check_views(self) -> None:
        """What clients were told is there, whatever upstream has forgotten, and no increment shows twice."""
        expected = self._expected()
        for path, data in self.bench.store.views().items():
            if path.startswith("d/"):
                assert orjson.loads(data) == expected[path], path

    def check(self) -> None:
        """All is upstream, once and in order."""
        assert self.bench.store.entries("dead") == []
        held = {path: orjson.loads(data) for path, data in self.bench.upstream.documents.items()}
        assert {path: data for path, data in held.items() if path.startswith("d/")} == self._expected()
        assert held == {path: orjson.loads(data) for path, data in self.bench.store.views().items()}
        payloads = [payload for _, payload in self.bench.upstream.applied]
        assert len(payloads) == len(set(payloads)) == len(self.written)

    def _expected(self) -> dict[str, Any]:
        logs: dict[str, list[int]] = {}
        for number, paths in self.written.items():
            for path in paths:
                logs.setdefault(path, []).append(number)
        return {path: {"log": log, "n": len(log)} for path, log in logs.items()}


def chaos(bench: LaneBench) -> Callable[[Call], Fault | Unclear | None]:
    def faults(_: Call) -> Fault | Unclear | None:
        dice = bench.dice
        if bench.upstream.held_up and dice.random() < 0.2:
            bench.upstream.release(dice.randrange(len(bench.upstream.held_up)))
        return dice.choice((None,) * 12 + (Fault.LOST, Fault.LATE, Fault.UNANSWERED, Unclear("busy")))

    return faults


@pytest.mark.parametrize(
    "seed", [*range(8), *(pytest.param(seed, marks=pytest.mark.torture) for seed in range(8, 400))]
)
def test_any_number_of_restores_and_crashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """Writes, backups, restores of any of them, crashes of lane and store, a network that does all it can."""
    print(f"seed {seed}")
    bench = LaneBench(tmp_path, seed=seed, settings=LaneSettings(max_writes=seed % 9 + 3))
    bench.timeout_s = 5
    monkeypatch.setattr(store_restored, "ROWS_AT_ONCE", seed % 7 + 1)
    monkeypatch.setattr(store_restored, "WRITES_AT_ONCE", seed % 5 + 1)
    world, dice = World(bench, documents=6), bench.dice
    bench.upstream.faults = chaos(bench)

    async def scenario() -> None:
        for _ in range(20):
            world.write(dice.randrange(10))
            bench.points.crash_at = len(bench.points.passed) + dice.randrange(1, 60)
            await bench.until(lambda: is_in_step(bench), within_s=24 * HOUR_S)
            bench.points.crashed, bench.points.crash_at = False, None
            world.check_views()
            if dice.random() < 0.4:
                world.backups.append(bench.upstream.backup())
            if dice.random() < 0.4:
                world.restore()
            if dice.random() < 0.4:
                bench.store.reopen()
        await bench.until(lambda: is_in_step(bench), within_s=24 * HOUR_S)

    go(bench, scenario())
    release_all(bench.upstream)
    world.check()
    bench.store.close()
