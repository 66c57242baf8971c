"""A request's parts: headers, parameters, paths; each fault is a problem that says what is allowed."""

from __future__ import annotations

import pytest

from deora.errors import Problem
from deora.worker.requests import MAX_WAIT_S, Request, decode_path, parse
from tests.fakes.worker import request


def with_header(name: str, value: str, content: bytes | None = None) -> Request:
    return request("PUT", "/x", content, headers={name: value})


# -- the frame


def test_a_frame_is_taken_apart() -> None:
    head = b'PUT /v1/documents/a/b?x=1&y=?\nif-match:"v:1"\nx-request-id:r'
    found = parse(7, 0b0110, len(head), head + b"\nGET / content\n:", b"run-")
    assert (found.method, found.path, found.query) == (b"PUT", b"/v1/documents/a/b", b"x=1&y=?")
    assert found.fields == {b"if-match": b'"v:1"', b"x-request-id": b"r"}
    assert found.content == b"\nGET / content\n:"
    assert (found.scope, found.close, found.head) == (2, True, False)
    assert found.request_id == b"r"


@pytest.mark.parametrize("flags", range(16))
def test_flags(flags: int) -> None:
    found = parse(1, flags, 5, b"GET /", b"")
    assert (found.scope, found.close, found.head) == (flags & 3, bool(flags & 4), bool(flags & 8))


def test_the_seed_is_the_same_at_each_attempt_and_never_that_of_another_request() -> None:
    seeds = [parse(ident, 0, 5, b"GET /", run).seed for run in (b"run1", b"run2") for ident in (1, 2, 2**40)]
    assert len(set(seeds)) == 6
    assert parse(1, 3, 6, b"PUT /xyz", b"run1").seed == seeds[0]


# -- parameters


@pytest.mark.parametrize(
    ("query", "parameters"),
    [
        ("", []),
        ("a=1", [("a", "1")]),
        ("a=1&b=2&a=3", [("a", "1"), ("b", "2"), ("a", "3")]),
        ("a=", [("a", "")]),
        ("a=b=c", [("a", "b=c")]),
        ("a=%C3%A4+%26%3D%2B", [("a", "ä &=+")]),
        # Once: what is encoded twice stays encoded.
        ("a=%2541", [("a", "%41")]),
    ],
)
def test_parameters(query: str, parameters: list[tuple[str, str]]) -> None:
    assert request("GET", f"/x?{query}").parameters() == parameters


@pytest.mark.parametrize("query", ["a", "a&b=1", "&", "a=%FF", "%FF=a", "a=\xe4", "&".join(["a=1"] * 101)])
def test_what_is_no_list_of_parameters(query: str) -> None:
    with pytest.raises(Problem) as refused:
        request("GET", f"/x?{query}").parameters()
    assert refused.value.status == 400
    assert "percent-encoded" in refused.value.detail
    assert refused.value.hint


# -- the body


@pytest.mark.parametrize(
    "kind",
    [
        "application/json",
        "application/json; charset=utf-8",
        "APPLICATION/JSON",
        "application/merge-patch+json",
        "application/problem+json;x=y",
    ],
)
def test_a_body_is_json(kind: str) -> None:
    assert with_header("content-type", kind, b"{}").json_content() == b"{}"


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "text/json", "json", "+json"])
def test_any_other_body_is_a_415(kind: str) -> None:
    with pytest.raises(Problem) as refused:
        with_header("content-type", kind, b"{}").json_content()
    assert refused.value.status == 415
    assert "application/json" in refused.value.detail


@pytest.mark.parametrize("kind", ["", "text/plain"])
def test_an_empty_body_is_valid_under_any_type(kind: str) -> None:
    assert with_header("content-type", kind, b"").json_content() == b""


# -- headers


@pytest.mark.parametrize("key", ["a", " ", "~" * 255, "order 7/bill"])
def test_idempotency_keys(key: str) -> None:
    assert with_header("idempotency-key", key).idempotency_key() == key.encode()


@pytest.mark.parametrize("key", ["", "a" * 256, "ä", "a\tb", "\x7f"])
def test_what_is_no_idempotency_key(key: str) -> None:
    with pytest.raises(Problem, match="1 to 255 printable"):
        with_header("idempotency-key", key).idempotency_key()


def test_headers_that_are_not_there() -> None:
    bare = request("PUT", "/x")
    assert bare.idempotency_key() is None
    assert bare.priority() is None
    assert bare.preferences() == (0, False)
    assert bare.if_match() is None
    assert bare.if_none_match() == []


