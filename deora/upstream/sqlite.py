"""The embedded upstream: a SQLite file, the default where no cloud is configured; also a second disk.

Two tables, the same as in PostgreSQL: `deora_documents` holds each document's data as canonical JSON text under its
path, and `deora_cursor` one row for each lane. `version` counts the writes to this file, so that a reader can ask for
what changed since.
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
from deora.upstream.base import Applied, Cursor, CursorKey, Delivery, Moved, Outcome, Refused, Unauthorised, Unclear

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS deora_documents (
  path TEXT PRIMARY KEY, collection TEXT NOT NULL, id TEXT NOT NULL, data TEXT NOT NULL,
  version INTEGER NOT NULL, updated_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS deora_documents_version ON deora_documents (version);
CREATE TABLE IF NOT EXISTS deora_cursor (
  node TEXT NOT NULL, epoch TEXT NOT NULL, lane INTEGER NOT NULL, seq INTEGER NOT NULL, batch_id TEXT NOT NULL,
  applied BLOB NOT NULL, taken_by TEXT, PRIMARY KEY (node, epoch, lane)) WITHOUT ROWID;
"""
_MOVE: Final = """UPDATE deora_cursor SET seq = ?, batch_id = ?, applied = ?
  WHERE node = ? AND epoch = ? AND lane = ? AND seq = ? AND batch_id = ? AND taken_by IS NULL"""
_START: Final = (
    """INSERT OR IGNORE INTO deora_cursor (node, epoch, lane, seq, batch_id, applied) VALUES (?, ?, ?, ?, ?, ?)"""
)
_SAVE: Final = """INSERT INTO deora_documents (path, collection, id, data, version, updated_at)
  VALUES (?, ?, ?, CAST(? AS TEXT), ?, ?)
  ON CONFLICT (path) DO UPDATE SET data = excluded.data, version = excluded.version, updated_at = excluded.updated_at"""


class SqliteUpstream:
    """A file with one writer at a time. SQLite blocks, so it works in a thread of its own.

    `busy_timeout_s`: how long a call waits while another program writes to the file.
    """

    def __init__(self, path: Path, *, busy_timeout_s: float = 5.0) -> None:
        self._path = path
        self._busy_timeout_s = busy_timeout_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="upstream")
        self._db: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None

    async def read_cursor(self, key: CursorKey) -> Cursor | Unclear | Unauthorised | None:
        """See `Upstream.read_cursor`."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read_cursor, key)

    async def apply(self, delivery: Delivery) -> Outcome:
        """See `Upstream.apply`."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._apply, delivery)

    async def close(self) -> None:
        """Closes the file, after what is running."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown(wait=False)

    def _open(self) -> sqlite3.Connection:
        if self._db is not None and _file_at(self._path) != self._file:
            # Deleted or replaced while it was open: what is written now would be in no file any more.
            self._close()
        if self._db is None:
            db = sqlite3.connect(
                self._path, isolation_level=None, check_same_thread=False, timeout=self._busy_timeout_s
            )
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = FULL")
            db.executescript(_SCHEMA)
            self._db, self._file = db, _file_at(self._path)
        return self._db

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
            self._db = None

    def _read_cursor(self, key: CursorKey) -> Cursor | Unclear | None:
        try:
            row = (
                self._open()
                .execute(
                    "SELECT seq, batch_id, applied, taken_by FROM deora_cursor"
                    " WHERE node = ? AND epoch = ? AND lane = ?",
                    (key.node, key.epoch, key.lane),
                )
                .fetchone()
            )
        except sqlite3.Error as error:
            self._close()
            return Unclear(f"{self._path.name}: {error}")
        return Cursor(*row) if row is not None else None

    def _apply(self, delivery: Delivery) -> Outcome:
        try:
            db = self._open()
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
            self._close()
            return Unclear(f"{self._path.name}: {error}")
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
        views: dict[str, bytes | None] = {}
        for index, payload in enumerate(delivery.payloads):
            message = _stage(db, payload, views)
            if message is not None:
                return Refused(message, index)
        _save(db, views)
        return Applied()


def _file_at(path: Path) -> tuple[int, int] | None:
    """Device and inode of the file at this path, None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


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
    [(version,)] = db.execute("SELECT coalesce(max(version), 0) FROM deora_documents").fetchall()
    updated_at = timestamp_text(time.time_ns() // 1000)
    kept = [
        (path, *split(path), data, version + offset, updated_at)
        for offset, (path, data) in enumerate(views.items(), start=1)
        if data is not None
    ]
    db.executemany(_SAVE, kept)
    db.executemany("DELETE FROM deora_documents WHERE path = ?", [(path,) for path in views if views[path] is None])
