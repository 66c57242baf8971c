"""Reading the store's file: through aiosqlite, query-only, never holding a read transaction open.

Each statement is read to its end in one call, so no snapshot outlives it: what is read next is never older than what
was committed before it, and the WAL can be checkpointed.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import aiosqlite

# One row, whether there is such a document or not.
_DOCUMENT: Final = """SELECT version, created_us, updated_us, pending, dead, checked_us, CAST(view AS BLOB),
    (SELECT synced_us FROM replicas WHERE replicas.collection = ?1)
  FROM (SELECT 1) LEFT JOIN documents ON documents.collection = ?1 AND name = ?2"""
_PRAGMAS: Final = ("PRAGMA query_only = 1", "PRAGMA wal_autocheckpoint = 0", "PRAGMA cache_size = -8192")


class Stored(NamedTuple):
    """What the store's file says of a document: nothing but `synced_us` where it has never heard of it.

    `checked_us`: when upstream last confirmed it. `synced_us`: when its collection was last pulled as a whole; None for
    one that is not kept whole.
    """

    version: str | None
    created_us: int
    updated_us: int
    pending: int
    dead: int
    checked_us: int
    view: bytes | None
    synced_us: int | None


class Rows(list[tuple[Any, ...]]):
    """Rows; `cut` says that there were more than fit."""

    cut = False


class _Connection(aiosqlite.Connection):
    """Runs a whole read in one call on the connection's thread.

    A statement that is stepped over several awaits keeps the snapshot of its start, and every other read on the same
    connection then sees the past: it would break read-your-writes.
    """

    async def read(self, sql: str, parameters: Sequence[Any], column: int | None, max_bytes: int) -> Rows:
        return cast("Rows", await self._execute(self._read, sql, parameters, column, max_bytes))  # type: ignore[no-untyped-call]

    def end(self) -> None:
        """Ends a connection that could not be opened. Its thread must not outlive the loop that it reports to."""
        self.stop()
        self._thread.join()

    def _read(self, sql: str, parameters: Sequence[Any], column: int | None, max_bytes: int) -> Rows:
        found = Rows()
        size_bytes = 0
        cursor = self._conn.execute(sql, parameters)
        try:
            for row in cursor:
                if column is not None:
                    size_bytes += len(row[column])
                    if found and size_bytes > max_bytes:
                        found.cut = True
                        break
                found.append(row)
        finally:
            cursor.close()
        return found


class Reader:
    """One connection. `reopen` follows a new store, whose file may be another one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: _Connection | None = None
        self._opened = asyncio.Event()
        self._reopening = asyncio.Lock()

    async def open(self) -> None:
        """Opens the file. Raises sqlite3.Error while there is none."""
        # Read-only, since even a query-only connection checkpoints when it is the last to close.
        uri = f"{self._path.absolute().as_uri()}?mode=ro"
        db = _Connection(lambda: sqlite3.connect(uri, uri=True, isolation_level=None), 64)
        try:
            await db
            for pragma in _PRAGMAS:
                await db.execute(pragma)
        except BaseException:
            db.end()
            raise
        self._db = db
        self._opened.set()

    async def reopen(self) -> None:
        """Closes and opens; reads that come meanwhile wait. Raises sqlite3.Error, and then so do they."""
        async with self._reopening:
            self._opened.clear()
            try:
                await self.close()
                await self.open()
            finally:
                self._opened.set()

    async def close(self) -> None:
        """Ends the connection and its thread."""
        db, self._db = self._db, None
        if db is not None:
            await db.close()

    async def stored(self, collection: str, name: str) -> Stored:
        """What the store knows of a document."""
        [row] = await self.rows(_DOCUMENT, (collection, name))
        return Stored(*row)

    async def rows(self, sql: str, parameters: Sequence[Any] = ()) -> Rows:
        """All rows of a SELECT."""
        return await (await self._connection()).read(sql, parameters, None, 0)

    async def rows_within(self, sql: str, parameters: Sequence[Any], *, column: int, max_bytes: int) -> Rows:
        """The rows of a SELECT until `column` adds up to more than `max_bytes`; at least one where there is one."""
        return await (await self._connection()).read(sql, parameters, column, max_bytes)

    async def _connection(self) -> _Connection:
        # When a waiting read has its turn, the next reopening may have begun.
        while not self._opened.is_set():
            await self._opened.wait()
        if self._db is None:
            raise sqlite3.OperationalError("the store's file is closed")
        return self._db
