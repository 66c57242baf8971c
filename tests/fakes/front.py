"""Clients of the gateway's `Server` over real sockets, within one event loop; and what stands behind it, by hand."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Self

from deora.gateway.access import Access, Token
from deora.gateway.door import Door
from deora.gateway.hosts import Names
from deora.gateway.incoming import Incoming
from deora.gateway.limits import Limits
from deora.gateway.server import Server
from deora.wire.answers import answer

LIMITS = Limits(body_bytes=4 * 1024 * 1024, head_bytes=16 * 1024, target_bytes=8 * 1024, head_timeout_s=10)


class Front:
    """Keeps what it is given; answers at once with the number of the request, or when `answer` is called."""

    def __init__(self, *, at_once: bool = True) -> None:
        self.accepted: list[Incoming] = []
        self.unanswered: list[Incoming] = []
        self.at_once = at_once

    def accept(self, request: Incoming) -> None:
        """See `gateway.incoming.Front`."""
        self.accepted.append(request)
        self.unanswered.append(request)
        if self.at_once:
            self.answer()

    def answer(self, content: bytes | None = None) -> None:
        """Answers the oldest request that has none: with `content`, else with its method and target."""
        request = self.unanswered.pop(0)
        status = request.problem.status if request.problem is not None else 200
        text = content if content is not None else b"%b %b" % (request.method, request.target)
        sent = answer(status, text, server=b"test", request_id=b"r", close=request.close, head=request.head)
        request.connection.send(sent, close=request.close)


def make_server(
    front: Front,
    limits: Limits = LIMITS,
    tokens: Sequence[Token] = (),
    names: Names | None = None,
    door: Door | None = None,
) -> Server:
    """A server in front of `front`, on the clock of the loop."""
    checks = door or Door(Access(tokens), names)
    return Server(front, limits, checks, lambda: b"refused", asyncio.get_running_loop().time)


class Client:
    """A client's end of a connection. What it sends and receives takes as many turns of the loop as it needs."""

    def __init__(self, server: Server, sock: socket.socket) -> None:
        self._server = server
        self._sock = sock
        self.ended = False

    @classmethod
    async def connect(cls, server: Server) -> Self:
        """Connects, and waits until the server has noticed."""
        ours, theirs = socket.socketpair()
        return await cls.over(server, ours, theirs)

    @classmethod
    async def connect_by_tcp(cls, server: Server) -> Self:
        """The same over TCP, so that the client has an address: 127.0.0.1."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = socket.create_connection(listener.getsockname())
            theirs, _ = listener.accept()
        return await cls.over(server, ours, theirs)

    @classmethod
    async def over(cls, server: Server, ours: socket.socket, theirs: socket.socket) -> Self:
        """A connection whose two ends are made already."""
        ours.setblocking(False)
        await asyncio.get_running_loop().connect_accepted_socket(server, theirs)
        return cls(server, ours)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()
        for connection in list(self._server.connections):
            if connection._transport is not None:
                connection._transport.abort()
        await turns()

    def close(self) -> None:
        """Goes away."""
        self._sock.close()

    def end_sending(self) -> None:
        """Says that it will send nothing more, and still reads."""
        self._sock.shutdown(socket.SHUT_WR)

    def send_some(self, data: bytes) -> int:
        """Sends what fits now; how much that was."""
        try:
            return self._sock.send(data)
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            return 0

    async def send(self, data: bytes) -> None:
        """Sends all of it, or what the server takes before it hangs up."""
        rest = memoryview(data)
        idle = 0
        while rest and idle < 20:
            sent = self.send_some(bytes(rest[: 64 * 1024]))
            idle = 0 if sent else idle + 1
            rest = rest[sent:]
            await turns(1)
        await turns()

    async def receive(self) -> bytes:
        """All that comes until the server falls silent; sets `ended` where it hung up."""
        found = b""
        silent = 0
        while silent < 5 and not self.ended:
            await turns(1)
            try:
                data = self._sock.recv(1024 * 1024)
            except BlockingIOError:
                silent += 1
                continue
            except ConnectionResetError:
                data = b""
            silent = 0
            found += data
            self.ended = not data
        return found

    async def ask(self, data: bytes) -> bytes:
        """Sends, and receives what comes of it."""
        await self.send(data)
        return await self.receive()


async def turns(count: int = 5) -> None:
    """Lets the loop turn."""
    for _ in range(count):
        await asyncio.sleep(0)


def statuses(received: bytes) -> list[int]:
    """The status codes of the answers in `received`."""
    found = []
    for part in received.split(b"HTTP/1.1 ")[1:]:
        with suppress(ValueError):
            found.append(int(part[:3]))
    return found
