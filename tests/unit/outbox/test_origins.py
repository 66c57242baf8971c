"""Whose entries were taken over, and which of them have come in."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from deora.outbox.origins import Origin, Origins
from deora.store.database import open_writer


@pytest.fixture
def db(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(open_writer(tmp_path / "store.db")) as opened:
        yield opened


def test_an_origin_is_made_once_for_each_upstream(db: sqlite3.Connection) -> None:
    origins = Origins(db)
    assert origins.find(0, "n", "e") is None
    first = origins.add(0, "n", "e")
    assert first == Origin(1, 0, "n", "e")
    assert origins.add(0, "n", "e") is first
    others = [origins.add(*name) for name in ((1, "n", "e"), (0, "n", "e2"), (0, "n2", "e"))]
    assert len({first.id, *(other.id for other in others)}) == 4
    assert Origins(db).find(0, "n", "e2") == others[1]


def test_numbers_that_came_in_are_known(db: sqlite3.Connection) -> None:
    origins = Origins(db)
    one, other = origins.add(0, "n", "e"), origins.add(0, "n", "e2")
    origins.note(one, [3, 1])
    assert origins.known(one, [1, 2, 3]) == {1, 3}
    assert origins.known(other, [1, 2, 3]) == set()
    with pytest.raises(sqlite3.IntegrityError):
        origins.note(one, [3])


def test_own_entries_have_none_and_nothing_is_asked_for_them(db: sqlite3.Connection) -> None:
    origins = Origins(db)
    asked: list[str] = []
    db.set_trace_callback(asked.append)
    assert origins.of_entries(0, [1, 2]) == {}
    assert asked == []
    origin = origins.add(1, "n", "e")
    db.execute("INSERT INTO entries VALUES (2, 1, 7, 0, 5, 1, 0, 0, 1, 0, NULL, 4, x'', ?)", (origin.id,))
    db.execute("INSERT INTO entries VALUES (3, 1, 1, 0, 5, 1, 0, 0, 1, 0, NULL, 4, x'', NULL)")
    assert origins.of_entries(0, [2, 3]) == {}
    assert origins.of_entries(1, [2, 3]) == {2: origin}
