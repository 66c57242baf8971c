"""The checks that the HTTP parser leaves to us."""

from __future__ import annotations

import pytest

from deora.errors import Problem
from deora.gateway.http import (
    FORWARDED,
    LISTS,
    METHODS,
    Head,
    add_field,
    check_request_id,
    check_target_length,
    check_version,
    head_end,
    settle_target,
)


@pytest.mark.parametrize(
    ("target", "method", "path", "host"),
    [
        (b"/", b"GET", b"/", b"here"),
        (b"/v1/documents/orders?where=a:eq:1&limit=2", b"GET", b"/v1/documents/orders?where=a:eq:1&limit=2", b"here"),
        (b"/%23", b"GET", b"/%23", b"here"),
        (b"//", b"GET", b"//", b"here"),
        (b"*", b"OPTIONS", b"*", b"here"),
        (b"http://venue/v1/documents/o", b"GET", b"/v1/documents/o", b"venue"),
        (b"HTTPS://venue:3000/a?b=/c", b"GET", b"/a?b=/c", b"venue:3000"),
        (b"http://venue", b"GET", b"/", b"venue"),
        (b"http://venue?a=1", b"GET", b"/?a=1", b"venue"),
        (b"http:///a", b"GET", b"/a", b""),
    ],
)
def test_a_target_in_origin_form(target: bytes, method: bytes, path: bytes, host: bytes) -> None:
    head = Head(target, b"here")
    settle_target(head, method)
    assert (head.target, head.host) == (path, host)


@pytest.mark.parametrize(
    ("target", "method"),
    [
        (b"", b"GET"),
        (b"*", b"GET"),
        (b"v1/documents", b"GET"),
        (b"ftp://venue/a", b"GET"),
        (b"venue:443", b"CONNECT"),
        (b"/v1/documents/orders#o1", b"GET"),
        (b"http://venue/a#b", b"GET"),
    ],
)
def test_anything_else_is_refused(target: bytes, method: bytes) -> None:
    with pytest.raises(Problem) as refused:
        settle_target(Head(target), method)
    assert (refused.value.kind, refused.value.status) == ("bad-request", 400)


def test_the_refusal_of_a_long_target_says_both_lengths_and_what_to_do() -> None:
    with pytest.raises(Problem) as refused:
        check_target_length(b"/" + b"a" * 8192, 8192)
    assert refused.value.status == 414
    check_target_length(b"/" + b"a" * 8191, 8192)
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
    assert {b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"} == METHODS


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


def test_a_head_keeps_what_a_worker_reads_and_counts_all_of_it() -> None:
    head = Head()
    for name, value in [
        (b"Host", b"venue"),
        (b"If-Match", b'"v"'),
        (b"X-Unknown", b"1"),
        (b"X-Forwarded-For", b"a"),
        (b"X-Forwarded-For", b"b"),
        (b"Content-Length", b"12"),
    ]:
        head.add(name, value)
    assert head.fields == {b"if-match": b'"v"'}
    assert (head.host, head.hosts, head.forwarded_for, head.length) == (b"venue", 1, b"a, b", 12)
    assert head.size_bytes == sum(len(line) for line in (b"Host: venue\r\n", b'If-Match: "v"\r\n')) + len(
        b"X-Unknown: 1\r\nX-Forwarded-For: a\r\nX-Forwarded-For: b\r\nContent-Length: 12\r\n"
    )


@pytest.mark.parametrize("name", [b"Authorization", b"X-Forwarded-Proto", b"Access-Control-Request-Method"])
def test_what_may_stand_once(name: bytes) -> None:
    head = Head()
    head.add(name, b"a")
    with pytest.raises(Problem, match="more than once"):
        head.add(name, b"a")


def test_a_length_of_more_digits_than_any_limit() -> None:
    head = Head()
    head.add(b"Content-Length", b"9" * 5000)
    assert head.length == 10**19


@pytest.mark.parametrize(
    ("value", "takes"),
    [
        (b"gzip", True),
        (b"br, GZIP, deflate", True),
        (b"gzip;q=0.5", True),
        (b"gzip; q=0.001", True),
        (b"x-gzip", True),
        (b"gzip;q=0", False),
        (b"gzip; q=0.000", False),
        (b"br", False),
        (b"gzipped", False),
        (b"*", False),
        (b"", False),
    ],
)
def test_who_takes_gzip(value: bytes, takes: bool) -> None:
    head = Head()
    head.add(b"Accept-Encoding", value)
    assert head.accepts_gzip is takes


@pytest.mark.parametrize(
    ("came", "start", "is_exact", "end"),
    [
        (b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nbody", 0, True, 28),
        (b"\r\n\r\nGET /a HTTP/1.1\r\n\r\n", 0, True, 23),
        (b"\rGET /a HTTP/1.1\r\n\r\n", 0, True, None),
        (b"\nGET /a HTTP/1.1\r\n\r\n", 0, True, None),
        (b"helloGET /a HTTP/1.1\r\n\r\n", 5, True, 24),
        (b"helloGET /a HTTP/1.1\r\n\r\n", 4, True, None),
        (b"helloGET /a HTTP/1.1\r\n\r\n", 2, False, 24),
        (b"GET  /a HTTP/1.1\r\n\r\n", 0, True, None),
        (b"GET /a  HTTP/1.1\r\n\r\n", 0, False, None),
        # What an earlier request said is not this one's line.
        (b"GET /a HTTP/1.1\r\n\r\nGET  /a HTTP/1.1\r\n\r\n", 19, True, None),
        (b"GET /a HTTP/1.1\r\n\r\nGET  /a HTTP/1.1\r\n\r\n", 19, False, None),
    ],
)
def test_a_request_line_as_it_came(came: bytes, start: int, is_exact: bool, end: int | None) -> None:
    if end is None:
        with pytest.raises(Problem, match="METHOD TARGET VERSION"):
            head_end(came, b"GET", b"/a", "1.1", start, is_exact=is_exact)
    else:
        assert head_end(came, b"GET", b"/a", "1.1", start, is_exact=is_exact) == end
