"""The names under which the store keeps what a write was answered. Pure.

A client's Idempotency-Key is scoped: the same key of another token, method or target is another one. What a repeated
request must share with the first is its fingerprint.

A write that came without a key has the supervisor's number for it. Where its end is unclear, the refusal names a key
made from that number, and the write is kept under its number and its identity: token, method, target and fingerprint in
one. Numbers can be guessed, hence the identity: to whoever sends another request under it the key is a new one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Final

_NAMED: Final = re.compile(rb"deora-([1-9a-f][0-9a-f]{0,15})")
_MAX_REQUEST: Final = (1 << 63) - 1

Fields = Mapping[bytes, bytes]
"""The forwarded header fields of a request, and `token`, the name of its token."""


def scoped_key(fields: Fields, method: bytes, path: bytes, query: bytes, key: bytes) -> bytes:
    """What the store keeps a key under."""
    parts = (fields.get(b"token", b""), method, path, query, key)
    return blake2b(b"\n".join(parts), digest_size=24).digest()


def fingerprint(fields: Fields, content: bytes) -> bytes:
    """What a repeated request must share with the first: its content and what guards it."""
    return blake2b(b"\n".join((*_guards(fields), content)), digest_size=16).digest()


def identity(fields: Fields, method: bytes, path: bytes, query: bytes, content: bytes) -> bytes:
    """Which request it is, of one that came without a key."""
    parts = (fields.get(b"token", b""), method, path, query, *_guards(fields), content)
    return blake2b(b"\n".join(parts), digest_size=16).digest()


def key_of(request: int) -> bytes:
    """The key that names a request by the supervisor's number."""
    return b"deora-%x" % request


def request_of(key: bytes) -> int | None:
    """The number that a key names; None for a client's own key."""
    match = _NAMED.fullmatch(key)
    if match is None:
        return None
    request = int(match[1], 16)
    return request if request <= _MAX_REQUEST else None


def _guards(fields: Fields) -> tuple[bytes, bytes, bytes]:
    return fields.get(b"if-match", b""), fields.get(b"if-none-match", b""), fields.get(b"x-deora-priority", b"")
