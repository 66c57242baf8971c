"""The PostgreSQL upstream: what `deora.upstream.base` asks for, over a pool of connections."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

import asyncpg

from deora.config.database import PostgresUpstream as Settings
from deora.upstream.base import (
    Cursor,
    CursorKey,
    Delivery,
    Failure,
    Names,
    Outcome,
    Page,
    PoolFigures,
    Refused,
    Unauthorised,
    Unclear,
)
from deora.upstream.postgres.applying import Batch, Entries, RacedError, RefusedError, entries_of
from deora.upstream.postgres.connecting import Connector
from deora.upstream.postgres.dsn import place_of
from deora.upstream.postgres.errors import INSUFFICIENT_PRIVILEGE, Kind, failure, kind_of_code
from deora.upstream.postgres.pool import Lease, Pool
from deora.upstream.postgres.reading import Reading, UnreadableError
from deora.upstream.postgres.statements import (
    CREATE,
    FIND_TABLES,
    READ_CURSOR,
    TABLES,
    TAKE_OVER,
    WHO_AND_WHERE,
    cursor_arguments,
    grants,
)
from deora.upstream.postgres.tables import SetupError, Tables

_log = logging.getLogger("deora.upstream.postgres")

# A batch that lost a race (a deadlock, a document that appeared meanwhile, a table altered) is sent again so often.
ATTEMPTS: Final = 4

T = TypeVar("T")


class PostgresUpstream:
    """One database. Connections are made when they are first needed, and so are DEORA's tables.

    Raises ConfigError for a URL that cannot be used.
    """

    def __init__(self, settings: Settings, *, now_s: Callable[[], float] = time.monotonic) -> None:
        self._place = place_of(settings.url, settings.ssl)
        self._pool: Pool[Any] = Pool(Connector(self._place, settings.pool), settings.pool, now_s)
        self._tables = Tables(settings.tables)
        self._ready = False
        self._role = ""
        self._schema: str | None = None

    @property
    def figures(self) -> PoolFigures:
        """The pool as it is now."""
        return self._pool.figures

    async def read_cursor(self, key: CursorKey) -> Cursor | Unclear | Unauthorised | None:
        """See `Upstream.read_cursor`."""

        async def read(connection: Any) -> Cursor | None:
            row = await connection.fetchrow(READ_CURSOR, *cursor_arguments(key))
            return None if row is None else Cursor(*row)

        return await self._on_connection(read)

    async def apply(self, delivery: Delivery) -> Outcome:
        """See `Upstream.apply`."""
        try:
            entries = entries_of(delivery)
        except RefusedError as refused:
            return Refused(refused.message, refused.index)
        return await self._on_connection(lambda connection: self._apply(connection, delivery, entries))

    async def take_over(self, key: CursorKey, taker: str, predecessor: str | None = None) -> Cursor | Failure:
        """See `Upstream.take_over`."""

        async def take(connection: Any) -> Cursor:
            parts = cursor_arguments(key)
            await connection.execute(TAKE_OVER, *parts, taker, predecessor)
            return Cursor(*await connection.fetchrow(READ_CURSOR, *parts))

        return await self._on_connection(take)

    async def read_documents(self, key: CursorKey, paths: list[str]) -> Page | Failure:
        """See `Upstream.read_documents`."""
        return await self._on_connection(lambda connection: Reading(connection, self._tables).documents(key, paths))

    async def list_documents(self, key: CursorKey, collection: str, after: str | None, limit: int) -> Page | Failure:
        """See `Upstream.list_documents`."""
        return await self._on_connection(
            lambda connection: Reading(connection, self._tables).list(key, collection, after, limit)
        )

    async def list_changes(self, key: CursorKey, collection: str, since: str, limit: int) -> Page | Failure:
        """See `Upstream.list_changes`."""
        return await self._on_connection(
            lambda connection: Reading(connection, self._tables).changes(key, collection, since, limit)
        )

    async def list_names(self, collection: str, after: str | None, limit: int) -> Names | Failure:
        """See `Upstream.list_names`."""
        return await self._on_connection(
            lambda connection: Reading(connection, self._tables).names(collection, after, limit)
        )

    async def close(self) -> None:
        """Closes the connections."""
        await self._pool.close()

    # -- inside

    async def _apply(self, connection: Any, delivery: Delivery, entries: Entries) -> Outcome:
        looked_again = False
        for _ in range(ATTEMPTS):
            try:
                return await Batch(connection, self._tables, delivery, entries).apply()
            except RacedError:
                self._tables.forget()
            except RefusedError as refused:
                may_be_stale = refused.unknown_field or kind_of_code(refused.sqlstate) is Kind.STALE
                if may_be_stale and not looked_again:
                    # A column may have been added since the catalog was read.
                    looked_again = True
                    self._tables.forget()
                    continue
                if kind_of_code(refused.sqlstate) is Kind.SETUP:
                    await self._tables.check_grants(connection)
                return Refused(refused.message, refused.index)
        return Unclear(f"{self._place.label}: others write the same documents; tried {ATTEMPTS} times")

    async def _on_connection(self, work: Callable[[Any], Awaitable[T]]) -> T | Unclear | Unauthorised:
        """What `work` returns, with DEORA's tables in place; or why it cannot be done."""
        try:
            async with self._pool.lease() as lease:
                return await self._guarded(lease, work)
        except (SetupError, UnreadableError) as error:
            return Unauthorised(f"{self._place.label}: {error}")
        except asyncpg.PostgresError as error:
            return self._failure(error)
        except asyncpg.ClientConfigurationError as error:
            return Unauthorised(f"{self._place.label}: {error.args[0]}")
        except TimeoutError:
            return Unclear(f"{self._place.label}: no answer in time")
        except (OSError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            return Unclear(f"{self._place.label}: {error}")

    async def _guarded(self, lease: Lease[Any], work: Callable[[Any], Awaitable[T]]) -> T:
        """Runs `work`; marks the connection as broken where an error leaves it in doubt."""
        try:
            if not self._ready:
                await self._make_ready(lease.connection)
            return await work(lease.connection)
        except (SetupError, UnreadableError):
            raise
        except asyncpg.PostgresError as error:
            lease.broken = lease.connection.is_closed() or lease.connection.is_in_transaction()
            if kind_of_code(error.sqlstate or "") is Kind.STALE:
                # Our own tables are not what they were.
                self._ready = False
            raise
        except Exception:
            lease.broken = True
            raise

    def _failure(self, error: Any) -> Failure:
        code = error.sqlstate or ""
        if isinstance(error, asyncpg.InvalidCachedStatementError):
            return Unclear(f"{self._place.label}: a table was altered; asking anew")
        if kind_of_code(code) is Kind.READ_ONLY:
            self._pool.drop_idle()
            self._ready = False  # the next server may be another one
        message = error.args[0]
        if code == INSUFFICIENT_PRIVILEGE and self._ready:
            message = f"{message}; {grants((), self._role, self._schema)}"
        return failure(self._place.label, code, message, several_hosts=len(self._place.hosts) > 1)

    async def _make_ready(self, connection: Any) -> None:
        """Makes what is missing of DEORA's tables. Raises SetupError where the role may not."""
        missing = await self._missing(connection)
        self._role, self._schema = await connection.fetchrow(WHO_AND_WHERE)
        if missing:
            try:
                async with connection.transaction():
                    for statement in CREATE:
                        await connection.execute(statement)
            except (asyncpg.InsufficientPrivilegeError, asyncpg.InvalidSchemaNameError) as error:
                raise SetupError(f"{grants(missing, self._role, self._schema)} ({error.args[0]})") from None
            _log.info("made the tables %s in the schema %s", ", ".join(missing), self._schema)
        self._ready = True

    async def _missing(self, connection: Any) -> Sequence[str]:
        found = {row["name"] for row in await connection.fetch(FIND_TABLES, TABLES)}
        return [name for name in TABLES if name not in found]
