"""The file behind the embedded upstream: its tables, and one connection to it that is made again when it must be.

`deora_documents.version` counts the writes to this file and is never used again, a delete's neither: a reader that has
seen version 7 must find what came after it above 7. So the highest one is kept in `deora_versions`, and triggers give
each written document the next one, also where another program writes to the file.
"""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Final

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS deora_documents (
  path TEXT PRIMARY KEY, collection TEXT NOT NULL, id TEXT NOT NULL, data TEXT NOT NULL,
  version INTEGER NOT NULL, updated_at TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS deora_documents_version ON deora_documents (version);
CREATE TABLE IF NOT EXISTS deora_cursor (
  node TEXT NOT NULL, epoch TEXT NOT NULL, lane INTEGER NOT NULL, seq INTEGER NOT NULL, batch_id TEXT NOT NULL,
  applied BLOB NOT NULL, taken_by TEXT, PRIMARY KEY (node, epoch, lane)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS deora_versions (id INTEGER PRIMARY KEY CHECK (id = 1), last INTEGER NOT NULL);
"""
_HAS_COUNTER: Final = "SELECT 1 FROM deora_versions"
_START_COUNTER: Final = "INSERT OR IGNORE INTO deora_versions SELECT 1, coalesce(max(version), 0) FROM deora_documents"
# What DEORA itself writes has the next version already, so the second statement finds no row.
_COUNT: Final = """BEGIN
  UPDATE deora_versions SET last = max(last + 1, new.version);
  UPDATE deora_documents SET version = (SELECT last FROM deora_versions)
    WHERE path = new.path AND version <> (SELECT last FROM deora_versions);
END;
"""
_TRIGGERS: Final = (
    "CREATE TRIGGER IF NOT EXISTS deora_documents_added AFTER INSERT ON deora_documents "
    + _COUNT
    + "CREATE TRIGGER IF NOT EXISTS deora_documents_changed AFTER UPDATE OF data ON deora_documents "
    + _COUNT
)


_DAMAGE: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class SqliteFile:
    """One connection, for one thread at a time. `busy_timeout_s`: how long it waits while another one writes."""

    def __init__(self, path: Path, busy_timeout_s: float) -> None:
        self.path = path
        self.db: sqlite3.Connection | None = None
        self.is_damaged = False
        """whether SQLite has found it so; until it works again, or another file stands in its place"""
        self._busy_timeout_s = busy_timeout_s
        self._file: tuple[int, int] | None = None

    def open(self) -> sqlite3.Connection:
        """The connection, made where there is none. Raises sqlite3.Error."""
        if self.db is not None and _file_at(self.path) != self._file:
            # Deleted or replaced while it was open: what is written now would be in no file any more.
            self.close()
            self.is_damaged = False
        if self.db is None:
            db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=self._busy_timeout_s)
            try:
                _prepare(db, self._busy_timeout_s)
            except BaseException:
                db.close()
                raise
            self.db, self._file = db, _file_at(self.path)
        return self.db

    def failed(self, error: sqlite3.Error) -> str:
        """Ends the connection after an error, which may have left it in any state; what to say of it."""
        self.close()
        if getattr(error, "sqlite_errorcode", None) not in _DAMAGE:
            return f"{self.path.name}: {error}"
        self.is_damaged = True
        return (
            f"{self.path.name} is damaged: {error}. Nothing is lost here: writes wait in the queue. Put a sound copy in"
            " its place, or mend it with the sqlite3 program's .recover"
        )

    def close(self) -> None:
        """Ends the connection, where there is one."""
        if self.db is not None:
            self.db.close()
            self.db = None


def _prepare(db: sqlite3.Connection, patience_s: float) -> None:
    """Makes what the file lacks. Another connection may be doing the same at this moment."""
    deadline_s = time.monotonic() + patience_s
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            break
        except sqlite3.OperationalError as error:
            # For this one statement SQLite does not wait by itself.
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline_s:
                raise
            time.sleep(0.005)
    db.execute("PRAGMA synchronous = FULL")
    db.executescript(_SCHEMA)
    if db.execute(_HAS_COUNTER).fetchone() is None:
        db.execute(_START_COUNTER)
    db.executescript(_TRIGGERS)


def _file_at(path: Path) -> tuple[int, int] | None:
    """Device and inode of the file at this path, None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
