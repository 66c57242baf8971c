"""The four writes: read from a request, packed for a frame, packed for the outbox.

    set     the document becomes `data`                       data: canonical text of the document
    create  the same, if there is no such document            data: canonical text of the document
    update  fields change, by value or by operator            data: canonical JSON list of [segments, operator, operand]
    delete  there is no such document any more                data: None

Packed, a write is a list of plain values `[code, path, data?, if_version?]`, cut after its last value:

    code   bits 0-1  the operation: 0 set, 1 create, 2 update, 3 delete
           bit 2     upsert
           bit 3     if_absent

The outbox keeps a msgpack list of such lists, without preconditions: those are judged once, by the store. A reader of
a later version tells this form by its first element, which is a list.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgpack
import orjson

from deora.documents.paths import check_document_path
from deora.documents.updates import read_update
from deora.documents.values import (
    canonical,
    canonical_document,
    check_document,
    check_size,
    decode_json,
    timestamp_text,
)
from deora.documents.wording import kind_of, shown
from deora.errors import Problem, StoreError

MAX_WRITES: Final = 500

_OPS: Final = ("set", "create", "update", "delete")
_CODE_OF: Final = {op: code for code, op in enumerate(_OPS)}
_UPSERT: Final = 4
_IF_ABSENT: Final = 8

_MEMBERS: Final = {
    # operation of a commit: (members it must have, members it may have)
    "set": (("path", "data"), ()),
    "create": (("path", "data"), ()),
    "update": (("path", "data"), ("upsert",)),
    "delete": (("path",), ()),
}


@dataclass(slots=True)
class Write:
    """One write to one document.

    `if_version` and `if_absent` are preconditions that the store judges; `if_absent` (a PUT with `If-None-Match: *`)
    makes the refusal of an existing document a 412 where `create` alone gives a 409.
    """

    op: str
    path: str
    data: bytes | None
    upsert: bool = False
    if_version: str | None = None
    if_absent: bool = False

    def to_wire(self) -> list[Any]:
        """This write as a list of plain values for a frame; `from_wire` reads it back."""
        code = _CODE_OF[self.op] | (_UPSERT if self.upsert else 0) | (_IF_ABSENT if self.if_absent else 0)
        if self.if_version is not None:
            return [code, self.path, self.data, self.if_version]
        return [code, self.path] if self.data is None else [code, self.path, self.data]

    @classmethod
    def from_wire(cls, parts: list[Any]) -> Write:
        """The write that `to_wire` packed."""
        code, path = parts[0], parts[1]
        data = parts[2] if len(parts) > 2 else None
        if_version = parts[3] if len(parts) > 3 else None
        return cls(_OPS[code & 3], path, data, bool(code & _UPSERT), if_version, bool(code & _IF_ABSENT))


def encode_writes(writes: list[Write]) -> bytes:
    """The writes of one entry for the outbox, without their preconditions."""
    packed = []
    for write in writes:
        code = _CODE_OF[write.op] | (_UPSERT if write.upsert else 0)
        packed.append([code, write.path] if write.data is None else [code, write.path, write.data])
    data: bytes = msgpack.packb(packed)
    return data


def decode_writes(data: bytes) -> list[Write]:
    """The writes that `encode_writes` packed. Raises StoreError for bytes that it never wrote."""
    try:
        return [Write.from_wire(parts) for parts in msgpack.unpackb(data)]
    except (ValueError, TypeError, LookupError, msgpack.UnpackException) as error:
        raise StoreError(
            f"the writes of an outbox entry cannot be read: {error}",
            hint="The store's file is damaged, or was written by a newer version",
        ) from None


def parse_set(path: str, body: bytes, *, if_version: str | None = None, if_absent: bool = False) -> Write:
    """The write of `PUT /v1/documents/{path}`; with `if_absent` it is a create.

    Raises Problem("invalid-path", "invalid-json", "invalid-document", "too-large").
    """
    op = "create" if if_absent else "set"
    return Write(op, check_document_path(path), canonical_document(body), False, if_version, if_absent)


def parse_create(path: str, body: bytes) -> Write:
    """The write of `POST /v1/documents/{collection}`; `path` ends with the id. Raises as `parse_set` does."""
    return Write("create", check_document_path(path), canonical_document(body))


def parse_update(path: str, body: bytes, upsert: bool, *, if_version: str | None = None) -> Write:
    """The write of `PATCH /v1/documents/{path}`.

    Raises Problem("invalid-path", "invalid-json", "invalid-update", "invalid-document").
    """
    return Write("update", check_document_path(path), read_update(decode_json(body)), upsert, if_version)


def parse_delete(path: str, *, if_version: str | None = None) -> Write:
    """The write of `DELETE /v1/documents/{path}`. Raises Problem("invalid-path")."""
    return Write("delete", check_document_path(path), None, False, if_version)


def parse_commit(body: bytes) -> list[Write]:
    """The 1 to MAX_WRITES writes of `POST /v1/documents:commit`, in order.

    Raises Problem("invalid-commit") for its shape; a fault in a path or in data keeps its own kind. The detail names
    the write by its index from 0: `writes[3]`.
    """
    request = decode_json(body)
    if type(request) is not dict or request.keys() != {"writes"} or type(request["writes"]) is not list:
        found = f"the members {shown(', '.join(request))}" if type(request) is dict else kind_of(request)
        raise Problem("invalid-commit", f'a commit is an object {{"writes": [..]}} and nothing else; found {found}')
    return read_writes(request["writes"])


def read_writes(items: Any) -> list[Write]:
    """The 1 to MAX_WRITES writes of a decoded list, as those of a commit. Raises Problem as `parse_commit` does."""
    if type(items) is not list:
        raise Problem("invalid-commit", f"writes are an array; found {kind_of(items)}")
    if not 1 <= len(items) <= MAX_WRITES:
        raise Problem("invalid-commit", f"a commit has {len(items)} writes; 1 to {MAX_WRITES} are allowed")
    writes = []
    for index, item in enumerate(items):
        try:
            writes.append(_commit_write(item))
        except Problem as problem:
            raise Problem(problem.kind, f"writes[{index}]: {problem.detail}", hint=problem.hint) from None
    return writes


def resolve(write: Write, now_us: int) -> Write:
    """The write with each serverTimestamp replaced by the value of `now_us` (microseconds since 1970 UTC)."""
    if write.op != "update" or write.data is None or b'"serverTimestamp"' not in write.data:
        return write
    now = {"$timestamp": timestamp_text(now_us)}
    operations = [
        [segments, "value", now] if operator == "serverTimestamp" else [segments, operator, operand]
        for segments, operator, operand in orjson.loads(write.data)
    ]
    return Write(write.op, write.path, canonical(operations), write.upsert, write.if_version, write.if_absent)


def _commit_write(item: Any) -> Write:
    """One write of a commit: `{op: {members}, "ifVersion"?: version}`."""
    if type(item) is not dict:
        raise Problem("invalid-commit", f"a write is an object; found {kind_of(item)}")
    ops = [name for name in item if name in _MEMBERS]
    if len(ops) != 1:
        raise Problem("invalid-commit", f"a write has exactly one of {', '.join(_MEMBERS)}; found {len(ops)} of them")
    op = ops[0]
    for name in item:
        if name not in (op, "ifVersion"):
            raise Problem("invalid-commit", f"beside {op} only 'ifVersion' may stand; found {shown(name)}")
    if_version = item.get("ifVersion")
    if "ifVersion" in item and (type(if_version) is not str or not if_version):
        found = "an empty one" if if_version == "" else kind_of(if_version)
        raise Problem("invalid-commit", f"'ifVersion' is a document's version, a string; found {found}")
    members = item[op]
    _check_commit_members(op, members)
    path = check_document_path(members["path"])
    if op == "delete":
        return Write(op, path, None, False, if_version)
    if op == "update":
        return Write(op, path, read_update(members["data"]), members.get("upsert", False), if_version)
    data = canonical(check_document(members["data"]))
    check_size(data)
    return Write(op, path, data, False, if_version)


def _check_commit_members(op: str, members: Any) -> None:
    """Checks which members the operation's object has and the types of all but `data`."""
    if type(members) is not dict:
        raise Problem("invalid-commit", f"{op} is an object; found {kind_of(members)}")
    required, optional = _MEMBERS[op]
    for name in required:
        if name not in members:
            raise Problem("invalid-commit", f"{op} lacks its member {name!r}")
    for name in members:
        if name not in required and name not in optional:
            allowed = ", ".join((*required, *optional))
            hint = "'ifVersion' stands beside the operation, not in it" if name == "ifVersion" else None
            raise Problem("invalid-commit", f"{op} has no member {shown(name)}; allowed are {allowed}", hint=hint)
    if type(members["path"]) is not str:
        raise Problem("invalid-commit", f"the path of {op} is a string; found {kind_of(members['path'])}")
    if type(members.get("upsert", False)) is not bool:
        raise Problem("invalid-commit", f"'upsert' is true or false; found {kind_of(members['upsert'])}")
