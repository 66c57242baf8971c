"""Versions of the embedded upstream: never used twice, whoever writes."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from deora.upstream.sqlite_file import SqliteFile

INSERT = "INSERT INTO deora_documents VALUES (?, 'a', ?, '{}', ?, '')"


def versions(path: Path) -> dict[str, int]:
    """Document -> version, as another program sees it."""
    with closing(sqlite3.connect(path)) as db:
        return dict(db.execute("SELECT path, version FROM deora_documents"))


def run(path: Path, sql: str, *parameters: object) -> None:
    """One statement of another program."""
    with closing(sqlite3.connect(path)) as db, db:
        db.execute(sql, parameters)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with its tables, closed."""
    file = SqliteFile(tmp_path / "upstream.db", 1.0)
    file.open()
    file.close()
    return file.path


def test_another_programs_documents_get_the_next_version_whatever_it_says(path: Path) -> None:
    for name, claimed in (("1", 0), ("2", 0), ("3", 2), ("4", 50), ("5", 7)):
        run(path, INSERT, f"a/{name}", name, claimed)
    assert versions(path) == {"a/1": 1, "a/2": 2, "a/3": 3, "a/4": 50, "a/5": 51}


def test_another_programs_changes_get_the_next_version(path: Path) -> None:
    run(path, INSERT, "a/1", "1", 0)
    run(path, INSERT, "a/2", "2", 0)
    run(path, "UPDATE deora_documents SET data = '{\"n\":1}' WHERE path = 'a/1'")
    assert versions(path) == {"a/1": 3, "a/2": 2}
    run(path, "UPDATE deora_documents SET data = '{}', version = 1")
    assert sorted(versions(path).values()) == [4, 5]


def test_the_version_of_what_was_deleted_is_not_used_again(path: Path) -> None:
    for _ in range(3):
        run(path, INSERT, "a/1", "1", 0)
        run(path, "DELETE FROM deora_documents")
    run(path, INSERT, "a/2", "2", 0)
    assert versions(path) == {"a/2": 4}


def test_a_file_of_an_older_deora_goes_on_from_its_highest_version(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db, db:
        db.executescript("DROP TRIGGER deora_documents_added; DROP TRIGGER deora_documents_changed;")
        db.execute("DROP TABLE deora_versions")
        db.execute(INSERT, ("a/1", "1", 41))
    file = SqliteFile(path, 1.0)
    file.open().execute(INSERT, ("a/2", "2", 0))
    file.close()
    assert versions(path) == {"a/1": 41, "a/2": 42}


def test_several_may_open_a_new_file_at_once(tmp_path: Path) -> None:
    for number in range(20):
        files = [SqliteFile(tmp_path / f"{number}.db", 5.0) for _ in range(4)]
        start = threading.Barrier(len(files))

        def open_one(file: SqliteFile, start: threading.Barrier = start) -> None:
            start.wait()
            file.open()

        with ThreadPoolExecutor(len(files)) as threads:
            list(threads.map(open_one, files))
        assert files[0].open().execute("SELECT last FROM deora_versions").fetchall() == [(0,)]
        for file in files:
            file.close()


def test_a_file_that_was_replaced_is_opened_anew(path: Path) -> None:
    file = SqliteFile(path, 1.0)
    first = file.open()
    assert file.open() is first
    for each in path.parent.iterdir():
        each.unlink()
    assert file.open() is not first
    file.close()
    assert versions(path) == {}
