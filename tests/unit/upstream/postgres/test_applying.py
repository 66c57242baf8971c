"""Where a refused batch is looked at first. What a batch does on a server is tested in tests/postgres."""

from __future__ import annotations

import pytest

from deora.documents.writes import Write
from deora.upstream.postgres.applying import SUSPECTS, Entries, parts_of
from tests.fakes.store import set_

ENTRIES: Entries = [(index, [set_(f"orders/o{index}", {})]) for index in range(10)]


def cut(entries: Entries, detail: str) -> list[list[int]]:
    return [[index for index, _ in part] for part in parts_of(entries, detail)]


@pytest.mark.parametrize(
    ("detail", "parts"),
    [
        ("", [[*range(10)]]),
        ("Key (total)=(3) already exists.", [[*range(10)]]),
        ("Failing row contains (orders/o4, orders, o4, {}, 7, null).", [[0, 1, 2, 3], [4], [5, 6, 7, 8, 9]]),
        ("Fehlgeschlagene Zeile enthält (12.50, o9, null).", [[*range(9)], [9]]),
        ("Failing row contains (o0, -1).", [[0], [*range(1, 10)]]),
        ("Failing row contains (o2, o3).", [[0, 1], [2], [3], [4, 5, 6, 7, 8, 9]]),
    ],
)
def test_entries_that_write_the_row_shown_are_run_alone(detail: str, parts: list[list[int]]) -> None:
    assert cut(ENTRIES, detail) == parts


def test_each_entry_of_the_row_is_run_alone() -> None:
    writes: list[Write] = [set_("orders/a", {}), set_("orders/b", {})]
    assert cut([(0, writes[:1]), (1, writes[1:]), (2, writes)], "(b)") == [[0], [1], [2]]


def test_where_many_entries_write_the_row_they_are_halved() -> None:
    entries: Entries = [(index, [set_("orders/a", {})]) for index in range(SUSPECTS + 1)]
    assert cut(entries, "(orders/a)") == [[*range(SUSPECTS + 1)]]
    assert len(cut(entries[1:], "(orders/a)")) == SUSPECTS
