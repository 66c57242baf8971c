"""The entries of a batch as the writes of one `:commit`. Pure.

A commit applies its writes in order, and each may carry a precondition. What a batch itself makes certain needs none
(after a set the document exists), and may make a later write impossible (an update after a delete): so at most one
precondition stands on each document, at its first write, and how upstream judges a precondition behind another write of
the same commit does not matter.

    set     an update without a mask
    create  the same, if the document does not exist
    update  an update with a mask: a value for each path in it, or none for `$delete`; operators are transforms of the
            same write; the document must exist, unless it is an upsert
    delete  a delete
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from deora.documents.fields import format_field_path
from deora.documents.wording import shown
from deora.documents.writes import Write, decode_writes
from deora.errors import DeoraError
from deora.upstream.firestore.values import Json, encode_document, encode_value

_TRANSFORMS: Final = {
    "increment": "increment",
    "max": "maximum",
    "min": "minimum",
    "arrayUnion": "appendMissingElements",
    "arrayRemove": "removeAllFromArray",
}


@dataclass(frozen=True, slots=True)
class Guard:
    """A precondition: the document at `path` must exist, or must not, or the entry `index` is refused."""

    index: int
    path: str
    must_exist: bool


@dataclass(frozen=True, slots=True)
class Fault:
    """Why the entry `index` cannot be applied."""

    index: int
    message: str


@dataclass(slots=True)
class Plan:
    """What a batch asks of Firestore. `fault`: an entry that fails whatever upstream holds; the rest is left out."""

    writes: list[Json] = field(default_factory=list)
    guards: list[Guard] = field(default_factory=list)
    fault: Fault | None = None


def plan(payloads: list[bytes], root: str) -> Plan:
    """The writes of a batch's entries, in order, under the resource name `root`."""
    result = Plan()
    # What is certain of a document after the writes so far: whether it exists.
    exists: dict[str, bool] = {}
    for index, payload in enumerate(payloads):
        try:
            for write in decode_writes(payload):
                message = _add(result, write, index, exists, root)
                if message is not None:
                    result.fault = Fault(index, message)
                    return result
        except DeoraError as error:
            result.fault = Fault(index, error.message)
            return result
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            result.fault = Fault(index, f"the writes of an outbox entry cannot be read: {error}")
            return result
    return result


def first_fault(planned: Plan, existing: Mapping[str, bool]) -> Fault | None:
    """The first entry that cannot be applied, by what upstream was seen to hold (path -> whether it is there)."""
    for guard in planned.guards:
        if existing.get(guard.path, guard.must_exist) != guard.must_exist:
            return Fault(guard.index, _contradiction(guard.path, must_exist=guard.must_exist))
    return planned.fault


def encode_write(write: Write, root: str) -> Json:
    """One write without a precondition."""
    name = f"{root}/{write.path}"
    if write.op == "delete":
        return {"delete": name}
    if write.op != "update":
        return {"update": {"name": name, "fields": encode_document(write.data or b"", root)}}
    fields: Json = {}
    mask: list[str] = []
    transforms: list[Json] = []
    for segments, operator, operand in orjson.loads(write.data or b""):
        path = format_field_path(segments)
        if operator in _TRANSFORMS:
            transforms.append({"fieldPath": path, _TRANSFORMS[operator]: _operand(operand, root)})
            continue
        mask.append(path)
        if operator == "value":
            _put(fields, segments, encode_value(operand, root))
    encoded: Json = {"update": {"name": name, "fields": fields}, "updateMask": {"fieldPaths": mask}}
    if transforms:
        encoded["updateTransforms"] = transforms
    return encoded


def _add(result: Plan, write: Write, index: int, exists: dict[str, bool], root: str) -> str | None:
    """Adds one write; why it cannot be applied, where that is certain."""
    encoded = encode_write(write, root)
    must_exist = _precondition(write)
    if must_exist is not None:
        known = exists.get(write.path)
        if known is None:
            encoded["currentDocument"] = {"exists": must_exist}
            result.guards.append(Guard(index, write.path, must_exist))
        elif known != must_exist:
            return _contradiction(write.path, must_exist=must_exist)
    exists[write.path] = write.op != "delete"
    result.writes.append(encoded)
    return None


def _precondition(write: Write) -> bool | None:
    """Whether the document must exist (True), must not (False), or may."""
    if write.op == "create":
        return False
    return True if write.op == "update" and not write.upsert else None


def _contradiction(path: str, *, must_exist: bool) -> str:
    if must_exist:
        return f"the document {shown(path)} does not exist, so it cannot be updated"
    return f"the document {shown(path)} exists already"


def _operand(operand: Any, root: str) -> Json:
    if type(operand) is list:
        return {"values": [encode_value(item, root) for item in operand]}
    return encode_value(operand, root)


def _put(fields: Json, segments: list[str], value: Json) -> None:
    """Puts a value under its path. No path of an update is a prefix of another one, so only maps are met."""
    for segment in segments[:-1]:
        fields = fields.setdefault(segment, {"mapValue": {"fields": {}}})["mapValue"]["fields"]
    fields[segments[-1]] = value
