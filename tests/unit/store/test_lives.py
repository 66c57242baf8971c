"""A restored store: whatever was on its way when its disk died, each entry takes effect once, and one box goes on.

The world is that of tests/unit/replay/test_lane.py: real stores, an upstream in memory, manual time.
"""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Coroutine, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from deora.outbox.figures import LOST
from deora.replay.terms import LaneSettings
from deora.store.lives import LEAP, begin_life
from deora.upstream.base import Cursor, CursorKey
from tests.fakes.checker import Outcome, Sent
from tests.fakes.importing import Importer, exported, sender_of
from tests.fakes.lane import LaneBench, numbered
from tests.fakes.loop import run
from tests.fakes.store import set_
from tests.fakes.upstream import Fault, no_faults


class Disks:
    """Boxes one after the other, at one upstream; what they leave behind is closed at the end."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._boxes = 0
        self.benches: list[LaneBench] = []

    def box(self) -> LaneBench:
        """The first box."""
        return self._opened(self._folder / "first")

    def backup(self, bench: LaneBench) -> Path:
        """A copy of its store."""
        self._boxes += 1
        copy = self._folder / f"backup-{self._boxes}"
        with closing(sqlite3.connect(bench.store.path)) as db, closing(sqlite3.connect(copy)) as target:
            db.backup(target)
        return copy

    def restored(self, bench: LaneBench, backup: Path, written: int) -> LaneBench:
        """A box with the backup of another one, which had written so much then."""
        self._boxes += 1
        folder = self._folder / f"box-{self._boxes}"
        folder.mkdir()
        shutil.copyfile(backup, folder / "store.db")
        with closing(sqlite3.connect(folder / "store.db", isolation_level=None)) as db:
            db.execute("BEGIN")
            begin_life(db)
            db.execute("COMMIT")
        made = self._opened(folder)
        made.upstream, made.clock, made.written = bench.upstream, bench.clock, bench.written
        made.store.clock = bench.clock
        made.store.reopen()
        made.history = [
            sent if int(sent.token) < written else Sent(sent.token, sent.path, Outcome.UNKNOWN)
            for sent in bench.history
        ]
        return made

    def _opened(self, folder: Path) -> LaneBench:
        made = LaneBench(folder, settings=LaneSettings(max_writes=4))
        self.benches.append(made)
        return made


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[Disks]:
    """No box yet."""
    made = Disks(tmp_path)
    yield made
    for bench in made.benches:
        bench.store.close()


def go(bench: LaneBench, main: Coroutine[Any, Any, None]) -> None:
    run(main, bench.clock)


def deliver(bench: LaneBench, count: int, documents: int = 5) -> None:
    bench.write_numbered(count, documents)
    go(bench, bench.drain())


def is_in_step(bench: LaneBench) -> bool:
    """Whether all that waited is upstream, and the queue knows where its cursor stands."""
    known, cursor = bench.store.service.outbox.upstreams["primary"], bench.upstream.cursors.get(bench.key)
    return bench.store.waiting() == 0 and not known.lost and cursor is not None and cursor.seq == known.seq


def settle(bench: LaneBench) -> None:
    go(bench, bench.until(lambda: is_in_step(bench), within_s=600))


def zeros(bench: LaneBench) -> None:
    findings = bench.findings()
    assert not findings, str(findings)


def adopt_all(bench: LaneBench) -> None:
    """What readers do in time: every document is compared with upstream."""
    paths = {*bench.store.views(), *bench.upstream.documents}
    copies = [(path, bench.upstream.documents.get(path)) for path in sorted(paths)]
    answer = bench.store.call("adopt", "primary", bench.upstream.cursors[bench.key].seq, copies)
    assert answer is not None
    assert answer.value == []
    assert bench.store.views() == bench.upstream.documents


def test_what_had_reached_upstream_is_not_sent_again_and_the_rest_is(disks: Disks) -> None:
    box = disks.box()
    deliver(box, 20)
    box.write_numbered(10, 5)
    backup = disks.backup(box)
    # Half of what waited reaches upstream, and more that no backup has.
    go(box, box.until(lambda: box.store.waiting() <= 5))
    deliver(box, 7)
    fresh = disks.restored(box, backup, 30)
    [(former,)] = fresh.store.rows("SELECT epoch FROM origins")
    assert former == box.key.epoch != fresh.key.epoch
    assert fresh.key.node == box.key.node
    settle(fresh)
    zeros(fresh)
    assert fresh.status.state == "up"
    assert box.upstream.cursors[box.key].taken_by == fresh.key.box
    deliver(fresh, 10)
    zeros(fresh)
    adopt_all(fresh)


def test_nothing_is_sent_before_the_old_cursor_is_taken_over(disks: Disks) -> None:
    box = disks.box()
    box.write_numbered(10, 5)
    fresh = disks.restored(box, disks.backup(box), 10)
    assert fresh.store.service.outbox.upstreams["primary"].lost
    fresh.write_numbered(5, 5)
    assert fresh.store.claim() is None
    marked: list[bool] = []
    fresh.upstream.faults = lambda call: marked.append(box.key in fresh.upstream.cursors) if call.delivery else None
    settle(fresh)
    assert marked
    assert all(marked)
    zeros(fresh)


def test_the_source_that_lives_sends_nothing_any_more(disks: Disks) -> None:
    box = disks.box()
    box.write_numbered(10, 5)
    fresh = disks.restored(box, disks.backup(box), 10)
    box.write_numbered(4, 5)
    settle(fresh)
    go(box, box.until(lambda: bool(box.shown) and box.status.state == "stopped", within_s=60))
    assert fresh.key.box in str(box.status.last_error)
    zeros(fresh)
    # What it accepted since can be brought in, all else is here.
    lines = exported(box.store)

    async def bring_in() -> None:
        assert await Importer(fresh).run(sender_of(box.store), lines) == {
            "imported": 4,
            "alreadyUpstream": 10,
            "alreadyHere": 0,
        }

    go(fresh, bring_in())
    settle(fresh)
    fresh.history = [Sent(sent.token, sent.path, Outcome.OK) for sent in box.history]
    zeros(fresh)


def test_of_two_restores_of_one_backup_one_goes_on(disks: Disks) -> None:
    box = disks.box()
    deliver(box, 6)
    box.write_numbered(10, 5)
    backup = disks.backup(box)
    first, second = (disks.restored(box, backup, 16) for _ in range(2))
    settle(first)
    go(second, second.until(lambda: bool(second.shown) and second.status.state == "stopped", within_s=60))
    assert "in use elsewhere" in str(second.status.last_error)
    assert first.key.box in str(second.status.last_error)
    zeros(first)
    assert len(first.upstream.applied) == 16


def test_a_backup_of_a_restored_box_is_restored_with_all_its_lives(disks: Disks) -> None:
    other = disks.box()
    other.write_numbered(3, 5)
    box = disks.restored(other, disks.backup(other), 3)
    box.write_numbered(5, 5)
    backup = disks.backup(box)
    # The marker of the second life gets there behind the backup.
    settle(box)
    third = disks.restored(box, backup, 8)
    third.write_numbered(5, 5)
    settle(third)
    zeros(third)
    assert third.upstream.cursors[other.key].taken_by == third.key.box
    assert third.upstream.cursors[box.key].taken_by == third.key.box
    assert len(third.upstream.applied) == 13
    deliver(third, 10)
    zeros(third)


def test_what_waits_here_and_was_refused_there_is_dead(disks: Disks) -> None:
    """The lost box may have retried it, under another number."""
    box = disks.box()
    box.upstream.refused["d/bad"] = "no"
    box.store.write_each([numbered("d/bad", 0), numbered("d/good", 1)])
    backup = disks.backup(box)
    go(box, box.drain())
    assert len(box.store.entries("dead")) == 1
    box.upstream.refused.clear()
    entry = box.store.entries("dead")[0]
    assert box.store.operate("retry", int(entry["id"]), False).problem is None
    go(box, box.drain())
    fresh = disks.restored(box, backup, 2)
    settle(fresh)
    [dead] = fresh.store.entries("dead")
    assert "had refused this entry" in dead["error"]
    assert [orjson.loads(box.upstream.documents[path])["n"] for path in ("d/bad", "d/good")] == [1, 1]
    assert fresh.store.column("d/bad", "dead") == 1
    # An operator who knows better may give it up.
    assert fresh.store.operate("drop", int(dead["id"])).problem is None
    adopt_all(fresh)


def test_where_upstream_is_not_as_the_backup_knew_it_nothing_is_sent_until_a_person_says_so(disks: Disks) -> None:
    box = disks.box()
    deliver(box, 6)
    # Pruned: retention is over for them.
    box.store.db.execute("DELETE FROM entries WHERE id <= 4")
    box.write_numbered(3, 5)
    backup = disks.backup(box)
    fresh = disks.restored(box, backup, 9)
    fresh.upstream.restore(type(fresh.upstream)().backup())
    go(fresh, fresh.until(lambda: bool(fresh.shown) and fresh.status.state == "stopped", within_s=60))
    assert "is not as the backup of this store knew it" in str(fresh.status.last_error)
    assert "of the entries that it lacks 4" in str(fresh.status.last_error)
    assert fresh.upstream.applied == []
    assert fresh.store.operate("acceptLoss", "primary").value == {"upstream": "primary", "accepted": 4}
    settle(fresh)
    assert len(fresh.upstream.applied) == 5


def test_a_dropped_entry_of_an_earlier_life_is_not_missed(disks: Disks) -> None:
    box = disks.box()
    box.upstream.refused["d/0"] = "no"
    deliver(box, 1)
    box.upstream.refused.clear()
    fresh = disks.restored(box, disks.backup(box), 1)
    settle(fresh)
    [dead] = fresh.store.entries("dead")
    assert fresh.store.operate("drop", int(dead["id"])).problem is None
    empty = type(fresh.upstream)().backup()
    fresh.upstream.restore(empty)
    go(fresh, fresh.until(lambda: is_in_step(fresh), within_s=600))
    assert fresh.status.state == "up"


def test_a_life_keeps_documents_and_order_and_repeats_no_version(disks: Disks) -> None:
    box = disks.box()
    box.store.commit(set_("menu/1", {"a": 1}))
    box.store.commit(set_("menu/2", {"a": 1}))
    go(box, box.drain())
    before = box.store.rows("SELECT version, view, commit_no FROM documents ORDER BY id")
    fresh = disks.restored(box, disks.backup(box), 2)
    assert fresh.store.rows("SELECT version, view, commit_no FROM documents ORDER BY id") == before
    assert set(fresh.store.rows("SELECT base_state, base_seq, checked_us FROM documents")) == {(3, 0, 0)}
    assert fresh.store.rows("SELECT seq, batch_id, number FROM upstreams") == [(0, LOST, 0)]
    later = fresh.store.commit(set_("menu/1", {"a": 2}))
    assert later.commit == LEAP + 3
    assert later.version == f"{fresh.key.epoch}-{LEAP + 3}"


@pytest.mark.parametrize("seed", range(12))
def test_whatever_was_on_its_way_takes_effect_once(disks: Disks, seed: int) -> None:
    dice = random.Random(seed)
    box, backup, saved = disks.box(), None, 0
    fate = random.Random(seed)
    box.upstream.faults = lambda _: fate.choice([None] * 6 + [Fault.LATE, Fault.UNANSWERED, Fault.LOST])
    for _ in range(dice.randrange(2, 6)):
        box.write_numbered(dice.randrange(12), dice.randrange(1, 6))
        if backup is None or dice.random() < 0.5:
            backup, saved = disks.backup(box), box.written
        box.points.crash_at = len(box.points.passed) + dice.randrange(1, 60)
        go(box, box.until(lambda: box.store.waiting() == 0))
        box.points.crashed, box.points.crash_at = False, None
    assert backup is not None
    fresh = disks.restored(box, backup, saved)
    for _ in range(dice.randrange(4)):
        fresh.write_numbered(dice.randrange(6), 3)
        if fresh.upstream.held_up and dice.random() < 0.5:
            fresh.upstream.release()
        fresh.points.crash_at = len(fresh.points.passed) + dice.randrange(1, 60)
        go(fresh, fresh.until(lambda: is_in_step(fresh)))
        fresh.points.crashed, fresh.points.crash_at = False, None
        if dice.random() < 0.3:
            fresh.store.reopen()
    fresh.upstream.faults = no_faults
    settle(fresh)
    while fresh.upstream.held_up:
        fresh.upstream.release()
    zeros(fresh)
    adopt_all(fresh)
    assert isinstance(fresh.upstream.cursors[CursorKey(fresh.key.node, box.key.epoch, 0)], Cursor)


def test_a_marker_that_cannot_be_put_there_yet_is_tried_again(disks: Disks) -> None:
    box = disks.box()
    deliver(box, 5)
    box.write_numbered(5, 5)
    fresh = disks.restored(box, disks.backup(box), 10)
    first = len(fresh.upstream.calls)
    fresh.upstream.faults = lambda call: (
        Fault.UNANSWERED if call.kind == "take over" and call.index < first + 6 else None
    )
    settle(fresh)
    zeros(fresh)
