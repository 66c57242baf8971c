"""List queries: parsing, refusals, and the rows that a real SQLite gives against a plain restatement of the rules."""

from __future__ import annotations

import json
import re
import sqlite3
import string
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deora.documents.fields import format_field_path
from deora.documents.query import (
    MAX_FILTERS,
    Filter,
    Order,
    Query,
    compile_query,
    encode_cursor,
    parse_query,
)
from deora.documents.values import INT_MAX, canonical, check_document
from deora.errors import Problem

SCHEMA = """CREATE TABLE documents (
    id INTEGER PRIMARY KEY, collection TEXT NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL,
    created_us INTEGER NOT NULL, updated_us INTEGER NOT NULL, pending INTEGER NOT NULL, view TEXT,
    UNIQUE (collection, name))"""


def database(documents: dict[str, Any]) -> sqlite3.Connection:
    """A database with these documents in the collection `orders`, among others that no query may see."""
    db = sqlite3.connect(":memory:")
    db.execute(SCHEMA)
    rows: list[tuple[str, str, str | None]] = [
        ("orders", name, canonical(document).decode()) for name, document in documents.items()
    ]
    rows += [("others", "o1", '{"a":1}'), ("orders/o1/items", "o1", '{"a":1}'), ("orders", "~gone", None)]
    db.executemany(
        "INSERT INTO documents (collection, name, version, created_us, updated_us, pending, view) "
        "VALUES (?, ?, 'v1', 1, 2, 3, ?)",
        rows,
    )
    return db


def names_of(db: sqlite3.Connection, params: list[tuple[str, str]]) -> list[str]:
    """The names that a query gives, over all of its pages."""
    names: list[str] = []
    query = parse_query("orders", params)
    while True:
        rows = db.execute(*compile_query(query)).fetchall()
        names += [row[0] for row in rows[: query.limit]]
        if len(rows) <= query.limit:
            return names
        query = parse_query("orders", [*params, ("cursor", encode_cursor(query, rows[query.limit - 1]))])


# --- parsing -------------------------------------------------------------------------------------------------------


def test_parameters_become_a_query() -> None:
    query = parse_query(
        "orders/o1/items",
        [
            ("where", "total:gte:20"),
            ("where", '`a:b`.c:in:["x",{"$geopoint":{"latitude":1,"longitude":2}}]'),
            ("where", 'note:eq:"a:b:c"'),
            ("orderBy", "-createdAt,`x,y`.z"),
            ("orderBy", "total"),
            ("limit", "7"),
        ],
    )
    point = {"$geopoint": {"latitude": 1.0, "longitude": 2.0}}
    assert query == Query(
        "orders/o1/items",
        (
            Filter(("total",), "gte", 20),
            Filter(("a:b", "c"), "in", ["x", point]),
            Filter(("note",), "eq", "a:b:c"),
        ),
        (Order(("createdAt",), True), Order(("x,y", "z"), False), Order(("total",), False)),
        7,
    )


