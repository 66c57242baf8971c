"""Frames over a socket: the pump between the codec and the operating system."""

from __future__ import annotations

import asyncio
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import cast

from deora.wire.frames import Decoder, Frame

# One read takes what a group of commits may hold; more would only delay the first of them.
_RECEIVE_BYTES = 256 * 1024


class Link(asyncio.Protocol):
    """One end of a socketpair on an event loop.

    `on_frame(link, frame)` is called for each frame, in order; `on_lost(link)` once, when the other side has gone.
    What is sent within one turn of the loop is gathered and written at once: a system call for each frame would cost as
    much as the rest of a request. `heard` is set whenever something comes; whoever watches the other side clears it.
    """

    def __init__(self, on_frame: Callable[[Link, Frame], None], on_lost: Callable[[Link], None]) -> None:
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._decoder = Decoder()
        self._transport: asyncio.Transport | None = None
        self._unsent: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self.heard = False

    @classmethod
    async def open(
        cls,
        sock: socket.socket,
        on_frame: Callable[[Link, Frame], None],
        on_lost: Callable[[Link], None],
    ) -> Link:
        """Takes over `sock`, a connected stream socket."""
        link = cls(on_frame, on_lost)
        sock.setblocking(False)
        await asyncio.get_running_loop().connect_accepted_socket(lambda: link, sock)
        return link

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(high=8 * 1024 * 1024)

    def data_received(self, data: bytes) -> None:
        self.heard = True
        for frame in self._decoder.feed(data):
            self._on_frame(self, frame)
        self._flush()

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None
        self._on_lost(self)

    @property
    def is_open(self) -> bool:
        """Whether the other side can still be spoken to."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def has_unsent(self) -> bool:
        """Whether frames of this turn of the loop wait to be written."""
        return bool(self._unsent)

    def send(self, frame: bytes) -> None:
        """Sends an encoded frame; to a link that is gone it sends nothing, since `on_lost` tells of that."""
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(frame)

    def _flush(self) -> None:
        if self._unsent:
            data = b"".join(self._unsent)
            self._unsent.clear()
            if self._transport is not None:
                self._transport.write(data)

    def close(self) -> None:
        """Sends what is buffered and closes."""
        self._flush()
        if self._transport is not None:
            self._transport.close()


class BlockingLink:
    """The same for a process that does one thing at a time: the store."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._socket.setblocking(True)
        self._decoder = Decoder()
        self._poll = select.poll()
        self._poll.register(sock, select.POLLIN)

    def receive(self, timeout_s: float) -> list[Frame] | None:
        """All frames that have arrived, waiting up to `timeout_s` for the first bytes; None when the peer has gone."""
        if not self._poll.poll(max(0.0, timeout_s) * 1000):
            return []
        try:
            data = self._socket.recv(_RECEIVE_BYTES)
        except ConnectionError:
            # The peer has gone with frames of ours unread; the end is the same.
            return None
        if not data:
            return None
        return self._decoder.feed(data)

    def receive_one(self) -> Frame | None:
        """Blocks for the next frame: the INIT of a child that has no loop yet. None when the peer has gone.

        The supervisor sends nothing behind an INIT until the child's HELLO, so no second frame can be lost here.
        """
        while True:
            frames = self.receive(3600)
            if frames is None:
                return None
            if frames:
                return frames[0]

    def send(self, data: bytes) -> None:
        """Sends encoded frames, all of them; to a peer that has gone nothing, since `receive` tells of that."""
        with suppress(ConnectionError):
            self._socket.sendall(data)

    def detach(self) -> socket.socket:
        """The socket itself, for the `Link` of a child that now starts its loop."""
        return self._socket
