"""HTTP answers, byte for byte."""

from __future__ import annotations

import orjson
import pytest

from deora.errors import PROBLEMS, Problem
from deora.wire.answers import answer, problem_answer


def test_an_answer() -> None:
    assert answer(200, b"{}", server=b"primary", request_id=b"r-1", headers=b'ETag: "v"\r\n') == (
        b"HTTP/1.1 200 OK\r\nX-Content-Type-Options: nosniff\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
        b"X-Deora-Server: primary\r\n"
        b'X-Request-Id: r-1\r\nETag: "v"\r\n\r\n{}'
    )


def test_head_has_the_length_and_not_the_content() -> None:
    made = answer(200, b"12345", server=b"s", request_id=b"r", head=True)
    assert b"Content-Length: 5\r\n" in made
    assert made.endswith(b"\r\n\r\n")


def test_not_modified_has_no_content_and_no_length() -> None:
    made = answer(304, b"ignored", server=b"s", request_id=b"r", headers=b'ETag: "v"\r\n', close=True)
    assert made == (
        b'HTTP/1.1 304 Not Modified\r\nX-Deora-Server: s\r\nX-Request-Id: r\r\nETag: "v"\r\nConnection: close\r\n\r\n'
    )


@pytest.mark.parametrize("kind", sorted(PROBLEMS))
def test_every_kind_of_problem_can_be_answered(kind: str) -> None:
    head, _, content = problem_answer(Problem(kind, "why", hint="what"), server=b"s", request_id=b"r").partition(
        b"\r\n\r\n"
    )
    status, title = PROBLEMS[kind]
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"Content-Type: application/problem+json\r\n" in head
    assert orjson.loads(content) == {
        "type": f"urn:deora:problem:{kind}",
        "title": title,
        "status": status,
        "detail": "why",
        "hint": "what",
        "requestId": "r",
    }


def test_headers_that_a_problem_brings() -> None:
    later = problem_answer(Problem("unavailable", "why", retry_after_s=7), server=b"s", request_id=b"r", close=True)
    assert b"Retry-After: 7\r\n" in later
    assert b"Connection: close\r\n" in later
    assert b"WWW-Authenticate: Bearer\r\n" in problem_answer(
        Problem("unauthorized", "why"), server=b"s", request_id=b"r"
    )


def test_a_refusal_byte_for_byte() -> None:
    made = problem_answer(
        Problem("unavailable", "the store is not up", hint="try again", retry_after_s=2, fields={"slot": "primary"}),
        server=b"supervisor",
        request_id=b"r-9",
        headers=b"Vary: Origin\r\n",
        close=True,
    )
    assert made == (
        b"HTTP/1.1 503 Service Unavailable\r\nX-Content-Type-Options: nosniff\r\n"
        b"Content-Type: application/problem+json\r\nContent-Length: 178\r\n"
        b"X-Deora-Server: supervisor\r\nX-Request-Id: r-9\r\nVary: Origin\r\nRetry-After: 2\r\nConnection: close\r\n"
        b'\r\n{"type":"urn:deora:problem:unavailable","title":"The service cannot answer now","status":503,'
        b'"detail":"the store is not up","hint":"try again","slot":"primary","requestId":"r-9"}'
    )


def test_a_refusal_of_head_has_its_length_and_not_its_content() -> None:
    whole = problem_answer(Problem("not-found", "why"), server=b"s", request_id=b"r")
    head, _, content = whole.partition(b"\r\n\r\n")
    assert problem_answer(Problem("not-found", "why"), server=b"s", request_id=b"r", head=True) == head + b"\r\n\r\n"
    assert b"Content-Length: %d\r\n" % len(content) in head


def test_a_method_that_is_not_allowed_names_those_that_are() -> None:
    refusal = Problem("method-not-allowed", "PUT is not allowed here", fields={"allow": "GET, HEAD"})
    assert b"\r\nAllow: GET, HEAD\r\n" in problem_answer(refusal, server=b"s", request_id=b"r")


def test_a_full_disk_has_its_own_status() -> None:
    assert answer(507, b"", server=b"s", request_id=b"r").startswith(b"HTTP/1.1 507 Insufficient Storage\r\n")


@pytest.mark.parametrize("content", [b"", b"{}", bytes(range(256)), "\U0001f37d".encode()], ids=len)
def test_the_length_is_that_of_the_content_in_bytes(content: bytes) -> None:
    made = answer(200, content, server=b"s", request_id=b"r", content_type=b"application/octet-stream")
    assert made.endswith(b"\r\n\r\n" + content)
    assert b"Content-Length: %d\r\n" % len(content) in made
    assert b"Content-Type: application/octet-stream\r\n" in made
