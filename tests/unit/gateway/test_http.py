"""The checks that the HTTP parser leaves to us."""

from __future__ import annotations

import pytest

from deora.errors import Problem
from deora.gateway.http import FORWARDED, LISTS, METHODS, add_field, check_request_id, check_target, check_version


@pytest.mark.parametrize(
    "target",
    [b"/", b"/v1/documents/orders/o1", b"/v1/documents/orders?where=a:eq:1&limit=2", b"/%23", b"/" + b"a" * 99, b"//"],
)
def test_a_path_is_a_target(target: bytes) -> None:
    check_target(target, 100)


@pytest.mark.parametrize(
    ("target", "kind", "status"),
    [
        (b"", "bad-request", 400),
        (b"*", "bad-request", 400),
        (b"v1/documents", "bad-request", 400),
        (b"http://venue/v1/documents/orders", "bad-request", 400),
        (b"venue:443", "bad-request", 400),
        (b"/v1/documents/orders#o1", "bad-request", 400),
        (b"/" + b"a" * 100, "target-too-long", 414),
        # Too long comes first: nothing else of it is looked at.
        (b"#" * 101, "target-too-long", 414),
    ],
)
def test_anything_else_is_not(target: bytes, kind: str, status: int) -> None:
    with pytest.raises(Problem) as refused:
        check_target(target, 100)
    assert (refused.value.kind, refused.value.status) == (kind, status)


def test_the_refusal_of_a_long_target_says_both_lengths_and_what_to_do() -> None:
    with pytest.raises(Problem) as refused:
        check_target(b"/" + b"a" * 8192, 8192)
    assert "8193" in refused.value.detail
    assert "8192" in refused.value.detail
    assert "batchGet" in (refused.value.hint or "")


@pytest.mark.parametrize(
    ("version", "hosts", "chunked", "is_allowed"),
    [
        ("1.1", 1, False, True),
        ("1.1", 1, True, True),
        ("1.1", 0, False, False),
        ("1.1", 2, False, False),
        ("1.0", 0, False, True),
        ("1.0", 1, False, True),
        ("1.0", 2, False, False),
        ("1.0", 1, True, False),
        ("0.9", 1, False, False),
        ("2.0", 1, False, False),
    ],
)
def test_versions(version: str, hosts: int, chunked: bool, is_allowed: bool) -> None:
    if is_allowed:
        check_version(version, hosts, chunked=chunked)
        return
    with pytest.raises(Problem) as refused:
        check_version(version, hosts, chunked=chunked)
    assert refused.value.kind == "bad-request"


def test_fields_are_added() -> None:
    fields: dict[bytes, bytes] = {}
    add_field(fields, b"if-match", b'"a"')
    add_field(fields, b"prefer", b"wait=1")
    assert fields == {b"if-match": b'"a"', b"prefer": b"wait=1"}


def test_a_list_may_stand_in_several_fields() -> None:
    fields: dict[bytes, bytes] = {}
    for value in (b"wait=1", b"return=representation", b"respond-async"):
        add_field(fields, b"prefer", value)
    assert fields == {b"prefer": b"wait=1, return=representation, respond-async"}


@pytest.mark.parametrize("name", sorted(FORWARDED - LISTS))
def test_any_other_field_stands_once(name: bytes) -> None:
    fields = {name: b"1"}
    # Not even the same value again: two parsers that each take another one of two are how smuggling begins.
    with pytest.raises(Problem, match=name.decode()) as refused:
        add_field(fields, name, b"1")
    assert refused.value.status == 400
    assert fields == {name: b"1"}


def test_lists_are_among_the_forwarded() -> None:
    assert LISTS <= FORWARDED
    assert all(name == name.lower() for name in FORWARDED)


def test_methods() -> None:
    assert {b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE"} == METHODS


@pytest.mark.parametrize(
    ("value", "is_usable"),
    [
        (b"a", True),
        (b"0b7c-1/!~", True),
        (b"a" * 128, True),
        (b"", False),
        (b"a" * 129, False),
        (b"a b", False),
        (b"a\x7f", False),
        (b"\xc3\xa4", False),
        (b"a\tb", False),
    ],
)
def test_request_ids_are_visible_ascii(value: bytes, is_usable: bool) -> None:
    assert check_request_id(value) is is_usable