def test_without_parameters_a_query_gives_the_first_hundred_by_name() -> None:
    assert parse_query("orders", []) == Query("orders", (), (), 100)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("filter", "x", "there is no parameter 'filter'; allowed are where, orderBy, limit, cursor"),
        ("Where", "x", "there is no parameter 'Where'"),
        ("", "", "there is no parameter ''"),
        ("limit", "0", "limit is '0'; 1 to 1000 are allowed"),
        ("limit", "1001", "1 to 1000"),
        ("limit", "-1", "1 to 1000"),
        ("limit", "1.5", "1 to 1000"),
        ("limit", "", "1 to 1000"),
        ("limit", "٣", "1 to 1000"),
        ("limit", "9" * 5000, "1 to 1000"),
        ("where", "", "not of the form field:op:json"),
        ("where", "status", "not of the form field:op:json"),
        ("where", "status:eq", "not of the form field:op:json"),
        ("where", ":eq:1", "not of the form field:op:json"),
        ("where", "status:is:1", "the operator 'is'; allowed are eq, ne, lt, lte, gt, gte, in, contains"),
        ("where", "status:EQ:1", "the operator 'EQ'"),
        ("where", "a:b:eq:1", "the operator 'b'"),
        ("where", "status:eq:open", "line 1"),
        ("where", "status:eq:", "the body is empty"),
        ("where", "a:eq:NaN", "line 1"),
        ("where", 'a:eq:"\ud800"', "UTF-8"),
        ("where", "a:eq:9223372036854775808", "beyond 64 bits"),
        ("where", 'a:eq:{"$increment":1}', "'$increment' begins with '$'"),
        ("where", 'a:eq:{"$timestamp":"now"}', "$timestamp: 'now'"),
        ("where", 'a:eq:"\\u0000"', "NUL"),
        ("where", "a..b:eq:1", "empty segment"),
        ("where", "$a:eq:1", "begins with '$'"),
        ("where", "a.__x__:eq:1", "reserved"),
        ("where", '`a"b`:eq:1', "double quote"),
        ("where", "`a\\\\b`:eq:1", "backslash"),
        ("where", "`a\nb`:eq:1", "control character"),
        ("where", "a:in:1", "in takes an array of values; found an integer"),
        ("where", "a:in:[]", "in takes 1 to 100 values; found 0"),
        ("where", f"a:in:{[0] * 101}", "found 101"),
        ("where", "a:lt:null", "lt compares booleans, numbers, strings, timestamps, bytes and references; found null"),
        ("where", "a:gt:{}", "found an object"),
        ("where", "a:lte:[]", "found an array"),
        ("where", 'a:gte:{"$geopoint":{"latitude":1,"longitude":2}}', "found a geopoint"),
        ("orderBy", "", "not a list of fields"),
        ("orderBy", "-", "not a list of fields"),
        ("orderBy", "a,", "not a list of fields"),
        ("orderBy", ",a", "not a list of fields"),
        ("orderBy", "a.", "empty segment"),
        ("orderBy", "a`b", "not a list of fields"),
        ("orderBy", '`a"`', "double quote"),
        ("orderBy", "a,-a", "orderBy has the field 'a' twice"),
        ("orderBy", "a,b,c,d,e", "orderBy has 5 fields; at most 4 are allowed"),
        ("cursor", "", "the cursor is not valid"),
        ("cursor", "xyz", "the cursor is not valid"),
    ],
)
def test_parameters_that_are_refused(name: str, text: str, said: str) -> None:
    with pytest.raises(Problem, match=re.escape(said)) as caught:
        parse_query("orders", [(name, text)])
    assert caught.value.kind == "invalid-query"
    assert len(caught.value.detail) < 400


def test_a_string_without_quotes_gets_a_hint() -> None:
    with pytest.raises(Problem) as caught:
        parse_query("orders", [("where", "status:eq:open")])
    assert caught.value.hint == 'A string stands in quotes: where=status:eq:"open"'


def test_parameters_that_stand_once_and_how_many_filters_are_allowed() -> None:
    for name in ("limit", "cursor"):
        with pytest.raises(Problem, match=f"the parameter {name} is given twice"):
            parse_query("orders", [(name, "1"), (name, "1")])
    parse_query("orders", [("where", "a:eq:1")] * MAX_FILTERS)
    with pytest.raises(Problem, match="there are 21 where parameters; at most 20"):
        parse_query("orders", [("where", "a:eq:1")] * (MAX_FILTERS + 1))


def test_the_collection_is_checked() -> None:
    with pytest.raises(Problem) as caught:
        parse_query("orders/o1", [])
    assert caught.value.kind == "invalid-path"


def test_a_cursor_serves_its_own_query_alone() -> None:
    params = [("where", "a:gte:1"), ("orderBy", "a")]
    row = ("o1", "v", 1, 2, 3, "{}", 3, 1)
    cursor = encode_cursor(parse_query("orders", params), row)
    assert parse_query("orders", [*params, ("cursor", cursor)]).after == (3, 1, "o1")
    assert parse_query("orders", [*params, ("limit", "5"), ("cursor", cursor)]).after == (3, 1, "o1")
    for collection, other in [
        ("others", params),
        ("orders", [("where", "a:gte:2"), ("orderBy", "a")]),
        ("orders", [("where", "a:gte:1.0"), ("orderBy", "a")]),
        ("orders", [("where", "a:gt:1"), ("orderBy", "a")]),
        ("orders", [("where", "a:gte:1"), ("orderBy", "-a")]),
        ("orders", [("where", "a:gte:1"), ("orderBy", "b")]),
        ("orders", [("where", "a:gte:1")]),
        ("orders", [("orderBy", "a")]),
    ]:
        with pytest.raises(Problem, match="belongs to another query"):
            parse_query(collection, [*other, ("cursor", cursor)])


# --- rows ----------------------------------------------------------------------------------------------------------


