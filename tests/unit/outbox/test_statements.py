"""The outbox's SQL: every statement is valid against the schema, and the hot ones use their index."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator

import pytest

from deora.outbox.statements import SQL, load_statements
from deora.store.database import migrate


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection)
    yield connection
    connection.close()


def parameters_of(sql: str) -> dict[str, int] | list[int]:
    """A value for each parameter of a statement."""
    names = re.findall(r":(\w+)", sql)
    numbered = [int(number) for number in re.findall(r"\?(\d+)", sql)]
    return dict.fromkeys(names, 1) if names else [1] * (max(numbered) if numbered else sql.count("?"))


@pytest.mark.parametrize("name", SQL)
def test_a_statement_is_valid(db: sqlite3.Connection, name: str) -> None:
    db.execute("EXPLAIN " + SQL[name], parameters_of(SQL[name])).fetchall()


def test_statements_are_cut_at_their_names() -> None:
    assert load_statements("deora.outbox", "queries.sql") == SQL
    assert SQL["delete_batch"] == "DELETE FROM batches WHERE id = ?;"
    assert not any("-- name" in text for text in SQL.values())


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("fronts", "heads_urgent"),
        ("oldest", "entries_live"),
        ("dead_ids", "entries_dead"),
        ("followers", "PRIMARY KEY"),
        ("next_follower", "PRIMARY KEY"),
        ("members", "INTEGER PRIMARY KEY"),
        ("shared_below", "followers_shared"),
        ("oldest_live", "entries_live"),
    ],
)
def test_what_is_read_often_comes_sorted_from_an_index(db: sqlite3.Connection, name: str, index: str) -> None:
    """Else a commit or a claim would take longer as the queue grows."""
    plan = [row[3] for row in db.execute("EXPLAIN QUERY PLAN " + SQL[name], parameters_of(SQL[name]))]
    assert any(index in step for step in plan), plan
    assert not any("TEMP B-TREE" in step for step in plan), plan
    tables = [step for step in plan if step.startswith("SCAN") and "json_each" not in step]
    assert not tables, plan
