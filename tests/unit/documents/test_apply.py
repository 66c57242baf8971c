"""What writes do to documents."""

from __future__ import annotations

import math
import re
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deora.documents.apply import apply
from deora.documents.updates import read_update
from deora.documents.values import INT_MAX, INT_MIN, MAX_DOCUMENT_BYTES, canonical
from deora.documents.writes import Write
from deora.errors import Problem


def updated(document: Any, fields: dict[str, Any], *, upsert: bool = True) -> Any:
    """The document after an update, as a value; None is a document that does not exist."""
    text = None if document is None else canonical(document)
    after = apply(text, Write("update", "a/b", read_update(fields), upsert))
    assert after is not None
    assert after == canonical(orjson.loads(after))
    return orjson.loads(after)


def test_a_set_a_create_and_a_delete_do_no_work() -> None:
    data = b'{"a":1}'
    for before in (None, b'{"b":2}'):
        assert apply(before, Write("set", "a/b", data)) is data
        assert apply(before, Write("delete", "a/b", None)) is None
    assert apply(None, Write("create", "a/b", data)) is data


def test_a_create_of_what_exists_is_refused() -> None:
    with pytest.raises(Problem, match="'a/b' exists already") as caught:
        apply(b"{}", Write("create", "a/b", b"{}"))
    assert (caught.value.kind, caught.value.status) == ("already-exists", 409)


def test_an_update_of_what_does_not_exist_needs_upsert() -> None:
    with pytest.raises(Problem, match="'a/b' does not exist") as caught:
        updated(None, {"a": 1}, upsert=False)
    assert (caught.value.kind, caught.value.status) == ("document-not-found", 404)
    assert updated(None, {"a.b": 1}) == {"a": {"b": 1}}
    assert updated(None, {"a": {"$delete": True}}) == {}


def test_preconditions_are_not_judged_here() -> None:
    assert apply(b"{}", Write("set", "a/b", b'{"a":1}', if_version="other", if_absent=True)) == b'{"a":1}'


GEOPOINT = {"$geopoint": {"latitude": 1.0, "longitude": 2.0}}