def test_the_columns_of_a_row() -> None:
    db = database({"o1": {"a": 1.5, "b": "x"}})
    assert db.execute(*compile_query(parse_query("orders", []))).fetchall() == [
        ("o1", "v1", 1, 2, 3, '{"a":1.5,"b":"x"}')
    ]
    cursor = db.execute(*compile_query(parse_query("orders", [("orderBy", "a,-b")])))
    assert [column[0] for column in cursor.description] == [
        "name", "version", "created_us", "updated_us", "pending", "view", "k0", "k1", "k2", "k3",
    ]  # fmt: skip
    assert cursor.fetchall() == [("o1", "v1", 1, 2, 3, '{"a":1.5,"b":"x"}', 3, 1.5, 5, "x")]
    db.close()


def test_one_row_more_than_the_limit_is_fetched() -> None:
    db = database({f"o{number}": {} for number in range(5)})
    assert len(db.execute(*compile_query(parse_query("orders", [("limit", "4")]))).fetchall()) == 5
    assert len(db.execute(*compile_query(parse_query("orders", [("limit", "5")]))).fetchall()) == 5
    db.close()


def test_a_page_by_name_begins_in_the_index() -> None:
    db = database({})
    first = parse_query("orders", [])
    query = parse_query("orders", [("cursor", encode_cursor(first, ("o1",)))])
    text, parameters = compile_query(query)
    plan = db.execute(f"EXPLAIN QUERY PLAN {text}", parameters).fetchall()
    assert [row[3] for row in plan] == [
        "SEARCH documents USING INDEX sqlite_autoindex_documents_1 (collection=? AND name>?)"
    ]
    db.close()


def test_no_text_of_the_user_gets_into_the_statement() -> None:
    marked = parse_query(
        "secret1",
        [("where", 'secret2:eq:"secret3\' --"'), ("where", 'secret4:in:["secret5"]'), ("orderBy", "secret6")],
    )
    text, _ = compile_query(marked)
    assert "secret" not in text
    assert "'" not in re.sub(r"'[a-z/]*'", "", text)


def test_pages_go_on_where_they_were_while_documents_come_and_go() -> None:
    db = database({letter: {"n": number} for number, letter in enumerate("abcdef")})
    params = [("orderBy", "-n"), ("limit", "2")]
    query = parse_query("orders", params)
    rows = db.execute(*compile_query(query)).fetchall()
    assert [row[0] for row in rows[:2]] == ["f", "e"]
    cursor = encode_cursor(query, rows[1])
    db.execute("DELETE FROM documents WHERE name IN ('e', 'd')")
    query = parse_query("orders", [*params, ("cursor", cursor)])
    assert [row[0] for row in db.execute(*compile_query(query))][:2] == ["c", "b"]
    db.close()


# --- the same rules, stated plainly ----------------------------------------------------------------------------------

TAG_RANKS = {"$timestamp": 4, "$bytes": 6, "$reference": 7, "$geopoint": 8}
MISSING = object()


def tag_of(value: Any) -> str | None:
    return next((name for name in value if name.startswith("$")), None) if isinstance(value, dict) else None


def value_at(document: Any, field: tuple[str, ...]) -> Any:
    for name in field:
        if not isinstance(document, dict) or name not in document:
            return MISSING
        document = document[name]
    return document


def rank_of(value: Any) -> int:
    if value is MISSING:
        return 0
    if (tag := tag_of(value)) is not None:
        return TAG_RANKS[tag]
    ranks = {type(None): 1, bool: 2, int: 3, float: 3, str: 5, list: 9, dict: 10}
    return ranks[type(value)]


def key_of(value: Any) -> Any:
    """What a value is ordered by among values of its rank."""
    rank = rank_of(value)
    if rank in (0, 1):
        return 0
    if rank == 7:
        return value["$reference"].split("/")
    if rank == 8:
        return value["$geopoint"]["latitude"]
    if (tag := tag_of(value)) is not None:
        return value[tag]
    return canonical(value).decode()[:256] if rank >= 9 else value


def equal(left: Any, right: Any) -> bool:
    if rank_of(left) != rank_of(right):
        return False
    return bool(left == right) if rank_of(left) == 3 else canonical(left) == canonical(right)


def satisfies(value: Any, op: str, operand: Any) -> bool:
    if value is MISSING:
        return False
    if op == "eq":
        return equal(value, operand)
    if op == "ne":
        return value is not None and not equal(value, operand)
    if op == "in":
        return any(equal(value, item) for item in operand)
    if op == "contains":
        return isinstance(value, list) and any(equal(item, operand) for item in value)
    if rank_of(value) != rank_of(operand):
        return False
    left, right = key_of(value), key_of(operand)
    return bool({"lt": left < right, "lte": left <= right, "gt": left > right, "gte": left >= right}[op])


