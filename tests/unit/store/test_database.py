"""Opening the store's file: what a kill, a newer program or a wrong file does to it."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import msgpack
import pytest

from deora.documents.writes import encode_writes
from deora.errors import StoreError
from deora.store import database
from deora.store.database import check_version, migrate, migrations, open_writer, statements_of
from deora.store.reserve import CHECKPOINT_PAGES, WAL_KEPT_BYTES
from deora.store.view import Base
from tests.fakes.connection import FaultyConnection
from tests.fakes.store import StoreFile, set_


def schema(db: sqlite3.Connection) -> list[tuple[str, ...]]:
    """All that is declared in a file."""
    return db.execute("SELECT type, name, sql FROM sqlite_master ORDER BY type, name").fetchall()


def test_a_new_file_has_the_newest_schema(tmp_path: Path) -> None:
    db = open_writer(tmp_path / "store.db")
    assert db.execute("PRAGMA user_version").fetchone() == (migrations()[-1][0],)
    tables = {row[1] for row in schema(db) if row[0] == "table"}
    assert {"documents", "entries", "heads", "followers", "dead_letters", "batches", "answers", "requests"} <= tables
    db.close()


def test_the_writer_syncs_fully_and_checkpoints(tmp_path: Path) -> None:
    db = open_writer(tmp_path / "store.db")
    pragmas = {
        name: db.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous", "wal_autocheckpoint", "journal_size_limit", "query_only")
    }
    assert pragmas == {
        "journal_mode": "wal",
        "synchronous": 2,
        "wal_autocheckpoint": CHECKPOINT_PAGES,
        "journal_size_limit": WAL_KEPT_BYTES,
        "query_only": 0,
    }
    assert db.isolation_level is None
    db.close()


def test_a_file_is_opened_again_with_what_it_holds(tmp_path: Path) -> None:
    db = open_writer(tmp_path / "store.db")
    before = schema(db)
    db.execute("UPDATE progress SET commit_no = 7")
    db.close()
    db = open_writer(tmp_path / "store.db")
    assert schema(db) == before
    assert db.execute("SELECT commit_no FROM progress").fetchall() == [(7,)]
    db.close()


def test_a_reader_sees_only_what_is_committed_and_cannot_write(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    db = open_writer(path)
    reader = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None)
    db.execute("BEGIN IMMEDIATE")
    db.execute("UPDATE progress SET commit_no = 7")
    assert reader.execute("SELECT commit_no FROM progress").fetchall() == [(0,)]
    db.execute("COMMIT")
    assert reader.execute("SELECT commit_no FROM progress").fetchall() == [(7,)]
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("UPDATE progress SET commit_no = 8")
    reader.close()
    db.close()


def test_a_transaction_that_was_cut_off_is_not_there(tmp_path: Path) -> None:
    db = open_writer(tmp_path / "store.db")
    db.execute("BEGIN IMMEDIATE")
    db.execute("UPDATE progress SET commit_no = 7")
    db.close()
    db = open_writer(tmp_path / "store.db")
    assert db.execute("SELECT commit_no FROM progress").fetchall() == [(0,)]
    db.close()


# -- migrations


def test_migrations_are_numbered_from_one_without_gaps() -> None:
    assert [number for number, _ in migrations()] == list(range(1, len(migrations()) + 1))


def test_a_file_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    db = open_writer(path)
    newer = migrations()[-1][0] + 1
    db.execute(f"PRAGMA user_version = {newer}")
    before = schema(db)
    db.close()
    content = path.read_bytes()
    with pytest.raises(StoreError) as caught:
        open_writer(path)
    assert f"schema {newer}" in str(caught.value)
    assert caught.value.hint is not None
    assert path.read_bytes() == content
    db = sqlite3.connect(path)
    assert schema(db) == before
    db.close()


def test_a_look_at_the_version_changes_nothing(tmp_path: Path) -> None:
    """What `deora start --check` looks at, while another program serves the file."""
    path = tmp_path / "store.db"
    check_version(path)
    assert list(tmp_path.iterdir()) == []
    writer = open_writer(path)
    newest = migrations()[-1][0]
    check_version(path)
    writer.execute(f"PRAGMA user_version = {newest + 1}")
    with pytest.raises(StoreError, match=f"has schema {newest + 1}; this DEORA knows schemas up to {newest}"):
        check_version(path)
    writer.execute(f"PRAGMA user_version = {newest}")
    check_version(path)
    writer.close()


def test_a_step_is_taken_once_and_keeps_the_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store.db"
    db = open_writer(path)
    db.execute("UPDATE progress SET commit_no = 7")
    db.close()
    steps = migrations()
    latest = steps[-1][0]
    addition = "-- One more column.\nALTER TABLE progress ADD COLUMN more INTEGER NOT NULL DEFAULT 3;\n"
    monkeypatch.setattr(database, "migrations", lambda: [*steps, (latest + 1, addition)])
    for _ in range(2):
        db = open_writer(path)
        assert db.execute("SELECT commit_no, more FROM progress").fetchall() == [(7, 3)]
        assert db.execute("PRAGMA user_version").fetchone() == (latest + 1,)
        db.close()


def whole_versions() -> list[Any]:
    """The schema of each version, from 0, the empty file."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    database.add_functions(db)
    found = [schema(db)]
    for _, sql in migrations():
        for statement in database.statements_of(sql):
            db.execute(statement)
        found.append(schema(db))
    db.close()
    return found


