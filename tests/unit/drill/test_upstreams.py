"""The embedded upstream in the drill's hands."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from deora.drill.upstreams import Embedded

INSERT = "INSERT INTO deora_documents VALUES ('tills/d1', '{\"n\": 2}')"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "upstream.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE deora_documents (path TEXT, data TEXT)")
    return path


def write(file: Path) -> None:
    with closing(sqlite3.connect(file, timeout=0)) as db, db:
        db.execute(INSERT)


def test_what_it_holds(tmp_path: Path, file: Path) -> None:
    with Embedded(tmp_path) as upstream:
        assert upstream.config == {"type": "sqlite", "file": "upstream.db"}
        assert upstream.documents() == {}
        write(file)
        assert upstream.documents() == {"tills/d1": {"n": 2}}


def test_before_its_first_write_there_is_no_file(tmp_path: Path) -> None:
    assert Embedded(tmp_path).documents() == {}


def test_an_outage_lets_nobody_write(tmp_path: Path, file: Path) -> None:
    with Embedded(tmp_path) as upstream:
        upstream.refuse()
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            write(file)
        upstream.mend()
        write(file)
        upstream.refuse()
    write(file)
