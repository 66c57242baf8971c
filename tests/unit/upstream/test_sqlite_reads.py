"""Reading the embedded upstream, where the contract suite does not look: others' mistakes, and a broken file."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import pytest

from deora.upstream.base import Copy, CursorKey, Names, Page, Unclear
from deora.upstream.sqlite_file import SqliteFile
from deora.upstream.sqlite_reads import SqliteReads

T = TypeVar("T")
KEY = CursorKey("box1", "epoch1", 0)
CALLS: list[Callable[[SqliteReads], Awaitable[object]]] = [
    lambda reads: reads.read_documents(KEY, ["a/1"]),
    lambda reads: reads.list_documents(KEY, "a", None, 10),
    lambda reads: reads.list_changes(KEY, "a", "", 10),
    lambda reads: reads.list_names("a", None, 10),
]


def using(path: Path, scenario: Callable[[SqliteReads], Awaitable[T]]) -> T:
    """Runs a scenario and closes."""

    async def whole() -> T:
        reads = SqliteReads(path, 0.05)
        try:
            return await scenario(reads)
        finally:
            await reads.close()

    return asyncio.run(whole())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file to which another program has written, in its own way."""
    file = SqliteFile(tmp_path / "upstream.db", 1.0)
    for name, data in (("1", '{ "b": 1,\n "a": 2 }'), ("2", "[1]"), ("3", "{"), ("4", '{"n": NaN}'), ("5", "{}")):
        file.open().execute("INSERT INTO deora_documents VALUES (?, 'a', ?, ?, 0, '')", (f"a/{name}", name, data))
    file.close()
    return file.path


def test_what_is_no_document_is_left_out_and_the_rest_is_canonical(path: Path) -> None:
    good = [Copy("a/1", b'{"a":2,"b":1}', "0" * 19 + "1"), Copy("a/5", b"{}", "0" * 19 + "5")]

    async def scenario(reads: SqliteReads) -> None:
        assert await reads.list_documents(KEY, "a", None, 10) == Page(0, good)
        assert await reads.list_changes(KEY, "a", "", 10) == Page(0, good)
        paths = [f"a/{number}" for number in range(1, 7)]
        assert await reads.read_documents(KEY, paths) == Page(0, [*good, Copy("a/6", None, "")])
        assert await reads.list_names("a", None, 10) == Names(paths[:5])

    using(path, scenario)


@pytest.mark.parametrize("call", CALLS)
def test_a_file_that_cannot_be_opened_is_a_passing_trouble(
    tmp_path: Path, call: Callable[[SqliteReads], Awaitable[object]]
) -> None:
    path = tmp_path / "disk2" / "upstream.db"

    async def scenario(reads: SqliteReads) -> None:
        assert await call(reads) == Unclear("upstream.db: unable to open database file")
        path.parent.mkdir()
        assert not isinstance(await call(reads), Unclear)

    using(path, scenario)


@pytest.mark.parametrize("call", CALLS)
def test_a_file_that_a_batch_is_written_to_can_be_read(
    path: Path, call: Callable[[SqliteReads], Awaitable[object]]
) -> None:
    async def scenario(reads: SqliteReads) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            db.execute("UPDATE deora_documents SET data = '{}'")
            assert not isinstance(await call(reads), Unclear)

    using(path, scenario)
