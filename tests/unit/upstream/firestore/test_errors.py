"""What an answer means."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deora.upstream.base import Unauthorised, Unclear
from deora.upstream.firestore.errors import ApiError, Meaning, clock_fault, read_answer, read_token, retry_after_s

NOON_S = 1_769_860_800.0  # 2026-01-31 12:00:00 UTC
NOON = "Sat, 31 Jan 2026 12:00:00 GMT"


def error(status: str, message: str = "m", code: int = 400, **members: Any) -> bytes:
    return json.dumps({"error": {"code": code, "message": message, "status": status, **members}}).encode()


@pytest.mark.parametrize(
    ("status", "meaning"),
    [
        ("UNAVAILABLE", Meaning.TRANSIENT),
        ("DEADLINE_EXCEEDED", Meaning.TRANSIENT),
        ("ABORTED", Meaning.TRANSIENT),
        ("INTERNAL", Meaning.TRANSIENT),
        ("RESOURCE_EXHAUSTED", Meaning.TRANSIENT),
        ("CANCELLED", Meaning.TRANSIENT),
        ("A_STATUS_OF_NEXT_YEAR", Meaning.TRANSIENT),
        ("UNAUTHENTICATED", Meaning.CREDENTIALS),
        ("PERMISSION_DENIED", Meaning.DENIED),
        ("INVALID_ARGUMENT", Meaning.REFUSED),
        ("NOT_FOUND", Meaning.REFUSED),
        ("ALREADY_EXISTS", Meaning.REFUSED),
        ("FAILED_PRECONDITION", Meaning.REFUSED),
        ("OUT_OF_RANGE", Meaning.REFUSED),
    ],
)
@pytest.mark.parametrize("http", [400, 409, 500])
@pytest.mark.parametrize("streamed", [False, True])
def test_the_status_counts_and_not_the_http_code(status: str, meaning: Meaning, http: int, streamed: bool) -> None:
    body = error(status, code=http)
    found = read_answer(http, {}, b"[" + body + b"]" if streamed else body)
    assert isinstance(found, ApiError)
    assert (found.status, found.message, found.meaning) == (status, "m", meaning)


def test_an_error_may_end_a_stream_under_http_200() -> None:
    body = b'[{"missing": "x"}, ' + error("ABORTED") + b"]"
    found = read_answer(200, {}, body)
    assert isinstance(found, ApiError)
    assert found.status == "ABORTED"


def test_an_answer_is_its_json() -> None:
    assert read_answer(200, {}, b'{"commitTime": "t"}') == {"commitTime": "t"}
    assert read_answer(200, {}, b"[]") == []


@pytest.mark.parametrize(
    ("http", "body"),
    [
        (200, b"<html>Welcome to the hotel's network</html>"),
        (502, b"<html>Bad Gateway</html>"),
        (403, b""),
        (404, b'{"message": "no such route"}'),
        (500, b'{"error": "text"}'),
        (400, b'{"error": {"code": 400}}'),
    ],
)
def test_what_is_not_firestores_is_passing_trouble(http: int, body: bytes) -> None:
    found = read_answer(http, {}, body)
    assert isinstance(found, ApiError)
    assert found.meaning is Meaning.TRANSIENT
    assert "not Firestore's" in found.text
    assert str(http) in found.text


@pytest.mark.parametrize(
    "message",
    [
        "gRPC message exceeds maximum size 4194304: 5000465",
        "grpc: received message larger than max (5000465 vs. 4194304)",
    ],
)
def test_a_request_that_is_too_large_is_refused_whatever_its_status(message: str) -> None:
    assert ApiError("RESOURCE_EXHAUSTED", message).meaning is Meaning.REFUSED
    assert ApiError("RESOURCE_EXHAUSTED", "Quota exceeded.").meaning is Meaning.TRANSIENT


def test_a_person_reads_one_line() -> None:
    text = ApiError("NOT_FOUND", "no entity to update:\n  path <\n" + "x" * 9999).text
    assert text.startswith("NOT_FOUND: no entity to update: path < xxx")
    assert len(text) < 600
    assert "\n" not in text


@pytest.mark.parametrize(
    ("headers", "details", "pause_s"),
    [
        ({}, [], None),
        ({"Retry-After": "7"}, [], 7.0),
        ({"Retry-After": "Sat, 31 Jan 2026 12:00:30 GMT", "Date": NOON}, [], 30.0),
        ({"Retry-After": "Sat, 31 Jan 2026 11:00:00 GMT", "Date": NOON}, [], 0.0),
        ({"Retry-After": "Sat, 31 Jan 2026 12:00:30 GMT"}, [], None),
        ({"Retry-After": "soon"}, [], None),
        ({}, [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "1.5s"}], 1.5),
        ({}, [{"retryDelay": "soon"}], None),
        ({}, ["x", {}], None),
        ({"Retry-After": "7"}, [{"retryDelay": "1.5s"}], 7.0),
    ],
)
def test_the_pause_that_is_asked_for(headers: dict[str, str], details: list[Any], pause_s: float | None) -> None:
    found = read_answer(503, headers, error("UNAVAILABLE", code=503, details=details))
    assert isinstance(found, ApiError)
    assert found.unclear() == Unclear("UNAVAILABLE: m", pause_s)
    if not details:
        assert retry_after_s(headers) == pause_s


def test_a_token_and_its_life() -> None:
    assert read_token(200, {}, b'{"access_token": "ya29", "expires_in": 3599}') == ("ya29", 3599.0)
    assert read_token(200, {}, b'{"access_token": "ya29"}') == ("ya29", 3600.0)


def test_a_refused_grant_is_a_matter_of_credentials() -> None:
    found = read_token(400, {}, b'{"error": "invalid_grant", "error_description": "Invalid JWT Signature."}')
    assert found == Unauthorised("no access token: invalid_grant: Invalid JWT Signature.")


@pytest.mark.parametrize(
    ("http", "body"),
    [
        (500, b'{"error": "internal_failure"}'),
        (503, b""),
        (429, b'{"error": "rate_limit_exceeded"}'),
        (200, b"<html>Welcome to the hotel</html>"),
        (200, b"[]"),
        (403, b"<html>blocked</html>"),
    ],
)
def test_other_answers_of_the_token_endpoint_are_passing_trouble(http: int, body: bytes) -> None:
    found = read_token(http, {"Retry-After": "3"}, body)
    assert isinstance(found, Unclear)
    assert found.retry_after_s == 3.0
    assert f"HTTP {http}" in found.message


def test_a_token_is_never_part_of_a_message() -> None:
    found = read_token(200, {}, b'{"access_token": "secret-token", "expires_in": "soon"}')
    assert isinstance(found, Unclear)
    assert "secret" not in found.message


@pytest.mark.parametrize("offset_s", [0, 100, -100])
def test_a_clock_that_is_right_is_no_fault(offset_s: int) -> None:
    assert clock_fault({"Date": NOON}, NOON_S + offset_s) is None


@pytest.mark.parametrize(
    ("offset_s", "words"),
    [
        (-600, "it says 2026-01-31 11:50 UTC, Google says 2026-01-31 12:00 UTC, so it is 10 minutes behind"),
        (3 * 3600, "so it is 3 hours ahead"),
        (-400 * 86400, "so it is 400 days behind"),
    ],
)
def test_a_wrong_clock_is_named(offset_s: int, words: str) -> None:
    fault = clock_fault({"Date": NOON}, NOON_S + offset_s)
    assert fault is not None
    assert words in fault
    assert "timedatectl" in fault


@pytest.mark.parametrize("headers", [{}, {"Date": ""}, {"Date": "yesterday"}])
def test_without_a_date_nothing_is_said_of_the_clock(headers: dict[str, str]) -> None:
    assert clock_fault(headers, 0.0) is None