@pytest.mark.parametrize("kill", [False, True])
def test_a_migration_that_is_cut_off_anywhere_leaves_a_whole_version(tmp_path: Path, kill: bool) -> None:
    """Once by an error after which the program goes on, once by a kill."""
    counted = FaultyConnection(sqlite3.connect(":memory:", isolation_level=None))
    migrate(counted.as_connection())
    statements = len(counted.statements)
    complete = schema(counted.as_connection())
    counted.close()
    assert statements > 20
    whole = whole_versions()
    assert len(whole) > 2
    for through in range(1, statements):
        path = tmp_path / f"{through}.db"
        db = sqlite3.connect(path, isolation_level=None)
        faulty = FaultyConnection(db)
        faulty.arm(through)
        with pytest.raises(sqlite3.OperationalError):
            migrate(faulty.as_connection())
        if kill:
            db.close()
            db = sqlite3.connect(path, isolation_level=None)
        elif db.in_transaction:
            db.execute("ROLLBACK")
        [(version,)] = db.execute("PRAGMA user_version").fetchall()
        assert schema(db) == whole[version]
        migrate(db)
        assert schema(db) == complete
        db.close()


def test_what_waits_in_a_file_of_the_first_schema_is_sent_by_this_program(tmp_path: Path) -> None:
    """Queues, batches and kept answers have changed their form since: a file in use goes on where it was."""
    path = tmp_path / "store.db"
    old = sqlite3.connect(path, isolation_level=None)
    for statement in statements_of(migrations()[0][1]):
        old.execute(statement)
    old.execute("INSERT INTO identity VALUES ('n', 'e')")
    old.execute("UPDATE progress SET commit_no = 3, entry_id = 3")
    figures = (0, "primary", 3, 3, '{"5": 3}')
    old.execute("INSERT INTO upstreams (id, name, number, pending, by_priority) VALUES (?, ?, ?, ?, ?)", figures)
    for ident, name in ((1, "x"), (2, "y")):
        row = (ident, "a", name, "e-3", 3, 0, 0, 2, 0, 0, '{"n":1}', None)
        old.execute("INSERT INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
    both = msgpack.packb([4, 8])
    for ident, heads, paths in ((1, 4, ["a/x"]), (2, both, ["a/x", "a/y"]), (3, 8, ["a/y"])):
        payload = encode_writes([set_(path, {"n": ident}) for path in paths])
        entry = (ident, 0, ident, 0, 5, ident, 0, 0, len(paths), 0, None, heads, payload)
        old.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", entry)
    old.execute("INSERT INTO heads VALUES (4, 0, 1, 5, 5, 2, 2, 1), (8, 0, 2, 5, 5, 2, 2, 1)")
    old.execute("INSERT INTO followers VALUES (4, 2, 5, 1), (8, 3, 5, 0)")
    old.execute("INSERT INTO batches VALUES ('b', 0, 0, 0, ?)", (msgpack.packb([1]),))
    old.execute("INSERT INTO requests VALUES (7, x'00')")
    old.execute("PRAGMA user_version = 1")
    old.close()
    store = StoreFile(path)
    store.commit(set_("a/x", {"n": 4}))
    sent = []
    while (batch := store.claim()) is not None:
        sent.append(batch.numbers)
        store.settle(batch)
    assert sent == [[1], [2, 3, 4]]
    assert store.rows("SELECT pending, base_state FROM documents") == [(0, Base.SAME)] * 2
    assert store.rows("SELECT count(*) FROM heads") == [(0,)]
    store.close()


def test_a_migration_that_fails_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    db = sqlite3.connect(":memory:", isolation_level=None)
    monkeypatch.setattr(database, "migrations", lambda: [(1, "CREATE TABLE a (b);\nCREATE TABLE a (b);\n")])
    with pytest.raises(sqlite3.OperationalError):
        migrate(db)
    assert not db.in_transaction
    assert schema(db) == []
    db.close()


def test_a_script_is_cut_into_statements() -> None:
    script = """-- A comment; with a semicolon.
CREATE TABLE a (
  b TEXT -- not the end;
);
INSERT INTO a VALUES ('x;y');

CREATE TRIGGER t AFTER INSERT ON a BEGIN
  DELETE FROM a;
END;
"""
    first, second, third = statements_of(script)
    assert first.startswith("CREATE TABLE a (")
    assert second == "INSERT INTO a VALUES ('x;y');"
    assert third.endswith("END;")
    assert statements_of("") == []
    assert statements_of("-- nothing\n\n") == []


def test_a_statement_without_its_end_is_not_passed_over() -> None:
    with pytest.raises(ValueError, match="CREATE TABLE b"):
        statements_of("CREATE TABLE a (x);\nCREATE TABLE b (x)\n")


# -- what is no store's file


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"this is a letter to my landlord" * 100)
    with pytest.raises(StoreError, match="not a database") as caught:
        open_writer(path)
    assert caught.value.hint is not None
    assert path.read_bytes().startswith(b"this is a letter")


def test_a_folder_in_the_file_s_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store.db").mkdir()
    with pytest.raises(StoreError, match="cannot be opened for writing"):
        open_writer(tmp_path / "store.db")


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened"):
        open_writer(tmp_path / "nowhere" / "store.db")
