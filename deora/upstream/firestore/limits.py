"""What Firestore will refuse, told at the door while the client still listens. Pure.

The limits are those of "Usage and limits" and "Storage size calculations" in Firestore's documentation. Most documents
are proven innocent by their length and two searches; only others are walked through value by value. What depends on the
document as upstream holds it (an update that makes it too large) is judged there alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

import orjson

from deora.documents.fields import format_field_path
from deora.documents.updates import ARRAY_OPERATORS, MAX_TRANSFORMS, NUMBER_OPERATORS
from deora.documents.values import is_tagged
from deora.documents.wording import shown
from deora.documents.writes import Write
from deora.errors import Problem
from deora.upstream.firestore.cursors import COLLECTION
from deora.upstream.firestore.values import documents_root
from deora.upstream.firestore.writes import encode_write

MAX_DOCUMENT_BYTES: Final = 1_048_576
MAX_VALUE_BYTES: Final = 1_048_487
MAX_INDEX_ENTRIES: Final = 40_000
MAX_REQUEST_BYTES: Final = 10 * 1024 * 1024
# What a commit needs beside its writes: the cursor with its 64 KiB, in base64, and some.
RESERVED_BYTES: Final = 128 * 1024

# `1,` is the densest value there is: two bytes of text, eight bytes of storage, one index entry, and twenty-two bytes
# of a request. So a text of 80,000 bytes is within all limits but the nesting.
_SURELY_SMALL: Final = 80_000
_MOST_LARGER: Final = 12
_ROOM_BYTES: Final = MAX_REQUEST_BYTES - RESERVED_BYTES
_TRANSFORMS: Final = NUMBER_OPERATORS | ARRAY_OPERATORS
# The longest name of a project and database that Firestore knows: names count in a request.
_LONGEST_ROOT: Final = documents_root("p" * 30, "d" * 63)


def check_writes(writes: Sequence[Write]) -> None:
    """Raises Problem for an entry that Firestore would refuse whatever it holds.

    "invalid-path" for DEORA's own collection, "invalid-document" for arrays in arrays and too many index entries,
    "invalid-commit" for too many operators, "too-large" for a document, a value or the whole.
    """
    for write in writes:
        if write.path.startswith(f"{COLLECTION}/"):
            raise Problem("invalid-path", f"the collection {COLLECTION!r} holds DEORA's cursors; choose another name")
        if write.data is not None:
            _check_data(write, write.data)
    if len(writes) > 1:
        _check_transforms(writes)
    _check_request(writes)


def _check_data(write: Write, data: bytes) -> None:
    large = len(data) > _SURELY_SMALL
    # In canonical text an array that is an element stands behind "[" or ","; elsewhere only within a string.
    if not large and write.op != "update" and b"[[" not in data and b",[" not in data:
        return
    size_bytes = entries = 0
    for path, value in _values(write, data):
        _check_nesting(value, path)
        if large:
            size_bytes += sum(_text_bytes(segment) for segment in path) + _size_bytes(value, path)
            entries += _index_entries(value)
    if large:
        _check_document(write, size_bytes, entries)


def _values(write: Write, data: bytes) -> Iterator[tuple[Sequence[str], Any]]:
    """Field path and value of all that a write puts into its document."""
    content = orjson.loads(data)
    if write.op != "update":
        for name, value in content.items():
            yield (name,), value
        return
    for segments, operator, operand in content:
        if operator == "value" or operator in ARRAY_OPERATORS:
            yield segments, operand


def _check_nesting(value: Any, path: Sequence[str]) -> None:
    if type(value) is dict:
        for item in value.values():
            _check_nesting(item, path)
    elif type(value) is list:
        for item in value:
            if type(item) is list:
                raise Problem(
                    "invalid-document",
                    f"in {format_field_path(path)}: an array stands directly in an array, which Firestore refuses",
                    hint='Put an object between them, as in [{"row": [1, 2]}]',
                )
            _check_nesting(item, path)


def _check_document(write: Write, size_bytes: int, entries: int) -> None:
    size_bytes += 48 + sum(_text_bytes(segment) for segment in write.path.split("/"))
    if size_bytes > MAX_DOCUMENT_BYTES:
        raise Problem(
            "too-large",
            f"the document {shown(write.path)} would take {size_bytes} bytes in Firestore; "
            f"at most {MAX_DOCUMENT_BYTES} are allowed",
            hint="Split it into several documents",
        )
    if entries > MAX_INDEX_ENTRIES:
        raise Problem(
            "invalid-document",
            f"the document {shown(write.path)} would make {entries} index entries in Firestore; "
            f"at most {MAX_INDEX_ENTRIES} are allowed",
            hint="Split it into several documents",
        )


def _size_bytes(value: Any, path: Sequence[str]) -> int:
    """What a value takes in storage, as "Storage size calculations" counts it."""
    kind = type(value)
    if kind is str:
        return _checked_bytes(_text_bytes(value), path)
    if kind is list:
        return sum(_size_bytes(item, path) for item in value)
    if kind is dict:
        if is_tagged(value):
            return _tagged_bytes(value, path)
        return sum(_text_bytes(name) + _size_bytes(item, path) for name, item in value.items())
    return 8 if kind is int or kind is float else 1


def _tagged_bytes(tagged: dict[str, Any], path: Sequence[str]) -> int:
    ((tag, content),) = tagged.items()
    if tag == "$bytes":
        return _checked_bytes(len(content) * 3 // 4, path)
    if tag == "$reference":
        return 16 + sum(_text_bytes(segment) for segment in content.split("/"))
    return 16 if tag == "$geopoint" else 8


def _checked_bytes(size_bytes: int, path: Sequence[str]) -> int:
    if size_bytes > MAX_VALUE_BYTES:
        raise Problem(
            "too-large",
            f"in {format_field_path(path)}: a value takes {size_bytes} bytes in Firestore; "
            f"at most {MAX_VALUE_BYTES} are allowed",
            hint="Split it into several documents",
        )
    return size_bytes


def _index_entries(value: Any) -> int:
    """Entries in the automatic indexes: two for a field, one for an element of an array."""
    if type(value) is list:
        return len(value)
    if type(value) is dict and not is_tagged(value):
        return sum(_index_entries(item) for item in value.values())
    return 2


def _check_transforms(writes: Sequence[Write]) -> None:
    """A single update has been counted before (`documents.updates`); here all of a commit to one document are."""
    counts: Counter[str] = Counter()
    for write in writes:
        if write.op == "update" and write.data is not None:
            counts[write.path] += sum(operator in _TRANSFORMS for _, operator, _ in orjson.loads(write.data))
    for path, count in counts.items():
        if count > MAX_TRANSFORMS:
            raise Problem(
                "invalid-commit",
                f"the commit has {count} operators for the document {shown(path)}; "
                f"Firestore takes at most {MAX_TRANSFORMS}",
                hint="Make it several commits",
            )


def _check_request(writes: Sequence[Write]) -> None:
    if (
        sum(_MOST_LARGER * len(write.data or b"") + 2 * len(write.path.encode()) + 500 for write in writes)
        < _ROOM_BYTES
    ):
        return
    size_bytes = sum(len(orjson.dumps(encode_write(write, _LONGEST_ROOT))) + 50 for write in writes)
    if size_bytes > _ROOM_BYTES:
        raise Problem(
            "too-large",
            f"as a request to Firestore this takes {size_bytes} bytes; at most {_ROOM_BYTES} are allowed",
            hint="Make it several commits",
        )


def _text_bytes(text: str) -> int:
    return len(text.encode()) + 1
