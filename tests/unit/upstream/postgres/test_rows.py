"""Rows as documents."""

from __future__ import annotations

import orjson

from deora.upstream.postgres.catalog import Column, Form, Table
from deora.upstream.postgres.rows import changes_sql, document, read_sql

TABLE = Table(
    "orders",
    Column("id", "text", Form.PLAIN),
    {
        column.name: column
        for column in (
            Column("id", "text", Form.PLAIN),
            Column("ratio", "real", Form.DOUBLE),
            Column("total", "numeric", Form.NUMERIC),
            Column("at", "timestamp without time zone", Form.TIMESTAMP),
            Column("raw", "bytea", Form.BYTES),
            Column("ratios", "real[]", Form.ARRAY, element="real"),
            Column("items", "jsonb", Form.JSONB),
        )
    },
)


def read(text: str) -> object:
    return orjson.loads(document(TABLE, text))


def test_the_id_and_what_is_null_are_no_fields() -> None:
    assert read('{"id": "1", "ratio": null, "total": 12.50, "items": {"a": null}}') == {
        "total": 12.5,
        "items": {"a": None},
    }


def test_doubles_stay_doubles() -> None:
    assert document(TABLE, '{"ratio": 3, "ratios": [1, [2, null]], "total": 3, "items": 3}') == (
        b'{"items":3,"ratio":3.0,"ratios":[1.0,[2.0,null]],"total":3}'
    )


def test_types_of_their_own_become_tagged_values() -> None:
    noon = {"$timestamp": "2026-01-31T12:00:00.000000Z"}
    assert read('{"at": "2026-01-31T12:00:00", "raw": "\\\\x00ff"}') == {"at": noon, "raw": {"$bytes": "AP8="}}
    assert read('{"at": "2026-01-31T14:00:00+02:00"}') == {"at": noon}
    assert read('{"at": "infinity"}') == {"at": "infinity"}
    assert read('{"items": {"at": "2026-01-31T12:00:00"}}') == {"items": {"at": "2026-01-31T12:00:00"}}


def test_a_column_that_came_later_is_read_as_it_is() -> None:
    assert read('{"late": 5}') == {"late": 5}


def test_a_row_is_selected_whole_so_that_no_plan_depends_on_its_columns() -> None:
    assert "to_jsonb(t)" in read_sql(TABLE)
    assert "ratio" not in read_sql(TABLE) + changes_sql(TABLE)
