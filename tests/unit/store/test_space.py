"""When new writes are refused and taken again, what goes on meanwhile, and what is given up for it."""

from __future__ import annotations

import logging
import os
import resource
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deora.store import space as module
from deora.store.ballast import Ballast
from deora.store.database import open_writer
from deora.store.durability import wal_of
from deora.store.reserve import CHECKPOINT_PAGES, MIB, SHORT_CHECKPOINT_PAGES
from deora.store.space import FULL_FOR_S, LOOK_INTERVAL_S, STUCK_INTERVAL_S, TEND_INTERVAL_S, Space
from tests.fakes.clock import ManualClock

# 1 MiB of ballast and 2 MiB of watermark.
DISK_BYTES = 32 * MIB


@dataclass
class Box:
    """A store's file on a disk whose free space the test sets."""

    db: sqlite3.Connection
    path: Path
    clock: ManualClock
    ballast: Ballast
    space: Space
    free_bytes: int = DISK_BYTES

    def after(self, seconds: float) -> str | None:
        """The refusal when the store looks again after so long."""
        self.clock.advance(seconds)
        self.space.look()
        return self.space.refusal

    def pragma(self, name: str) -> Any:
        return self.db.execute(f"PRAGMA {name}").fetchone()[0]


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    path = tmp_path / "store.db"
    free = [DISK_BYTES]
    boxes: list[Box] = []

    def statvfs(_: object) -> SimpleNamespace:
        free_bytes = boxes[0].free_bytes if boxes else free[0]
        return SimpleNamespace(f_blocks=DISK_BYTES // 4096, f_frsize=4096, f_bavail=free_bytes // 4096)

    db = open_writer(path)
    monkeypatch.setattr(os, "statvfs", statvfs)
    clock, ballast = ManualClock(), Ballast(path.with_suffix(".ballast"))
    boxes.append(Box(db, path, clock, ballast, Space(db, path, clock, ballast)))
    boxes[0].space.tend()
    yield boxes[0]
    db.close()


def test_on_an_empty_disk_writes_are_taken_and_the_ballast_is_made(box: Box) -> None:
    assert box.space.refusal is None
    assert box.space.problem() is None
    assert box.ballast.size_bytes() == box.space.reserve.ballast_bytes == MIB
    figures = box.space.figures()
    assert (figures["ballast"], figures["refusal"], figures["disk_total"]) == (MIB, None, DISK_BYTES)


def test_below_the_watermark_new_writes_are_refused_and_it_is_said_once(
    box: Box, caplog: pytest.LogCaptureFixture
) -> None:
    reserve = box.space.reserve
    mark = reserve.watermark_bytes + reserve.wal_kept_bytes
    with caplog.at_level(logging.WARNING, "deora.store"):
        box.free_bytes = mark
        assert box.after(LOOK_INTERVAL_S) is None
        box.free_bytes = mark // 2
        for _ in range(5):
            assert "no room on the disk" in str(box.after(LOOK_INTERVAL_S))
        box.free_bytes = mark + reserve.watermark_bytes // 8
        assert box.after(LOOK_INTERVAL_S) is not None, "a quarter more is asked for"
        box.free_bytes = mark + reserve.watermark_bytes // 2
        assert box.after(LOOK_INTERVAL_S) is None
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert box.ballast.size_bytes() == MIB, "nobody needed it"


def test_a_refusal_says_when_to_come_again(box: Box) -> None:
    box.free_bytes = 0
    box.after(LOOK_INTERVAL_S)
    problem = box.space.problem()
    assert problem is not None
    assert (problem.status, problem.kind, problem.retry_after_s) == (507, "disk-full", module.RETRY_AFTER_S)
    assert problem.hint is not None


def test_it_looks_at_most_once_in_a_while(box: Box) -> None:
    box.after(LOOK_INTERVAL_S)
    box.free_bytes = 0
    assert box.after(LOOK_INTERVAL_S / 2) is None
    assert box.after(LOOK_INTERVAL_S / 2) is not None


def test_what_is_free_inside_the_file_is_room(box: Box) -> None:
    box.db.execute("CREATE TABLE filler (x)")
    box.db.execute("INSERT INTO filler VALUES (zeroblob(?))", (8 * MIB,))
    box.db.execute("DROP TABLE filler")
    box.free_bytes = 0
    assert box.after(LOOK_INTERVAL_S) is None


def test_where_sqlite_finds_no_room_a_part_of_the_ballast_is_given_and_made_again(box: Box) -> None:
    box.free_bytes = 0
    box.space.make_room()
    assert box.space.refusal is not None
    assert box.space.is_short
    assert box.ballast.size_bytes() == MIB * 3 // 4
    assert box.pragma("wal_autocheckpoint") <= SHORT_CHECKPOINT_PAGES
    for _ in range(3):
        box.space.make_room()
    assert box.ballast.size_bytes() == 0
    box.free_bytes = DISK_BYTES
    assert box.after(FULL_FOR_S / 2) is not None, "the disk's own figures are not believed at once"
    box.clock.advance(max(FULL_FOR_S, TEND_INTERVAL_S))
    box.space.tend()
    assert box.ballast.size_bytes() == MIB
    assert box.space.refusal is None


def test_without_its_ballast_nothing_is_taken(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quota: the disk has room, but not for us."""
    monkeypatch.setattr(Ballast, "make", lambda *_: False)
    box.ballast.release()
    box.clock.advance(TEND_INTERVAL_S)
    box.space.tend()
    assert box.space.refusal is not None


def test_the_log_is_not_truncated_on_a_full_disk(box: Box) -> None:
    """Whoever has filled the disk would take its blocks, too."""
    box.db.execute("UPDATE progress SET commit_no = 7")
    size_bytes = wal_of(box.path).stat().st_size
    box.space.make_room()
    assert wal_of(box.path).stat().st_size == size_bytes > 0


def test_a_reader_that_does_not_end_stops_writes_and_then_all(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT_MS", 1)
    monkeypatch.setattr(module, "NEXT_WAIT_MS", 1)
    reader = sqlite3.connect(f"{box.path.as_uri()}?mode=ro", uri=True, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM progress").fetchall()
    box.db.execute("CREATE TABLE filler (x)")
    while wal_of(box.path).stat().st_size <= box.space.reserve.wal_soft_bytes:
        box.db.execute("INSERT INTO filler VALUES (zeroblob(1000000))")
    assert "a reader that does not end" in str(box.after(LOOK_INTERVAL_S))
    assert (box.space.is_stalled, box.space.is_short) == (False, False)
    while wal_of(box.path).stat().st_size <= box.space.reserve.wal_hard_bytes:
        box.db.execute("INSERT INTO filler VALUES (zeroblob(1000000))")
    assert (box.after(STUCK_INTERVAL_S) is not None, box.space.is_stalled) == (True, True)
    reader.close()
    assert (box.after(STUCK_INTERVAL_S), box.space.is_stalled) == (None, False)
    assert wal_of(box.path).stat().st_size == 0


def test_a_limit_for_files_counts_as_the_disk(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = [4 * MIB]
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit[0], resource.RLIM_INFINITY))
    box.clock.advance(TEND_INTERVAL_S)
    box.space.tend()
    assert box.space.refusal is None
    assert box.space.reserve.ballast_bytes < MIB
    assert box.pragma("wal_autocheckpoint") < CHECKPOINT_PAGES
    limit[0] = box.path.stat().st_size + wal_of(box.path).stat().st_size
    assert box.after(LOOK_INTERVAL_S) is not None


def test_a_disk_that_does_not_say_is_believed_to_have_room(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "statvfs", fail)
    assert box.after(LOOK_INTERVAL_S) is None
    assert box.space.figures() == {"refusal": None}
    box.clock.advance(TEND_INTERVAL_S)
    box.space.tend()
    assert box.space.refusal is None


def test_a_group_with_writes_of_clients_is_timed_and_another_is_not(box: Box) -> None:
    box.clock.advance(0.3)
    for began_s in (box.clock.monotonic_s() - 0.3, None):
        box.db.execute("BEGIN IMMEDIATE")
        box.space.commit(began_s)
        assert not box.db.in_transaction
    latencies = box.space.report()["latencies"]
    assert [sum(latencies[what][0]) for what in ("commit", "sync")] == [1, 1]
    assert [round(latencies[what][1], 3) for what in ("commit", "sync")] == [0.3, 0.0]
