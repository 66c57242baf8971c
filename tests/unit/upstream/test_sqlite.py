"""The file upstream, beside the contract (tests/contracts): its tables, and what a file can do to it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import msgpack
import pytest

from deora.documents.writes import encode_writes
from deora.upstream.base import Applied, Cursor, CursorKey, Delivery, Moved, Outcome, Refused, Unclear
from deora.upstream.sqlite import SqliteUpstream
from tests.fakes.store import delete, set_, update

T = TypeVar("T")
KEY = CursorKey("box1", "epoch1", 0)


def batch(number: int, *writes: Any) -> Delivery:
    """The batch `b<number>`, behind `b<number - 1>`, an entry for each write."""
    before = f"b{number - 1}" if number > 1 else ""
    return Delivery(KEY, number - 1, before, f"b{number}", b"", [encode_writes([write]) for write in writes])


def using(path: Path, scenario: Callable[[SqliteUpstream], Awaitable[T]]) -> T:
    """Runs a scenario with a client that does not wait for locks, and closes it."""

    async def whole() -> T:
        upstream = SqliteUpstream(path, busy_timeout_s=0.0)
        try:
            return await scenario(upstream)
        finally:
            await upstream.close()

    return asyncio.run(whole())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "upstream.db"


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another program writes to the file."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield
        db.execute("ROLLBACK")


def rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute(sql).fetchall()


def test_the_tables_are_those_of_the_contract(path: Path) -> None:
    async def scenario(upstream: SqliteUpstream) -> None:
        assert await upstream.apply(batch(1, set_("orders/o1/items/i1", {"b": 1, "a": "ü"}))) == Applied()

    using(path, scenario)
    [(updated_at,)] = rows(path, "SELECT updated_at FROM deora_documents")
    assert rows(path, "SELECT path, collection, id, data, typeof(data), version FROM deora_documents") == [
        ("orders/o1/items/i1", "orders/o1/items", "i1", '{"a":"ü","b":1}', "text", 1)
    ]
    assert updated_at[10] == "T"
    assert updated_at[-1] == "Z"
    assert rows(path, "SELECT node, epoch, lane, seq, batch_id, taken_by FROM deora_cursor") == [
        ("box1", "epoch1", 0, 1, "b1", None)
    ]


def test_versions_grow_with_each_written_document(path: Path) -> None:
    async def scenario(upstream: SqliteUpstream) -> None:
        await upstream.apply(batch(1, set_("a/1", {}), set_("a/2", {}), set_("a/1", {"n": 1})))
        await upstream.apply(batch(2, update("a/1", {"n": 2}), set_("a/3", {})))

    using(path, scenario)
    versions = dict(rows(path, "SELECT path, version FROM deora_documents"))
    assert versions["a/2"] < versions["a/1"] < versions["a/3"]


def test_sqlites_json_functions_can_read_the_documents(path: Path) -> None:
    using(path, lambda upstream: upstream.apply(batch(1, set_("a/1", {"guest": {"name": "Zoë"}}))))
    assert rows(path, "SELECT data ->> '$.guest.name' FROM deora_documents") == [("Zoë",)]


@pytest.mark.parametrize("call", ["apply", "read"])
def test_a_file_that_cannot_be_opened_is_a_passing_trouble(tmp_path: Path, call: str) -> None:
    path = tmp_path / "disk2" / "upstream.db"

    async def scenario(upstream: SqliteUpstream) -> None:
        for _ in range(3):
            outcome = await (upstream.read_cursor(KEY) if call == "read" else upstream.apply(batch(1, set_("a/1", {}))))
            assert outcome == Unclear("upstream.db: unable to open database file")
        path.parent.mkdir()
        assert await upstream.apply(batch(1, set_("a/1", {}))) == Applied()

    using(path, scenario)


def test_what_is_no_database_is_a_passing_trouble_and_is_left_alone(path: Path) -> None:
    path.write_bytes(b"a letter to the landlord\n" * 100)

    async def scenario(upstream: SqliteUpstream) -> None:
        for outcome in (await upstream.read_cursor(KEY), await upstream.apply(batch(1, set_("a/1", {})))):
            assert isinstance(outcome, Unclear)
            assert outcome.message.startswith("upstream.db is damaged: file is not a database.")

    using(path, scenario)
    assert path.read_bytes().startswith(b"a letter")


def test_a_locked_file_is_a_passing_trouble_and_leaves_nothing(path: Path) -> None:
    async def scenario(upstream: SqliteUpstream) -> list[Outcome]:
        outcomes = [await upstream.apply(batch(1, set_("a/1", {"n": 1})))]
        with locked(path):
            outcomes.append(await upstream.apply(batch(2, update("a/1", {"n": {"$increment": 1}}))))
            assert await upstream.read_cursor(KEY) == Cursor(1, "b1", b"")
        outcomes.append(await upstream.apply(batch(2, update("a/1", {"n": {"$increment": 1}}))))
        return [*outcomes, await upstream.apply(batch(2, update("a/1", {"n": {"$increment": 1}})))]

    assert using(path, scenario) == [Applied(), Unclear("upstream.db: database is locked"), Applied(), Moved()]
    assert rows(path, "SELECT data FROM deora_documents") == [('{"n":2}',)]


def test_a_commit_that_fails_is_unclear_and_the_next_call_asks_a_new_connection(path: Path) -> None:
    """A reader's snapshot does not matter; a failing COMMIT does. Here it fails by a deferred constraint."""

    async def scenario(upstream: SqliteUpstream) -> None:
        assert await upstream.apply(batch(1, set_("a/1", {}))) == Applied()
        db = upstream._file.open()
        db.execute("PRAGMA foreign_keys = ON")
        db.execute("CREATE TABLE strict (path TEXT REFERENCES deora_documents (path) DEFERRABLE INITIALLY DEFERRED)")
        db.execute("INSERT INTO strict VALUES ('a/1')")
        outcome = await upstream.apply(batch(2, delete("a/1"), set_("a/2", {})))
        assert outcome == Unclear("upstream.db: FOREIGN KEY constraint failed")
        assert upstream._file.db is None
        assert await upstream.read_cursor(KEY) == Cursor(1, "b1", b"")

    using(path, scenario)
    assert rows(path, "SELECT path FROM deora_documents") == [("a/1",)]


