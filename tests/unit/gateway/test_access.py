"""Tokens and scopes."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from deora.config.schema import Token
from deora.errors import Problem
from deora.gateway.access import Access, Scope, require


def token(name: str, secret: str, scope: str) -> Token:
    """A token as security.json holds it."""
    return Token(name=name, hash="sha256:" + hashlib.sha256(secret.encode()).hexdigest(), scope=scope)


@pytest.fixture
def access() -> Access:
    return Access([token("r", "r-secret", "read"), token("w", "w-secret", "write"), token("a", "a-secret", "admin")])


def test_without_tokens_every_scope_is_open() -> None:
    access = Access([])
    assert access.grant_of(None) == (Scope.ADMIN, b"", "")
    assert access.grant_of(b"Bearer whatever") == (Scope.ADMIN, b"", "")
    assert access.grant_of(b"Basic abc") == (Scope.ADMIN, b"", "")


def test_a_token_is_known_by_its_hash_and_not_by_its_name(access: Access) -> None:
    granted = access.grant_of(b"Bearer r-secret")
    assert access.still_knows(granted.hash)
    assert not access.still_knows("")
    renamed = Access([token("kitchen", "r-secret", "read")])
    renewed = Access([token("r", "another-secret", "read")])
    assert (renamed.still_knows(granted.hash), renewed.still_knows(granted.hash)) == (True, False)
    assert Access([]).still_knows("")


@pytest.mark.parametrize(
    ("authorization", "scope", "name"),
    [
        (None, Scope.NONE, b""),
        (b"Bearer r-secret", Scope.READ, b"r"),
        (b"Bearer w-secret", Scope.WRITE, b"w"),
        (b"Bearer a-secret", Scope.ADMIN, b"a"),
        # RFC 9110, 11.1: the scheme in any case; RFC 6750 has one space, some clients more.
        (b"bearer r-secret", Scope.READ, b"r"),
        (b"BEARER   r-secret ", Scope.READ, b"r"),
    ],
)
def test_what_a_header_grants(access: Access, authorization: bytes | None, scope: Scope, name: bytes) -> None:
    for _ in range(2):  # the second time from memory
        assert access.grant_of(authorization)[:2] == (scope, name)


@pytest.mark.parametrize(
    "authorization",
    [
        b"Bearer wrong",
        b"Bearer ",
        b"Bearer",
        b"",
        b"r-secret",
        b"Basic r-secret",
        b"Bearer R-SECRET",
        b"Bearer r-secret w-secret",
        b"Bearer \xff\xfe",
        # The stored hash itself opens nothing.
        b"Bearer sha256:" + hashlib.sha256(b"r-secret").hexdigest().encode(),
        b"Bearer " + hashlib.sha256(b"r-secret").hexdigest().encode(),
    ],
)
def test_a_wrong_token_is_a_401_every_time(access: Access, authorization: bytes) -> None:
    for _ in range(3):
        with pytest.raises(Problem) as refused:
            access.grant_of(authorization)
        assert refused.value.status == 401
        assert refused.value.hint or "Bearer TOKEN" in refused.value.detail
        assert "secret" not in refused.value.detail


def test_wrong_tokens_are_not_remembered(access: Access) -> None:
    with pytest.raises(Problem):
        access.grant_of(b"Bearer wrong")
    assert not access._known


def test_what_is_remembered_is_bounded(access: Access) -> None:
    for spaces in range(3000):
        assert access.grant_of(b"Bearer " + b" " * spaces + b"r-secret").scope is Scope.READ
    assert len(access._known) <= 1024


@pytest.mark.parametrize("secret", ["r-secret", "w-secret", "a-secret", "wrong"])
def test_every_token_is_compared_in_constant_time(access: Access, secret: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[str] = []

    def compare(stored: str, digest: str) -> bool:
        compared.append(stored)
        return real(stored, digest)

    real = hmac.compare_digest
    monkeypatch.setattr("deora.gateway.access.hmac.compare_digest", compare)
    try:
        access.grant_of(f"Bearer {secret}".encode())
    except Problem:
        assert secret == "wrong"
    # The first match does not end it: neither the time nor the order tells which token it was.
    assert len(compared) == len(set(compared)) == 3


@pytest.mark.parametrize("needed", [Scope.NONE, Scope.READ, Scope.WRITE, Scope.ADMIN])
@pytest.mark.parametrize("scope", [Scope.NONE, Scope.READ, Scope.WRITE, Scope.ADMIN])
def test_each_scope_includes_those_below_it(scope: Scope, needed: Scope) -> None:
    if scope >= needed:
        require(scope, needed)
        return
    with pytest.raises(Problem) as refused:
        require(scope, needed)
    # 401 says "tell me who you are", 403 "I know, and no" (RFC 9110, 15.5.2 and 15.5.4).
    assert refused.value.status == (401 if scope is Scope.NONE else 403)
    if scope is not Scope.NONE:
        assert needed.name.lower() in refused.value.detail
        assert scope.name.lower() in refused.value.detail
