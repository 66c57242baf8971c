"""Rows of a damaged store go over as they were; what is damaged, or deleted long ago, does not."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from deora.errors import StoreError
from deora.store.database import migrations
from deora.store.image import Image, sums_of
from deora.store.salvage import can_be_sent, salvage, schema_version
from deora.store.sums import Sums
from deora.store.wal import Wal
from tests.fakes.store import StoreFile, set_

TABLES = ("documents", "entries", "requests", "upstreams", "identity", "progress")
COUNT = 300


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store that is closed; some of its documents were deleted."""
    store = StoreFile(tmp_path / "store.db")
    for number in range(COUNT):
        store.commit(set_(f"bills/{number}", {"n": number, "text": "x" * (5000 if number % 50 == 0 else 100)}))
    store.db.execute("DELETE FROM documents WHERE id % 3 = 0")
    store.close()
    return store.path


def content(db: sqlite3.Connection, table: str) -> list[tuple[object, ...]]:
    return sorted(db.execute(f"SELECT * FROM {table}"), key=repr)


def root_of(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as db:
        [(root,)] = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchall()
    return int(root)


def spoil(path: Path, page: int) -> Sums:
    """Overwrites a page; returns the sums of before."""
    sums = sums_of(path, 4096)
    with open(path, "r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\x55" * 4096)
    return sums


def test_of_a_sound_file_all_goes_over(path: Path, tmp_path: Path) -> None:
    db, salvaged = salvage(Image(path, None, Wal(), 4096), tmp_path / "new.db")
    with closing(db), closing(sqlite3.connect(path)) as old:
        for table in TABLES:
            assert content(db, table) == content(old, table)
        assert db.execute("PRAGMA user_version").fetchone() == (migrations()[-1][0],)
    assert (salvaged.unclear, salvaged.damaged, salvaged.pages) == (set(), {}, 0)


def test_leaves_are_found_where_a_tables_root_is_lost(path: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(path)) as old:
        expected = content(old, "entries")
    sums = spoil(path, root_of(path, "entries"))
    db, salvaged = salvage(Image(path, sums, Wal(), 4096), tmp_path / "new.db")
    with closing(db):
        assert content(db, "entries") == expected
        found = db.execute("SELECT count(*) FROM documents WHERE id % 3 = 0").fetchall()
    assert found == [(0,)], "a row that was deleted is back"
    assert salvaged.unclear == {"entries"}


def test_the_first_page_is_believed_as_far_as_it_names_our_tables(path: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(path)) as old:
        expected = {table: content(old, table) for table in TABLES}
    sums = sums_of(path, 4096)
    with open(path, "r+b") as file:
        file.seek(40)
        file.write(b"\x55\x55")
    db, salvaged = salvage(Image(path, sums, Wal(), 4096), tmp_path / "new.db")
    with closing(db):
        assert {table: content(db, table) for table in TABLES} == expected
    assert salvaged.pages == 1


def test_values_that_cannot_be_used_are_left_out(path: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(path)) as old:
        old.execute("""UPDATE documents SET view = '{"n":' WHERE id = 1""")
        old.execute("UPDATE documents SET base = '3' WHERE id = 2")
        old.execute("UPDATE entries SET payload = x'c1' WHERE id = 4")
        old.commit()
    db, salvaged = salvage(Image(path, None, Wal(), 4096), tmp_path / "new.db")
    with closing(db):
        assert db.execute("SELECT count(*) FROM documents WHERE id < 3").fetchall() == [(0,)]
        assert db.execute("SELECT count(*) FROM entries").fetchall() == [(COUNT - 1,)]
    assert salvaged.damaged == {"documents": 2, "entries": 1}


def test_an_older_schema_is_migrated_after(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path)) as old:
        for number, sql in migrations()[:2]:
            old.executescript(sql)
            old.execute(f"PRAGMA user_version = {number}")
        old.execute("INSERT INTO identity VALUES ('n', 'e')")
        old.execute("INSERT INTO upstreams (id, name) VALUES (0, 'primary')")
        old.commit()
    db, _ = salvage(Image(path, None, Wal(), 4096), tmp_path / "new.db")
    with closing(db):
        assert db.execute("PRAGMA user_version").fetchone() == (migrations()[-1][0],)
        assert db.execute("SELECT node, epoch FROM identity").fetchall() == [("n", "e")]
        assert db.execute("SELECT joined FROM upstreams").fetchall() == [(0,)]


def test_a_file_of_a_newer_version_is_refused(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreError, match="schema 99"):
        schema_version(Image(path, None, Wal(), 4096))


def test_writes_that_can_be_sent() -> None:
    assert can_be_sent(b"\x90")
    assert not can_be_sent(b"\xc1")
