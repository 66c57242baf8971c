"""The cursor document."""

from __future__ import annotations

from typing import Any

import pytest

from deora.upstream.base import Cursor, CursorKey, Delivery
from deora.upstream.firestore.cursors import Position, cursor_path, cursor_write, expects, read_position
from deora.upstream.firestore.values import documents_root

ROOT = documents_root("p", "(default)")
KEY = CursorKey("box1", "epoch1", 0)
TIME = "2026-01-31T12:00:00.123456Z"


def delivery(seq: int, batch_id: str) -> Delivery:
    return Delivery(KEY, seq, batch_id, "next", b"\x00\xff", [])


def stored(**fields: Any) -> dict[str, Any]:
    whole = {"seq": {"integerValue": "7"}, "batch_id": {"stringValue": "b7"}, "applied": {"bytesValue": "AP8="}}
    return {"name": f"{ROOT}/_deora/x", "fields": {**whole, **fields}, "updateTime": TIME}


def test_it_stands_under_node_epoch_and_lane() -> None:
    assert cursor_path(KEY) == "_deora/box1.epoch1.0"


def test_it_is_written_whole_and_guarded() -> None:
    fields = {"seq": {"integerValue": "8"}, "batch_id": {"stringValue": "next"}, "applied": {"bytesValue": "AP8="}}
    update = {"name": f"{ROOT}/_deora/box1.epoch1.0", "fields": fields}
    assert cursor_write(delivery(7, "b7"), TIME, ROOT) == {"update": update, "currentDocument": {"updateTime": TIME}}
    assert cursor_write(delivery(7, "b7"), None, ROOT) == {"update": update, "currentDocument": {"exists": False}}


def test_it_is_read_as_it_was_written() -> None:
    assert read_position(stored()) == Position(Cursor(7, "b7", b"\x00\xff"), TIME)
    taken = read_position(stored(taken_by={"stringValue": "box2"}))
    assert taken.cursor.taken_by == "box2"


@pytest.mark.parametrize(
    "fields",
    [
        {"seq": {"stringValue": "7"}},
        {"seq": {"integerValue": "x"}},
        {"batch_id": {"nullValue": None}},
        {"applied": {"bytesValue": "!"}},
        {"applied": "AP8="},
        {"taken_by": {"integerValue": "1"}},
    ],
)
def test_what_no_deora_wrote_is_an_error(fields: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="_deora/x is no cursor of DEORA"):
        read_position(stored(**fields))


def test_a_delivery_expects_one_place_alone() -> None:
    here = Position(Cursor(7, "b7", b""), TIME)
    assert expects(delivery(7, "b7"), here)
    assert not expects(delivery(7, "b6"), here)
    assert not expects(delivery(6, "b7"), here)
    assert not expects(delivery(7, "b7"), Position(Cursor(7, "b7", b"", "box2"), TIME))
    assert expects(delivery(0, ""), None)
    assert not expects(delivery(0, "b0"), None)
    assert not expects(delivery(1, ""), None)
    assert not expects(delivery(0, ""), here)