@pytest.mark.parametrize(
    ("before", "fields", "after"),
    [
        # values
        ({"a": 1, "b": 2}, {"a": 3}, {"a": 3, "b": 2}),
        ({"a": {"b": 1, "c": 2}}, {"a.b": 3}, {"a": {"b": 3, "c": 2}}),
        ({"a": {"b": 1}}, {"a": {"c": 2}}, {"a": {"c": 2}}),
        ({"a": 1}, {"a.b.c": 2}, {"a": {"b": {"c": 2}}}),
        ({"a": [1]}, {"a.b": 2}, {"a": {"b": 2}}),
        ({"a": GEOPOINT}, {"a.latitude": 5}, {"a": {"latitude": 5}}),
        ({"a": {}}, {"a.b": GEOPOINT}, {"a": {"b": GEOPOINT}}),
        ({"a.b": 1}, {"`a.b`": 2, "a.b": 3}, {"a.b": 2, "a": {"b": 3}}),
        # delete
        ({"a": 1, "b": 2}, {"a": {"$delete": True}}, {"b": 2}),
        ({"a": {"b": 1}}, {"a.b": {"$delete": True}}, {"a": {}}),
        ({"a": 1}, {"b": {"$delete": True}, "c.d": {"$delete": True}, "a.b": {"$delete": True}}, {"a": 1}),
        ({"a": GEOPOINT}, {"a.latitude": {"$delete": True}}, {"a": GEOPOINT}),
        ({"a": [{"b": 1}]}, {"a.b": {"$delete": True}}, {"a": [{"b": 1}]}),
        # increment
        ({"n": 1}, {"n": {"$increment": 2}}, {"n": 3}),
        ({"n": 1}, {"n": {"$increment": 2.0}}, {"n": 3.0}),
        ({"n": 1.5}, {"n": {"$increment": 2}}, {"n": 3.5}),
        ({}, {"n": {"$increment": 2}}, {"n": 2}),
        ({"n": True}, {"n": {"$increment": 2}}, {"n": 2}),
        ({"n": "1"}, {"n": {"$increment": 2}}, {"n": 2}),
        ({"n": 1}, {"n.m": {"$increment": 2}}, {"n": {"m": 2}}),
        ({"n": INT_MAX - 1}, {"n": {"$increment": 5}}, {"n": INT_MAX}),
        ({"n": INT_MIN + 1}, {"n": {"$increment": -5}}, {"n": INT_MIN}),
        ({"n": INT_MAX}, {"n": {"$increment": 1.0}}, {"n": 2.0**63}),
        # max and min
        ({"n": 3}, {"n": {"$max": 5}}, {"n": 5}),
        ({"n": 5}, {"n": {"$max": 3}}, {"n": 5}),
        ({"n": 3}, {"n": {"$max": 3.0}}, {"n": 3}),
        ({"n": 3.0}, {"n": {"$max": 3}}, {"n": 3.0}),
        ({"n": 3}, {"n": {"$max": 3.5}}, {"n": 3.5}),
        ({"n": -0.0}, {"n": {"$max": 0}}, {"n": -0.0}),
        ({"n": 0}, {"n": {"$min": -0.0}}, {"n": 0}),
        ({"n": 3}, {"n": {"$min": 2.5}}, {"n": 2.5}),
        ({"n": 2.5}, {"n": {"$min": 3}}, {"n": 2.5}),
        ({"n": 2**53 + 1}, {"n": {"$min": 2.0**53}}, {"n": 2.0**53}),
        ({"n": 2.0**53}, {"n": {"$max": 2**53 + 1}}, {"n": 2**53 + 1}),
        ({"n": "x"}, {"n": {"$max": -1}, "m": {"$min": 9}}, {"n": -1, "m": 9}),
        ({"n": True}, {"n": {"$max": 0}}, {"n": 0}),
        # arrays
        ({"t": [1, 2]}, {"t": {"$arrayUnion": [2, 3, 3, 4]}}, {"t": [1, 2, 3, 4]}),
        ({"t": [1, 1]}, {"t": {"$arrayUnion": [1]}}, {"t": [1, 1]}),
        ({"t": [3]}, {"t": {"$arrayUnion": [3.0, True, 1, 1.0]}}, {"t": [3, True, 1]}),
        ({"t": [0]}, {"t": {"$arrayUnion": [False, -0.0, None, ""]}}, {"t": [0, False, None, ""]}),
        (
            {"t": [{"a": [1]}]},
            {"t": {"$arrayUnion": [{"a": [1.0]}, {"a": [True]}]}},
            {"t": [{"a": [1]}, {"a": [True]}]},
        ),
        ({"t": [[], {}]}, {"t": {"$arrayUnion": [{}, []]}}, {"t": [[], {}]}),
        ({"t": [2**53 + 1]}, {"t": {"$arrayUnion": [2.0**53]}}, {"t": [2**53 + 1, 2.0**53]}),
        ({"t": "x"}, {"t": {"$arrayUnion": [1]}, "u": {"$arrayUnion": []}}, {"t": [1], "u": []}),
        ({"t": [1, True, 1.0, 2]}, {"t": {"$arrayRemove": [1]}}, {"t": [True, 2]}),
        ({"t": [1, True]}, {"t": {"$arrayRemove": [True]}}, {"t": [1]}),
        ({"t": [{"a": 1}, {"a": 1.0}, {"a": 2}]}, {"t": {"$arrayRemove": [{"a": 1}]}}, {"t": [{"a": 2}]}),
        ({"t": "x"}, {"t": {"$arrayRemove": [1]}, "u": {"$arrayRemove": [1]}}, {"t": [], "u": []}),
    ],
)
def test_updates(before: Any, fields: dict[str, Any], after: Any) -> None:
    assert canonical(updated(before, fields)) == canonical(after)


@pytest.mark.parametrize(("stored", "operand"), [(1e308, 1e308), (-1.7e308, -1.7e308)])
def test_a_sum_beyond_a_double_is_refused(stored: float, operand: float) -> None:
    with pytest.raises(Problem, match=re.escape("in a.n: the sum is beyond")) as caught:
        updated({"a": {"n": stored}}, {"a.n": {"$increment": operand}})
    assert caught.value.kind == "invalid-update"


