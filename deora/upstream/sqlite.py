"""The embedded upstream: a SQLite file, the default where no cloud is configured; also a second disk.

Two tables, the same as in PostgreSQL: `deora_documents` holds each document's data as canonical JSON text under its
path, and `deora_cursor` one row for each lane. `version` counts the writes to this file (see `sqlite_file`), so that a
reader can ask for what changed since.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from deora.documents.apply import apply
from deora.documents.paths import split
from deora.documents.values import timestamp_text
from deora.documents.wording import shown
from deora.documents.writes import decode_writes
from deora.errors import DeoraError
from deora.upstream.base import (
    Applied,
    Cursor,
    CursorKey,
    Delivery,
    Failure,
    Moved,
    Names,
    Outcome,
    Page,
    Refused,
    Unauthorised,
    Unclear,
)
from deora.upstream.sqlite_file import SqliteFile
from deora.upstream.sqlite_reads import SqliteReads

_MOVE: Final = """UPDATE deora_cursor SET seq = ?, batch_id = ?, applied = ?
  WHERE node = ? AND epoch = ? AND lane = ? AND seq = ? AND batch_id = ? AND taken_by IS NULL"""
_START: Final = (
    """INSERT OR IGNORE INTO deora_cursor (node, epoch, lane, seq, batch_id, applied) VALUES (?, ?, ?, ?, ?, ?)"""
)
_CARRY: Final = """UPDATE deora_cursor SET seq = seq + 1, batch_id = ?, applied = ?
  WHERE node = ? AND epoch = ? AND lane = ? AND seq = ? AND batch_id = ? AND taken_by = ?"""
_TAKE: Final = """UPDATE deora_cursor SET taken_by = ?
  WHERE node = ? AND epoch = ? AND lane = ? AND (taken_by IS NULL OR taken_by = ?)"""
_READ: Final = "SELECT seq, batch_id, applied, taken_by FROM deora_cursor WHERE node = ? AND epoch = ? AND lane = ?"
_SAVE: Final = """INSERT INTO deora_documents (path, collection, id, data, version, updated_at)
  VALUES (?, ?, ?, CAST(? AS TEXT), ?, ?)
  ON CONFLICT (path) DO UPDATE SET data = excluded.data, version = excluded.version, updated_at = excluded.updated_at"""


class SqliteUpstream:
    """A file with one writer at a time. SQLite blocks, so it works in a thread of its own.

    `busy_timeout_s`: how long a call waits while another program writes to the file.
    """

    def __init__(self, path: Path, *, busy_timeout_s: float = 5.0) -> None:
        self._file = SqliteFile(path, busy_timeout_s)
        self._reads = SqliteReads(path, busy_timeout_s)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="upstream")

    async def read_cursor(self, key: CursorKey) -> Cursor | Unclear | Unauthorised | None:
        """See `Upstream.read_cursor`."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read_cursor, key)

    async def apply(self, delivery: Delivery) -> Outcome:
        """See `Upstream.apply`."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._apply, delivery)

    async def take_over(self, key: CursorKey, taker: str, predecessor: str | None = None) -> Cursor | Failure:
        """See `Upstream.take_over`."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._take_over, key, taker, predecessor)

    async def read_documents(self, key: CursorKey, paths: list[str]) -> Page | Failure:
        """See `Upstream.read_documents`."""
        return await self._reads.read_documents(key, paths)

    async def list_documents(self, key: CursorKey, collection: str, after: str | None, limit: int) -> Page | Failure:
        """See `Upstream.list_documents`."""
        return await self._reads.list_documents(key, collection, after, limit)

    async def list_changes(self, key: CursorKey, collection: str, since: str, limit: int) -> Page | Failure:
        """See `Upstream.list_changes`."""
        return await self._reads.list_changes(key, collection, since, limit)

    async def list_names(self, collection: str, after: str | None, limit: int) -> Names | Failure:
        """See `Upstream.list_names`."""
        return await self._reads.list_names(collection, after, limit)

    async def close(self) -> None:
        """Closes the file, after what is running."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._file.close)
        self._thread.shutdown(wait=False)
        await self._reads.close()

    def _read_cursor(self, key: CursorKey) -> Cursor | Unclear | None:
        try:
            row = self._file.open().execute(_READ, (key.node, key.epoch, key.lane)).fetchone()
        except sqlite3.Error as error:
            return Unclear(self._file.failed(error))
        return Cursor(*row) if row is not None else None

    def _take_over(self, key: CursorKey, taker: str, predecessor: str | None) -> Cursor | Unclear:
        parts = (key.node, key.epoch, key.lane)
        try:
            db = self._file.open()
            db.execute("BEGIN IMMEDIATE")
            try:
                db.execute(_START, (*parts, 0, "", b""))
                db.execute(_TAKE, (taker, *parts, predecessor))
                row = db.execute(_READ, parts).fetchone()
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            self._file.close()
            return Unclear(f"{self._file.path.name}: {error}")
        return Cursor(*row)

    def _apply(self, delivery: Delivery) -> Outcome:
        try:
            db = self._file.open()
            if self._file.is_damaged and not delivery.payloads:
                # A fence may succeed on the pages that are left. But no batch is to blame, and nothing may go dead.
                return Unclear(f"{self._file.path.name} is damaged")
            db.execute("BEGIN IMMEDIATE")
            try:
                outcome = self._apply_within(db, delivery)
                db.execute("COMMIT" if isinstance(outcome, Applied) else "ROLLBACK")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            # After a failed COMMIT only a new connection tells what the file holds.
            return Unclear(self._file.failed(error))
        self._file.is_damaged = False
        return outcome

    def _apply_within(self, db: sqlite3.Connection, delivery: Delivery) -> Outcome:
        key = (delivery.key.node, delivery.key.epoch, delivery.key.lane)
        if delivery.expected_seq == 0:
            db.execute(_START, (*key, 0, "", b""))
        moved = db.execute(
            _MOVE,
            (
                delivery.seq,
                delivery.batch_id,
                delivery.applied,
                *key,
                delivery.expected_seq,
                delivery.expected_batch_id,
            ),
        )
        if moved.rowcount != 1:
            return Moved()
        for move in delivery.carried:
            theirs = (move.key.node, move.key.epoch, move.key.lane)
            expected = (move.expected_seq, move.expected_batch_id, delivery.key.box)
            if db.execute(_CARRY, (delivery.batch_id, move.applied, *theirs, *expected)).rowcount != 1:
                return Moved()
        views: dict[str, bytes | None] = {}
        for index, payload in enumerate(delivery.payloads):
            message = _stage(db, payload, views)
            if message is not None:
                return Refused(message, index)
        _save(db, views)
        return Applied()


def _stage(db: sqlite3.Connection, payload: bytes, views: dict[str, bytes | None]) -> str | None:
    """Adds what an entry changes to `views`; where it cannot be applied, says why."""
    path = ""
    try:
        for write in decode_writes(payload):
            path = write.path
            if path not in views and write.op in ("update", "create"):
                views[path] = _read(db, path)
            views[path] = apply(views.get(path), write)
    except DeoraError as error:
        return error.message
    except (ValueError, TypeError, AttributeError) as error:
        # What another program has put into the file; one document must not hold up all others.
        return f"the document {shown(path)}, as upstream holds it, is none: {error}"
    return None


def _read(db: sqlite3.Connection, path: str) -> bytes | None:
    row = db.execute("SELECT CAST(data AS BLOB) FROM deora_documents WHERE path = ?", (path,)).fetchone()
    return row[0] if row is not None else None


def _save(db: sqlite3.Connection, views: dict[str, bytes | None]) -> None:
    [(version,)] = db.execute("SELECT last FROM deora_versions").fetchall()
    updated_at = timestamp_text(time.time_ns() // 1000)
    kept = [
        (path, *split(path), data, version + offset, updated_at)
        for offset, (path, data) in enumerate(views.items(), start=1)
        if data is not None
    ]
    db.executemany(_SAVE, kept)
    db.executemany("DELETE FROM deora_documents WHERE path = ?", [(path,) for path in views if views[path] is None])
