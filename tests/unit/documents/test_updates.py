"""The body of an update."""

from __future__ import annotations

import re
from typing import Any

import orjson
import pytest

from deora.documents.updates import MAX_TRANSFORMS, read_update
from deora.documents.values import MAX_DEPTH
from deora.errors import Problem


@pytest.mark.parametrize(
    ("fields", "operations"),
    [
        ({"a": 1}, [[["a"], "value", 1]]),
        ({"a.b": {"c": []}}, [[["a", "b"], "value", {"c": []}]]),
        ({"`a.b`": None}, [[["a.b"], "value", None]]),
        ({"a": {}}, [[["a"], "value", {}]]),
        ({"a": {"$increment": -1}}, [[["a"], "increment", -1]]),
        ({"a": {"$increment": 1.0}}, [[["a"], "increment", 1.0]]),
        ({"a": {"$max": 3}}, [[["a"], "max", 3]]),
        ({"a": {"$min": 2.5}}, [[["a"], "min", 2.5]]),
        ({"a": {"$arrayUnion": [1, {"x": []}]}}, [[["a"], "arrayUnion", [1, {"x": []}]]]),
        ({"a": {"$arrayRemove": []}}, [[["a"], "arrayRemove", []]]),
        ({"a": {"$serverTimestamp": True}}, [[["a"], "serverTimestamp", True]]),
        ({"a": {"$delete": True}}, [[["a"], "delete", True]]),
        ({"a": {"$geopoint": {"longitude": 2, "latitude": 1}}},
         [[["a"], "value", {"$geopoint": {"latitude": 1.0, "longitude": 2.0}}]]),
        ({"a": {"$arrayUnion": [{"$bytes": "QR=="}]}}, [[["a"], "arrayUnion", [{"$bytes": "QQ=="}]]]),
        ({"b": 1, "a.c": 2, "a.b": 3, "ab": 4},
         [[["a", "b"], "value", 3], [["a", "c"], "value", 2], [["ab"], "value", 4], [["b"], "value", 1]]),
        ({"a.b": 1, "`a.b`": 2, "a-": 3}, [[["a", "b"], "value", 1], [["a-"], "value", 3], [["a.b"], "value", 2]]),
    ],
)  # fmt: skip
def test_updates_that_are_fine(fields: Any, operations: Any) -> None:
    assert read_update(fields) == orjson.dumps(operations)


@pytest.mark.parametrize(
    ("fields", "kind", "said"),
    [
        ([], "invalid-update", "an update is a flat object from field path to value; found an array"),
        (None, "invalid-update", "found null"),
        ({}, "invalid-update", "at least one field"),
        ({"": 1}, "invalid-update", "empty segment"),
        ({"a..b": 1}, "invalid-update", "empty segment"),
        ({"__x__": 1}, "invalid-update", "reserved"),
        ({"$increment": 1}, "invalid-update", "begins with '$'"),
        ({"a": 1, "a.b": 2}, "invalid-update", "'a' and 'a.b' overlap"),
        ({"a.b.c": 1, "z": 1, "a.b.d": 2, "a.b": 3}, "invalid-update", "'a.b' and 'a.b.c' overlap"),
        ({"a": 1, "`a`": 2}, "invalid-update", "'a' and 'a' overlap"),
        ({"a": {"$inc": 1}}, "invalid-update", "in a: '$inc' is no operator; allowed are $increment, $max, $min"),
        ({"a": {"x": 1, "$inc": 1}}, "invalid-update", "'$inc' is no operator"),
        ({"a": {"x": 1, "$max": 1}}, "invalid-update", "in a: an operator stands alone"),
        ({"a": {"$max": 1, "$min": 1}}, "invalid-update", "in a: an operator stands alone"),
        ({"a": {"$increment": "1"}}, "invalid-update", "in a: $increment takes a number; found a string"),
        ({"a": {"$increment": True}}, "invalid-update", "$increment takes a number; found a boolean"),
        ({"a": {"$max": None}}, "invalid-update", "$max takes a number; found null"),
        ({"a": {"$min": [1]}}, "invalid-update", "$min takes a number; found an array"),
        ({"a": {"$arrayUnion": 1}}, "invalid-update", "$arrayUnion takes an array; found an integer"),
        ({"a": {"$arrayRemove": {}}}, "invalid-update", "$arrayRemove takes an array; found an object"),
        ({"a": {"$serverTimestamp": False}}, "invalid-update", "$serverTimestamp takes true; found a boolean"),
        ({"a.b": {"$delete": 1}}, "invalid-update", "in a.b: $delete takes true; found an integer"),
        ({"a": {"b": {"$increment": 1}}}, "invalid-document", "in a.b: the field name '$increment'"),
        ({"a": [{"$delete": True}]}, "invalid-document", "in a[0]: the field name '$delete'"),
        ({"a": {"$arrayUnion": [{"$max": 1}]}}, "invalid-document", "in a[0]: the field name '$max'"),
        ({"a": {"x": 1, "$bytes": ""}}, "invalid-document", "in a: the field name '$bytes'"),
        ({"`a.b`": "\0"}, "invalid-document", "in `a.b`: the string has a NUL"),
        ({"a": {"$arrayUnion": ["\0"]}}, "invalid-document", "in a[0]: the string has a NUL"),
        ({"a": {"$increment": 2**63}}, "invalid-document", "in a: the integer is beyond 64 bits"),
    ],
)
def test_updates_that_are_refused(fields: Any, kind: str, said: str) -> None:
    with pytest.raises(Problem, match=re.escape(said)) as caught:
        read_update(fields)
    assert caught.value.kind == kind
    assert len(caught.value.detail) < 250


def test_five_hundred_operators_are_fine_and_one_more_is_not() -> None:
    fields: dict[str, Any] = {f"f{number}": {"$increment": 1} for number in range(MAX_TRANSFORMS)}
    fields |= {f"v{number}": number for number in range(100)} | {f"d{number}": {"$delete": True} for number in range(9)}
    assert len(orjson.loads(read_update(fields))) == MAX_TRANSFORMS + 109
    fields["t"] = {"$serverTimestamp": True}
    with pytest.raises(Problem, match="501 operators; at most 500"):
        read_update(fields)


def test_the_depth_of_a_field_counts() -> None:
    path = ".".join("a" * MAX_DEPTH)
    read_update({path: 1})
    with pytest.raises(Problem, match="nested deeper"):
        read_update({path: []})
    with pytest.raises(Problem, match="nested deeper"):
        read_update({path: {"$arrayUnion": []}})
    with pytest.raises(Problem, match=f"has {MAX_DEPTH + 1} segments"):
        read_update({path + ".a": 1})
