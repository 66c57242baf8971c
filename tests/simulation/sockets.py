"""The socketpairs between the supervisor and its children: streams of bytes that keep their order and nothing else.

What is written arrives later, in pieces that may be cut anywhere. What a process wrote before it died still arrives,
and behind it the end of the stream; what was on its way to it is gone.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from tests.simulation.world import ProcessLoop, World

# From one process to another on the same machine; now and then the other one is busy.
QUICK_S = 0.0005
SLOW_S = 0.05


class SocketEnd(asyncio.Transport):
    """One end. Its owner is a loop, whose protocol it feeds, or None: then `inbox` is read by hand (the store)."""

    def __init__(self, world: World, loop: ProcessLoop | None) -> None:
        super().__init__()
        self._world = world
        self._loop_of_owner = loop
        self.peer: SocketEnd = self
        self.inbox: list[bytes] = []
        self.ended = False
        """the peer has gone, and all that it wrote has been read"""
        self.closed = False
        self._protocol: asyncio.Protocol | None = None
        self._arrival_s = 0.0

    # -- the owner's side

    def setblocking(self, _: bool) -> None:
        """As socket.socket."""

    def connect(self, protocol: asyncio.Protocol) -> None:
        """From now on what arrives is given to `protocol`."""
        self._protocol = protocol
        protocol.connection_made(self)
        early, self.inbox = self.inbox, []
        assert self._loop_of_owner is not None
        # Not at once: whoever connects has yet to hear that it is connected.
        for data in early:
            self._loop_of_owner.call_soon(protocol.data_received, data)
        if self.ended:
            self.closed = True
            self._loop_of_owner.call_soon(protocol.connection_lost, None)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Nothing is buffered here."""

    def is_closing(self) -> bool:
        return self.closed

    def write(self, data: Any) -> None:
        """Sends bytes; to a peer that has gone nothing."""
        if self.closed:
            return
        data = bytes(data)
        while data:
            cut = len(data) if self._world.chance(0.9) else self._world.dice.randint(1, len(data))
            self._travel(data[:cut])
            data = data[cut:]

    def close(self) -> None:
        """Ends the stream, behind what was written."""
        self.close_late(0.0)

    def close_late(self, delay_s: float) -> None:
        """The same; the peer hears of it so much later."""
        if not self.closed:
            self.closed = True
            self._travel(None, delay_s)
            if self._loop_of_owner is not None and self._protocol is not None:
                self._loop_of_owner.call_soon(self._protocol.connection_lost, None)

    # -- the way

    def _travel(self, data: bytes | None, delay_s: float = 0.0) -> None:
        delay_s += self._world.dice.random() * (QUICK_S if self._world.chance(0.98) else SLOW_S)
        # A stream keeps its order.
        self._arrival_s = max(self._arrival_s, self._world.now_s + delay_s)
        self._world.at(self._arrival_s, lambda: self.peer.arrive(data))
        self._arrival_s += 1e-9

    def arrive(self, data: bytes | None) -> None:
        """Bytes, or the end of the stream (None), have come."""
        if self.closed:
            return
        if data is None:
            self.ended = True
        if self._loop_of_owner is None or self._protocol is None:
            if data is not None:
                self.inbox.append(data)
        elif data is not None:
            self._loop_of_owner.call_now(self._protocol.data_received, data)
        else:
            self.closed = True
            self._loop_of_owner.call_now(self._protocol.connection_lost, None)


def socketpair(world: World, one: ProcessLoop | None, other: ProcessLoop | None) -> tuple[SocketEnd, SocketEnd]:
    """Two ends that are connected."""
    ours, theirs = SocketEnd(world, one), SocketEnd(world, other)
    ours.peer, theirs.peer = theirs, ours
    return ours, theirs


def as_socket(end: SocketEnd) -> Any:
    """An end, as production code takes sockets."""
    return cast("Any", end)
