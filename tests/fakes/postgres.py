"""A real PostgreSQL for tests (bench.postgres starts it), and a look at its rows from outside."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import asyncpg
import pytest

from bench import postgres
from bench.postgres import Server, directory
from bench.processes import NotMeasuredError, free_port

__all__ = ["Server", "directory", "execute", "fetch", "free_port", "new_database", "new_schema", "running"]

_NUMBERS: Final = itertools.count(1)


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