def test_a_file_that_is_deleted_while_it_is_open_gets_no_more_writes(path: Path) -> None:
    """SQLite would go on writing into nothing. The new file has no cursor, so the lane sees that it is another one."""

    async def scenario(upstream: SqliteUpstream) -> None:
        assert await upstream.apply(batch(1, set_("a/1", {}))) == Applied()
        for file in path.parent.iterdir():
            file.unlink()
        assert await upstream.apply(batch(2, set_("a/2", {}))) == Moved()
        assert await upstream.read_cursor(KEY) is None

    using(path, scenario)
    assert rows(path, "SELECT * FROM deora_documents") == []


@pytest.mark.parametrize(
    "payload", [b"", b"\xc1", b"\x91\x01", msgpack.packb([[7]]), msgpack.packb([[2, "a/1", b"x"]])]
)
def test_an_entry_that_cannot_be_read_is_refused_and_not_raised(path: Path, payload: bytes) -> None:
    async def scenario(upstream: SqliteUpstream) -> None:
        await upstream.apply(batch(1, set_("a/1", {})))
        good = encode_writes([set_("a/2", {})])
        outcome = await upstream.apply(Delivery(KEY, 1, "b1", "b2", b"", [good, payload]))
        assert isinstance(outcome, Refused)
        assert outcome.index == 1
        assert outcome.message
        assert await upstream.apply(Delivery(KEY, 1, "b1", "b2", b"", [good])) == Applied()

    using(path, scenario)


@pytest.mark.parametrize("data", ["", "{", "[1]", "1", '"text"', "null"])
def test_what_another_program_wrote_into_a_document_refuses_an_update_and_is_not_raised(path: Path, data: str) -> None:
    async def scenario(upstream: SqliteUpstream) -> None:
        await upstream.apply(batch(1, set_("a/1", {})))
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("UPDATE deora_documents SET data = ?", (data,))
        outcome = await upstream.apply(batch(2, set_("a/2", {}), update("a/1", {"n": {"$increment": 1}})))
        assert isinstance(outcome, Refused)
        assert outcome.index == 1
        assert "'a/1'" in outcome.message
        assert await upstream.apply(batch(2, set_("a/1", {}), set_("a/2", {}))) == Applied()

    using(path, scenario)


def test_the_loop_is_not_blocked(path: Path) -> None:
    """All of SQLite happens in one other thread."""

    async def scenario(upstream: SqliteUpstream) -> set[str]:
        names: set[str] = set()
        plain = upstream._file.open

        def noting() -> sqlite3.Connection:
            names.add(threading.current_thread().name)
            return plain()

        upstream._file.open = noting  # type: ignore[method-assign]
        await asyncio.gather(upstream.read_cursor(KEY), upstream.apply(batch(1, set_("a/1", {}))))
        return names

    [name] = using(path, scenario)
    assert name.startswith("upstream")


def test_closing_leaves_neither_thread_nor_descriptor(path: Path) -> None:
    threads = threading.active_count()
    descriptors = len(os.listdir("/proc/self/fd"))
    using(path, lambda upstream: upstream.apply(batch(1, set_("a/1", {}))))
    for thread in threading.enumerate():
        if thread.name.startswith("upstream"):
            thread.join(5)
    assert threading.active_count() <= threads
    assert len(os.listdir("/proc/self/fd")) <= descriptors


def test_in_a_damaged_file_no_fence_succeeds_either(path: Path) -> None:
    """A fence touches few pages and might. Then the batch would count as refused, and its entries would go dead."""

    async def fill(upstream: SqliteUpstream) -> Outcome:
        return await upstream.apply(batch(1, *[set_(f"bills/{number}", {"n": "x" * 500}) for number in range(100)]))

    assert using(path, fill) == Applied()
    [(root,)] = rows(path, "SELECT rootpage FROM sqlite_master WHERE name = 'deora_documents'")
    with open(path, "r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(bytes(4096))

    async def go_on(upstream: SqliteUpstream) -> list[Outcome]:
        fence = Delivery(KEY, 1, "b1", "fence:b2", b"", [])
        return [await upstream.apply(batch(2, set_("bills/1", {}))), await upstream.apply(fence)]

    refused, fenced = using(path, go_on)
    assert isinstance(refused, Unclear)
    assert "upstream.db is damaged" in refused.message
    assert isinstance(fenced, Unclear)
    assert rows(path, "SELECT seq FROM deora_cursor") == [(1,)]
    path.unlink()

    async def begin_anew(upstream: SqliteUpstream) -> Outcome:
        return await upstream.apply(batch(1, set_("bills/1", {})))

    assert using(path, begin_anew) == Applied()
