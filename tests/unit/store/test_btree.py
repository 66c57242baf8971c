"""Rows out of pages: all of them as SQLite has them, and without the pages that are missing."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from deora.store.btree import Reading

COUNT = 1000


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Two tables with values of every size, one of them without rowids; some rows deleted, so that pages are free."""
    path = tmp_path_factory.mktemp("btree") / "t.db"
    dice = random.Random(5)
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, number INTEGER, text TEXT, data BLOB)")
        db.execute("CREATE TABLE keyed (key TEXT PRIMARY KEY, number INTEGER, data BLOB) WITHOUT ROWID")
        for number in range(COUNT):
            size = dice.choice([0, 10, 300, 300, 300, 6000, 30000]) if number % 10 == 0 else 50
            value = dice.choice([None, 0, 1, -1, 200, -40000, 1 << 22, 1 << 30, 1 << 46, -(1 << 62)])
            db.execute("INSERT INTO rows VALUES (?, ?, ?, ?)", (number - 5, value, "ü" * size, dice.randbytes(size)))
            db.execute("INSERT INTO keyed VALUES (?, ?, ?)", (f"k{number}", value, dice.randbytes(size)))
        db.execute("DELETE FROM rows WHERE id BETWEEN 300 AND 500")
        db.commit()
    return path.read_bytes()


def selected(file: bytes, sql: str) -> list[Any]:
    with closing(sqlite3.connect(":memory:")) as db:
        db.deserialize(file)
        return db.execute(sql).fetchall()


def reading(file: bytes, missing: frozenset[int] = frozenset()) -> Reading:
    def page(number: int) -> bytes | None:
        data = file[(number - 1) * 4096 : number * 4096]
        return None if number in missing or not data else data

    return Reading(page, 4096)


def root_of(file: bytes, name: str) -> int:
    [(root,)] = selected(file, f"SELECT rootpage FROM sqlite_master WHERE name = '{name}'")
    return int(root)


def test_rows_are_those_that_sqlite_reads(file: bytes) -> None:
    read = reading(file)
    found = sorted((rowid, *values[1:]) for rowid, values in read.rows(root_of(file, "rows")))
    assert found == selected(file, "SELECT * FROM rows ORDER BY id")
    assert (read.lost_pages, read.lost_cells) == (set(), 0)


def test_rows_of_a_table_without_rowids(file: bytes) -> None:
    found = sorted(values for _, values in reading(file).rows(root_of(file, "keyed")))
    assert found == selected(file, "SELECT * FROM keyed ORDER BY key")


def test_the_schema_is_a_table_too(file: bytes) -> None:
    assert {values[1] for _, values in reading(file).rows(1)} == {"rows", "keyed"}


def test_a_page_less_costs_only_its_rows(file: bytes) -> None:
    pages = len(file) // 4096
    whole = dict(reading(file).rows(root_of(file, "rows")))
    for missing in random.Random(6).sample(range(2, pages + 1), 30):
        read = reading(file, frozenset({missing}))
        found = dict(read.rows(root_of(file, "rows")))
        assert all(whole[rowid] == values for rowid, values in found.items())
        assert (len(found) < len(whole)) == (missing in read.lost_pages)


def test_leaves_to_which_the_way_is_lost_are_found_but_not_free_ones(file: bytes) -> None:
    root = root_of(file, "rows")
    whole = dict(reading(file).rows(root))
    read = reading(file, frozenset({root}))
    assert list(read.rows(root)) == []
    list(read.rows(root_of(file, "keyed")))
    free = read.free_pages(int.from_bytes(file[32:36], "big"))
    assert free
    found = {}
    for number in range(2, len(file) // 4096 + 1):
        if number not in free:
            found.update(dict(read.leaf_rows(number)))
    assert found == whole


def test_a_list_of_free_pages_that_cannot_be_read_is_none(file: bytes) -> None:
    trunk = int.from_bytes(file[32:36], "big")
    assert reading(file, frozenset({trunk})).free_pages(trunk) is None
    assert reading(file).free_pages(0) == set()


def test_garbage_ends_in_a_count_and_never_in_an_endless_walk(file: bytes) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    dice = random.Random(seed)
    for _ in range(10):
        wrong = bytearray(file)
        for _ in range(30):
            wrong[dice.randrange(len(wrong))] ^= 1 << dice.randrange(8)
        read = reading(bytes(wrong))
        rows = sum(1 for _ in read.rows(root_of(file, "rows")))
        assert rows <= COUNT * 3, f"seed {seed}"
