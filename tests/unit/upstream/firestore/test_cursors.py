"""The cursor document."""

from __future__ import annotations

from typing import Any

import pytest

from deora.upstream.base import CarriedMove, Cursor, CursorKey, Delivery
from deora.upstream.firestore.cursors import (
    Position,
    cursor_path,
    cursor_write,
    expected,
    moves,
    read_position,
    stands_at,
)
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
    [(key, cursor)] = moves(delivery(7, "b7")).items()
    assert cursor_write(key, cursor, TIME, ROOT) == {"update": update, "currentDocument": {"updateTime": TIME}}
    assert cursor_write(key, cursor, None, ROOT) == {"update": update, "currentDocument": {"exists": False}}


def test_one_that_was_taken_over_keeps_its_marker_when_its_taker_moves_it() -> None:
    old = CursorKey("box0", "epoch0", 0)
    batch = Delivery(KEY, 7, "b7", "next", b"", [], (CarriedMove(old, 3, "b3", b"x"),))
    assert moves(batch) == {KEY: Cursor(8, "next", b""), old: Cursor(4, "next", b"x", "box1.epoch1")}
    fields = cursor_write(old, moves(batch)[old], TIME, ROOT)["update"]["fields"]
    assert fields["taken_by"] == {"stringValue": "box1.epoch1"}
    assert expected(batch) == {KEY: Cursor(7, "b7", b""), old: Cursor(3, "b3", b"", "box1.epoch1")}


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


def test_a_cursor_stands_at_one_place_alone() -> None:
    def stands(seq: int, batch_id: str, position: Position | None) -> bool:
        return stands_at(position, expected(delivery(seq, batch_id))[KEY])

    here = Position(Cursor(7, "b7", b"covers"), TIME)
    assert stands(7, "b7", here)
    assert not stands(7, "b6", here)
    assert not stands(6, "b7", here)
    assert not stands(7, "b7", Position(Cursor(7, "b7", b"", "box2"), TIME))
    assert stands(0, "", None)
    assert not stands(0, "b0", None)
    assert not stands(1, "", None)
    assert not stands(0, "", here)


def test_a_cursor_that_was_taken_over_stands_where_its_marker_names_the_taker() -> None:
    place = Cursor(3, "b3", b"", "box1.epoch1")
    assert stands_at(Position(Cursor(3, "b3", b"x", "box1.epoch1"), TIME), place)
    assert not stands_at(Position(Cursor(3, "b3", b"x", "box2.epoch1"), TIME), place)
    assert not stands_at(Position(Cursor(3, "b3", b"x"), TIME), place)
    assert not stands_at(None, Cursor(0, "", b"", "box1.epoch1"))
