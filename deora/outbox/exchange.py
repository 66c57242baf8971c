"""Entries as another box can take them: to JSON, and back with every check that the API makes. Pure.

An entry keeps its node, its epoch and its number, by which upstream's cursor tells whether it has been applied; its
writes have the form of `POST /v1/documents:commit`, in which every value survives exactly.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from deora.documents.values import timestamp_text, timestamp_us
from deora.documents.wording import kind_of, shown
from deora.documents.writes import Write, decode_writes, read_writes
from deora.errors import Problem
from deora.outbox.listing import row_state, write_json
from deora.outbox.states import State

IDENTITY: Final = "SELECT node, epoch FROM identity"
CURSORS: Final = "SELECT name, seq, batch_id, pending, dead FROM upstreams ORDER BY id"

MEMBERS: Final = (
    "upstream",
    "node",
    "epoch",
    "number",
    "state",
    "priority",
    "created",
    "commit",
    "attempts",
    "error",
    "writes",
)
STATES: Final = (State.PENDING.value, State.INFLIGHT.value, State.DEAD.value)
MAX_NUMBER: Final = 2**63 - 1
# They become parts of a document's name upstream.
_NAME: Final = re.compile(r"[0-9A-Za-z_-]{1,64}")


@dataclass(frozen=True, slots=True)
class Exported:
    """An entry of another box. `node` and `epoch` are those of the store that gave it its number."""

    upstream: str
    node: str
    epoch: str
    number: int
    dead: bool
    priority: int
    created_us: int
    commit: int
    attempts: int
    error: str | None
    writes: list[Write]


@dataclass(frozen=True, slots=True)
class Sender:
    """The box that the entries come from. `cursors`: upstream -> the seq at which it last knew its cursor there."""

    node: str
    epoch: str
    cursors: dict[str, int]


def entry_line(row: Sequence[Any], inflight: set[int], node: str, epoch: str) -> dict[str, Any]:
    """A row of the listing's statements as an exported entry; `node` and `epoch` are this store's own."""
    _, _, upstream, priority, created_us, attempts, error, commit_no, number, origin_node, origin_epoch, payload = row
    return {
        "upstream": upstream,
        "node": node if origin_node is None else origin_node,
        "epoch": epoch if origin_epoch is None else origin_epoch,
        "number": number,
        "state": row_state(row, inflight).value,
        "priority": priority,
        "created": timestamp_text(created_us),
        "commit": commit_no,
        "attempts": attempts,
        "error": error,
        "writes": [write_json(write) for write in decode_writes(payload)],
    }


def cursors_json(rows: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """The rows of CURSORS as the export shows them."""
    return {
        name: {"seq": seq, "batchId": batch_id, "pending": pending, "dead": dead}
        for name, seq, batch_id, pending, dead in rows
    }


def read_sender(value: Any) -> Sender:
    """Who exported, from decoded JSON. Raises Problem("bad-request")."""
    if type(value) is not dict or not {"node", "epoch", "upstreams"} <= value.keys():
        raise _fault("the sender is an object with node, epoch and upstreams")
    if type(value["upstreams"]) is not dict:
        raise _fault(f"upstreams is an object; found {kind_of(value['upstreams'])}")
    cursors = {}
    for name, cursor in value["upstreams"].items():
        if type(cursor) is not dict:
            raise _fault(f"upstreams.{name[:60]} is an object; found {kind_of(cursor)}")
        cursors[name] = _whole(cursor, "seq", 0, MAX_NUMBER)
    return Sender(_name(value, "node"), _name(value, "epoch"), cursors)


def read_entry(value: Any) -> Exported:
    """An exported entry, from decoded JSON. Raises Problem: "bad-request" for its shape, else what its writes raise."""
    if type(value) is not dict:
        raise _fault(f"an entry is an object; found {kind_of(value)}")
    if value.keys() != set(MEMBERS):
        raise _fault(f"an entry has the members {', '.join(MEMBERS)}; found {', '.join(value)[:200]}")
    if value["state"] not in STATES:
        raise _fault(f"state is one of {', '.join(STATES)}; found {shown(str(value['state']))}")
    for name in ("upstream", "error"):
        if type(value[name]) is not str and (name == "upstream" or value[name] is not None):
            raise _fault(f"{name} is a string; found {kind_of(value[name])}")
    return Exported(
        value["upstream"],
        _name(value, "node"),
        _name(value, "epoch"),
        _whole(value, "number", 1, MAX_NUMBER),
        value["state"] == State.DEAD.value,
        _whole(value, "priority", 0, 9),
        _created(value["created"]),
        _whole(value, "commit", 0, MAX_NUMBER),
        _whole(value, "attempts", 0, MAX_NUMBER),
        value["error"],
        read_writes(value["writes"]),
    )


def _created(text: Any) -> int:
    try:
        if type(text) is str:
            return timestamp_us(text)
    except (ValueError, OverflowError):
        pass
    raise _fault(f"created is a time such as '2026-01-31T12:00:00.123456Z'; found {shown(str(text))}")


def _name(value: dict[str, Any], member: str) -> str:
    name = value[member]
    if type(name) is not str or _NAME.fullmatch(name) is None:
        raise _fault(f"{member} is a name of 1 to 64 letters, digits, _ and -; found {shown(str(name))}")
    return name


def _whole(value: dict[str, Any], member: str, lowest: int, highest: int) -> int:
    number = value.get(member)
    if type(number) is not int or not lowest <= number <= highest:
        raise _fault(f"{member} is a whole number from {lowest} to {highest}; found {shown(str(number))}")
    return number


def _fault(detail: str) -> Problem:
    return Problem("bad-request", detail, hint="import a file as `deora queue export` wrote it")
