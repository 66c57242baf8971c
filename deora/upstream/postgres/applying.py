"""A batch on a connection: one transaction that moves the cursor first and then writes.

The whole batch goes in few statements. Where PostgreSQL refuses one of them, the batch is run again in parts behind
savepoints, to find the first entry that is refused, with PostgreSQL's own words; in the end entry by entry and write by
write in the batch's order, so that an entry is never refused for the way it was grouped.

The parts are halves, and halves of these: each costs three or four round trips, and there are 18 of them for one entry
of 500. Where PostgreSQL shows the row that it refuses, the entries that write this row are run alone at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, Final

import asyncpg

from deora.documents.apply import apply
from deora.documents.paths import split
from deora.documents.wording import shown
from deora.documents.writes import Write, decode_writes
from deora.errors import DeoraError
from deora.upstream.base import Applied, Delivery, Moved
from deora.upstream.postgres.errors import Kind, kind_of_code, worded
from deora.upstream.postgres.jsonb import from_jsonb
from deora.upstream.postgres.mapping import (
    EntryFault,
    Group,
    delete_sql,
    groups_of,
    set_sql,
    update_sql,
    upsert_sql,
)
from deora.upstream.postgres.statements import (
    DELETE,
    INSERT_FRESH,
    LOCK_DOCUMENTS,
    UPSERT,
    carry,
    move,
    rows_of,
    saved,
)
from deora.upstream.postgres.tables import SetupError, Tables

_BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"

# More entries than these that write a refused row are looked for by halving.
SUSPECTS: Final = 4

Entries = Sequence[tuple[int, Sequence[Write]]]


class RacedError(Exception):
    """Another one wrote the same documents at the same time; nothing was applied. At once again."""


class RefusedError(Exception):
    """Upstream refuses an entry; nothing was applied. `grouped`: perhaps only for the way it was grouped.

    `sqlstate` and `detail` are PostgreSQL's, empty where the refusal is not its own. `unknown_field`: the catalog may
    have changed.
    """

    def __init__(
        self,
        index: int | None,
        message: str,
        *,
        sqlstate: str = "",
        detail: str = "",
        grouped: bool = False,
        unknown_field: bool = False,
    ) -> None:
        super().__init__(message)
        self.index = index
        self.message = message
        self.sqlstate = sqlstate
        self.detail = detail
        self.grouped = grouped
        self.unknown_field = unknown_field


def entries_of(delivery: Delivery) -> list[tuple[int, list[Write]]]:
    """The writes of each payload. Raises RefusedError for one that cannot be read."""
    entries = []
    for index, payload in enumerate(delivery.payloads):
        try:
            entries.append((index, decode_writes(payload)))
        except DeoraError as error:
            raise RefusedError(index, error.message) from None
    return entries


def parts_of(entries: Entries, detail: str) -> list[Entries]:
    """The first parts in which a refused batch is run again: those entries alone that write the row which PostgreSQL
    shows in an error's detail ("Failing row contains (orders/o1, orders, o1, ..)", in the server's language), and what
    is between them. Only ever a hint: a part that is refused is halved all the same.
    """
    row = set(detail.partition("(")[2].rpartition(")")[0].split(", "))
    alone = [
        place
        for place, (_, writes) in enumerate(entries)
        if any(write.path in row or split(write.path)[1] in row for write in writes)
    ]
    cuts = sorted({0, len(entries), *alone, *(place + 1 for place in alone)}) if len(alone) <= SUSPECTS else []
    return [entries[start:end] for start, end in pairwise(cuts)] or [entries]


class Batch:
    """One batch on one connection. `tables` knows which collections are mapped."""

    def __init__(self, connection: Any, tables: Tables, delivery: Delivery, entries: Entries) -> None:
        self._connection = connection
        self._tables = tables
        self._delivery = delivery
        self._entries = entries

    async def apply(self) -> Applied | Moved:
        """Applies the batch. Raises RefusedError, RacedError, SetupError (nothing is applied), and asyncpg's errors."""
        try:
            return await self._transaction(self._whole)
        except RefusedError as refused:
            if not refused.grouped:
                raise
            parts = parts_of(self._entries, refused.detail)
        return await self._transaction(lambda: self._in_parts(parts))

    async def _transaction(self, work: Callable[[], Awaitable[None]]) -> Applied | Moved:
        await self._connection.execute(_BEGIN)
        try:
            statement, arguments = move(self._delivery)
            if rows_of(await self._connection.execute(statement, *arguments)) != 1:
                await self._connection.execute("ROLLBACK")
                return Moved()
            for carried in self._delivery.carried:
                statement, arguments = carry(self._delivery, carried)
                if rows_of(await self._connection.execute(statement, *arguments)) != 1:
                    await self._connection.execute("ROLLBACK")
                    return Moved()
            if self._entries:
                await work()
            with self._refusals(None, Kind.DOCUMENT):
                # A deferred constraint speaks only now, and names no entry.
                await self._connection.execute("COMMIT")
        except (RefusedError, RacedError, SetupError, asyncpg.PostgresError) as error:
            if not self._connection.is_closed():
                await self._connection.execute("ROLLBACK")
            if isinstance(error, asyncpg.PostgresError) and kind_of_code(error.sqlstate or "") is Kind.RACE:
                raise RacedError from error
            raise
        return Applied()

    async def _whole(self) -> None:
        # One write alone is not grouped with anything.
        await self._run(self._entries, strict=sum(len(writes) for _, writes in self._entries) == 1)

    async def _in_parts(self, ahead: list[Entries]) -> None:
        parts = ahead[::-1]
        while parts:
            part = parts.pop()
            await self._connection.execute("SAVEPOINT part")
            try:
                await self._run(part, strict=len(part) == 1)
            except RefusedError as refused:
                if len(part) == 1 or not refused.grouped:
                    raise
                await self._connection.execute("ROLLBACK TO SAVEPOINT part")
                half = len(part) // 2
                parts += [part[half:], part[:half]]

    async def _run(self, entries: Entries, *, strict: bool) -> None:
        """Writes some entries. `strict`: one entry, its writes one by one in their order."""
        generic: list[tuple[int, Write]] = []
        mapped: list[tuple[int, Write]] = []
        for index, writes in entries:
            for write in writes:
                (mapped if self._tables.is_mapped_path(write.path) else generic).append((index, write))
        index = entries[0][0]
        if generic:
            with self._refusals(index, Kind.DOCUMENT, grouped=not strict):
                await self._write_generic(generic)
        if mapped:
            with self._refusals(index, Kind.DOCUMENT, Kind.STALE, Kind.SETUP, grouped=not strict):
                await self._write_mapped(mapped, strict=strict)

    @contextmanager
    def _refusals(self, index: int | None, *kinds: Kind, grouped: bool = False) -> Iterator[None]:
        """Makes PostgreSQL's errors of these kinds refusals of an entry."""
        try:
            yield
        except asyncpg.InvalidCachedStatementError as error:
            # A table was altered since the statement was prepared; asyncpg prepares it anew.
            raise RacedError from error
        except asyncpg.PostgresError as error:
            code = error.sqlstate or ""
            if kind_of_code(code) not in kinds:
                raise
            message = worded(code, error.args[0], error.detail)
            raise RefusedError(index, message, sqlstate=code, detail=error.detail or "", grouped=grouped) from error

    # -- the generic table

    async def _write_generic(self, writes: Sequence[tuple[int, Write]]) -> None:
        views, absent = await self._read(writes)
        for index, write in writes:
            path = write.path
            try:
                views[path] = apply(views.get(path), write)
            except DeoraError as error:
                raise RefusedError(index, error.message) from None
            except (ValueError, TypeError, AttributeError) as error:
                # What another program has put into the table; one document must not hold up all others.
                message = f"the document {shown(path)}, as upstream holds it, is none: {error}"
                raise RefusedError(index, message) from None
        await self._save(views, absent)

    async def _read(self, writes: Sequence[tuple[int, Write]]) -> tuple[dict[str, bytes | None], set[str]]:
        """What upstream holds of the documents whose writes depend on it, locked, and those that it does not hold."""
        first: dict[str, tuple[int, str]] = {}
        for index, write in writes:
            first.setdefault(write.path, (index, write.op))
        wanted = sorted(path for path, (_, op) in first.items() if op in ("update", "create"))
        if not wanted:
            return {}, set()
        views: dict[str, bytes | None] = {}
        for path, text in await self._connection.fetch(LOCK_DOCUMENTS, wanted):
            try:
                views[path] = from_jsonb(text)
            except DeoraError as error:
                message = f"the document {shown(path)}, as upstream holds it, is none: {error.message}"
                raise RefusedError(first[path][0], message) from None
        return views, set(wanted) - views.keys()

    async def _save(self, views: dict[str, bytes | None], absent: set[str]) -> None:
        """Writes what has become of the documents. Raises RacedError where an absent one has appeared meanwhile."""
        gone = sorted(path for path, data in views.items() if data is None and path not in absent)
        fresh = [(path, data) for path, data in views.items() if data is not None and path in absent]
        kept = [(path, data) for path, data in views.items() if data is not None and path not in absent]
        if kept:
            await self._connection.execute(UPSERT, saved(kept))
        if fresh:
            status = await self._connection.execute(INSERT_FRESH, saved(fresh))
            if rows_of(status) != len(fresh):
                raise RacedError
        if gone:
            await self._connection.execute(DELETE, gone)

    # -- mapped tables

    async def _write_mapped(self, writes: Sequence[tuple[int, Write]], *, strict: bool) -> None:
        collections = {split(write.path)[0] for _, write in writes}
        tables = await self._tables.get(self._connection, collections)
        try:
            groups = groups_of(tables, writes, strict=strict)
        except EntryFault as fault:
            raise RefusedError(fault.index, fault.message, unknown_field=fault.unknown_field) from None
        for group in groups:
            await self._write_group(group, strict=strict)

    async def _write_group(self, group: Group, *, strict: bool) -> None:
        op = group.shape.op
        if op == "delete":
            await self._connection.execute(delete_sql(group.table), [row.id for row in group.rows])
        elif op == "update":
            await self._update(group, strict=strict)
        else:
            await self._connection.execute(set_sql(group), group.arguments())

    async def _update(self, group: Group, *, strict: bool) -> None:
        sql, names = update_sql(group)
        found = await self._connection.fetch(sql, group.arguments(), *([names] if names else []))
        missing = {row.id: row for row in group.rows}
        for (ident,) in found:
            missing.pop(ident, None)
        if not missing:
            return
        if not group.shape.upsert:
            row = next(iter(missing.values()))
            message = f"the document {shown(row.path)} does not exist, so it cannot be updated"
            raise RefusedError(row.index, message, grouped=not strict)
        sql, names = upsert_sql(group)
        status = await self._connection.execute(sql, group.arguments(missing), *([names] if names else []))
        if rows_of(status) != len(missing):
            raise RacedError
