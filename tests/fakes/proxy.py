"""A TCP proxy that does to connections what a network does to them: it delays, trickles, swallows, resets, and loses
answers after the request has taken effect.

It has a loop in a thread of its own, so that a test of any kind can use it, and each of its faults can be changed while
connections are open:

    with Proxy(server.port) as proxy:
        proxy.latency_s = 0.02      # each way
        proxy.bytes_per_s = 50_000  # each way, each connection
        proxy.swallow()             # nothing passes; what is under way arrives late, after `mend`
        proxy.reset()               # RST to every open connection
        proxy.refuse()              # and to every new one, until `mend`
        proxy.answers = LostAnswers(COMMIT, 0.3, seed)
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Self

COMMIT: Final = b"Q\x00\x00\x00\x0bCOMMIT\x00"
"""PostgreSQL's COMMIT as a simple query: its kind, its length, its text, a NUL."""
HTTP_COMMIT: Final = b":commit HTTP/1.1\r\n"
"""The end of the first line of Firestore's commit."""

CHUNK_BYTES: Final = 65536


class LostAnswers:
    """Loses the answer to a request that contains `marker` with this probability, and its connection with it.

    The request itself takes effect: the connection is reset when its answer has come.
    """

    def __init__(self, marker: bytes, share: float, seed: int) -> None:
        self._marker = marker
        self._share = share
        self._dice = random.Random(seed)
        self.requests = 0
        self.losses = 0

    def loses(self, data: bytes) -> bool:
        """Whether the answer to what these bytes of a client ask for will be lost."""
        if self._marker not in data:
            return False
        self.requests += 1
        return self._dice.random() < self._share


@dataclass(slots=True, eq=False)
class _Connection:
    """A client's connection and the one behind it. `doomed`: the next answer is lost, and both with it."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter | None = None
    asking: bool = False
    doomed: bool = False

    def reset(self) -> None:
        """RST to both ends, as a router sends that has forgotten the connection."""
        for writer in (self.client, self.server):
            if writer is not None:
                _reset(writer)


class Proxy:
    """In front of `target_port` of 127.0.0.1; listens on `port` of 127.0.0.1, or on `listener`."""

    def __init__(self, target_port: int, listener: socket.socket | None = None) -> None:
        self._target_port = target_port
        self._listener = listener or socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.latency_s = 0.0
        self.bytes_per_s: float | None = None
        self.answers: LostAnswers | None = None
        self.accepted = 0
        self.requests = 0
        """how often clients began to speak after silence: the round trips of who waits for each answer"""
        self._refusing = False
        self._open: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="proxy", daemon=True)
        self._ready = threading.Event()

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._do(self._stopping.set)
        self._thread.join(10)

    # -- faults

    def swallow(self) -> None:
        """Nothing passes any more, in either direction, and nobody is told."""
        self._do(lambda: self._flowing.clear())

    def refuse(self) -> None:
        """Resets every connection, and each new one as it comes."""
        self._refusing = True
        self.reset()

    def mend(self) -> None:
        """All is well again. What was swallowed arrives now, unless its connection has ended meanwhile."""
        self._refusing = False
        self._do(self._flowing.set)

    def reset(self) -> None:
        """Resets every open connection."""
        self._do(self._reset_all)

    # -- inside

    def _do(self, what: Callable[[], object]) -> None:
        """On the loop, and returns when it is done."""
        done = threading.Event()

        def whole() -> None:
            what()
            done.set()

        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(whole)
            assert done.wait(10)

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._flowing, self._stopping = asyncio.Event(), asyncio.Event()
        self._flowing.set()
        server = await asyncio.start_server(self._accept, sock=self._listener)
        self._ready.set()
        await self._stopping.wait()
        server.close()
        self._reset_all()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _reset_all(self) -> None:
        for connection in self._open:
            connection.reset()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # Here, since a task that is cancelled before it begins closes nothing.
        task.add_done_callback(lambda _: writer.close())

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        connection = _Connection(writer)
        if self._refusing:
            connection.reset()
            return
        self._open.add(connection)
        tasks: list[asyncio.Task[None]] = []
        try:
            await self._flowing.wait()
            theirs, connection.server = await asyncio.open_connection("127.0.0.1", self._target_port)
            for source, sink in ((reader, connection.server), (theirs, writer)):
                under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
                tasks.append(asyncio.create_task(self._read(connection, source, under_way, sink is writer)))
                tasks.append(asyncio.create_task(self._write(connection, under_way, sink)))
            await asyncio.wait(tasks[1::2], return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            connection.reset()
        finally:
            self._open.discard(connection)
            if connection.server is not None:
                connection.server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(
        self,
        connection: _Connection,
        reader: asyncio.StreamReader,
        under_way: asyncio.Queue[tuple[float, bytes]],
        answers: bool,
    ) -> None:
        """Takes in one direction. Nothing is the end of it."""
        data = b"-"
        while data:
            try:
                data = await reader.read(CHUNK_BYTES)
            except OSError:
                data = b""
            if not answers and data:
                self._note(connection, data)
            elif data:
                connection.asking = False
            under_way.put_nowait((self._loop.time() + self.latency_s, data))

    def _note(self, connection: _Connection, data: bytes) -> None:
        """Looks at what a client asks."""
        self.requests += not connection.asking
        connection.asking = True
        if self.answers is not None and self.answers.loses(data):
            connection.doomed = True

    async def _write(
        self, connection: _Connection, under_way: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter
    ) -> None:
        """Passes one direction on, as the network is at that moment."""
        with suppress(OSError):
            while True:
                due_s, data = await under_way.get()
                await asyncio.sleep(max(0.0, due_s - self._loop.time()))
                await self._flowing.wait()
                if not data or writer.is_closing():
                    return
                if connection.doomed and writer is connection.client:
                    assert self.answers is not None
                    self.answers.losses += 1
                    _reset(writer)
                    return
                if self.bytes_per_s is not None:
                    await asyncio.sleep(len(data) / self.bytes_per_s)
                writer.write(data)
                await writer.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    if not writer.is_closing():
        with suppress(OSError):
            at_once = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        writer.transport.abort()
