"""Tables as the catalog describes them."""

from __future__ import annotations

from typing import Any

import pytest

from deora.upstream.postgres.catalog import Form, Table, id_fault, missing_grants, table_of


def row(name: str, type_: str, **more: Any) -> dict[str, Any]:
    """A row of READ_TABLE."""
    plain = {"category": "S", "element": None, "generated": False, "identity": "", "serial": False, "is_unique": False}
    return {"name": name, "type": type_, **plain, **more}


def table(id_type: str = "text", *rows: dict[str, Any]) -> Table:
    made = table_of("orders", "id", [row("id", id_type, is_unique=True), *rows])
    assert isinstance(made, Table)
    return made


def test_columns_know_their_form() -> None:
    made = table(
        "uuid",
        row("items", "jsonb"),
        row("raw", "json"),
        row("total", "numeric"),
        row("n", "bigint"),
        row("at", "timestamp with time zone"),
        row("photo", "bytea"),
        row("tags", "text[]", category="A", element="text"),
        row("ats", "timestamp with time zone[]", category="A", element="timestamp with time zone"),
        row("state", "mood"),
    )
    forms = [column.form for column in made.columns.values()]
    plain, array = Form.PLAIN, Form.ARRAY
    typed = [Form.JSONB, Form.JSON, Form.NUMERIC, Form.INTEGER, Form.TIMESTAMP, Form.BYTES]
    assert forms == [plain, *typed, array, array, plain]
    assert made.columns["ats"].element_form is Form.TIMESTAMP
    assert [made.columns[name].is_json for name in ("items", "raw", "total")] == [True, True, False]
    assert (made.id.sql, made.sql) == ('"id"', '"orders"')


def test_who_writes_a_column() -> None:
    made = table(
        "text",
        row("gross", "numeric", generated=True),
        row("always", "integer", identity="a"),
        row("bydefault", "integer", identity="d"),
        row("number", "integer", serial=True),
    )
    kinds = {name: (column.computed, column.kept) for name, column in made.columns.items()}
    assert kinds == {
        "id": (False, False),
        "gross": (True, False),
        "always": (True, True),
        "bydefault": (False, True),
        "number": (False, True),
    }


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "no table orders"),
        ([row("ident", "text", is_unique=True)], "no column id for the documents' ids; it has ident"),
        ([row("id", "text")], 'ALTER TABLE "orders" ADD UNIQUE ("id")'),
    ],
)
def test_a_table_that_cannot_be_used_says_what_to_do(rows: list[dict[str, Any]], words: str) -> None:
    found = table_of("orders", "id", rows)
    assert isinstance(found, str)
    assert words in found


@pytest.mark.parametrize(
    ("type_", "good", "bad"),
    [
        ("text", ["x", "ü /", "01"], []),
        ("integer", ["0", "-5", "2147483647"], ["01", "+1", "x", "1.0", "2147483648", " 1", "٣"]),
        ("bigint", ["9223372036854775807", "-9223372036854775808"], ["9223372036854775808", "-0"]),
        ("smallint", ["32767"], ["32768"]),
        (
            "uuid",
            ["11111111-1111-4111-8111-11111111111a"],
            ["11111111-1111-4111-8111-11111111111A", "{11111111-1111-4111-8111-11111111111a}", "x", "1" * 32],
        ),
    ],
)
def test_an_id_reads_back_as_it_was_written(type_: str, good: list[str], bad: list[str]) -> None:
    assert [id_fault(table(type_), name) for name in good] == [None] * len(good)
    assert all(id_fault(table(type_), name) for name in bad)


def test_a_uuid_is_shown_as_it_should_be() -> None:
    fault = id_fault(table("uuid"), "{11111111-1111-4111-8111-11111111111A}")
    assert fault is not None
    assert fault.endswith("written as PostgreSQL writes it, it is 11111111-1111-4111-8111-11111111111a")


def test_missing_grants_are_named() -> None:
    role = {"role": 'til"l'}
    everything = {"SELECT": True, "INSERT": True, "UPDATE": True}
    assert missing_grants(table(), {**everything, **role}) is None
    lacking = missing_grants(table(), {**everything, **role, "INSERT": False, "UPDATE": False})
    assert lacking == 'the role lacks a grant: GRANT INSERT, UPDATE ON "orders" TO "til""l"'
