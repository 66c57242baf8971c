"""Reads of the store's file, on a real file with real threads."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from deora.worker.reader import Reader, Stored
from tests.fakes.store import StoreFile, set_

COUNT = "SELECT count(*) FROM documents"


@pytest.fixture
def store(tmp_path: Path) -> StoreFile:
    return StoreFile(tmp_path / "store.db")


def read(store: StoreFile, talk: Callable[[Reader], Awaitable[None]]) -> None:
    """Runs `talk` with a reader of the store's file; no thread is left afterwards."""
    before = set(threading.enumerate())

    async def main() -> None:
        reader = Reader(store.path)
        await reader.open()
        try:
            await talk(reader)
        finally:
            await reader.close()

    asyncio.run(main())
    store.close()
    assert_no_thread_is_left(before)


def assert_no_thread_is_left(before: set[threading.Thread]) -> None:
    for thread in set(threading.enumerate()) - before:
        thread.join(5)  # it has said its last word, and may be on its way out
        assert not thread.is_alive()


def test_a_document(store: StoreFile) -> None:
    async def talk(reader: Reader) -> None:
        assert tuple(await reader.stored("a", "b")) == (None,) * 8
        answer = store.commit(set_("a/b", {"n": 1}))
        now_us = store.clock.wall_us()
        assert await reader.stored("a", "b") == Stored(answer.version, now_us, now_us, 1, 0, 0, b'{"n":1}', None)
        store.clock.advance(5)
        store.deliver()
        store.call("replica", "primary", "a", "sqlite:1")
        store.call("synced", "primary", "a", "sqlite:1", "7")
        settled_us = store.clock.wall_us()
        expected = Stored(answer.version, now_us, now_us, 0, 0, settled_us, b'{"n":1}', settled_us)
        assert await reader.stored("a", "b") == expected
        assert (await reader.stored("a", "c")).synced_us == settled_us

    read(store, talk)


def test_a_read_sees_what_was_committed_before_it_began(store: StoreFile) -> None:
    async def talk(reader: Reader) -> None:
        for number in range(1, 30):
            store.commit(set_(f"a/{number}", {}))
            [[seen], [again]] = await asyncio.gather(reader.rows(COUNT), reader.rows(COUNT))
            assert seen == again == (number,)

    read(store, talk)


def test_nothing_can_be_written(store: StoreFile) -> None:
    async def talk(reader: Reader) -> None:
        for sql in ("DELETE FROM documents", "PRAGMA user_version = 7", "CREATE TABLE t (x)"):
            with pytest.raises(sqlite3.OperationalError, match=r"readonly|query"):
                await reader.rows(sql)
        with pytest.raises(sqlite3.OperationalError):
            await reader.rows("nonsense")
        assert await reader.rows(COUNT) == [(0,)]

    read(store, talk)


def test_no_read_transaction_is_held(store: StoreFile) -> None:
    async def talk(reader: Reader) -> None:
        for number in range(10):
            store.commit(set_(f"a/{number}", {"text": "x" * 1000}))
            await reader.rows("SELECT * FROM documents")
            # Also of a read that ended before its last row.
            cut = await reader.rows_within("SELECT view FROM documents", (), column=0, max_bytes=1)
            assert cut.cut == (number > 0)
        [(busy, _, _)] = store.db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        assert busy == 0
        assert store.path.with_name("store.db-wal").stat().st_size == 0

    read(store, talk)


@pytest.mark.parametrize(
    ("max_bytes", "count", "cut"), [(0, 1, True), (9, 1, True), (10, 1, True), (20, 2, True), (30, 3, False)]
)
def test_rows_until_they_are_too_many_bytes(store: StoreFile, max_bytes: int, count: int, cut: bool) -> None:
    async def talk(reader: Reader) -> None:
        for number in range(3):
            store.commit(set_(f"a/{number}", {"a": "1234"[: 10 - len('{"a":""}')]}))
        sql = "SELECT name, view FROM documents ORDER BY name"
        rows = await reader.rows_within(sql, (), column=1, max_bytes=max_bytes)
        assert ([row[0] for row in rows], rows.cut) == ([str(number) for number in range(count)], cut)
        none = await reader.rows_within(f"{sql} LIMIT 0", (), column=1, max_bytes=max_bytes)
        assert (none, none.cut) == ([], False)

    read(store, talk)


def test_while_there_is_no_file_it_says_so_and_leaves_no_thread(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        asyncio.run(Reader(tmp_path / "none.db").open())
    assert_no_thread_is_left(before)
    assert not list(tmp_path.iterdir())


def test_a_closed_reader_says_so(store: StoreFile) -> None:
    async def talk(reader: Reader) -> None:
        await reader.close()
        with pytest.raises(sqlite3.OperationalError, match="closed"):
            await reader.rows(COUNT)

    read(store, talk)


# -- a new store


def test_reopening_follows_a_file_that_was_replaced(store: StoreFile, tmp_path: Path) -> None:
    async def talk(reader: Reader) -> None:
        other = StoreFile(tmp_path / "other.db")
        other.commit(set_("a/b", {}), set_("a/c", {}))
        other.close()
        store.close()
        for name in ("store.db-wal", "store.db-shm"):
            (tmp_path / name).unlink()
        (tmp_path / "other.db").rename(store.path)
        await reader.reopen()
        assert await reader.rows(COUNT) == [(2,)]
        store.open()

    read(store, talk)


def test_no_read_fails_while_it_is_reopened(store: StoreFile) -> None:
    async def talk(reader: Reader) -> None:
        store.commit(set_("a/b", {}))
        ended = asyncio.Event()
        reads = 0

        async def ask() -> None:
            nonlocal reads
            while not ended.is_set():
                assert await reader.rows(COUNT) == [(1,)]
                reads += 1

        async with asyncio.TaskGroup() as group:
            for _ in range(10):
                group.create_task(ask())
            for _ in range(20):
                # Two stores in a row: the second comes before the first is read.
                await asyncio.gather(reader.reopen(), reader.reopen())
            ended.set()
        assert reads > 20

    read(store, talk)


def test_reopening_twice_at_once_leaves_one_connection(store: StoreFile) -> None:
    async def talk(reader: Reader) -> None:
        before = set(threading.enumerate())
        await asyncio.gather(*(reader.reopen() for _ in range(5)))
        deadline = asyncio.get_running_loop().time() + 5
        while len(set(threading.enumerate()) - before) > 1:  # on their way out, or left behind
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0)
        assert await reader.rows(COUNT) == [(0,)]

    read(store, talk)


def test_where_it_cannot_be_reopened_reads_say_so_and_do_not_hang(store: StoreFile, tmp_path: Path) -> None:
    async def talk(reader: Reader) -> None:
        store.path.rename(tmp_path / "away.db")
        reopening = asyncio.ensure_future(reader.reopen())
        await asyncio.sleep(0)
        with pytest.raises(sqlite3.OperationalError, match="closed"):
            await reader.rows(COUNT)
        with pytest.raises(sqlite3.OperationalError, match="unable to open"):
            await reopening
        (tmp_path / "away.db").rename(store.path)
        await reader.reopen()
        assert await reader.rows(COUNT) == [(0,)]

    read(store, talk)
