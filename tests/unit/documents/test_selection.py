"""Conditions and sort keys, each on a real SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest

from deora.documents.selection import SORT_CHARACTERS, behind, condition, sort_keys
from deora.documents.values import INT_MAX, INT_MIN, canonical, check_document

TIME = "2026-01-31T12:00:00.000000Z"
VALUES: dict[str, Any] = {
    "null": None,
    "false": False,
    "true": True,
    "int": 3,
    "double": 3.0,
    "four": 4,
    "half": 2.5,
    "max": INT_MAX,
    "odd": 2**53 + 1,
    "even": 2.0**53,
    "zero": -0.0,
    "text": "3",
    "quote": 'a"b\\c\n',
    "time": {"$timestamp": TIME},
    "later": {"$timestamp": "2027-01-01T00:00:00.000000Z"},
    "bytes": {"$bytes": "QQ=="},
    "reference": {"$reference": "a/c"},
    "dashed": {"$reference": "a-b/c"},
    "geopoint": {"$geopoint": {"latitude": 1.0, "longitude": 2.0}},
    "array": [3, "x", None, True, [1], {"b": 1}, {"$bytes": "QQ=="}],
    "empty": [],
    "map": {"x": 3},
    "none": {},
}


@pytest.fixture(name="db", scope="module")
def open_database() -> Iterator[sqlite3.Connection]:
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE documents (name TEXT, view TEXT)")
    for name, value in VALUES.items():
        document = check_document({"f": value, "a.b": {"é 1": value}})
        db.execute("INSERT INTO documents VALUES (?, ?)", (name, canonical(document).decode()))
    db.execute("INSERT INTO documents VALUES ('missing', '{}')")
    yield db
    db.close()


def matches(db: sqlite3.Connection, field: tuple[str, ...], op: str, operand: Any) -> set[str]:
    text, parameters = condition(field, op, operand)
    return {name for (name,) in db.execute(f"SELECT name FROM documents WHERE {text}", parameters)}


@pytest.mark.parametrize("field", [("f",), ("a.b", "é 1")])
@pytest.mark.parametrize(
    ("op", "operand", "names"),
    [
        ("eq", None, "null"),
        ("eq", True, "true"),
        ("eq", 3, "int double"),
        ("eq", 3.0, "int double"),
        ("eq", 0, "zero"),
        ("eq", INT_MAX, "max"),
        ("eq", 2.0**63, ""),
        ("eq", 2**53 + 1, "odd"),
        ("eq", 2**53, "even"),
        ("eq", "3", "text"),
        ("eq", 'a"b\\c\n', "quote"),
        ("eq", {"$timestamp": TIME}, "time"),
        ("eq", {"$bytes": "QQ=="}, "bytes"),
        ("eq", {"$reference": "a/c"}, "reference"),
        ("eq", {"$geopoint": {"latitude": 1.0, "longitude": 2.0}}, "geopoint"),
        ("eq", {"x": 3}, "map"),
        ("eq", {"x": 3.0}, ""),
        ("eq", [], "empty"),
        ("eq", {}, "none"),
        ("in", [None, 3, "3", []], "null int double text empty"),
        ("ne", 3, " ".join(sorted(VALUES.keys() - {"int", "double", "null"}))),
        ("ne", None, " ".join(sorted(VALUES.keys() - {"null"}))),
        ("lt", 3, "half zero"),
        ("lte", 3, "half zero int double"),
        ("gt", 3.0, "four max odd even"),
        ("gt", 2.0**53, "max odd"),
        ("gte", 2**53 + 1, "max odd"),
        ("gt", INT_MIN, "int double four half max odd even zero"),
        ("lt", 2.0**63, "int double four half max odd even zero"),
        ("lt", "a", "text"),
        ("gte", "3", "text quote"),
        ("lt", True, "false"),
        ("gte", False, "false true"),
        ("gt", {"$timestamp": TIME}, "later"),
        ("lte", {"$timestamp": TIME}, "time"),
        ("gte", {"$bytes": ""}, "bytes"),
        ("gt", {"$reference": "a/c"}, "dashed"),
        ("lt", {"$reference": "a-b/c"}, "reference"),
        ("contains", 3.0, "array"),
        ("contains", "x", "array"),
        ("contains", None, "array"),
        ("contains", True, "array"),
        ("contains", False, ""),
        ("contains", 1, ""),
        ("contains", [1], "array"),
        ("contains", "[1]", ""),
        ("contains", {"b": 1}, "array"),
        ("contains", {"$bytes": "QQ=="}, "array"),
        ("contains", "3", ""),
    ],
)
def test_conditions(db: sqlite3.Connection, field: tuple[str, ...], op: str, operand: Any, names: str) -> None:
    assert matches(db, field, op, operand) == set(names.split())


@pytest.mark.parametrize("field", [("f", "x"), ("a.b", "é 1", "x")])
def test_a_field_path_goes_through_objects_alone(db: sqlite3.Connection, field: tuple[str, ...]) -> None:
    assert matches(db, field, "ne", None) == {"map"}
    assert matches(db, (*field[:-1], "0"), "ne", None) == set()


@pytest.mark.parametrize("field", ["a", "f,g", "' OR 1 --", "$", "[0]", "#", "?1", "%s", "{}"])
def test_no_field_name_gets_into_the_text(field: str) -> None:
    for op, operand in [("eq", 1), ("ne", "x"), ("gt", 1), ("gt", "'"), ("gt", True), ("contains", "')--")]:
        text, _ = condition((field,), op, operand)
        assert text == condition(("other",), op, operand)[0]
    assert sort_keys((field,))[0][0] == sort_keys(("other",))[0][0]


def test_the_ranks_are_those_of_firestore(db: sqlite3.Connection) -> None:
    (rank, rank_parameters), (key, key_parameters) = sort_keys(("f",))
    rows = db.execute(f"SELECT name, {rank}, {key} FROM documents", [*rank_parameters, *key_parameters]).fetchall()
    assert all(key is not None for _, _, key in rows)
    by_name = {name: (rank, key) for name, rank, key in rows}
    order = "missing null false zero half four text time later quote bytes reference dashed geopoint array empty map"
    ranks = {name: by_name[name][0] for name in order.split()}
    assert ranks == {
        "missing": 0, "null": 1, "false": 2, "zero": 3, "half": 3, "four": 3, "time": 4, "later": 4, "text": 5,
        "quote": 5, "bytes": 6, "reference": 7, "dashed": 7, "geopoint": 8, "array": 9, "empty": 9, "map": 10,
    }  # fmt: skip
    assert by_name["false"] < by_name["true"]
    assert by_name["zero"] < by_name["half"] < by_name["int"] == by_name["double"] < by_name["four"]
    assert by_name["even"] < by_name["odd"] < by_name["max"]
    assert by_name["time"] < by_name["later"] < by_name["text"]
    assert by_name["reference"] < by_name["dashed"]


def test_a_long_text_is_cut_for_the_order(db: sqlite3.Connection) -> None:
    long = "é" * 1000
    _, (key, parameters) = sort_keys(("f",))
    for value in (long, [long], {"x": long}, {"$reference": f"a/{long}"}):
        view = canonical({"f": value}).decode()
        row = db.execute(f"SELECT {key} FROM (SELECT ? AS view)", [*parameters, view]).fetchone()
        assert len(row[0]) == SORT_CHARACTERS


def test_the_place_behind_a_row() -> None:
    assert behind([("name", False)], ["x"]) == ("name > ?", ["x"])
    assert behind([("k0", True), ("k1", True), ("name", False)], [5, "a", "x"]) == (
        "(k0 < ? OR (k0 = ? AND (k1 < ? OR (k1 = ? AND name > ?))))",
        [5, 5, "a", "a", "x"],
    )
