"""What an earlier writer left is made durable, by bytes that are written again, before it is trusted."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from deora.errors import StoreError
from deora.store import durability
from deora.store.database import open_writer
from deora.store.durability import rewrite, sync_files, wal_of


class Disk:
    """What was written in place and what was synced, in order, by the files' names; the first `failing` syncs fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, failing: int = 0) -> None:
        self.done: list[tuple[str, str]] = []
        self.failing = failing
        self._fsync: Callable[[int], None] = os.fsync
        self._pwrite: Callable[[int, bytes, int], int] = os.pwrite
        monkeypatch.setattr(os, "fsync", self.fsync)
        monkeypatch.setattr(os, "pwrite", self.pwrite)

    def fsync(self, descriptor: int) -> None:
        self.done.append(("sync", name_of(descriptor)))
        if self.failing:
            self.failing -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        self._fsync(descriptor)

    def pwrite(self, descriptor: int, data: bytes, offset: int) -> int:
        if ("write", name_of(descriptor)) != (self.done or [("", "")])[-1]:
            self.done.append(("write", name_of(descriptor)))
        return self._pwrite(descriptor, data, offset)


def name_of(descriptor: int) -> str:
    return Path(f"/proc/self/fd/{descriptor}").readlink().name


def left_behind(path: Path, transactions: int = 3) -> None:
    """A store's file with a WAL, as a kill leaves it."""
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("CREATE TABLE t (x)")
    for number in range(transactions):
        db.execute("INSERT INTO t VALUES (?)", (str(number) * 5000,))
    wal = wal_of(path).read_bytes()
    content = path.read_bytes()
    db.close()
    path.write_bytes(content)
    wal_of(path).write_bytes(wal)


def test_the_wal_is_written_again_and_all_is_synced_before_the_file_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.db"
    open_writer(path).close()
    left_behind(tmp_path / "other.db")
    wal_of(tmp_path / "other.db").rename(wal_of(path))
    disk = Disk(monkeypatch)
    connect = sqlite3.connect
    at_connect: list[list[tuple[str, str]]] = []

    def watched(*args: object, **options: object) -> sqlite3.Connection:
        at_connect.append(list(disk.done))
        return connect(*args, **options)  # type: ignore[call-overload, no-any-return]

    monkeypatch.setattr(sqlite3, "connect", watched)
    open_writer(path).close()
    assert at_connect == [
        [("sync", "store.db"), ("write", "store.db-wal"), ("sync", "store.db-wal"), ("sync", tmp_path.name)]
    ]


def test_what_is_written_again_is_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    left_behind(path)
    before = wal_of(path).read_bytes()
    sync_files(path)
    assert wal_of(path).read_bytes() == before
    db = sqlite3.connect(path)
    assert db.execute("SELECT count(*) FROM t").fetchall() == [(3,)]
    db.close()


def test_frames_of_an_earlier_run_are_left_alone(tmp_path: Path) -> None:
    """They are in the database file already; most of a long WAL may be of them."""
    path = tmp_path / "store.db"
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("CREATE TABLE t (x)")
    for number in range(300):
        db.execute("INSERT INTO t VALUES (?)", (str(number) * 5000,))
    long_bytes = wal_of(path).stat().st_size
    db.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
    db.execute("DELETE FROM t WHERE rowid = 1")
    assert wal_of(path).stat().st_size == long_bytes
    descriptor = os.open(wal_of(path), os.O_RDWR)
    written_bytes = rewrite(descriptor)
    os.close(descriptor)
    assert 4096 < written_bytes < long_bytes / 20
    db.close()


def test_a_long_wal_is_written_again_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(durability, "_FRAMES_AT_ONCE", 4)
    left_behind(tmp_path / "store.db", transactions=10)
    file = wal_of(tmp_path / "store.db")
    descriptor = os.open(file, os.O_RDWR)
    assert rewrite(descriptor) == file.stat().st_size
    os.close(descriptor)


@pytest.mark.parametrize("content", [b"", b"short", b"\0" * 32, b"no WAL at all" * 1000])
def test_what_is_no_wal_is_no_reason_to_fail(tmp_path: Path, content: bytes) -> None:
    """Whether the file can be used is SQLite's to judge."""
    path = tmp_path / "store.db"
    path.touch()
    wal_of(path).write_bytes(content)
    sync_files(path)
    assert wal_of(path).read_bytes() == content


def test_after_a_failed_sync_the_bytes_are_written_once_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sync that comes after a failed one may succeed without having written anything."""
    path = tmp_path / "store.db"
    left_behind(path)
    path.rename(tmp_path / "aside")
    disk = Disk(monkeypatch, failing=2)
    sync_files(path)
    assert disk.done == [("write", "store.db-wal"), ("sync", "store.db-wal")] * 3 + [("sync", tmp_path.name)]


def test_a_disk_that_keeps_nothing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store.db"
    left_behind(path)
    disk = Disk(monkeypatch, failing=99)
    with pytest.raises(StoreError, match="does not keep") as caught:
        sync_files(path)
    assert caught.value.hint is not None
    assert len(disk.done) == durability.ATTEMPTS


def test_a_file_that_is_not_there_needs_no_sync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = Disk(monkeypatch)
    sync_files(tmp_path / "nowhere" / "store.db")
    assert disk.done == []
