"""What readers ask of the embedded upstream. Each answer comes from one snapshot, together with the cursor in it.

Reads have a thread and a connection of their own, so that they need not wait while a batch syncs.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

import orjson

from deora.documents.values import canonical_document
from deora.documents.wording import shown
from deora.errors import Problem
from deora.upstream.base import Copy, CursorKey, Failure, Names, Page, Unclear
from deora.upstream.sqlite_file import SqliteFile

_log = logging.getLogger("deora.upstream")

_SEQ: Final = "SELECT seq FROM deora_cursor WHERE node = ? AND epoch = ? AND lane = ?"
_BY_PATH: Final = """SELECT path, CAST(data AS BLOB), version FROM deora_documents
  WHERE path IN (SELECT value FROM json_each(?))"""
# The paths of a collection's documents all lie between "collection/" and "collection0", since "0" comes behind "/";
# those of the collections below it lie there, too.
_LISTED: Final = """SELECT path, CAST(data AS BLOB), version FROM deora_documents
  WHERE path > ? AND path < ? AND collection = ? ORDER BY path LIMIT ?"""
_NAMES: Final = """SELECT path FROM deora_documents
  WHERE path > ? AND path < ? AND collection = ? ORDER BY path LIMIT ?"""
_CHANGED: Final = """SELECT path, CAST(data AS BLOB), version FROM deora_documents INDEXED BY deora_documents_version
  WHERE version >= ? AND collection = ? ORDER BY version LIMIT ?"""

Row = tuple[str, bytes, int]
T = TypeVar("T")


class SqliteReads:
    """The reading methods of `Upstream`, over one file."""

    def __init__(self, path: Path, busy_timeout_s: float) -> None:
        self._file = SqliteFile(path, busy_timeout_s)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="upstream-reads")

    async def read_documents(self, key: CursorKey, paths: list[str]) -> Page | Failure:
        """See `Upstream.read_documents`."""

        def read(db: sqlite3.Connection) -> Page:
            found = {row[0]: row for row in db.execute(_BY_PATH, (orjson.dumps(paths).decode(),))}
            rows = [found.get(path, (path, None, 0)) for path in paths]
            return Page(_seq(db, key), _copies(rows))

        return await self._run(read)

    async def list_documents(self, key: CursorKey, collection: str, after: str | None, limit: int) -> Page | Failure:
        """See `Upstream.list_documents`."""

        def read(db: sqlite3.Connection) -> Page:
            rows = db.execute(_LISTED, (*_bounds(collection, after), limit + 1)).fetchall()
            following = rows[limit - 1][0].rpartition("/")[2] if len(rows) > limit else None
            return Page(_seq(db, key), _copies(rows[:limit]), following)

        return await self._run(read)

    async def list_changes(self, key: CursorKey, collection: str, since: str, limit: int) -> Page | Failure:
        """See `Upstream.list_changes`. No two documents have one version, so the next page begins above the last."""

        def read(db: sqlite3.Connection) -> Page:
            rows = db.execute(_CHANGED, (int(since or 0), collection, limit + 1)).fetchall()
            following = _mark(rows[limit - 1][2] + 1) if len(rows) > limit else None
            return Page(_seq(db, key), _copies(rows[:limit]), following)

        return await self._run(read)

    async def list_names(self, collection: str, after: str | None, limit: int) -> Names | Failure:
        """See `Upstream.list_names`."""

        def read(db: sqlite3.Connection) -> Names:
            rows = db.execute(_NAMES, (*_bounds(collection, after), limit + 1)).fetchall()
            paths = [path for (path,) in rows[:limit]]
            return Names(paths, paths[-1].rpartition("/")[2] if len(rows) > limit else None)

        return await self._run(read)

    async def close(self) -> None:
        """Closes the file, after what is running."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._file.close)
        self._thread.shutdown(wait=False)

    async def _run(self, read: Callable[[sqlite3.Connection], T]) -> T | Unclear:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._read, read)

    def _read(self, read: Callable[[sqlite3.Connection], T]) -> T | Unclear:
        try:
            db = self._file.open()
            db.execute("BEGIN")
            try:
                return read(db)
            finally:
                db.execute("ROLLBACK")
        except sqlite3.Error as error:
            self._file.close()
            return Unclear(f"{self._file.path.name}: {error}")


def _seq(db: sqlite3.Connection, key: CursorKey) -> int:
    row = db.execute(_SEQ, (key.node, key.epoch, key.lane)).fetchone()
    return int(row[0]) if row is not None else 0


def _bounds(collection: str, after: str | None) -> tuple[str, str, str]:
    return f"{collection}/{after or ''}", f"{collection}0", collection


def _mark(version: int) -> str:
    """A version as text that sorts as the number does."""
    return f"{version:020d}"


def _copies(rows: Iterable[tuple[str, bytes | None, int]]) -> list[Copy]:
    """The rows as copies; what another program wrote and is no document is named in the log and left out."""
    copies = []
    for path, data, version in rows:
        try:
            copies.append(
                Copy(path, canonical_document(data), _mark(version)) if data is not None else Copy(path, None, "")
            )
        except Problem as problem:
            _log.warning("the document %s, as upstream holds it, is none: %s", shown(path), problem.detail)
    return copies
