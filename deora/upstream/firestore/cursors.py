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


def cursor_write(delivery: Delivery, update_time: str | None, root: str) -> Json:
    """The write that moves the cursor, from where it was seen (`update_time`) or, None, from nowhere."""
    return {
        "update": {
            "name": f"{root}/{cursor_path(delivery.key)}",
            "fields": {
                "seq": {"integerValue": str(delivery.seq)},
                "batch_id": {"stringValue": delivery.batch_id},
                "applied": {"bytesValue": base64.b64encode(delivery.applied).decode()},
            },
        },
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


def expects(delivery: Delivery, position: Position | None) -> bool:
    """Whether the cursor stands where the delivery expects it."""
    if position is None:
        return (delivery.expected_seq, delivery.expected_batch_id) == (0, "")
    cursor = position.cursor
    return cursor.taken_by is None and (cursor.seq, cursor.batch_id) == (
        delivery.expected_seq,
        delivery.expected_batch_id,
    )
