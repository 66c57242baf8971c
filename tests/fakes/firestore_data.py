"""What the Firestore fake holds, and what a commit does to it: its own reading of Firestore's rules, on its own types.

It knows nothing of `deora.documents`: the contract suite compares the two, and the official emulator with both.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

Json = dict[str, Any]

MAX_DOCUMENT_BYTES = 1_048_576
MAX_VALUE_BYTES = 1_048_487
MAX_DEPTH = 20
MAX_TRANSFORMS = 500
INT_MIN, INT_MAX = -(2**63), 2**63 - 1
SEGMENT = re.compile(r"`((?:[^`\\]|\\.)+)`|([A-Za-z_][A-Za-z0-9_]*)")
START = datetime(2026, 1, 31, tzinfo=UTC)

HTTP_CODES = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "ABORTED": 409,
    "RESOURCE_EXHAUSTED": 429,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
}


class ApiFault(Exception):
    """An error answer."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


class Stored(NamedTuple):
    """A document; never changed in place."""

    fields: Json
    created: int
    updated: int


class Database:
    """All documents of one database by resource name, and the snapshots of transactions."""

    def __init__(self) -> None:
        self.documents: dict[str, Stored] = {}
        self.commits = 0
        self.snapshots: dict[str, dict[str, Stored]] = {}

    def commit(self, writes: list[Json]) -> Json:
        """All or nothing, in order. Raises ApiFault."""
        tick = self.commits + 1
        after: dict[str, Stored | None] = {}
        transforms: dict[str, int] = {}
        for write in writes:
            name = _name_of(write)
            before = after[name] if name in after else self.documents.get(name)
            _judge(write.get("currentDocument", {}), name, before)
            transforms[name] = transforms.get(name, 0) + len(write.get("updateTransforms", ()))
            if transforms[name] > MAX_TRANSFORMS:
                raise ApiFault("INVALID_ARGUMENT", f"more than {MAX_TRANSFORMS} transforms of {name}")
            after[name] = _written(write, before, tick)
        self.commits = tick
        for name, stored in after.items():
            if stored is None:
                self.documents.pop(name, None)
            else:
                self.documents[name] = stored
        times = [after[_name_of(write)] for write in writes]
        results = [{"updateTime": time_text(stored.updated)} if stored is not None else {} for stored in times]
        return {"writeResults": results, "commitTime": time_text(tick)}

    def begin(self) -> str:
        """A read-only transaction: what is there now."""
        transaction = base64.b64encode(b"t%d" % len(self.snapshots)).decode()
        self.snapshots[transaction] = dict(self.documents)
        return transaction


def time_text(tick: int) -> str:
    """A commit's time, with as few digits as Google writes: none, three or six."""
    moment = START + timedelta(microseconds=tick * 250)
    digits = "auto" if moment.microsecond == 0 else "microseconds" if moment.microsecond % 1000 else "milliseconds"
    return moment.isoformat(timespec=digits).removesuffix("+00:00") + "Z"


def shown(name: str, stored: Stored, mask: list[str] | None) -> Json:
    """A document as an answer carries it; `mask` names top-level fields."""
    fields = stored.fields if mask is None else {key: stored.fields[key] for key in mask if key in stored.fields}
    times = {"createTime": time_text(stored.created), "updateTime": time_text(stored.updated)}
    return {"name": name, **({"fields": fields} if fields else {}), **times}


def field_path(text: str) -> list[str]:
    """The segments of a field path in Firestore's strict form. Raises ApiFault."""
    segments, position = [], 0
    while True:
        match = SEGMENT.match(text, position)
        if match is None:
            raise ApiFault("INVALID_ARGUMENT", f"Invalid field path {text}")
        quoted, plain = match.groups()
        segments.append(plain if plain is not None else re.sub(r"\\(.)", r"\1", quoted))
        position = match.end()
        if position == len(text):
            return segments
        if text[position] != ".":
            raise ApiFault("INVALID_ARGUMENT", f"Invalid field path {text}")
        position += 1


