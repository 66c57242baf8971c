"""The client's end of an answer that goes on: parts to chunks, and a bound for what waits for the client."""

from __future__ import annotations

import asyncio
import socket
from typing import Final, NamedTuple, Protocol

# Above this a client counts as behind; asyncio tells when it has taken three quarters of it.
HIGH_BYTES: Final = 64 * 1024
# What the kernel holds for a client (twice as much, socket(7)); it would grow to megabytes for one that does not read.
SNDBUF_BYTES: Final = 128 * 1024


class Part(NamedTuple):
    """A part of streams, at least one byte, and the chunk that it makes: the same bytes go to many clients."""

    text: bytes
    chunk: bytes

    @classmethod
    def of(cls, text: bytes) -> Part:
        """The part with this text."""
        return cls(text, b"%x\r\n%b\r\n" % (len(text), text))


class Client(Protocol):
    """Who is told what becomes of the connection."""

    def drained(self) -> None:
        """The client has taken almost all, after more than HIGH_BYTES had waited for it."""

    def lost(self) -> None:
        """The client has gone."""


class Outflow:
    """One stream's way out. HTTP/1.0 knows no chunks: there the end of the connection ends the stream.

    `token_hash`: of the token that it was asked for with; empty without one.
    """

    def __init__(self, transport: asyncio.Transport, client: Client, *, chunked: bool, token_hash: str = "") -> None:
        self._transport = transport
        self._is_chunked = chunked
        self.client = client
        self.token_hash = token_hash
        transport.set_write_buffer_limits(high=HIGH_BYTES)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SNDBUF_BYTES)

    @property
    def lines(self) -> bytes:
        """Header lines that say how the stream is cut."""
        return b"Transfer-Encoding: chunked\r\n" if self._is_chunked else b""

    def send(self, part: Part) -> None:
        """Sends a part of the stream."""
        self._transport.write(part.chunk if self._is_chunked else part.text)

    def unsent_bytes(self) -> int:
        """How much waits in this process for the client."""
        return self._transport.get_write_buffer_size()

    def end(self) -> None:
        """Ends the stream, and the connection with it."""
        if self._is_chunked:
            self._transport.write(b"0\r\n\r\n")
        self._transport.close()

    def revoke(self) -> None:
        """Ends the stream because its token is gone: nothing new gets into it."""
        self.client.lost()
        self.end()

    def abort(self) -> None:
        """Ends the connection at once, whatever waits for the client."""
        self._transport.abort()