@pytest.mark.parametrize("priority", range(10))
def test_priorities(priority: int) -> None:
    assert with_header("x-deora-priority", str(priority)).priority() == priority


@pytest.mark.parametrize("value", ["", "10", "-1", "+1", "1.0", "high", "\xb2", "05", "5 "])
def test_what_is_no_priority(value: str) -> None:
    with pytest.raises(Problem, match="0 to 9") as refused:
        with_header("x-deora-priority", value).priority()
    assert refused.value.status == 400


@pytest.mark.parametrize(
    ("prefer", "found"),
    [
        ("wait=5", (5, False)),
        ("wait=0", (0, False)),
        ("WAIT = 5 ", (5, False)),
        ('wait="5"', (5, False)),
        ("wait=31", (MAX_WAIT_S, False)),
        ("wait=999999999", (MAX_WAIT_S, False)),
        ("return=representation", (0, True)),
        ('Return="Representation"', (0, True)),
        ("return=minimal", (0, False)),
        ("return=representation, wait=2", (2, True)),
        ("return=representation; foo=bar, wait=2; x", (2, True)),
        # RFC 7240, 2: preferences that are not known are ignored.
        ("respond-async, handling=lenient", (0, False)),
        ("", (0, False)),
        (",,", (0, False)),
    ],
)
def test_preferences(prefer: str, found: tuple[int, bool]) -> None:
    assert with_header("prefer", prefer).preferences() == found


@pytest.mark.parametrize("prefer", ["wait", "wait=", "wait=soon", "wait=-1", "wait=1.5", "wait=9999999999"])
def test_a_wait_is_a_number_of_seconds(prefer: str) -> None:
    with pytest.raises(Problem, match="whole number of seconds"):
        with_header("prefer", prefer).preferences()


@pytest.mark.parametrize(
    ("value", "version"), [('"e-1"', "e-1"), ("*", "*"), (' "e-1" ', "e-1"), ('"a,b"', "a,b"), ('""', "")]
)
def test_if_match(value: str, version: str) -> None:
    assert with_header("if-match", value).if_match() == version


@pytest.mark.parametrize("value", ["", "e-1", '"e-1', 'e-1"', '"', 'W/"e-1"', '"a", "b"', "'a'"])
def test_what_guards_nothing_is_refused(value: str) -> None:
    # To ignore a guard would be to write where the client said not to.
    with pytest.raises(Problem, match="strong tag") as refused:
        with_header("if-match", value).if_match()
    assert refused.value.status == 400
    assert "ETag" in (refused.value.hint or "")


@pytest.mark.parametrize(
    ("value", "versions"),
    [
        ('"a"', ["a"]),
        ("*", ["*"]),
        ('"a", "b" ,W/"c"', ["a", "b", "c"]),
        ('"a", *', ["a", "*"]),
    ],
)
def test_if_none_match(value: str, versions: list[str]) -> None:
    assert with_header("if-none-match", value).if_none_match() == versions


@pytest.mark.parametrize("value", ["", "a", '"a', '"a", b', '"', "W/a", "**"])
def test_what_is_no_list_of_tags(value: str) -> None:
    with pytest.raises(Problem, match="double quotes"):
        with_header("if-none-match", value).if_none_match()


# -- paths


@pytest.mark.parametrize(
    ("path", "decoded"),
    [
        (b"orders/o1", "orders/o1"),
        (b"orders/%C3%A4%20b", "orders/ä b"),
        (b"orders/a%41", "orders/aA"),
        # Once: what is encoded twice stays encoded.
        (b"orders/%2541", "orders/%41"),
        (b"orders/a+b", "orders/a+b"),
    ],
)
def test_a_path_is_decoded_once(path: bytes, decoded: str) -> None:
    assert decode_path(path) == decoded


@pytest.mark.parametrize(
    "path",
    [
        b"orders/\xc3\xa4",
        b"orders/%FF",
        b"orders/%C3",
        b"orders/%ED%A0%80",  # a surrogate
        b"orders/%C0%AF",  # an overlong slash
        b"orders/a%2Fb",
        b"orders/a%2fb",
        # RFC 3986, 2.1: % and two hexadecimal digits, nothing else.
        b"orders/100%",
        b"orders/%4",
        b"orders/%zz",
        b"orders/%%41",
    ],
)
def test_what_is_no_path(path: bytes) -> None:
    with pytest.raises(Problem) as refused:
        decode_path(path)
    assert (refused.value.kind, refused.value.status) == ("invalid-path", 400)