def _name_of(write: Json) -> str:
    allowed = {"update", "delete", "updateMask", "updateTransforms", "currentDocument"}
    if not write.keys() <= allowed or ("update" in write) == ("delete" in write):
        raise ApiFault("INVALID_ARGUMENT", f"Invalid write: {sorted(write)}")
    if "update" in write and not write["update"].keys() <= {"name", "fields"}:
        raise ApiFault("INVALID_ARGUMENT", "Invalid document")
    name: str = write["delete"] if "delete" in write else write["update"]["name"]
    if len(name.split("/documents/", 1)[1].split("/")) % 2:
        raise ApiFault("INVALID_ARGUMENT", f"{name} is no document's name")
    return name


def _judge(precondition: Json, name: str, before: Stored | None) -> None:
    if "exists" in precondition and precondition["exists"] != (before is not None):
        if before is not None:
            raise ApiFault("ALREADY_EXISTS", f"Document already exists: {name}")
        raise ApiFault("NOT_FOUND", f"No document to update: {name}")
    if "updateTime" in precondition and (before is None or time_text(before.updated) != precondition["updateTime"]):
        raise ApiFault("FAILED_PRECONDITION", "the stored version does not match the required base version")


def _written(write: Json, before: Stored | None, tick: int) -> Stored | None:
    if "delete" in write:
        return None
    given = write["update"].get("fields", {})
    for value in given.values():
        _check(value, 0)
    if "updateMask" in write:
        fields = before.fields if before is not None else {}
        for text in write["updateMask"].get("fieldPaths", ()):
            path = field_path(text)
            fields = _put(fields, path, _at(given, path))
    else:
        fields = given
    for transform in write.get("updateTransforms", ()):
        path = field_path(transform["fieldPath"])
        ((kind, operand),) = ((key, value) for key, value in transform.items() if key != "fieldPath")
        fields = _put(fields, path, _TRANSFORMS[kind](_at(fields, path), operand))
    size_bytes = sum(len(name.encode()) + 1 + _check(value, 0) for name, value in fields.items())
    if size_bytes + 32 + len(write["update"]["name"].split("/documents/")[1]) > MAX_DOCUMENT_BYTES:
        raise ApiFault("INVALID_ARGUMENT", f"maximum entity size is {MAX_DOCUMENT_BYTES} bytes")
    if before is not None and fields == before.fields:
        return before  # a write that changes nothing keeps updateTime
    return Stored(fields, before.created if before is not None else tick, tick)


def _at(fields: Json, path: list[str]) -> Json | None:
    """The value at a path, None where there is none."""
    value: Json | None = {"mapValue": {"fields": fields}}
    for segment in path:
        value = (value or {}).get("mapValue", {}).get("fields", {}).get(segment)
    return value


def _put(fields: Json, path: list[str], value: Json | None) -> Json:
    """The fields with a value at a path, or without it; what is on the way and no map becomes one for a value."""
    name, *rest = path
    if rest:
        inner = fields.get(name, {}).get("mapValue")
        if value is None and inner is None:
            return fields
        value = {"mapValue": {"fields": _put((inner or {}).get("fields", {}), rest, value)}}
    without = {key: item for key, item in fields.items() if key != name}
    return without if value is None else {**without, name: value}


