"""Watches the disk for the store: refuses new writes in time, and makes room for what must go on (`reserve`).

It looks at most once in LOOK_INTERVAL_S, since a group of commits comes every few milliseconds; each change of its mind
is logged once.
"""

from __future__ import annotations

import logging
import os
import resource
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from deora.clock import Clock
from deora.errors import Problem
from deora.observe.metrics import Histogram
from deora.store.ballast import Ballast
from deora.store.database import BUSY_TIMEOUT_MS
from deora.store.durability import wal_of
from deora.store.reserve import (
    BALLAST_PARTS,
    CHECKPOINT_PAGES,
    PAGE_BYTES,
    SHORT_CHECKPOINT_PAGES,
    Seen,
    may_write,
    reserve_for,
    room_bytes,
)

_log = logging.getLogger("deora.store")

LOOK_INTERVAL_S: Final = 0.05
TEND_INTERVAL_S: Final = 1.0
# How long the store waits for readers before it refuses writes because the WAL is too long; then, how long each time
# that it looks again. A list that walks a large collection may take a second.
FIRST_WAIT_MS: Final = 1000
NEXT_WAIT_MS: Final = 50
STUCK_INTERVAL_S: Final = 0.25
# After SQLite has found no room, whatever the disk says of itself.
FULL_FOR_S: Final = 1.0
RETRY_AFTER_S: Final = 10


