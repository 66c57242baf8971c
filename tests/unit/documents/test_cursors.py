"""Cursors: opaque, bound to their query, safe against garbage."""

from __future__ import annotations

import base64
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deora.documents.cursors import decode_cursor, pack_cursor
from deora.errors import Problem

DIGEST = b"12345678"


def packed(value: Any) -> str:
    return base64.urlsafe_b64encode(msgpack.packb(value)).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "keys",
    [[], [5, "größe"], [3, 1.5, 0, 0], [3, 2**63 - 1], [3, -(2**63)], [3, 1e308, 5, "", 10, "{}", 8, -90.0]],
)
def test_a_cursor_keeps_its_place(keys: list[Any]) -> None:
    text = pack_cursor(DIGEST, keys, "o1")
    assert decode_cursor(DIGEST, len(keys) // 2, text) == (*keys, "o1")
    assert text.isascii()
    assert not set(text) & set("+/=")


@pytest.mark.parametrize(
    ("parts", "orders"),
    [
        ([b"87654321", "o1"], 0),
        (["12345678", "o1"], 0),
        ([DIGEST], 0),
        ([DIGEST, 5], 0),
        ([DIGEST, None], 0),
        ([DIGEST, b"o1"], 0),
        ([DIGEST, "o1"], 1),
        ([DIGEST, 5, "x", "o1"], 0),
        ([DIGEST, 5, "o1"], 1),
        ([DIGEST, -1, "x", "o1"], 1),
        ([DIGEST, 11, "x", "o1"], 1),
        ([DIGEST, 1.0, "x", "o1"], 1),
        ([DIGEST, True, "x", "o1"], 1),
        ([DIGEST, 5, None, "o1"], 1),
        ([DIGEST, 5, True, "o1"], 1),
        ([DIGEST, 5, b"x", "o1"], 1),
        ([DIGEST, 3, 2**63, "o1"], 1),
        ([DIGEST, 5, ["x"], "o1"], 1),
    ],
)
def test_another_querys_cursor_is_refused(parts: list[Any], orders: int) -> None:
    with pytest.raises(Problem, match="another query") as caught:
        decode_cursor(DIGEST, orders, packed(parts))
    assert caught.value.kind == "invalid-query"


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "!!!!", "a b", "AAAA\n", "é", "wQ", "k" * 8193),
        *(packed({}), packed({1: 2}), packed({"a": 1}), packed([]), packed(5)),
        packed([DIGEST, "o1"])[:-2],
        packed([DIGEST, "o1"]) + "AA",
        base64.b64encode(b"\x91" * 6000).decode(),
    ],
)
def test_garbage_is_refused(text: str) -> None:
    with pytest.raises(Problem, match="the cursor") as caught:
        decode_cursor(DIGEST, 0, text)
    assert caught.value.kind == "invalid-query"
    assert caught.value.hint is not None


@given(st.binary(max_size=40), st.integers(0, 2))
@settings(deadline=None, max_examples=300)
def test_any_bytes_are_refused_without_a_stack_trace(data: bytes, orders: int) -> None:
    text = base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    with pytest.raises(Problem):
        decode_cursor(DIGEST, orders, text)


@given(st.text(max_size=20))
@settings(deadline=None, max_examples=300)
def test_any_text_is_refused_without_a_stack_trace(text: str) -> None:
    with pytest.raises(Problem):
        decode_cursor(DIGEST, 0, text)