def _check(value: Json, depth: int) -> int:
    """The size of a value. Raises ApiFault for what Firestore does not take."""
    ((kind, content),) = value.items()
    if depth > MAX_DEPTH:
        raise ApiFault("INVALID_ARGUMENT", "an invalid nested entity")
    if kind == "mapValue":
        members = content.get("fields", {}).items()
        return sum(len(name.encode()) + 1 + _check(item, depth + 1) for name, item in members)
    if kind == "arrayValue":
        items = content.get("values", [])
        if any("arrayValue" in item for item in items):
            raise ApiFault("INVALID_ARGUMENT", "Cannot convert an array value in an array value.")
        return sum(_check(item, depth + 1) for item in items)
    if kind == "integerValue" and not (isinstance(content, str) and INT_MIN <= int(content) <= INT_MAX):
        raise ApiFault("INVALID_ARGUMENT", f"{content!r} is no int64 of proto3 JSON")
    if kind == "doubleValue" and not isinstance(content, float) and content not in ("NaN", "Infinity", "-Infinity"):
        raise ApiFault("INVALID_ARGUMENT", f"{content!r} is no double")
    size_bytes = len(content.encode()) + 1 if kind in ("stringValue", "referenceValue") else 8
    if kind == "bytesValue":
        size_bytes = len(base64.b64decode(content, validate=True))
    if size_bytes > MAX_VALUE_BYTES:
        raise ApiFault("INVALID_ARGUMENT", f"a value is longer than {MAX_VALUE_BYTES} bytes.")
    if kind not in _PLAIN:
        raise ApiFault("INVALID_ARGUMENT", f"there is no type {kind}")
    return size_bytes


_PLAIN = frozenset(
    {
        "nullValue",
        "booleanValue",
        "integerValue",
        "doubleValue",
        "timestampValue",
        "stringValue",
        "bytesValue",
        "referenceValue",
        "geoPointValue",
    }
)


def _number(value: Json | None) -> int | float | None:
    if value is None:
        return None
    if "integerValue" in value:
        return int(value["integerValue"])
    return float(value["doubleValue"]) if "doubleValue" in value else None


def _increment(stored: Json | None, operand: Json) -> Json:
    before, by = _number(stored), _number(operand)
    assert by is not None
    if before is None:
        return operand
    if isinstance(before, int) and isinstance(by, int):
        return {"integerValue": str(max(INT_MIN, min(INT_MAX, before + by)))}
    total = float(before) + float(by)
    return {"doubleValue": total if abs(total) != float("inf") else ("Infinity" if total > 0 else "-Infinity")}


def _larger(stored: Json | None, operand: Json) -> Json:
    before, by = _number(stored), _number(operand)
    assert by is not None
    return stored if stored is not None and before is not None and before >= by else operand


def _smaller(stored: Json | None, operand: Json) -> Json:
    before, by = _number(stored), _number(operand)
    assert by is not None
    return stored if stored is not None and before is not None and before <= by else operand


def _items(stored: Json | None) -> list[Json]:
    return list((stored or {}).get("arrayValue", {}).get("values", []))


def _same(one: Json, other: Json) -> bool:
    """Equality as Firestore's: 3 equals 3.0, also deep inside."""
    if _number(one) is not None:
        return _number(one) == _number(other)
    if "arrayValue" in one and "arrayValue" in other:
        ours, theirs = _items(one), _items(other)
        return len(ours) == len(theirs) and all(map(_same, ours, theirs))
    if "mapValue" in one and "mapValue" in other:
        mine, yours = one["mapValue"].get("fields", {}), other["mapValue"].get("fields", {})
        return mine.keys() == yours.keys() and all(_same(mine[name], yours[name]) for name in mine)
    return one == other


def _union(stored: Json | None, operand: Json) -> Json:
    items = _items(stored)
    for item in operand.get("values", []):
        if not any(_same(item, other) for other in items):
            items.append(item)
    return {"arrayValue": {"values": items}}


def _remove(stored: Json | None, operand: Json) -> Json:
    gone = operand.get("values", [])
    return {"arrayValue": {"values": [item for item in _items(stored) if not any(_same(item, one) for one in gone)]}}


_TRANSFORMS: dict[str, Callable[[Json | None, Json], Json]] = {
    "increment": _increment,
    "maximum": _larger,
    "minimum": _smaller,
    "appendMissingElements": _union,
    "removeAllFromArray": _remove,
}
