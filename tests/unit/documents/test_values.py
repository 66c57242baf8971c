"""Strict JSON, the rules for values, the canonical text."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deora.documents.values import (
    INT_MAX,
    INT_MIN,
    MAX_DEPTH,
    MAX_DOCUMENT_BYTES,
    canonical,
    canonical_document,
    check_document,
    check_size,
    check_value,
    decode_json,
    depth_of,
    is_tagged,
    timestamp_text,
)
from deora.errors import Problem


def nested(levels: int, inner: str = "1") -> bytes:
    """A document of so many levels."""
    return ('{"a":' * levels + inner + "}" * levels).encode()


# --- strict JSON ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b"{}", {}),
        (b' {"a" : [1, -2.5e3, true, null, "\\u00e9\\n"]}\r\n', {"a": [1, -2500.0, True, None, "é\n"]}),
        (b"9223372036854775807", INT_MAX),
        (b"-9223372036854775808", INT_MIN),
        (b"9223372036854775808.0", 2.0**63),
        (b"18446744073709551616e0", 2.0**64),
        (b"0.12345678901234567890", 0.12345678901234568),
        (b'"9223372036854775808"', "9223372036854775808"),
        (b'"\\"9223372036854775808"', '"9223372036854775808'),
        (b'{"a":{"b":1},"b":{"b":1}}', {"a": {"b": 1}, "b": {"b": 1}}),
        (b'{"a":"\\"a\\":1,\\"a\\":"}', {"a": '"a":1,"a":'}),
        (b'{"\\\\":1,"\\\\\\\\":2}', {"\\": 1, "\\\\": 2}),
        (b'{"\\"":1,"\\u0022\\u0022":2}', {'"': 1, '""': 2}),
    ],
)
def test_json_that_is_fine(body: bytes, value: Any) -> None:
    assert decode_json(body) == value


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "the body is empty"),
        (b" \n", "the body is empty"),
        (b"{", "line 1"),
        (b'{"a":1} x', "line 1"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b'"\xff"', "UTF-8"),
        (b'"\xed\xa0\x80"', "UTF-8"),
        (b'"\\ud800"', "surrogate"),
        (b'"\\udc00\\ud800"', "surrogate"),
        (b'"\x01"', "control character"),
        (b"NaN", "line 1"),
        (b"Infinity", "line 1"),
        (b"-Infinity", "line 1"),
        (b"01", "leading zero"),
        (b"[1,]", "line 1"),
        (b"// x", "line 1"),
        (b"1e400", "infinity"),
        (b"-1e400", "infinity"),
        (b"1" + b"0" * 400, "infinity"),
        (b"9223372036854775808", "beyond 64 bits"),
        (b"-9223372036854775809", "beyond 64 bits"),
        (b"18446744073709551615", "beyond 64 bits"),
        (b"18446744073709551616", "beyond 64 bits"),
        (b"1" + b"0" * 300, "beyond 64 bits"),
        (b'{"a":"\\"","b":[9223372036854775808]}', "beyond 64 bits"),
        (b'{"a":1,"a":1}', "the member 'a' twice"),
        (b'{"a":1,"\\u0061":2}', "the member 'a' twice"),
        (b'{"x":[{"a":{},"b":1,"a":{"c":1}}]}', "the member 'a' twice"),
        (b'{"a" :1, "a":2}', "the member 'a' twice"),
        (b'{"\\"":1,"\\u0022":2}', "twice"),
        (b'{"":1,"":2}', "twice"),
        (b"[" * 1025 + b"]" * 1025, "depth"),
        (b"[" * 900 + b"]" * 900, "far too deep"),
    ],
)
def test_json_that_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(Problem, match=re.escape(said)) as caught:
        decode_json(body)
    assert caught.value.kind == "invalid-json"
    assert len(caught.value.detail) < 250


def test_a_deep_value_that_a_duplicate_hides_is_refused_without_a_stack_trace() -> None:
    # How deep the standard library follows depends on the version of Python, so the reason may be either one.
    with pytest.raises(Problem, match=r"far too deep|twice"):
        decode_json(b'{"a":' + b"[" * 1020 + b"]" * 1020 + b',"a":1}')


def strict_by_the_standard_library(body: bytes) -> bool:
    """Whether the standard library finds no duplicate member and no integer beyond 64 bits."""

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError
        return dict(pairs)

    def integer(text: str) -> int:
        if not INT_MIN <= int(text) <= INT_MAX:
            raise ValueError
        return int(text)

    try:
        json.loads(body, object_pairs_hook=members, parse_int=integer)
    except ValueError:
        return False
    return True


space = st.sampled_from(["", "", "", " ", "\n", "\t", " \r\n"])
string = st.builds(
    lambda text, ascii_only: json.dumps(text, ensure_ascii=ascii_only),
    st.text(alphabet=st.sampled_from('ab":\\\n/é🍕0'), max_size=4),
    st.booleans(),
)
number = st.one_of(
    st.integers(-5, 5).map(str),
    st.sampled_from([INT_MAX - 1, INT_MAX, INT_MAX + 1, INT_MIN + 1, INT_MIN, INT_MIN - 1, 2**64, 10**25]).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
)


json_text = st.recursive(
    st.one_of(number, string, st.sampled_from(["true", "false", "null"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: "[" + ",".join(items) + "]"),
        st.lists(st.tuples(string, space, space, inner), max_size=4).map(
            lambda members: "{" + ",".join("".join([key, a, ":", b, value]) for key, a, b, value in members) + "}"
        ),
    ),
    max_leaves=8,
)


@given(json_text)
@settings(deadline=None, max_examples=300)
def test_duplicates_and_overlong_integers_are_found_exactly(text: str) -> None:
    body = text.encode()
    if strict_by_the_standard_library(body):
        assert decode_json(body) == orjson.loads(body)
    else:
        with pytest.raises(Problem) as caught:
            decode_json(body)
        assert caught.value.kind == "invalid-json"


# --- documents -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{}", b"{}"),
        (b'{"b":1,"a":{"d":1,"c":[]}}', b'{"a":{"c":[],"d":1},"b":1}'),
        (b'{"a":1.0,"b":1,"c":-0.0,"d":1E2}', b'{"a":1.0,"b":1,"c":-0.0,"d":100.0}'),
        (b'{"\xf0\x9f\x8d\x95":1,"\xef\xbf\xbd":2}', b'{"\xef\xbf\xbd":2,"\xf0\x9f\x8d\x95":1}'),
        (b'{"a":"\\u00e9\\u0001\\n\\/"}', b'{"a":"\xc3\xa9\\u0001\\n/"}'),
        (b'{"__a":1,"a__":"__x__","___":""}', b'{"___":"","__a":1,"a__":"__x__"}'),
        (b'{"a":"$increment","b":["$x"]}', b'{"a":"$increment","b":["$x"]}'),
        (
            b'{"t":{"$timestamp":"2026-01-31T12:00:00+01:00"},"g":[{"$geopoint":{"longitude":2,"latitude":1}}]}',
            b'{"g":[{"$geopoint":{"latitude":1.0,"longitude":2.0}}],"t":{"$timestamp":"2026-01-31T11:00:00.000000Z"}}',
        ),
    ],
)
def test_the_canonical_text(body: bytes, text: bytes) -> None:
    assert canonical_document(body) == text
    assert canonical(check_document(decode_json(body))) == text
    assert canonical_document(text) == text


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"[]", "a document is a JSON object; found an array"),
        (b"null", "found null"),
        (b'"x"', "found a string"),
        (b'{"$timestamp":"2026-01-31T12:00:00Z"}', "'$timestamp' begins with '$'"),
        (b'{"":1}', "an empty field name"),
        (b'{"a":{"":1}}', "in a: an empty field name"),
        (b'{"__x__":1}', "'__x__' is reserved"),
        (b'{"a":{"____":1}}', "in a: the field name '____' is reserved"),
        (b'{"\\u005f_x__":1}', "'__x__' is reserved"),
        (b'{"a\\u0000":1}', "NUL"),
        (b'{"a":"x\\u0000"}', "in a: the string has a NUL"),
        (b'{"a.b":[0,{"c":["\\u0000"]}]}', "in `a.b`[1].c[0]: the string has a NUL"),
        (b'{"' + b"x" * 1501 + b'":1}', "1501 bytes"),
        (b'{"' + "é".encode() * 751 + b'":1}', "1502 bytes"),
        (b'{"a":{"$increment":1}}', "in a: the field name '$increment' begins with '$'"),
        (b'{"a":{"\\u0024x":1}}', "in a: the field name '$x'"),
        (b'{"a":{"$bytes":"","b":1}}', "in a: the field name '$bytes'"),
        (b'{"a":{"$bytes":"","$reference":"a/b"}}', "in a: the field name '$bytes'"),
        (b'{"a":[{"$reference":"users"}]}', "in a[0]: $reference: the document path 'users'"),
        (b'{"a":{"$timestamp":"now"}}', "in a: $timestamp: 'now'"),
        (b'{"a":{"$geopoint":{"latitude":{"$bytes":""},"longitude":1}}}', "latitude is a number"),
        (nested(MAX_DEPTH + 1), f"nested deeper than {MAX_DEPTH} levels"),
        (nested(MAX_DEPTH, "[]"), f"nested deeper than {MAX_DEPTH} levels"),
        (nested(200), f"nested deeper than {MAX_DEPTH} levels"),
    ],
)
def test_documents_that_are_refused(body: bytes, said: str) -> None:
    for check in (canonical_document, lambda body: check_document(decode_json(body))):
        with pytest.raises(Problem, match=re.escape(said)) as caught:
            check(body)
        assert caught.value.kind == "invalid-document"
        assert len(caught.value.detail) < 250


def test_twenty_levels_are_fine_and_a_tagged_value_is_a_leaf() -> None:
    for body in (nested(MAX_DEPTH), nested(MAX_DEPTH, '{"$bytes":""}'), nested(MAX_DEPTH - 1, "[1]")):
        assert canonical_document(body) == body
        assert depth_of(orjson.loads(body)) == MAX_DEPTH


def test_the_longest_name_is_fine() -> None:
    for name in ("x" * 1500, "é" * 750):
        body = orjson.dumps({name: 1})
        assert canonical_document(body) == body


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, INT_MAX + 1, INT_MIN - 1, b"x"])
def test_values_that_no_json_gives_are_refused_too(number: Any) -> None:
    with pytest.raises(Problem) as caught:
        check_document({"a": [number]})
    assert caught.value.kind == "invalid-document"
    assert caught.value.detail.startswith("in a[0]: ")


def test_a_document_of_one_mebibyte_is_fine_and_one_byte_more_is_not() -> None:
    frame = b'{"a":""}'
    body = orjson.dumps({"a": "x" * (MAX_DOCUMENT_BYTES - len(frame))})
    assert canonical_document(body) == body
    check_size(body)
    with pytest.raises(Problem, match=f"{MAX_DOCUMENT_BYTES + 1} bytes") as caught:
        canonical_document(body.replace(b"xx", b"xxx", 1))
    assert (caught.value.kind, caught.value.status) == ("too-large", 413)


def test_the_size_is_that_of_the_canonical_text() -> None:
    body = b" " * MAX_DOCUMENT_BYTES + b"{}"
    assert canonical_document(body) == b"{}"


awkward_key = st.text(alphabet=st.sampled_from("ab_$\0é"), max_size=5)
awkward_value = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text(alphabet=st.sampled_from('a_$\0"\\'), max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(awkward_key, inner, max_size=3)),
    max_leaves=10,
)


def outcome(check: Callable[[bytes], bytes], body: bytes) -> bytes | str:
    """What it returns, or what it says."""
    try:
        return check(body)
    except Problem as problem:
        return problem.detail


@given(st.dictionaries(awkward_key, awkward_value, max_size=4), st.booleans(), st.integers(0, MAX_DEPTH + 1))
@settings(deadline=None, max_examples=300)
def test_the_fast_path_decides_as_the_rules_do(members: dict[str, Any], ascii_only: bool, levels: int) -> None:
    for _ in range(levels):
        members = {"a": members}
    body = json.dumps(members, ensure_ascii=ascii_only).encode()
    assert outcome(canonical_document, body) == outcome(lambda body: canonical(check_document(decode_json(body))), body)


# --- operands ------------------------------------------------------------------------------------------------------


def test_an_operand_is_normalised() -> None:
    operand = [{"$geopoint": {"latitude": 1, "longitude": 2}}]
    assert canonical(check_value(operand, depth=2)) == b'[{"$geopoint":{"latitude":1.0,"longitude":2.0}}]'
    assert check_value({"$bytes": "QR=="}, depth=2) == {"$bytes": "QQ=="}
    assert check_value("x", depth=2) == "x"


@pytest.mark.parametrize(
    ("value", "depth", "fine"),
    [
        (1, MAX_DEPTH + 1, True),
        ({"$bytes": ""}, MAX_DEPTH + 1, True),
        ([], MAX_DEPTH, True),
        ([], MAX_DEPTH + 1, False),
        ([[]], MAX_DEPTH, False),
        ({"a": {"b": 1}}, MAX_DEPTH - 1, True),
        (1, MAX_DEPTH + 2, False),
    ],
)
def test_an_operand_stands_at_its_level(value: Any, depth: int, fine: bool) -> None:
    if fine:
        check_value(value, depth=depth)
    else:
        with pytest.raises(Problem, match="nested deeper"):
            check_value(value, depth=depth)


def test_a_fault_in_an_operand_is_named_from_the_documents_root() -> None:
    with pytest.raises(Problem, match=re.escape("in a.`b.c`[1].d: the string has a NUL")):
        check_value([1, {"d": "\0"}], depth=3, at=("a", "b.c"))
    with pytest.raises(Problem, match=r"^the string has a NUL"):
        check_value("\0", depth=2)


@pytest.mark.parametrize(
    ("members", "tagged"),
    [({}, False), ({"a": 1}, False), ({"$bytes": ""}, True), ({"a": 1, "b": 2}, False)],
)
def test_what_a_tagged_value_is(members: dict[str, Any], tagged: bool) -> None:
    assert is_tagged(members) is tagged


@pytest.mark.parametrize(
    ("value", "levels"),
    [(1, 0), ({"$geopoint": {"latitude": 1.0}}, 0), ({}, 1), ([], 1), ([{}, [[]]], 3), ({"a": 1, "b": {"c": []}}, 3)],
)
def test_the_depth_of_a_value(value: Any, levels: int) -> None:
    assert depth_of(value) == levels


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "1970-01-01T00:00:00.000000Z"),
        (1_769_860_800_123_456, "2026-01-31T12:00:00.123456Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
    ],
)
def test_microseconds_as_text(us: int, text: str) -> None:
    assert timestamp_text(us) == text


@given(st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59, 999_999)))
@settings(deadline=None)
def test_the_text_of_a_moment_is_normal(moment: datetime) -> None:
    us = (moment - datetime(1970, 1, 1)) // timedelta(microseconds=1)
    tagged = {"$timestamp": timestamp_text(us)}
    assert check_value(tagged, depth=2) is tagged
    assert datetime.fromisoformat(tagged["$timestamp"]) == moment.replace(tzinfo=UTC)
