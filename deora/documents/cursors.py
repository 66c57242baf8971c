"""Cursors: where the next page of a list begins, as an opaque text.

A cursor is base64url, without padding, of a msgpack list `[digest, key, .., name]`: the digest of the query that it
belongs to, and the sort keys and the name of the last row of a page. It holds nothing that its owner may not see, so it
is checked but not signed.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from typing import Any, Final

import msgpack

from deora.errors import Problem

_TEXT: Final = re.compile(r"[A-Za-z0-9_-]{1,8192}")


def pack_cursor(digest: bytes, keys: Sequence[Any], name: str) -> str:
    """The cursor that follows the row with these sort keys and this name."""
    return base64.urlsafe_b64encode(msgpack.packb([digest, *keys, name])).rstrip(b"=").decode("ascii")


def decode_cursor(digest: bytes, orders: int, text: str) -> tuple[Any, ...]:
    """The sort keys and the name that `pack_cursor` packed; a rank and a value for each of the `orders`.

    Raises Problem("invalid-query") for a text that is no cursor, or a cursor of another query.
    """
    parts = _unpack(text)
    if parts is None:
        raise Problem("invalid-query", "the cursor is not valid", hint="Pass on the cursor of the last page unchanged")
    if parts[0] != digest or len(parts) != 2 * orders + 2 or not _are_keys(parts[1:]):
        raise Problem(
            "invalid-query",
            "the cursor belongs to another query",
            hint="Keep collection, where and orderBy as they were, or begin without a cursor",
        )
    return tuple(parts[1:])


def _unpack(text: str) -> list[Any] | None:
    if _TEXT.fullmatch(text) is None:
        return None
    try:
        parts = msgpack.unpackb(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, msgpack.UnpackException):
        return None
    return parts if type(parts) is list and parts else None


def _are_keys(parts: list[Any]) -> bool:
    """Whether these can be bound to the statement: pairs of a rank and a value, and a name."""
    return type(parts[-1]) is str and all(
        type(rank) is int and 0 <= rank <= 10 and (type(value) in (str, float) or _is_int64(value))
        for rank, value in zip(parts[0:-1:2], parts[1:-1:2], strict=True)
    )


def _is_int64(value: Any) -> bool:
    return type(value) is int and -(2**63) <= value < 2**63