class Space:
    """The room for one store's file. Without a ballast there is none to be made."""

    def __init__(self, db: sqlite3.Connection, path: Path, clock: Clock, ballast: Ballast | None = None) -> None:
        self._db = db
        self._path = path
        self._folder = path.parent
        self._wal = wal_of(path)
        self._clock = clock
        self._ballast = ballast
        self.refusal: str | None = None
        """why new writes are refused; None while they are taken"""
        self._groups, self._syncs = Histogram(), Histogram()
        self.is_stalled = False
        """whether nothing at all may be written, since the WAL is at its limit"""
        self.is_short = False
        """whether it is the disk that lacks room, so that the file had better give up what it can"""
        self.copied: Callable[[], None] = lambda: None
        """called once a checkpoint has copied the WAL into the file, before the WAL begins anew"""
        self._next_look_s = self._next_tend_s = self._full_until_s = float("-inf")
        self._failed_checkpoint: str | None = None
        self._capacity_bytes = 0
        self._fit()

    def _fit(self) -> None:
        """Takes the sizes that fit the disk, or the process's limit for a file."""
        with suppress(OSError):
            space = os.statvfs(self._folder)
            self._capacity_bytes = space.f_blocks * space.f_frsize
        limit_bytes = _file_limit_bytes()
        capacity_bytes = self._capacity_bytes if limit_bytes is None else min(self._capacity_bytes, limit_bytes)
        self.reserve = reserve_for(capacity_bytes)
        pages = min(self.reserve.checkpoint_pages, SHORT_CHECKPOINT_PAGES if self.is_short else CHECKPOINT_PAGES)
        self._db.execute(f"PRAGMA wal_autocheckpoint = {pages}")
        self._db.execute(f"PRAGMA journal_size_limit = {self.reserve.wal_kept_bytes}")

    # -- looking

    def look(self) -> None:
        """Says anew whether new writes are taken, where that was not done just now. No transaction is open."""
        now_s = self._clock.monotonic_s()
        if now_s < self._next_look_s:
            return
        self._next_look_s = now_s + LOOK_INTERVAL_S
        seen = self._see()
        if seen.wal_bytes > self.reserve.wal_soft_bytes:
            self._checkpoint("TRUNCATE", FIRST_WAIT_MS if self.refusal is None else NEXT_WAIT_MS)
            self._next_look_s = self._clock.monotonic_s() + STUCK_INTERVAL_S
            seen = self._see()
        self.is_stalled = seen.wal_bytes > self.reserve.wal_hard_bytes
        self._now_refusing(self._why_not(seen, now_s))

    def tend(self) -> None:
        """Fits the sizes to the disk, which may have grown, and makes the ballast where it is missing; once a second.
        No transaction is open."""
        now_s = self._clock.monotonic_s()
        if now_s < self._next_tend_s:
            return
        self._next_tend_s = now_s + TEND_INTERVAL_S
        self._fit()
        if _file_limit_bytes() is not None and _size(self._wal) > self.reserve.wal_kept_bytes:
            # Of what files may have at most, nobody else takes what the WAL gives up.
            self._checkpoint("TRUNCATE", NEXT_WAIT_MS)
        if self._ballast is not None and now_s >= self._full_until_s:
            seen = self._see()
            if seen.ballast_bytes < self.reserve.ballast_bytes and room_bytes(seen, self.reserve) >= 0:
                self._ballast.make(self.reserve.ballast_bytes)
        self._next_look_s = min(self._next_look_s, now_s)
        self.look()

    def commit(self, began_s: float | None) -> None:
        """Ends the transaction. `began_s`: when a group that holds writes of clients began, so that its time counts."""
        ready_s = self._clock.monotonic_s()
        self._db.execute("COMMIT")
        if began_s is not None:
            now_s = self._clock.monotonic_s()
            self._syncs.add(now_s - ready_s)
            self._groups.add(now_s - began_s)

    def report(self) -> dict[str, Any]:
        """The figures and the latencies, for the supervisor."""
        return {**self.figures(), "latencies": {"commit": self._groups.to_wire(), "sync": self._syncs.to_wire()}}

    def figures(self) -> dict[str, int | str | None]:
        """For /health/detailed and /status; sizes in bytes."""
        try:
            space = os.statvfs(self._folder)
        except OSError:
            return {"refusal": self.refusal}
        seen = self._see()
        return {
            "disk_free": space.f_bavail * space.f_frsize,
            "disk_total": space.f_blocks * space.f_frsize,
            "wal": seen.wal_bytes,
            "ballast": seen.ballast_bytes if self._ballast is not None else None,
            "watermark": self.reserve.watermark_bytes,
            "refusal": self.refusal,
        }

    def _see(self) -> Seen:
        wal_bytes = _size(self._wal)
        ballast_bytes = self.reserve.ballast_bytes
        if self._ballast is not None:
            ballast_bytes = min(ballast_bytes, self._ballast.size_bytes())
        limit_bytes = _file_limit_bytes()
        # All that the WAL holds may be new to the file.
        headroom = None if limit_bytes is None else limit_bytes - _size(self._path) - wal_bytes
        try:
            space = os.statvfs(self._folder)
        except OSError:
            return Seen(self._capacity_bytes, wal_bytes, ballast_bytes, headroom)
        return Seen(space.f_bavail * space.f_frsize, wal_bytes, ballast_bytes, headroom)

    def _why_not(self, seen: Seen, now_s: float) -> str | None:
        was_short, self.is_short = self.is_short, False
        if seen.wal_bytes > self.reserve.wal_soft_bytes:
            cause = self._failed_checkpoint or "a reader that does not end keeps it from being emptied"
            return f"the write-ahead log has grown to {seen.wal_bytes} bytes: {cause}"
        refused = self.refusal is not None
        room = room_bytes(seen, self.reserve)
        if not may_write(room, self.reserve, refused=refused):
            # Asked for last: it is a statement, while all else is a system call.
            room += self._spare_bytes()
        # Without its ballast the store takes nothing: there may be a quota, which the disk's figures do not show.
        is_bare = seen.ballast_bytes < self.reserve.ballast_bytes
        self.is_short = is_bare or now_s < self._full_until_s or not may_write(room, self.reserve, refused=refused)
        if self.is_short is not was_short:
            self._fit()
        return f"there is no room on the disk: {seen.free_bytes} bytes are free" if self.is_short else None

    def _spare_bytes(self) -> int:
        [(pages,)] = self._db.execute("PRAGMA freelist_count").fetchall()
        return int(pages) * PAGE_BYTES

    def _now_refusing(self, reason: str | None) -> None:
        before, self.refusal = self.refusal, reason
        if before is None and reason is not None:
            hint = "make room, or end what reads in the file; writes are taken again by themselves"
            _log.error("new writes are refused: %s", reason, extra={"hint": hint, **self.figures()})
        elif before is not None and reason is None:
            _log.warning("there is room again: new writes are taken", extra=self.figures())

    def problem(self) -> Problem | None:
        """The refusal of a new write; None while they are taken."""
        return full(self.refusal) if self.refusal is not None else None

    # -- making room

    def make_room(self) -> None:
        """After SQLite has found no room: gives up a part of the ballast, and has the WAL begin anew in its own blocks.

        The WAL is not truncated: those who have filled the disk would take its blocks. No transaction is open.
        """
        if self._ballast is not None:
            self._ballast.give(self.reserve.ballast_bytes // BALLAST_PARTS)
        self._checkpoint("RESTART", NEXT_WAIT_MS)
        self._full_until_s = self._clock.monotonic_s() + FULL_FOR_S
        self.is_short = True
        self._now_refusing("there is no room on the disk: SQLite could not write")
        self._fit()

    def _checkpoint(self, mode: str, wait_ms: int) -> None:
        """Checkpoints, and waits for those who read in the WAL. What it fails for is said where the WAL is too long;
        nothing is lost by it.

        In two steps: what is known of the file has to follow it before the WAL is gone.
        """
        self._db.execute(f"PRAGMA busy_timeout = {wait_ms}")
        try:
            [(is_busy, _, _)] = self._db.execute("PRAGMA wal_checkpoint(FULL)").fetchall()
            self.copied()
            if not is_busy:
                self._db.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()
            self._failed_checkpoint = None
        except sqlite3.OperationalError as error:
            self._failed_checkpoint = f"a checkpoint failed: {error}"
        finally:
            self._db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")


def full(reason: str) -> Problem:
    """The refusal of a write for want of room."""
    return Problem(
        "disk-full",
        reason,
        hint="nothing that was accepted is lost; writes are accepted again when there is room",
        retry_after_s=RETRY_AFTER_S,
    )


def _size(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _file_limit_bytes() -> int | None:
    """RLIMIT_FSIZE, as `ulimit -f` sets it; None where there is no limit."""
    soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    return None if soft == resource.RLIM_INFINITY else soft