def expected_names(
    documents: dict[str, Any], filters: list[Any], orders: list[tuple[tuple[str, ...], bool]]
) -> list[str]:
    names = sorted(
        name
        for name, document in documents.items()
        if all(satisfies(value_at(document, field), op, operand) for field, op, operand in filters)
    )
    if orders and orders[-1][1]:
        names.reverse()
    for field, descending in reversed(orders):

        def key(name: str, field: tuple[str, ...] = field) -> Any:
            value = value_at(documents[name], field)
            return rank_of(value), key_of(value)

        # A reversed sort is stable, too: what is equal stays in the order that it has.
        names.sort(key=key, reverse=descending)
    return names


texts = st.one_of(
    st.sampled_from(["", "a", "b", "3", "é", "a/b", 'q"\\\n', "🍕", "\uffff", "true", "null", "[3]", '{"b":1}']),
    st.text(alphabet=string.printable + "é🍕", max_size=3),
)
numbers = st.one_of(
    st.sampled_from([0, -0.0, 1, 1.0, 3, 3.0, 2.5, -1, INT_MAX, -INT_MAX - 1, 2.0**63, 2**53 + 1, 2.0**53, 0.1, 1e22]),
    st.integers(-INT_MAX, INT_MAX),
    st.floats(allow_nan=False, allow_infinity=False),
)
tagged = st.one_of(
    st.builds(lambda second: {"$timestamp": f"2026-01-31T12:00:0{second}.000000Z"}, st.integers(0, 3)),
    st.sampled_from([{"$bytes": "QQ=="}, {"$bytes": "QUE="}, {"$reference": "a/b"}, {"$reference": "a-b/c"}]),
    st.builds(
        lambda latitude: {"$geopoint": {"latitude": latitude, "longitude": 2.0}}, st.sampled_from([1.0, -1.0, 10.0])
    ),
)
scalars = st.one_of(st.none(), st.booleans(), numbers, texts, tagged)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("bc"), inner, max_size=2)),
    max_leaves=4,
)
documents_strategy = st.dictionaries(
    st.text(alphabet="abcé~-", min_size=1, max_size=3),
    st.dictionaries(st.sampled_from(["a", "b", "x.y"]), values, max_size=3).map(check_document),
    max_size=8,
)
fields = st.sampled_from([("a",), ("b",), ("x.y",), ("a", "b"), ("b", "c"), ("x.y", "b")])
filters_strategy = st.one_of(
    st.tuples(fields, st.sampled_from(["eq", "ne", "contains"]), values),
    st.tuples(fields, st.just("in"), st.lists(values, min_size=1, max_size=4)),
    st.tuples(
        fields,
        st.sampled_from(["lt", "lte", "gt", "gte"]),
        scalars.filter(lambda value: value is not None and tag_of(value) != "$geopoint"),
    ),
)
orders_strategy = st.lists(st.tuples(fields, st.booleans()), max_size=3, unique_by=lambda order: order[0])


def run_both(documents: dict[str, Any], filters: list[Any], orders: list[Any], limit: int) -> None:
    params = [("where", f"{format_field_path(field)}:{op}:{json.dumps(operand)}") for field, op, operand in filters]
    if orders:
        texts = [("-" if descending else "") + format_field_path(field) for field, descending in orders]
        params.append(("orderBy", ",".join(texts)))
    db = database(documents)
    try:
        assert names_of(db, [*params, ("limit", str(limit))]) == expected_names(documents, filters, orders)
    finally:
        db.close()


@given(documents_strategy, st.lists(filters_strategy, max_size=2), orders_strategy, st.integers(1, 5))
@settings(deadline=None, max_examples=200)
def test_a_query_gives_what_the_rules_say(
    documents: dict[str, Any], filters: list[Any], orders: list[Any], limit: int
) -> None:
    run_both(documents, filters, orders, limit)


@given(st.data())
@settings(deadline=None, max_examples=200)
def test_a_filter_on_a_value_that_is_there_gives_what_the_rules_say(data: st.DataObject) -> None:
    documents = data.draw(documents_strategy.filter(bool))
    document = data.draw(st.sampled_from(sorted(documents.values(), key=canonical)))
    field = data.draw(fields)
    operand = value_at(document, field)
    if operand is MISSING:
        operand = 1
    op = data.draw(st.sampled_from(["eq", "ne", "in", "contains", "lt", "lte", "gt", "gte"]))
    if op == "in":
        operand = [operand]
    elif op == "contains" and isinstance(operand, list) and operand:
        operand = operand[0]
    elif op not in ("eq", "ne", "contains") and rank_of(operand) in (1, 8, 9, 10):
        operand = True
    run_both(documents, [(field, op, operand)], [], 3)
