"""The cursor document: `_deora/{node}.{epoch}.{lane}`, written first in each commit. Pure.

    {"seq": integer, "batch_id": string, "applied": bytes}, after a takeover also "taken_by": string

It is guarded by the `updateTime` at which it was last seen, or by its absence; `seq` changes each time, since a write
that changes nothing keeps `updateTime`. It stands first because an answer names the first write that fails.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any, Final

from deora.upstream.base import Cursor, CursorKey, Delivery
from deora.upstream.firestore.values import Json

COLLECTION: Final = "_deora"
FIELDS: Final = ("seq", "batch_id", "applied", "taken_by")


@dataclass(frozen=True, slots=True)
class Position:
    """A cursor and the `updateTime` at which it was seen."""

    cursor: Cursor
    update_time: str


def cursor_path(key: CursorKey) -> str:
    """The path of a lane's cursor document."""
    return f"{COLLECTION}/{key.node}.{key.epoch}.{key.lane}"


def moves(delivery: Delivery) -> dict[CursorKey, Cursor]:
    """Where each cursor that a delivery moves stands when it has landed, its own first."""
    moved = {delivery.key: Cursor(delivery.seq, delivery.batch_id, delivery.applied)}
    for carried in delivery.carried:
        seq = carried.expected_seq + 1
        moved[carried.key] = Cursor(seq, delivery.batch_id, carried.applied, delivery.key.box)
    return moved


def cursor_write(key: CursorKey, cursor: Cursor, update_time: str | None, root: str) -> Json:
    """The write that puts a cursor here, from where it was seen (`update_time`) or, None, from nowhere."""
    fields: Json = {
        "seq": {"integerValue": str(cursor.seq)},
        "batch_id": {"stringValue": cursor.batch_id},
        "applied": {"bytesValue": base64.b64encode(cursor.applied).decode()},
    }
    if cursor.taken_by is not None:
        fields["taken_by"] = {"stringValue": cursor.taken_by}
    return {
        "update": {"name": f"{root}/{cursor_path(key)}", "fields": fields},
        "currentDocument": {"exists": False} if update_time is None else {"updateTime": update_time},
    }


def read_position(document: Json) -> Position:
    """The cursor in a document of an answer. Raises ValueError for one that no DEORA wrote."""
    fields: dict[str, Any] = document.get("fields", {})
    try:
        taken_by = fields.get("taken_by")
        cursor = Cursor(
            int(fields["seq"]["integerValue"]),
            fields["batch_id"]["stringValue"],
            base64.b64decode(fields["applied"]["bytesValue"], validate=True),
            taken_by["stringValue"] if taken_by is not None else None,
        )
        return Position(cursor, document["updateTime"])
    except (LookupError, TypeError, ValueError):
        raise ValueError(
            f"the document {document.get('name')} is no cursor of DEORA: something else has changed it"
        ) from None


def expected(delivery: Delivery) -> dict[CursorKey, Cursor]:
    """Where each cursor that a delivery moves must stand before it; what it covers is left out."""
    places = {delivery.key: Cursor(delivery.expected_seq, delivery.expected_batch_id, b"")}
    for carried in delivery.carried:
        places[carried.key] = Cursor(carried.expected_seq, carried.expected_batch_id, b"", delivery.key.box)
    return places


def stands_at(position: Position | None, place: Cursor) -> bool:
    """Whether a cursor stands where it is expected, with the marker that is expected."""
    cursor = position.cursor if position is not None else Cursor(0, "", b"")
    return (cursor.seq, cursor.batch_id, cursor.taken_by) == (place.seq, place.batch_id, place.taken_by)
