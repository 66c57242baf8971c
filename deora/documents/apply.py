"""What a write does to a document: canonical text before, write, canonical text after.

The update operators are those of Cloud Firestore (`DocumentTransform.FieldTransform` in its API reference), so that the
view here and each upstream come to the same result:

* increment: int + int is an int that saturates at 64 bits, else a double; what is no number becomes the operand
* max, min: the larger or smaller of both with its own type; equal ones (3 and 3.0, all zeros) keep the stored one
* arrayUnion, arrayRemove: by deep equality with equal numbers of both types equal (but `true` is not 1); what is no
  array is an empty one first
* delete: a missing field, or one below something that is no object, is no fault
* any other operation below something that is no object puts an object in its place

One thing differs: a double that overflows becomes infinity in Firestore, which JSON cannot say; it is refused here.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, Final

import orjson

from deora.documents.fields import format_field_path
from deora.documents.values import INT_MAX, INT_MIN, MAX_DEPTH, canonical, check_size, depth_of, is_tagged
from deora.documents.wording import shown
from deora.documents.writes import Write
from deora.errors import Problem

_INFINITY: Final = float("inf")


def apply(document: bytes | None, write: Write) -> bytes | None:
    """The document after the write; None stands for a document that does not exist.

    `document` is canonical text, and so is the result. The write has gone through `resolve`: it has no serverTimestamp.
    Only the operation is judged, not `if_version` and `if_absent`.

    Raises Problem("already-exists") for a create of what exists, Problem("document-not-found") for an update without
    upsert of what does not; for a result that is none Problem("too-large", "invalid-document", "invalid-update").
    """
    op = write.op
    if op == "set":
        return write.data
    if op == "delete":
        return None
    if op == "create":
        if document is not None:
            raise Problem("already-exists", f"the document {shown(write.path)} exists already")
        return write.data
    if document is None and not write.upsert:
        raise Problem(
            "document-not-found",
            f"the document {shown(write.path)} does not exist, so it cannot be updated",
            hint="Create it with PUT or POST, or update it with upsert",
        )
    return _update(document, write)


def _update(document: bytes | None, write: Write) -> bytes:
    """The document after an update."""
    members: dict[str, Any] = {} if document is None else orjson.loads(document)
    for segments, operator, operand in orjson.loads(write.data or b"[]"):
        # Only what is written can make the document deeper than it was.
        if len(segments) + depth_of(operand) > MAX_DEPTH:
            raise Problem(
                "invalid-document",
                f"in {format_field_path(segments)}: nested deeper than {MAX_DEPTH} levels of objects and arrays",
            )
        if operator == "delete":
            _delete(members, segments)
            continue
        parent = _parent(members, segments)
        name = segments[-1]
        if operator == "value":
            parent[name] = operand
            continue
        result = _OPERATORS[operator](parent.get(name), operand)
        if result in (_INFINITY, -_INFINITY):
            raise Problem(
                "invalid-update",
                f"in {format_field_path(segments)}: the sum is beyond the range of a double",
            )
        parent[name] = result
    data = canonical(members)
    check_size(data)
    return data


def _parent(members: dict[str, Any], segments: list[str]) -> dict[str, Any]:
    """The object that holds the field, made where there is none."""
    for segment in segments[:-1]:
        child = members.get(segment)
        if type(child) is not dict or is_tagged(child):
            child = members[segment] = {}
        members = child
    return members


def _delete(members: dict[str, Any], segments: list[str]) -> None:
    for segment in segments[:-1]:
        child = members.get(segment)
        if type(child) is not dict:
            return
        members = child
    # The only member of a tagged value begins with '$', which no segment does.
    members.pop(segments[-1], None)


def _is_number(value: Any) -> bool:
    return type(value) is int or type(value) is float


def _increment(stored: Any, operand: Any) -> Any:
    if not _is_number(stored):
        return operand
    if type(stored) is int and type(operand) is int:
        return max(INT_MIN, min(INT_MAX, stored + operand))
    return float(stored) + float(operand)


def _max(stored: Any, operand: Any) -> Any:
    return stored if _is_number(stored) and stored >= operand else operand


def _min(stored: Any, operand: Any) -> Any:
    return stored if _is_number(stored) and stored <= operand else operand


def _array_union(stored: Any, operand: Any) -> Any:
    result = stored if type(stored) is list else []
    present = set(map(_identity, result))
    for item in operand:
        identity = _identity(item)
        if identity not in present:
            present.add(identity)
            result.append(item)
    return result


def _array_remove(stored: Any, operand: Any) -> Any:
    if type(stored) is not list:
        return []
    removed = set(map(_identity, operand))
    return [item for item in stored if _identity(item) not in removed]


def _identity(value: Any) -> Hashable:
    """Something that is equal for equal values alone. Python's own 3 == 3.0 is as it should be, its 1 == True not."""
    kind = type(value)
    if kind is bool:
        return (bool, value)
    if kind is list:
        return (list, tuple(map(_identity, value)))
    if kind is dict:
        return (dict, frozenset((name, _identity(item)) for name, item in value.items()))
    return value  # type: ignore[no-any-return]


_OPERATORS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "increment": _increment,
    "max": _max,
    "min": _min,
    "arrayUnion": _array_union,
    "arrayRemove": _array_remove,
}
