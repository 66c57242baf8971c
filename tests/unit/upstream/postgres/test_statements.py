"""The generic table's SQL: what can be said of it without a server."""

from __future__ import annotations

import orjson

from deora.upstream.base import CursorKey, Delivery
from deora.upstream.postgres.statements import (
    bounds,
    grants,
    mark_of,
    move,
    next_of,
    quoted,
    quoted_table,
    rows_of,
    saved,
    since_of,
)

KEY = CursorKey("box", "epoch", 2)


def test_names_are_quoted() -> None:
    assert quoted('a"b') == '"a""b"'
    assert quoted_table("My Bar.orders") == '"My Bar"."orders"'
    assert quoted_table('x"; DROP TABLE y') == '"x""; DROP TABLE y"'


def test_the_first_batch_makes_the_cursor_and_others_move_it() -> None:
    sql, arguments = move(Delivery(KEY, 0, "", "b1", b"x", []))
    assert sql.startswith("INSERT INTO deora_cursor")
    assert arguments == ("box", "epoch", 2, 1, "b1", b"x")
    for seq, batch_id in ((0, "b0"), (4, "b4")):
        sql, arguments = move(Delivery(KEY, seq, batch_id, "b5", b"x", []))
        assert sql.startswith("UPDATE deora_cursor")
        assert arguments == ("box", "epoch", 2, seq + 1, "b5", b"x", seq, batch_id)


def test_documents_are_saved_in_one_order_for_all_boxes() -> None:
    assert orjson.loads(saved([("b/1", b'{"n":1}'), ("a/1/c/2", b"{}")])) == [
        {"path": "a/1/c/2", "collection": "a/1/c", "id": "2", "data": {}},
        {"path": "b/1", "collection": "b", "id": "1", "data": {"n": 1}},
    ]


def test_all_of_a_collection_lies_between_its_bounds() -> None:
    low, high, collection = bounds("c", None)
    assert all(low.encode() < f"c/{ident}".encode() < high.encode() for ident in (" ", "0", "z", "\U0001f37d"))
    assert not any(low.encode() < path.encode() < high.encode() for path in ("c-/1", "c0/1", "b/1", "d/1"))
    assert (bounds("c", "o1")[0], collection) == ("c/o1", "c")


def test_marks_sort_as_text_and_lead_back() -> None:
    marks = [mark_of(version) for version in (0, 1, 9, 10, 2**40, 2**63 - 1)]
    assert marks == sorted(marks)
    assert [since_of(mark) for mark in marks[:3]] == [(0, ""), (1, ""), (9, "")]
    assert since_of("") == (0, "")
    assert since_of(next_of(7, "o/1")) == (7, "o/1")


def test_a_command_tag_counts_rows() -> None:
    assert [rows_of(tag) for tag in ("INSERT 0 3", "UPDATE 1", "DELETE 0")] == [3, 1, 0]


def test_grants_name_what_is_missing() -> None:
    missing = grants(["deora_cursor"], "till", "public")
    assert 'GRANT USAGE, CREATE ON SCHEMA "public" TO "till"' in missing
    assert "the schema of its search_path" in grants(["deora_cursor"], "till", None)
    assert 'GRANT SELECT, INSERT, UPDATE ON deora_cursor TO "till"' in grants((), "till", "public")
