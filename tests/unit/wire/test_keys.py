"""The names of requests: what is the same request has the same, and nothing else has."""

from __future__ import annotations

import pytest

from deora.wire.keys import fingerprint, identity, key_of, request_of, scoped_key

PLAIN = (b"PUT", b"/v1/documents/a/b", b"x=1")


@pytest.mark.parametrize("number", [1, 0xABC, 2**32 + 5, 2**63 - 1])
def test_a_key_names_its_request(number: int) -> None:
    assert request_of(key_of(number)) == number


@pytest.mark.parametrize(
    "key", [b"", b"k", b"deora-", b"deora-0", b"deora-01", b"deora-G", b"deora-1 ", b"x-deora-1", b"deora-" + b"f" * 16]
)
def test_a_clients_key_names_none(key: bytes) -> None:
    assert request_of(key) is None


def test_each_part_makes_it_another_request() -> None:
    others = [
        identity({}, *PLAIN, b"{}"),
        identity({b"token": b"till"}, *PLAIN, b"{}"),
        identity({b"if-match": b'"v"'}, *PLAIN, b"{}"),
        identity({b"x-deora-priority": b"9"}, *PLAIN, b"{}"),
        identity({}, b"PATCH", *PLAIN[1:], b"{}"),
        identity({}, PLAIN[0], b"/v1/documents/a/c", PLAIN[2], b"{}"),
        identity({}, *PLAIN[:2], b"", b"{}"),
        identity({}, *PLAIN, b"{ }"),
    ]
    assert len(set(others)) == len(others)
    assert identity({b"prefer": b"wait=3", b"x-request-id": b"r"}, *PLAIN, b"{}") == others[0]


def test_a_key_is_scoped_and_a_fingerprint_is_not() -> None:
    scoped = {scoped_key({b"token": token}, *PLAIN, b"k") for token in (b"", b"a", b"b")}
    assert len(scoped) == 3
    assert fingerprint({b"token": b"a"}, b"{}") == fingerprint({b"token": b"b"}, b"{}")
    assert fingerprint({b"if-none-match": b"*"}, b"{}") != fingerprint({}, b"{}")
