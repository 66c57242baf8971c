"""Keeps the sums and the mark beside the store's file while the store runs, and looks whether the file still is so.

Its descriptors stay open for as long as the connection: POSIX gives up all of a process's locks on a file when any of
its descriptors is closed, SQLite's among them.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from contextlib import suppress
from pathlib import Path
from typing import Final

from deora.errors import StoreError
from deora.store import sums as sidecar
from deora.store.sums import Mark, Sums
from deora.store.wal import NO_SALTS, Index, page_numbers, read_index

_log = logging.getLogger("deora.store")

# Pages looked at in one step: 1 MiB, about a millisecond. A file of 400 MB is looked through in seven minutes.
SCRUBBED_AT_ONCE: Final = 256


class Damaged(StoreError):
    """The file is not as it was written. The store must end; the next one examines it."""


class Unkept(StoreError):
    """The disk does not do as it was told. The store must end; the next one tries again."""


class Guard:
    """Made when the store's connection is open; closed after it. `follow` comes before the connection writes.
    `sums`: those of the file; None where none hold.

    `identity` (node, epoch) goes into the mark, where it can be read when the file cannot.
    """

    def __init__(self, path: Path, sums: Sums | None) -> None:
        self._path = path
        self.identity = ("", "")
        # While it is open, closing the store's connection copies nothing into the file that has no sums yet.
        self._second = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        [(page_bytes,)] = self._second.execute("PRAGMA page_size").fetchall()
        self._second.execute("SELECT count(*) FROM sqlite_master").fetchall()
        self._db = os.open(path, os.O_RDONLY)
        self._shm = os.open(path.with_name(path.name + "-shm"), os.O_RDONLY)
        self._descriptors = [self._db, self._shm]
        self._mark: int | None = None
        self._written: bytes = b""
        self._noted: tuple[int, int] | None = None
        self._position = 0
        self._is_saved = sums is not None
        self._knows_all = sums is not None
        self._sums = sums or Sums(page_bytes)
        index = self._index()
        self._salts, self._frames, self._summed = index.salts, index.frames, 0
        if self._sums.salts == index.salts:
            self._summed = self._sums.frames

    def follow(self) -> None:
        """Takes the sums of what a checkpoint has copied: before the first transaction, and between a checkpoint and
        what may overwrite the WAL. Raises Unkept where the disk takes neither new sums nor that the old ones are gone.
        """
        index = self._index()
        self._follow(index)
        if self._noted is not None:
            self._mark_up(index, *self._noted)

    def note(self, commit_no: int, entry_id: int) -> None:
        """After each transaction, before anything else is written: as `follow`, and marks how far the WAL has come.
        Costs two system calls where there was no checkpoint."""
        index = self._index()
        self._follow(index)
        self._noted = commit_no, entry_id
        self._mark_up(index, commit_no, entry_id)

    def scrub(self) -> None:
        """Looks at the next pages of the file; from its end it goes on at its beginning. Raises Damaged.

        Also where the WAL's index was taken away: who opens the file from now on would not see what is written.
        """
        self._check_index()
        first = self._position
        self._position = first + SCRUBBED_AT_ONCE
        if self._position >= len(self._sums.crcs):
            self._position = 0
        try:
            if not self._is_saved:
                self._save()
            found = sidecar.mismatches(self._sums, self._db, set(), first, first + SCRUBBED_AT_ONCE)
        except OSError as error:
            raise Unkept(f"{self._path} cannot be read: {error}") from error
        if found:
            # Part of the WAL may have been copied already; only now is it worth reading which pages those are.
            spared = page_numbers(self._shm, 0, self._index().frames)
            found = [page for page in found if page not in spared]
        if found:
            raise Damaged(f"page {found[0]} of {self._path.name} is not as it was written; {len(found)} of 256 are so")

    def finish(self, db: sqlite3.Connection) -> None:
        """Before the connection is closed in peace: all of the WAL goes into the file, so that none is left.

        Where the disk does not take it, or somebody reads in the WAL, it stays as it is.
        """
        try:
            db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.OperationalError as error:
            _log.warning("the write-ahead log was left as it is: a checkpoint failed: %s", error)
            return
        self.follow()
        index = self._index()
        if index.backfilled == index.frames:
            self._second.close()

    def close(self) -> None:
        """After the connection was closed."""
        self._second.close()
        while self._descriptors:
            os.close(self._descriptors.pop())

    def _check_index(self) -> None:
        try:
            there = os.stat(self._path.with_name(self._path.name + "-shm"))
        except FileNotFoundError:
            there = None
        ours = os.fstat(self._shm)
        if there is None or (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino):
            raise Damaged(f"{self._path.name}-shm was deleted or replaced while the store was running")

    def _index(self) -> Index:
        return read_index(self._shm) or Index(NO_SALTS, 0, 0)

    def _follow(self, index: Index) -> None:
        if index.salts != self._salts:
            if self._frames > self._summed and self._salts != NO_SALTS:
                # A checkpoint that we have not seen, whose frames have been overwritten.
                self._knows_all = False
            self._salts, self._summed = index.salts, 0
        self._frames = index.frames
        if not self._knows_all:
            self._sum_all(index)
        self._sum_copied(index)

    def _mark_up(self, index: Index, commit_no: int, entry_id: int) -> None:
        """A mark that cannot be written, as on a full disk, is older than the file, which it may be."""
        mark = Mark(self._sums.number, index.salts, index.frames, commit_no, entry_id, *self.identity)
        packed = sidecar.pack_mark(mark)
        if packed == self._written:
            return
        with suppress(OSError):
            if self._mark is None:
                self._mark = os.open(sidecar.mark_path(self._path), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                self._descriptors.append(self._mark)
            os.pwrite(self._mark, packed, 0)
            self._written = packed

    def _sum_copied(self, index: Index) -> None:
        """Takes the sums of what a checkpoint has copied, where it has copied all: only then may the WAL be reused."""
        if index.backfilled == index.frames > self._summed:
            self._sum(index, page_numbers(self._shm, self._summed, index.frames))

    def _sum_all(self, index: Index) -> None:
        self._sums.crcs = self._sums.crcs[:0]
        self._sum(index, set())
        self._knows_all = True

    def _sum(self, index: Index, pages: set[int]) -> None:
        try:
            sidecar.refresh(self._sums, self._db, pages)
        except OSError as error:
            raise Unkept(f"{self._path} cannot be read: {error}") from error
        self._sums.number += 1
        self._sums.salts = index.salts
        self._sums.frames = self._summed = index.backfilled
        self._save()

    def _save(self) -> None:
        """Where the disk has no room for the sums, none are kept until it has: these are of the file no more."""
        was_saved, self._is_saved = self._is_saved, False
        try:
            sidecar.save_sums(self._path, self._sums)
            self._is_saved = True
        except OSError as error:
            if was_saved:
                _log.warning("the sums of the store's pages cannot be kept now: %s", error)
            try:
                sidecar.drop_sums(self._path)
            except OSError as second:
                raise Unkept(f"the disk does not keep the sums of {self._path}: {second}") from second
