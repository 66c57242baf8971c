"""The words of the protocol."""

from __future__ import annotations

from deora.upstream.base import CursorKey, Delivery


def test_a_delivery_lands_one_behind_the_cursor_that_it_expects() -> None:
    assert Delivery(CursorKey("box", "epoch", 0), 6, "b6", "b7", b"", []).seq == 7
