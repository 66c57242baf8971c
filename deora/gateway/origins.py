"""Web pages of other origins (CORS): which may call, and what their browsers are told. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

ALLOWED_METHODS: Final = b"GET, HEAD, POST, PUT, PATCH, DELETE"
_ALLOWED_HEADERS: Final = (
    b"Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, Prefer,"
    b" X-Deora-Priority, X-Request-Id"
)
_EXPOSED: Final = b"Age, ETag, Location, Retry-After, X-Deora-Server, X-Request-Id"
# How long a browser may keep what it was told; Chromium keeps nothing longer than two hours.
_MAX_AGE_S: Final = 7200


class Origins:
    """The origins of security.json whose pages may call this box."""

    def __init__(self, origins: Iterable[str] = ()) -> None:
        self.allowed = frozenset(origin.lower().encode() for origin in origins)

    def allows(self, origin: bytes) -> bool:
        """Whether a page of this origin may call."""
        return origin.lower() in self.allowed

    def lines(self, origin: bytes | None, *, preflight: bool) -> bytes:
        """Header lines for the answer to a request from `origin`, each ended by CR LF.

        `preflight` where the browser asks whether it may send a request. Caches are told that the answer depends on the
        origin wherever any is allowed.
        """
        if not self.allowed:
            return b""
        if origin is None or not self.allows(origin):
            return b"Vary: Origin\r\n"
        lines = b"Vary: Origin\r\nAccess-Control-Allow-Origin: %b\r\n" % origin
        if not preflight:
            return lines + b"Access-Control-Expose-Headers: %b\r\n" % _EXPOSED
        return lines + (
            b"Access-Control-Allow-Methods: %b\r\nAccess-Control-Allow-Headers: %b\r\nAccess-Control-Max-Age: %d\r\n"
            % (ALLOWED_METHODS, _ALLOWED_HEADERS, _MAX_AGE_S)
        )
