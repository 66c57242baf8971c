"""Snapshot reads on a connection: documents and the lane's cursor from one REPEATABLE READ transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from deora.documents.paths import split
from deora.documents.wording import shown
from deora.errors import DeoraError
from deora.upstream.base import Copy, CursorKey, Names, Page
from deora.upstream.postgres import rows
from deora.upstream.postgres.catalog import Table, id_fault
from deora.upstream.postgres.jsonb import from_jsonb
from deora.upstream.postgres.statements import (
    LAST_VERSION,
    LIST_CHANGES,
    LIST_DOCUMENTS,
    LIST_NAMES,
    LOWEST_HELD,
    READ_CURSOR,
    READ_DOCUMENTS,
    bounds,
    cursor_arguments,
    mark_of,
    next_of,
    since_of,
)
from deora.upstream.postgres.tables import Tables

_SNAPSHOT: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY"


class UnreadableError(Exception):
    """A document, as upstream holds it, is none. Another program wrote it."""


class Reading:
    """Reads on one connection. Its methods raise UnreadableError, SetupError, and what the connection raises."""

    def __init__(self, connection: Any, tables: Tables) -> None:
        self._connection = connection
        self._tables = tables

    async def documents(self, key: CursorKey, paths: Sequence[str]) -> Page:
        """One copy for each path."""
        generic = [path for path in paths if not self._tables.is_mapped(split(path)[0])]
        mapped: dict[str, list[str]] = {}
        for path in paths:
            collection, name = split(path)
            if self._tables.is_mapped(collection):
                mapped.setdefault(collection, []).append(name)
        found: dict[str, Copy] = {}
        async with self._snapshot():
            seq = await self._seq(key)
            if generic:
                for path, text, version in await self._connection.fetch(READ_DOCUMENTS, generic):
                    found[path] = _copy(path, text, version)
            for collection, names in mapped.items():
                table = await self._table(collection)
                known = [name for name in names if id_fault(table, name) is None]
                for row in await self._connection.fetch(rows.read_sql(table), known):
                    copy = _copy_of_row(table, collection, row)
                    found[copy.path] = copy
        return Page(seq, [found.get(path) or Copy(path, None, "") for path in paths])

    async def list(self, key: CursorKey, collection: str, after: str | None, limit: int) -> Page:
        """A part of a collection by id."""
        async with self._snapshot():
            seq = await self._seq(key)
            if self._tables.is_mapped(collection):
                table = await self._table(collection)
                found = await self._connection.fetch(rows.list_sql(table), after or "", limit + 1)
                copies = [_copy_of_row(table, collection, row) for row in found]
            else:
                found = await self._connection.fetch(LIST_DOCUMENTS, *bounds(collection, after), limit + 1)
                copies = [_copy(*row) for row in found]
        return Page(seq, copies[:limit], split(copies[limit - 1].path)[1] if len(copies) > limit else None)

    async def changes(self, key: CursorKey, collection: str, since: str, limit: int) -> Page:
        """A part of a collection by its changes."""
        if self._tables.is_mapped(collection):
            return await self._changes_of_table(key, collection, since, limit)
        # Before the snapshot: what took a number meanwhile is beyond the limit.
        last = await self._connection.fetchval(LAST_VERSION)
        held = await self._connection.fetchval(LOWEST_HELD)
        stable = last if held is None else min(last, held)
        async with self._snapshot():
            seq = await self._seq(key)
            found = await self._connection.fetch(LIST_CHANGES, collection, *since_of(since), stable, limit + 1)
        following = next_of(found[limit - 1]["version"], found[limit - 1]["path"]) if len(found) > limit else None
        return Page(seq, [_copy(*row) for row in found[:limit]], following)

    async def _changes_of_table(self, key: CursorKey, collection: str, since: str, limit: int) -> Page:
        async with self._snapshot():
            seq = await self._seq(key)
            table = await self._table(collection)
            found = await self._connection.fetch(rows.changes_sql(table), *since_of(since), limit + 1)
        following = next_of(found[limit - 1]["version"], found[limit - 1]["id"]) if len(found) > limit else None
        return Page(seq, [_copy_of_row(table, collection, row) for row in found[:limit]], following)

    async def names(self, collection: str, after: str | None, limit: int) -> Names:
        """A part of a collection's paths by id."""
        if self._tables.is_mapped(collection):
            table = await self._table(collection)
            found = await self._connection.fetch(rows.names_sql(table), after or "", limit + 1)
            paths = [f"{collection}/{row['id']}" for row in found]
        else:
            found = await self._connection.fetch(LIST_NAMES, *bounds(collection, after), limit + 1)
            paths = [row["path"] for row in found]
        return Names(paths[:limit], split(paths[limit - 1])[1] if len(paths) > limit else None)

    async def _table(self, collection: str) -> Table:
        return (await self._tables.get(self._connection, [collection]))[collection]

    async def _seq(self, key: CursorKey) -> int:
        row = await self._connection.fetchrow(READ_CURSOR, *cursor_arguments(key))
        return 0 if row is None else int(row["seq"])

    @asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[None]:
        """The first statement within takes the snapshot that all share."""
        await self._connection.execute(_SNAPSHOT)
        try:
            yield
        finally:
            if not self._connection.is_closed():
                await self._connection.execute("ROLLBACK")


def _copy(path: str, text: str, version: int) -> Copy:
    try:
        return Copy(path, from_jsonb(text), mark_of(version))
    except DeoraError as error:
        raise UnreadableError(f"the document {shown(path)}, as upstream holds it, is none: {error.message}") from None


def _copy_of_row(table: Table, collection: str, row: Any) -> Copy:
    path = f"{collection}/{row['id']}"
    try:
        return Copy(path, rows.document(table, row["data"]), mark_of(row["version"]))
    except DeoraError as error:
        raise UnreadableError(f"the row of {shown(path)} is no document: {error.message}") from None
