"""The codec of frames: whatever way the bytes are cut, the same frames come out."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deora.errors import FrameError
from deora.wire.frames import (
    FLAG_CLOSE,
    FLAG_HEAD,
    FLAG_SCOPE_MASK,
    HEADER_BYTES,
    MAX_FRAME_BYTES,
    Decoder,
    Frame,
    Kind,
    Role,
    encode,
    pack,
    unpack,
)

FRAMES = st.tuples(
    st.integers(0, 255),
    st.integers(0, 255),
    st.integers(0, 65535),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
    st.binary(max_size=60),
)


def encoded(frame: Frame) -> bytes:
    kind, flags, aux, generation, ident, body = frame
    return encode(kind, ident, body, flags=flags, aux=aux, generation=generation)


def test_a_frame_is_laid_out_as_the_docstring_draws_it() -> None:
    frame = encode(Kind.ANSWER, 0x0807060504030201, b"body", flags=0x81, aux=0x1234, generation=0xA1B2C3D4)
    assert frame == bytes.fromhex("14000000 07 81 3412 d4c3b2a1 0102030405060708") + b"body"
    assert len(encode(Kind.PING, 1)) == HEADER_BYTES == 20


@given(st.lists(FRAMES, max_size=8), st.data())
def test_any_cutting_of_the_stream_gives_the_same_frames(frames: list[Frame], data: st.DataObject) -> None:
    stream = b"".join(map(encoded, frames))
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=12)))
    decoder = Decoder()
    found: list[Frame] = []
    for start, end in pairwise([0, *cuts, len(stream)]):
        found += decoder.feed(stream[start:end])
    assert found == frames


@given(st.lists(FRAMES, min_size=1, max_size=3))
def test_byte_by_byte_each_frame_comes_with_its_last_byte(frames: list[Frame]) -> None:
    decoder = Decoder()
    for frame in frames:
        stream = encoded(frame)
        for offset in range(len(stream) - 1):
            assert decoder.feed(stream[offset : offset + 1]) == []
        assert decoder.feed(stream[-1:]) == [frame]


def test_nothing_is_nothing() -> None:
    decoder = Decoder()
    assert decoder.feed(b"") == []
    assert decoder.feed(encode(Kind.PING, 1)[:10]) == []
    assert decoder.feed(b"") == []
    assert decoder.feed(encode(Kind.PING, 1)[10:]) == [(Kind.PING, 0, 0, 0, 1, b"")]


def test_a_large_frame_in_many_small_pieces_is_joined_once() -> None:
    """Each piece must not copy what is there already: 16 MiB in pieces of 64 KiB would copy 2 GiB."""
    body = bytes(range(256)) * (16 * 1024 * 1024 // 256)
    stream = encode(Kind.REQUEST, 7, body) + encode(Kind.PING, 8)
    decoder = Decoder()
    found: list[Frame] = []
    for start in range(0, len(stream), 65536):
        assert not found
        assert len(decoder._chunks) == start // 65536
        found += decoder.feed(stream[start : start + 65536])
    assert found == [(Kind.REQUEST, 0, 0, 0, 7, body), (Kind.PING, 0, 0, 0, 8, b"")]


@pytest.mark.parametrize("length", [0, 1, 15, MAX_FRAME_BYTES + 1, 2**32 - 1])
@pytest.mark.parametrize("behind", [b"", encode(Kind.PING, 1)])
def test_an_impossible_length_is_no_frame(length: int, behind: bytes) -> None:
    header = struct.pack("<IBBHIQ", length, Kind.PING, 0, 0, 0, 1)
    with pytest.raises(FrameError, match=f"a frame of {length} bytes was announced; 16 to {MAX_FRAME_BYTES}"):
        Decoder().feed(behind + header)


@pytest.mark.parametrize("length", [16, 17, MAX_FRAME_BYTES])
def test_a_possible_length_is_waited_for(length: int) -> None:
    assert Decoder().feed(struct.pack("<IBBHIQ", length, Kind.PING, 0, 0, 0, 1)) == (
        [(Kind.PING, 0, 0, 0, 1, b"")] if length == 16 else []
    )


def test_http_spoken_to_a_child_is_no_frame() -> None:
    with pytest.raises(FrameError):
        Decoder().feed(b"GET / HTTP/1.1\r\nHost: deora\r\n\r\n")


@pytest.mark.parametrize(
    "value",
    [
        None,
        [1, -1, 2**63 - 1, -(2**63), 2**64 - 1, 1.5],
        {"a": [b"\x00\xff", "ü\U0001f37d"], "b": {}},
        {1: "a", 2: ["b"]},
        ["write", None, b"", 5, [[2, "d/1", b"[]"]], True, False],
    ],
)
def test_plain_values_come_back_from_a_body(value: Any) -> None:
    assert unpack(pack(value)) == value


def test_tuples_come_back_as_lists() -> None:
    assert unpack(pack((1, (2, 3)))) == [1, [2, 3]]


def test_a_value_that_cannot_be_packed_leaves_nothing_behind() -> None:
    """One packer serves all frames: what it had of the last value must not begin the next frame."""
    with pytest.raises(TypeError):
        pack(["write", {"a": object()}])
    with pytest.raises(OverflowError):
        pack([1, 2**64])
    assert pack([1]) == b"\x91\x01"


def test_kinds_and_flags_are_what_they_were() -> None:
    """A supervisor reloads its children one by one: for a while both versions speak to each other."""
    assert [kind.value for kind in Kind] == list(range(1, 18))
    assert (Role.STORE, Role.REPLAYER) == (1, 2)
    assert (FLAG_SCOPE_MASK, FLAG_CLOSE, FLAG_HEAD) == (3, 4, 8)
