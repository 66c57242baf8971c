"""The codec: any cut of the stream gives the same frames, and an impossible length is refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deora.errors import FrameError
from deora.wire.frames import HEADER_BYTES, MAX_FRAME_BYTES, Decoder, Frame, Kind, encode, pack, unpack

frames = st.tuples(
    st.sampled_from(list(Kind)),
    st.integers(0, 255),
    st.integers(0, 65535),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
    st.binary(max_size=300),
)


def encoded(frame: Frame) -> bytes:
    kind, flags, aux, generation, ident, body = frame
    return encode(kind, ident, body, flags=flags, aux=aux, generation=generation)


@given(st.lists(frames, max_size=8), st.lists(st.integers(1, 700), max_size=40))
def test_any_cut_of_the_stream_gives_the_same_frames(sent: list[Frame], cuts: list[int]) -> None:
    stream = b"".join(map(encoded, sent))
    decoder = Decoder()
    received: list[Frame] = []
    for size in [*cuts, len(stream)]:
        received += decoder.feed(stream[:size])
        stream = stream[size:]
    assert received == sent


def test_byte_by_byte() -> None:
    decoder = Decoder()
    stream = encode(Kind.REQUEST, 7, b"GET /\n", aux=5, generation=3)
    received = [frame for byte in stream for frame in decoder.feed(bytes([byte]))]
    assert received == [(Kind.REQUEST, 0, 5, 3, 7, b"GET /\n")]


@pytest.mark.parametrize("length", [0, 15, MAX_FRAME_BYTES + 1, 2**32 - 1])
def test_an_impossible_length_is_refused(length: int) -> None:
    with pytest.raises(FrameError, match=str(length)):
        Decoder().feed(struct.pack("<I", length) + bytes(HEADER_BYTES))


def test_the_header_is_as_drawn() -> None:
    assert encode(Kind.COMMIT, 0x0102030405060708, b"x", flags=9, aux=0x1112, generation=0x21222324) == bytes.fromhex(
        "11000000 08 09 1211 24232221 0807060504030201 78"
    )


def test_bodies_come_back_as_they_were() -> None:
    value = [None, True, -1, 2**63, 1.5, "ü", b"\x00\xff", [1, [2]], {"a": {"b": 1}}]
    assert unpack(pack(value)) == value
