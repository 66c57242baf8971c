"""Event ids: what names a place in the order of changes."""

from __future__ import annotations

from itertools import pairwise

import pytest

from deora.documents.positions import WHOLE, Position, parse_commit, parse_event_id


@pytest.mark.parametrize(
    ("text", "position"),
    [
        ("0abc-0", Position(0)),
        ("0abc-12", Position(12, WHOLE)),
        ("0abc-12.3", Position(12, 3)),
        (f"0abc-{10**18}", Position(10**18)),
    ],
)
def test_an_id_and_its_position(text: str, position: Position) -> None:
    assert parse_event_id(text) == ("0abc", position)
    assert position.event_id("0abc") == text


@pytest.mark.parametrize(
    "text",
    [
        *("", "12", "-12", "0abc-", "0abc-01", "0abc-1.0", "0abc-1.", "0abc-1.1.1", "0ABC-1", "0abc-1 ", "~a-1"),
        *("0abc-\u0661", "0abc-1\n", "0abc-" + "1" * 20, "a" * 33 + "-1"),
    ],
)
def test_what_is_no_id(text: str) -> None:
    assert parse_event_id(text) is None


def test_positions_follow_one_another() -> None:
    order = [Position(4), Position(5, 1), Position(5, 2), Position(5), Position(6, 1)]
    assert all(first < second for first, second in pairwise(order))
    assert [each.whole_commit for each in order] == [4, 4, 4, 5, 5]


@pytest.mark.parametrize(
    ("text", "commit"), [("0", 0), ("17", 17), ("01", None), ("-1", None), ("", None), ("1.5", None)]
)
def test_a_commit_by_its_number(text: str, commit: int | None) -> None:
    assert parse_commit(text) == (Position(commit) if commit is not None else None)
