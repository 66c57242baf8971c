"""The wire format between the supervisor and its children.

A frame is a header of 20 bytes and a body, little endian:

     0        4      5       6       8            12                 20
     +--------+------+-------+-------+------------+------------------+----------
     | length | kind | flags | aux   | generation | id               | body ...
     | u32    | u8   | u8    | u16   | u32        | u64              |
     +--------+------+-------+-------+------------+------------------+----------

* `length` counts all that follows it: 16 + the body's size. At most MAX_FRAME_BYTES; more is a FrameError, since the
  other side is then not speaking this protocol and the stream cannot be trusted any further.
* `id` names the request, the call or the ping that a frame belongs to. Ids come from the supervisor's one counter.
* `generation` counts the starts of children. An answer whose generation is not that of the child it was asked of comes
  from an earlier life and is ignored.
* `aux` and `flags` mean what the kind says below.

A REQUEST's body is the client's request as it came, without the header fields that no worker reads:

    METHOD SP target LF  ( name ":" value LF )*  content

with lower-case names; `aux` is the size of the part before the content. Values hold no LF: the HTTP parser has refused
them. All other bodies are msgpack, but an ANSWER's, which is the HTTP answer byte for byte.

A STREAM from a worker holds [collections or None for all, event id, text]: what the stream shows, where it begins, and
what its client gets first. A STREAM to a worker holds [collections, event id, reason or None]: the stream `id` goes on
behind that event, or with a resync for that reason. EVENTS hold [streams, event id, text]: the text for all of these
streams, which stand at that event then; it is empty where only the place is told. Where `aux` is 1 the worker waits for
EVENTS with the same id, which say that the clients have taken the text.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Any, Final

import msgpack

from deora.errors import FrameError

HEADER: Final = struct.Struct("<IBBHIQ")
HEADER_BYTES: Final = HEADER.size
_LENGTH: Final = struct.Struct("<I")
_COUNTED_BYTES: Final = HEADER_BYTES - _LENGTH.size

# A list of 1,000 documents is cut at 4 MiB, a request's body at 4 MiB by default; the rest is room for both to grow.
MAX_FRAME_BYTES: Final = 64 * 1024 * 1024

Frame = tuple[int, int, int, int, int, bytes]
"""(kind, flags, aux, generation, id, body)"""


class Kind(IntEnum):
    """What a frame is. The comment tells who sends it to whom, and what `aux` holds."""

    INIT = 1  # supervisor -> child: who it is and its configuration; the first frame of every child
    HELLO = 2  # child -> supervisor: ready to serve
    STOP = 3  # supervisor -> child: finish what you hold and end
    PING = 4  # supervisor -> child
    PONG = 5  # child -> supervisor: figures of the child
    REQUEST = 6  # supervisor -> worker; aux: size of the head
    ANSWER = 7  # worker -> supervisor; aux: HTTP status
    COMMIT = 8  # worker -> supervisor -> store: writes, or a change of the queue; aux: seconds of `Prefer: wait`
    RESULT = 9  # store -> supervisor: what became of a COMMIT; aux: HTTP status, or UNHELD
    NOTICE = 10  # store -> supervisor -> workers: these documents changed
    STORE = 11  # supervisor -> workers: a new store serves; forget what you read from the last one
    CALL = 12  # child -> supervisor -> child; aux: role asked (see Role)
    REPLY = 13  # the answer to a CALL; aux: 0 fine, 1 a problem
    EVENT = 14  # child -> supervisor: something that status, metrics and waiting clients want to know
    STREAM = 15  # worker -> supervisor: a request's answer is a stream; supervisor -> worker: serve it; see below
    EVENTS = 16  # worker -> supervisor: what streams get; supervisor -> worker: their clients have taken it
    UNSTREAM = 17  # supervisor -> worker: this stream is served no more


class Role(IntEnum):
    """The roles that a CALL can be routed to."""

    STORE = 1
    REPLAYER = 2


# A RESULT that is none yet: the documents that its body lists are to be adopted from upstream, then it is asked again.
UNHELD: Final = 0

# Flags of a COMMIT.
FLAG_RESENT: Final = 1  # an earlier store may have committed it
FLAG_READ_THROUGH: Final = 2  # what it lacked was read from upstream

# Flags of a REQUEST.
FLAG_SCOPE_MASK: Final = 0b0000_0011  # 0 none, 1 read, 2 write, 3 admin
FLAG_CLOSE: Final = 0b0000_0100  # the connection ends after this answer
FLAG_HEAD: Final = 0b0000_1000  # asked by HEAD: no content in the answer
FLAG_GZIP: Final = 0b0001_0000  # the client takes its answer gzipped


def encode(kind: int, ident: int, body: bytes = b"", *, flags: int = 0, aux: int = 0, generation: int = 0) -> bytes:
    """One frame as bytes."""
    return HEADER.pack(_COUNTED_BYTES + len(body), kind, flags, aux, generation, ident) + body


class Decoder:
    """Cuts a stream of bytes into frames. Feed it what came; it returns the frames that are complete."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._held = 0
        self._needed = HEADER_BYTES

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes. Raises FrameError where a length is impossible."""
        if self._chunks:
            self._chunks.append(data)
            self._held += len(data)
            if self._held < self._needed:
                return []
            data = b"".join(self._chunks)
            self._chunks = []
        frames: list[Frame] = []
        offset = 0
        size = len(data)
        while size - offset >= HEADER_BYTES:
            length, kind, flags, aux, generation, ident = HEADER.unpack_from(data, offset)
            if length < _COUNTED_BYTES or length > MAX_FRAME_BYTES:
                raise FrameError(f"a frame of {length} bytes was announced; 16 to {MAX_FRAME_BYTES} are allowed")
            end = offset + _LENGTH.size + length
            if end > size:
                self._needed = end - offset
                break
            frames.append((kind, flags, aux, generation, ident, data[offset + HEADER_BYTES : end]))
            offset = end
        else:
            self._needed = HEADER_BYTES
        if offset < size:
            self._chunks = [data[offset:]]
            self._held = size - offset
        return frames


# One packer for all frames: `packb` would make one for each, which takes longer than a small frame's packing.
_packer: Final = msgpack.Packer(use_bin_type=True)


def pack(value: Any) -> bytes:
    """A frame's body from plain values. For the thread that the frames belong to."""
    packed: bytes = _packer.pack(value)
    return packed


def unpack(body: bytes) -> Any:
    """The plain values of a frame's body; lists come back as lists."""
    return msgpack.unpackb(body, raw=False, strict_map_key=False)
