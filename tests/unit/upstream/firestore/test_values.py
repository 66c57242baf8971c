"""Documents in Firestore's JSON, and back."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given

from deora.documents.values import INT_MAX, INT_MIN, canonical
from deora.upstream.firestore.values import (
    decode_document,
    decode_value,
    documents_root,
    encode_document,
    encode_value,
    path_of,
    timestamp,
)
from tests.fakes.documents import DOCUMENTS

ROOT = documents_root("p", "(default)")

BOTH_WAYS: list[tuple[Any, dict[str, Any]]] = [
    (None, {"nullValue": None}),
    (True, {"booleanValue": True}),
    (False, {"booleanValue": False}),
    (3, {"integerValue": "3"}),
    (INT_MIN, {"integerValue": "-9223372036854775808"}),
    (INT_MAX, {"integerValue": "9223372036854775807"}),
    (3.0, {"doubleValue": 3.0}),
    (5e-324, {"doubleValue": 5e-324}),
    ("", {"stringValue": ""}),
    ("Käse", {"stringValue": "Käse"}),
    ([], {"arrayValue": {"values": []}}),
    (
        [1, {"a": [2.0]}],
        {
            "arrayValue": {
                "values": [
                    {"integerValue": "1"},
                    {"mapValue": {"fields": {"a": {"arrayValue": {"values": [{"doubleValue": 2.0}]}}}}},
                ]
            }
        },
    ),
    ({}, {"mapValue": {"fields": {}}}),
    ({"$a.b": 1, "c": 2}, {"mapValue": {"fields": {"$a.b": {"integerValue": "1"}, "c": {"integerValue": "2"}}}}),
    ({"$timestamp": "2026-01-31T12:00:00.123456Z"}, {"timestampValue": "2026-01-31T12:00:00.123456Z"}),
    ({"$bytes": "AAEC"}, {"bytesValue": "AAEC"}),
    ({"$geopoint": {"latitude": 1.5, "longitude": -2.0}}, {"geoPointValue": {"latitude": 1.5, "longitude": -2.0}}),
    ({"$reference": "users/u1"}, {"referenceValue": "projects/p/databases/(default)/documents/users/u1"}),
]


@pytest.mark.parametrize(("value", "encoded"), BOTH_WAYS)
def test_each_type_has_its_own_form(value: Any, encoded: dict[str, Any]) -> None:
    assert encode_value(value, ROOT) == encoded
    assert type(decode_value(encoded, ROOT)) is type(value)
    assert decode_value(encoded, ROOT) == value


@given(DOCUMENTS)
def test_a_document_comes_back_as_it_went(document: dict[str, Any]) -> None:
    data = canonical(document)
    over_the_wire = orjson.loads(orjson.dumps(encode_document(data, ROOT)))
    assert decode_document(over_the_wire, ROOT) == data


@pytest.mark.parametrize(
    ("answered", "value"),
    [
        # what proto3 JSON leaves out, and other forms of the same number
        ({"arrayValue": {}}, []),
        ({"mapValue": {}}, {}),
        ({"geoPointValue": {}}, {"$geopoint": {"latitude": 0.0, "longitude": 0.0}}),
        ({"geoPointValue": {"longitude": 7}}, {"$geopoint": {"latitude": 0.0, "longitude": 7.0}}),
        ({"doubleValue": 7}, 7.0),
        ({"doubleValue": "-0"}, -0.0),
        ({"integerValue": 7}, 7),
        ({"nullValue": "NULL_VALUE"}, None),
        ({"timestampValue": "2026-01-31T12:00:00Z"}, {"$timestamp": "2026-01-31T12:00:00.000000Z"}),
        ({"timestampValue": "2026-01-31T12:00:00.120Z"}, {"$timestamp": "2026-01-31T12:00:00.120000Z"}),
        ({"timestampValue": "2026-01-31T12:00:00.123456789Z"}, {"$timestamp": "2026-01-31T12:00:00.123456Z"}),
        # what JSON cannot say
        ({"doubleValue": "NaN"}, None),
        ({"doubleValue": "-Infinity"}, None),
        ({"typeOfNextYear": 1}, None),
        # another database's document
        (
            {"referenceValue": "projects/q/databases/(default)/documents/a/1"},
            {"$reference": "projects/q/databases/(default)/documents/a/1"},
        ),
    ],
)
def test_what_firestore_may_answer(answered: dict[str, Any], value: Any) -> None:
    decoded = decode_value(answered, ROOT)
    assert canonical(decoded) == canonical(value)


@pytest.mark.parametrize("wrong", [{}, {"a": 1, "b": 2}, {"integerValue": "x"}, {"arrayValue": 1}, [], None])
def test_what_is_no_value_is_an_error(wrong: Any) -> None:
    with pytest.raises((ValueError, TypeError, LookupError, AttributeError)):
        decode_document({"a": wrong}, ROOT)


def test_times_sort_as_texts() -> None:
    answered = ["2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000001Z", "2026-01-31T12:00:00.120Z"]
    assert sorted(map(timestamp, answered)) == list(map(timestamp, answered))


def test_names_are_paths_under_the_root() -> None:
    assert path_of(f"{ROOT}/orders/o1", ROOT) == "orders/o1"
    assert path_of("projects/q/databases/d/documents/a/1", ROOT) == "projects/q/databases/d/documents/a/1"
