"""Pages of other origins."""

from __future__ import annotations

import pytest

from deora.gateway.origins import Origins

VENUE = b"https://venue.example"
ORIGINS = Origins(["https://venue.example", "http://localhost:5173"])


@pytest.mark.parametrize("origin", [VENUE, b"HTTPS://Venue.Example", b"http://localhost:5173"])
def test_a_page_that_may_call(origin: bytes) -> None:
    assert ORIGINS.allows(origin)
    lines = ORIGINS.lines(origin, preflight=False)
    assert b"Access-Control-Allow-Origin: %b\r\n" % origin in lines
    assert b"Access-Control-Expose-Headers: " in lines
    assert b"ETag" in lines


@pytest.mark.parametrize("origin", [b"http://venue.example", b"https://venue.example:8443", b"null", b"https://evil"])
def test_a_page_that_may_not(origin: bytes) -> None:
    assert not ORIGINS.allows(origin)
    assert ORIGINS.lines(origin, preflight=True) == b"Vary: Origin\r\n"


def test_a_preflight_is_told_what_it_may_send() -> None:
    lines = ORIGINS.lines(VENUE, preflight=True)
    assert b"Access-Control-Allow-Methods: GET, HEAD, POST, PUT, PATCH, DELETE\r\n" in lines
    assert b"Idempotency-Key" in lines
    assert b"Access-Control-Max-Age: 7200\r\n" in lines
    assert lines.endswith(b"\r\n")


def test_credentials_by_cookie_are_never_allowed() -> None:
    assert b"Allow-Credentials" not in ORIGINS.lines(VENUE, preflight=True) + ORIGINS.lines(VENUE, preflight=False)


def test_caches_are_told_where_the_answer_depends_on_the_page() -> None:
    assert ORIGINS.lines(None, preflight=False) == b"Vary: Origin\r\n"
    assert Origins().lines(VENUE, preflight=True) == b""
