"""HTTP answers, byte for byte."""

from __future__ import annotations

import orjson
import pytest

from deora.errors import PROBLEMS, Problem
from deora.wire.answers import answer, problem_answer


def test_an_answer() -> None:
    assert answer(200, b"{}", server=b"primary", request_id=b"r-1", headers=b'ETag: "v"\r\n') == (
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\nX-Deora-Server: primary\r\n"
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
    }


def test_headers_that_a_problem_brings() -> None:
    later = problem_answer(Problem("unavailable", "why", retry_after_s=7), server=b"s", request_id=b"r", close=True)
    assert b"Retry-After: 7\r\n" in later
    assert b"Connection: close\r\n" in later
    assert b"WWW-Authenticate: Bearer\r\n" in problem_answer(
        Problem("unauthorized", "why"), server=b"s", request_id=b"r"
    )
