"""The disk under the store: a real SQLite file, of which the world knows what would survive a power cut.

SQLite runs as it is, on a file in memory. Its write-ahead log is the truth: what a COMMIT wrote there stands in the
page cache and outlives a kill; what was synced outlives a power cut. So the disk keeps one number, how many bytes of
the log are on the platter. A COMMIT that returns has synced them all where `PRAGMA synchronous` says FULL, and none
where it says NORMAL; opening the file syncs what it finds, where the production code does. A kill changes nothing. A
power cut takes a copy of the file with the log cut off at that number, and goes on with the copy. (SQLite's checksums
make the rest of it: a transaction that is cut in its middle never was.)

What can fail is a statement of the store: the process is killed instead of it; a COMMIT reports an I/O error after
it took effect, or without; the disk is full, in which case SQLite has taken the transaction back.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from deora.store.database import open_writer
from tests.fakes.connection import FaultyConnection
from tests.simulation.world import World

# Who the simulated box is. A name drawn by the system's randomness would make two runs of a seed differ.
NODE, EPOCH = "simulated1", "epoch001"

WRITES = ("INSERT", "UPDATE", "DELETE", "REPLACE")


class Killed(BaseException):
    """The store's process is gone: nothing in it runs any more. No `except Exception` of the code may hold it up."""


@cache
def new_file() -> bytes:
    """A store's file as its first start leaves it, with the identity of the simulated box."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "store.db"
        db = open_writer(path)
        db.execute("INSERT INTO identity (node, epoch) VALUES (?, ?)", (NODE, EPOCH))
        db.close()
        return path.read_bytes()


class Disk:
    """The disk of the box. `reader` is a connection as a worker has one; it also keeps the last writer that closes
    from tidying up, which a killed one would not have done."""

    def __init__(self, world: World, folder: Path) -> None:
        self.world = world
        self.full = False
        """whether there is no room; where `shows_full` is not set, SQLite finds out (a quota)"""
        self.shows_full = False
        self.kill_in: int | None = None
        """after so many statements the store is killed"""
        self.at_commit = ""
        """what befalls the next COMMIT that writes: see `DiskConnection`"""
        self._folder = folder
        self._copies = 0
        self._synced = 0
        self.path = folder / "store-0.db"
        self._log = f"{self.path}-wal"
        self.path.write_bytes(new_file())
        self.reader = self._reader()

    def open(self) -> DiskConnection:
        """The store's connection, opened as production opens it."""
        with patch.object(os, "fsync", self._fsync):
            db = open_writer(self.path)
        [(synchronous,)] = db.execute("PRAGMA synchronous").fetchall()
        return DiskConnection(db, self, syncs=synchronous >= 2)

    def disarm(self) -> None:
        """Whatever was to befall the last store does not befall the next one."""
        self.kill_in, self.at_commit = None, ""

    def cut_power(self) -> None:
        """The box loses its power. Nobody has the file open any more, and what was not synced is gone."""
        old, log = self.path, Path(self._log)
        main, kept = old.read_bytes(), log.read_bytes()[: self._synced] if log.exists() else b""
        self._copies += 1
        self.path = self._folder / f"store-{self._copies}.db"
        self.path.write_bytes(main)
        self._log = f"{self.path}-wal"
        Path(self._log).write_bytes(kept)
        self.reader.close()
        for leftover in (old, log, old.with_name(old.name + "-shm")):
            leftover.unlink(missing_ok=True)
        self.reader = self._reader()

    def close(self) -> None:
        """The world ends."""
        self.reader.close()

    def statvfs(self, _: Any) -> os.statvfs_result:
        """As os.statvfs: 1 GiB, of which nothing is free while the disk is full, and shows it."""
        free = 0 if self.full and self.shows_full else 200_000
        return os.statvfs_result((4096, 4096, 262_144, free, free, 0, 0, 0, 0, 255))

    def log_bytes(self) -> int:
        """How long the write-ahead log is."""
        try:
            return os.stat(self._log).st_size
        except FileNotFoundError:
            return 0

    def synced(self) -> None:
        """The log is on the platter, as far as it goes now."""
        self._synced = self.log_bytes()

    def _reader(self) -> sqlite3.Connection:
        reader = sqlite3.connect(self.path, isolation_level=None)
        reader.execute("PRAGMA wal_autocheckpoint = 0")
        reader.execute("PRAGMA query_only = 1")
        reader.execute("SELECT node FROM identity").fetchall()
        return reader

    def _fsync(self, descriptor: int) -> None:
        if os.readlink(f"/proc/self/fd/{descriptor}") == self._log:
            self.synced()


class DiskConnection(FaultyConnection):
    """The store's connection. `Disk.at_commit` is what befalls the next COMMIT that writes:

    lost: an I/O error, and nothing of it stays;   unclear: an I/O error, and it took effect;
    before: the store is killed before it;   within: after it was written, before it was synced;   after: behind it.
    """

    def __init__(self, db: sqlite3.Connection, disk: Disk, *, syncs: bool) -> None:
        super().__init__(db)
        self._disk = disk
        self._syncs = syncs
        self._writes = False

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        self._befall(sql)
        if sql == "COMMIT" and self._writes:
            self._writes = False
            return self._commit()
        return self._db.execute(sql, parameters)

    def executemany(self, sql: str, rows: Iterable[Any]) -> sqlite3.Cursor:
        self._befall(sql)
        return self._db.executemany(sql, rows)

    def _befall(self, sql: str) -> None:
        disk = self._disk
        if disk.kill_in is not None:
            disk.kill_in -= 1
            if disk.kill_in < 0:
                disk.world.note("store", f"killed before {sql[:40]}")
                raise Killed
        if sql.startswith("BEGIN"):
            self._writes = False
        elif sql.lstrip().startswith(WRITES):
            self._writes = True
            if disk.full and disk.world.chance(0.3):
                self._refuse_full()

    def _refuse_full(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    def _commit(self) -> sqlite3.Cursor:
        disk = self._disk
        what, disk.at_commit = disk.at_commit, ""
        if what:
            disk.world.note("store", f"its COMMIT meets {what!r}")
        if what == "before":
            raise Killed
        cursor = self._db.execute("ROLLBACK" if what == "lost" else "COMMIT")
        if what == "within":
            raise Killed
        if what in ("lost", "unclear"):
            self.failed = True
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error
        if self._syncs:
            disk.synced()
        if what == "after":
            raise Killed
        return cursor
