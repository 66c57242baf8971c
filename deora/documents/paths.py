"""Document and collection paths: `orders/o1` and `orders/o1/items/i1`, `orders` and `orders/o1/items`.

The rules are those of Cloud Firestore, so that a path accepted here is accepted upstream ("Constraints on document
IDs" in its page "Quotas and limits"), and stricter where a path would be awkward elsewhere: no control characters.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final

from deora.documents.wording import shown
from deora.errors import Problem

MAX_SEGMENT_BYTES: Final = 1500
MAX_PATH_BYTES: Final = 6144
ID_CHARACTERS: Final = 20

# A segment that begins with a letter or a digit is neither '.', '..' nor `__x__`: one match decides the common case.
_PLAIN: Final = r"[A-Za-z0-9][ -.0-~]*"
_PLAIN_DOCUMENT: Final = re.compile(rf"{_PLAIN}/{_PLAIN}(?:/{_PLAIN}/{_PLAIN})*")
_PLAIN_COLLECTION: Final = re.compile(rf"{_PLAIN}(?:/{_PLAIN}/{_PLAIN})*")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")

_ALPHABET: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
# Bytes of 248 and more are dropped, since 256 is no multiple of 62: so each letter is equally likely.
_LETTER_OF: Final = bytes(_ALPHABET[byte % 62] for byte in range(256))
_DROPPED: Final = bytes(range(248, 256))


def check_document_path(path: str) -> str:
    """The path itself, if it names a document: an even number of segments.

    A segment is 1 to MAX_SEGMENT_BYTES bytes of UTF-8 without '/', control characters (C0, DEL, C1) or lone
    surrogates, and is not '.', '..' or `__.*__`; the path is at most MAX_PATH_BYTES. Else Problem("invalid-path").
    """
    if len(path) <= MAX_SEGMENT_BYTES and _PLAIN_DOCUMENT.fullmatch(path) is not None:
        return path
    count = _check_segments(path, "document")
    if count % 2:
        raise Problem(
            "invalid-path",
            f"the document path {shown(path)} has {count} segments; a document path has an even number, "
            "as in 'orders/o1' or 'orders/o1/items/i1'",
        )
    return path


def check_collection_path(path: str) -> str:
    """The path itself, if it names a collection: an odd number of segments. Else as `check_document_path`."""
    if len(path) <= MAX_SEGMENT_BYTES and _PLAIN_COLLECTION.fullmatch(path) is not None:
        return path
    count = _check_segments(path, "collection")
    if count % 2 == 0:
        raise Problem(
            "invalid-path",
            f"the collection path {shown(path)} has {count} segments; a collection path has an odd number, "
            "as in 'orders' or 'orders/o1/items'",
        )
    return path


def split(path: str) -> tuple[str, str]:
    """Collection path and id of a document path: "orders/o1/items/i1" gives ("orders/o1/items", "i1")."""
    collection, _, name = path.rpartition("/")
    return collection, name


def generate_id(seed: bytes) -> str:
    """An id of ID_CHARACTERS characters [A-Za-z0-9], a function of the seed, uniform over all such ids (119 bits).

    At least 20 of the 64 bytes of the hash are usable but for a chance below 10**-50.
    """
    return blake2b(seed).digest().translate(_LETTER_OF, _DROPPED)[:ID_CHARACTERS].decode("ascii")


def is_reserved(name: str) -> bool:
    """Whether Firestore keeps this name of a document, a collection or a field for itself: `__.*__`."""
    return len(name) >= 4 and name.startswith("__") and name.endswith("__")


def _check_segments(path: str, what: str) -> int:
    """The number of segments of a path whose segments are all valid."""
    try:
        size_bytes = len(path.encode())
    except UnicodeEncodeError:
        raise Problem("invalid-path", f"the {what} path {shown(path)} has a lone surrogate") from None
    if size_bytes > MAX_PATH_BYTES:
        raise Problem("invalid-path", f"the {what} path has {size_bytes} bytes; at most {MAX_PATH_BYTES} are allowed")
    segments = path.split("/")
    for segment in segments:
        fault = _segment_fault(segment)
        if fault is not None:
            raise Problem("invalid-path", f"the {what} path {shown(path)} {fault}")
    return len(segments)


def _segment_fault(segment: str) -> str | None:
    """What is wrong with one segment of a path, or None."""
    if not segment:
        return "has an empty segment; segments are separated by single slashes, with none at the ends"
    size_bytes = len(segment.encode())
    if size_bytes > MAX_SEGMENT_BYTES:
        return f"has a segment of {size_bytes} bytes; at most {MAX_SEGMENT_BYTES} are allowed"
    if _CONTROL.search(segment) is not None:
        return f"has a control character in the segment {shown(segment)}"
    if segment in (".", "..") or is_reserved(segment):
        return f"has the reserved segment {shown(segment)}; '.', '..' and '__.*__' are not allowed"
    return None