def test_the_result_has_the_limits_of_a_document() -> None:
    half = "x" * (MAX_DOCUMENT_BYTES // 2)
    with pytest.raises(Problem) as caught:
        updated({"a": half}, {"b": half})
    assert caught.value.kind == "too-large"
    # Such an update does not pass `read_update`; one that an older version accepted still must not do harm.
    for segments, operand in (["a"] * 21, 1), (["a"] * 20, []), (["a"] * 19, {"b": {}}):
        with pytest.raises(Problem, match="nested deeper") as caught:
            apply(b"{}", Write("update", "a/b", orjson.dumps([[segments, "value", operand]])))
        assert caught.value.kind == "invalid-document"


# --- the same rules, stated plainly ----------------------------------------------------------------------------------


def equal(left: Any, right: Any) -> bool:
    """Deep equality with equal numbers of both types equal."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(equal(left[name], right[name]) for name in left)
    return type(left) in (int, float, str, type(None)) and bool(left == right)


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def result_of(operator: str, stored: Any, operand: Any) -> Any:
    if operator in ("$increment", "$max", "$min"):
        if not is_number(stored):
            return operand
        if operator == "$max":
            return operand if operand > stored else stored
        if operator == "$min":
            return operand if operand < stored else stored
        if isinstance(stored, int) and isinstance(operand, int):
            total = stored + operand
            return INT_MAX if total > INT_MAX else INT_MIN if total < INT_MIN else total
        return float(stored) + float(operand)
    items = list(stored) if isinstance(stored, list) else []
    if operator == "$arrayRemove":
        return [item for item in items if not any(equal(item, other) for other in operand)]
    for item in operand:
        if not any(equal(item, other) for other in items):
            items.append(item)
    return items


def is_object(value: Any) -> bool:
    return isinstance(value, dict) and not any(name.startswith("$") for name in value)


def restated(members: dict[str, Any], path: list[str], operator: str, operand: Any) -> dict[str, Any]:
    """A new object: this one with one operation applied at a path."""
    name, *rest = path
    if operator == "$delete":
        if not rest:
            return {other: value for other, value in members.items() if other != name}
        if not is_object(members.get(name)):
            return members
    if rest:
        inner: Any = members.get(name)
        if not is_object(inner):
            inner = {}
        return {**members, name: restated(inner, rest, operator, operand)}
    return {**members, name: operand if operator == "" else result_of(operator, members.get(name), operand)}


numbers = st.one_of(
    st.sampled_from([0, -0.0, 0.0, 1, 1.0, 3, 3.0, 2.5, -1, INT_MAX, INT_MIN, 2**53 + 1, 2.0**53, 1e308, -1e308]),
    st.integers(INT_MIN, INT_MAX),
    st.floats(allow_nan=False, allow_infinity=False),
)
leaves = st.one_of(
    numbers,
    st.sampled_from([None, True, False, "", "x", GEOPOINT, {"$bytes": "QQ=="}, {"$reference": "a/b"}]),
)
values = st.recursive(
    leaves,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from("abc"), inner, max_size=3)),
    max_leaves=6,
)
documents = st.dictionaries(st.sampled_from("abc"), values, max_size=3)
operations = st.one_of(
    st.tuples(st.just(""), values),
    st.tuples(st.just("$delete"), st.just(True)),
    st.tuples(st.sampled_from(["$increment", "$max", "$min"]), numbers),
    st.tuples(st.sampled_from(["$arrayUnion", "$arrayRemove"]), st.lists(values, max_size=4)),
)
paths = st.sampled_from(["a", "b", "c", "a.a", "a.b", "b.c", "c.a.b", "`a.b`"])


@given(st.none() | documents, st.lists(st.tuples(paths, operations), min_size=1, max_size=4))
@settings(deadline=None, max_examples=400)
def test_updates_do_what_the_rules_say(document: dict[str, Any] | None, update: list[Any]) -> None:
    fields: dict[str, Any] = {}
    expected: dict[str, Any] = document or {}
    for path, (operator, operand) in update:
        segments = ["a.b"] if path == "`a.b`" else path.split(".")
        if any(f"{other}.".startswith(f"{path}.") or f"{path}.".startswith(f"{other}.") for other in fields):
            continue
        fields[path] = {operator: operand} if operator else operand
        expected = restated(expected, segments, operator, operand)
    if any(math.isinf(number) for number in numbers_of(expected)):
        with pytest.raises(Problem, match="beyond the range"):
            updated(document, fields)
    else:
        assert canonical(updated(document, fields)) == canonical(expected)


def numbers_of(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [number for item in value.values() for number in numbers_of(item)]
    if isinstance(value, list):
        return [number for item in value for number in numbers_of(item)]
    return [value] if is_number(value) else []
