"""Reading the store's file: through aiosqlite, query-only, never holding a read transaction open.

Each statement is read to its end before the next await, so no snapshot outlives it and the WAL can be checkpointed.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import aiosqlite

_DOCUMENT: Final = """SELECT version, created_us, updated_us, pending, CAST(view AS BLOB) FROM documents
  WHERE collection = ? AND name = ? AND view IS NOT NULL"""
# At most this many rows of 1 MiB are in memory beyond what a page may hold.
_ROWS_AT_ONCE: Final = 64
_PRAGMAS: Final = ("PRAGMA query_only = 1", "PRAGMA wal_autocheckpoint = 0", "PRAGMA cache_size = -8192")


class Reader:
    """One connection. `reopen` follows a new store, whose file may be another one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: aiosqlite.Connection | None = None
        self._opened = asyncio.Event()

    async def open(self) -> None:
        """Opens the file. Raises sqlite3.Error while there is none."""
        # Read-only, since even a query-only connection checkpoints when it is the last to close.
        db = await aiosqlite.connect(f"{self._path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        for pragma in _PRAGMAS:
            await db.execute(pragma)
        self._db = db
        self._opened.set()

    async def reopen(self) -> None:
        """Closes and opens; reads that come meanwhile wait."""
        self._opened.clear()
        await self.close()
        await self.open()

    async def close(self) -> None:
        """Ends the connection and its thread."""
        db, self._db = self._db, None
        if db is not None:
            await db.close()

    async def document(self, collection: str, name: str) -> tuple[Any, ...] | None:
        """(version, created_us, updated_us, pending, view) of a document that exists."""
        rows = await self.rows(_DOCUMENT, (collection, name))
        return rows[0] if rows else None

    async def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a SELECT."""
        db = await self._connection()
        return [tuple(row) for row in await db.execute_fetchall(sql, parameters)]

    async def rows_within(self, sql: str, parameters: Sequence[Any], *, column: int, max_bytes: int) -> Rows:
        """The rows of a SELECT until their `column` adds up to more than `max_bytes`; at least one where there is one."""
        db = await self._connection()
        found = Rows()
        size_bytes = 0
        async with db.execute(sql, parameters) as cursor:
            while chunk := await cursor.fetchmany(_ROWS_AT_ONCE):
                for row in chunk:
                    size_bytes += len(row[column])
                    if found and size_bytes > max_bytes:
                        found.cut = True
                        return found
                    found.append(tuple(row))
        return found

    async def _connection(self) -> aiosqlite.Connection:
        await self._opened.wait()
        if self._db is None:
            raise sqlite3.OperationalError("the store's file is closed")
        return self._db


class Rows(list[tuple[Any, ...]]):
    """Rows; `cut` says that there were more than fit."""

    cut = False
