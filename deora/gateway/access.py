"""Who may do what: bearer tokens and their scopes."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from enum import IntEnum
from typing import Final, NamedTuple, Protocol

from deora.errors import Problem

_PREFIX: Final = b"bearer "


class Scope(IntEnum):
    """Each includes those below it."""

    NONE = 0
    READ = 1
    WRITE = 2
    ADMIN = 3


class Grant(NamedTuple):
    """What a request may do, and by which token: its name and its hash, both empty where no token was asked for."""

    scope: Scope
    token: bytes
    hash: str = ""


_NOTHING: Final = Grant(Scope.NONE, b"")
_EVERYTHING: Final = Grant(Scope.ADMIN, b"")


class Token(Protocol):
    """A token of security.json: its name, its hash (`sha256:` and 64 hex digits), its scope."""

    @property
    def name(self) -> str: ...
    @property
    def hash(self) -> str: ...
    @property
    def scope(self) -> str: ...


class Access:
    """The tokens of an instance. Without any, which is allowed on loopback only, every scope is open."""

    def __init__(self, tokens: Iterable[Token]) -> None:
        self._tokens = [
            (digest, Grant(Scope[token.scope.upper()], token.name.encode(), digest))
            for token in tokens
            if (digest := token.hash.removeprefix("sha256:"))
        ]
        # What a header came to, so that a till's token is hashed once and not for each request. Bounded.
        self._known: dict[bytes, Grant] = {}

    def still_knows(self, token_hash: str) -> bool:
        """Whether what a token with this hash was granted, by this instance's tokens of before, may go on."""
        return not self._tokens or any(grant.hash == token_hash for _, grant in self._tokens)

    def known(self, authorization: bytes | None) -> Grant | None:
        """What an Authorization header grants, where that is known already; None where `grant_of` has to look."""
        if not self._tokens:
            return _EVERYTHING
        return _NOTHING if authorization is None else self._known.get(authorization)

    def grant_of(self, authorization: bytes | None) -> Grant:
        """What an Authorization header grants. Raises Problem (401) for one that no token matches."""
        known = self.known(authorization)
        if authorization is None or known is not None:
            return known or _NOTHING
        if authorization[: len(_PREFIX)].lower() != _PREFIX:
            raise Problem("unauthorized", "the Authorization header must be `Bearer TOKEN`")
        digest = hashlib.sha256(authorization[len(_PREFIX) :].strip()).hexdigest()
        found = _NOTHING
        for stored, grant in self._tokens:
            # All are compared, each in constant time: neither the time nor the order tells anything.
            if hmac.compare_digest(stored, digest):
                found = grant
        if found is _NOTHING:
            raise Problem("unauthorized", "no such token", hint="`deora token ls` lists the names of those that are")
        if len(self._known) < 1024:
            self._known[authorization] = found
        return found


def require(scope: int, needed: Scope) -> None:
    """Raises Problem where `scope` does not include `needed`."""
    if scope >= needed:
        return
    if scope == Scope.NONE:
        raise Problem(
            "unauthorized",
            "this instance has tokens; send one as `Authorization: Bearer TOKEN`",
            hint="an administrator adds one: deora token add NAME --scope write",
        )
    raise Problem("forbidden", f"this needs the scope {needed.name.lower()}; the token has {Scope(scope).name.lower()}")
