"""A real PostgreSQL for tests (bench.postgres starts it), and a look at its rows from outside."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
import pytest

from bench import postgres
from bench.postgres import Server, directory
from bench.processes import NotMeasuredError, free_port

__all__ = [
    "Server",
    "applied",
    "directory",
    "documents",
    "execute",
    "fetch",
    "free_port",
    "keep_log",
    "new_database",
    "new_schema",
    "running",
]

_NUMBERS: Final = itertools.count(1)

_LOG: Final = (
    "CREATE TABLE applied (at_s float, batch bigint, path text, writes int, tokens int)",
    """CREATE FUNCTION keep_log() RETURNS trigger LANGUAGE plpgsql AS $$
       DECLARE
         tokens int := jsonb_array_length(NEW.data -> 'log');
       BEGIN
         INSERT INTO applied VALUES (extract(epoch FROM clock_timestamp()), txid_current(), NEW.path,
           tokens - CASE WHEN TG_OP = 'UPDATE' THEN jsonb_array_length(OLD.data -> 'log') ELSE 0 END, tokens);
         RETURN NULL;
       END $$""",
    """CREATE TRIGGER keep_log AFTER INSERT OR UPDATE ON deora_documents FOR EACH ROW
       WHEN (NEW.data ? 'log') EXECUTE FUNCTION keep_log()""",
)


@contextmanager
def running() -> Iterator[Server]:
    """A server of one's own that does not sync, gone afterwards. Skips the test where none is installed."""
    try:
        postgres.binaries()
    except NotMeasuredError as reason:
        pytest.skip(str(reason))
    with postgres.running("fsync=off") as server:
        yield server


async def new_database(server: Server) -> str:
    """The URL of an empty database."""
    name = f"test{next(_NUMBERS)}"
    await execute(server.url(), f"CREATE DATABASE {name}")
    return server.url(name)


async def new_schema(server: Server) -> str:
    """The URL of an empty schema; quicker than a database."""
    name = f"test{next(_NUMBERS)}"
    await execute(server.url(), f"CREATE SCHEMA {name}")
    return f"{server.url()}?search_path={name}"


async def execute(url: str, *statements: str) -> None:
    """Runs statements, each by itself."""
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def fetch(url: str, query: str, *arguments: Any) -> list[Any]:
    """The rows of a query."""
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(query, *arguments))
    finally:
        await connection.close()


def documents(url: str, collection: str | None = None) -> dict[str, Any]:
    """Path -> data of every document of the generic table, or of one collection of it."""
    query = "SELECT path, data::text FROM deora_documents WHERE $1::text IS NULL OR collection = $1"
    return {path: json.loads(data) for path, data in asyncio.run(fetch(url, query, collection))}


@dataclass(frozen=True, slots=True)
class Applied:
    """One document as one batch left it. `writes`: how many of its tokens are the batch's; `tokens`: all of them."""

    at_s: float
    batch: int
    path: str
    writes: int
    tokens: int


def keep_log(url: str) -> None:
    """From now on the server itself logs what is applied to the documents of tills; DEORA's tables must be there."""
    asyncio.run(execute(url, *_LOG))


def applied(url: str) -> list[Applied]:
    """That log, oldest first. The clock is the server's, which is this machine's."""
    return [Applied(*row) for row in asyncio.run(fetch(url, "SELECT * FROM applied ORDER BY at_s"))]
