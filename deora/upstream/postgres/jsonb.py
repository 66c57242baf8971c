"""Canonical text to what jsonb keeps, and back, with integers and doubles apart. Pure.

jsonb holds every number as a numeric. It keeps the digits after the point (`1.0` stays `1.0`), so a point says that it
is a double; but it writes out an exponent (`1e16` becomes `10000000000000000`, an integer). So numbers with an exponent
go there written out and with a point. One thing is lost: `-0.0` comes back as `0.0`, as a numeric has no negative zero.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Final

import orjson

from deora.documents.values import canonical
from deora.errors import DeoraError

# An exponent needs a digit before its 'e' and a digit or a sign behind it: a quick look that strings may deceive.
_MAY_HAVE_EXPONENT: Final = re.compile(rb"\d[eE][-+\d]")
_STRING_OR_EXPONENT: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?[eE][-+]?\d+')


def to_jsonb(canonical_text: bytes) -> bytes:
    """The text to be cast to jsonb, for canonical text of any value."""
    if _MAY_HAVE_EXPONENT.search(canonical_text) is None:
        return canonical_text
    return _STRING_OR_EXPONENT.sub(_written_out, canonical_text)


def from_jsonb(text: str) -> bytes:
    """The canonical text of a document that jsonb holds. Raises DeoraError where it is none."""
    value = load(text)
    if type(value) is not dict:
        raise DeoraError("it is no JSON object")
    return canonical(value)


def load(text: str) -> Any:
    """The value of jsonb's text. Raises DeoraError for what no canonical text can say."""
    try:
        value = orjson.loads(text)
        canonical(value)
    except (ValueError, TypeError) as error:
        raise DeoraError(f"it is no JSON that can be kept: {error}") from None
    return value


def _written_out(match: re.Match[bytes]) -> bytes:
    token = match[0]
    if token.startswith(b'"'):
        return token
    digits = format(Decimal(token.decode()), "f").encode()
    return digits if b"." in digits else digits + b".0"
