"""The simulated disk keeps what a real one would, and no more."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.simulation.disk import Disk, DiskConnection, Killed
from tests.simulation.world import World


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    disk = Disk(World(1), tmp_path)
    yield disk
    disk.close()


def write(db: DiskConnection, commit_no: int) -> None:
    """A transaction as the store makes one."""
    db.execute("BEGIN IMMEDIATE")
    db.execute("UPDATE progress SET commit_no = ?", (commit_no,))
    db.execute("COMMIT")


def held(disk: Disk) -> int:
    """What a reader sees."""
    [(commit_no,)] = disk.reader.execute("SELECT commit_no FROM progress").fetchall()
    return int(commit_no)


def test_what_was_committed_outlives_a_power_cut(disk: Disk) -> None:
    db = disk.open()
    write(db, 7)
    db.execute("BEGIN IMMEDIATE")
    db.execute("UPDATE progress SET commit_no = 8")
    db.close()
    disk.cut_power()
    assert held(disk) == 7


def test_what_was_written_and_not_synced_outlives_a_kill_alone(disk: Disk) -> None:
    db = disk.open()
    write(db, 7)
    disk.at_commit = "within"
    with pytest.raises(Killed):
        write(db, 8)
    db.close()
    assert held(disk) == 8
    disk.cut_power()
    assert held(disk) == 7


def test_what_the_next_store_finds_it_makes_durable(disk: Disk) -> None:
    db = disk.open()
    disk.at_commit = "within"
    with pytest.raises(Killed):
        write(db, 8)
    db.close()
    disk.open().close()
    disk.cut_power()
    assert held(disk) == 8


def test_without_a_sync_nothing_outlives_a_power_cut(disk: Disk) -> None:
    db = disk.open()
    db._syncs = False
    write(db, 7)
    db.close()
    disk.cut_power()
    assert held(disk) == 0


@pytest.mark.parametrize(("what", "kept"), [("lost", 0), ("unclear", 7)])
def test_an_error_at_the_commit_tells_nothing(disk: Disk, what: str, kept: int) -> None:
    db = disk.open()
    disk.at_commit = what
    with pytest.raises(sqlite3.OperationalError, match="I/O"):
        write(db, 7)
    db.close()
    assert held(disk) == kept


def test_a_full_disk_takes_the_transaction_back(disk: Disk) -> None:
    db = disk.open()
    disk.full = True
    for _ in range(50):
        with suppress(sqlite3.OperationalError):
            write(db, 7)
            break
        assert not db.in_transaction
    else:
        pytest.fail("every write was refused: a disk is never so full")
    db.close()
    assert held(disk) == 7
