"""Requests at a fixed rate, whatever becomes of them: reads and writes, on kept connections and on new ones, by turns.

No request is sent again. A kept connection that the server has closed before the next request is no failure: like the
pool of any client, it is looked at first and replaced.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlsplit

TIMEOUT_S: Final = 5.0
KEPT_CONNECTIONS: Final = 16
DOCUMENTS: Final = 200
READ: Final = "/v1/documents/bench/one"
WRITTEN: Final = "/v1/documents/bench/w{}"
LIMIT_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Sent:
    """One request. `failure` says what came in place of an answer of 200 or 201; None where it was answered."""

    phase: str
    took_s: float
    failure: str | None


@dataclass(slots=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def is_open(self) -> bool:
        """Whether the server has not closed it, as far as has come here."""
        await asyncio.sleep(0)
        return not self.reader.at_eof() and self.reader.exception() is None and not self.writer.is_closing()


class SteadyLoad:
    """`per_s` requests a second until the `with` block ends. `phase` is what those that are sent from now on belong to.

    `sent` is whole once the block has ended.
    """

    def __init__(self, url: str, per_s: float, body: bytes, timeout_s: float = TIMEOUT_S) -> None:
        address = urlsplit(url)
        self._host, self._port = address.hostname or "", address.port or 80
        self._per_s = per_s
        self._body = body
        self._timeout_s = timeout_s
        self._kept: deque[_Connection | None] = deque([None] * KEPT_CONNECTIONS)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="load")
        self.phase = ""
        self.sent: list[Sent] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    async def _run(self) -> None:
        due_s = time.monotonic()
        async with asyncio.TaskGroup() as under_way:
            for number in itertools.count():
                if self._stop.is_set():
                    break
                under_way.create_task(self._one(number, self.phase))
                due_s += 1 / self._per_s
                await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        for connection in self._kept:
            if connection is not None:
                connection.writer.close()

    async def _one(self, number: int, phase: str) -> None:
        began_s = time.monotonic()
        keeps = number % 4 < 2
        request = self._request(number, keeps=keeps)
        try:
            async with asyncio.timeout(self._timeout_s):
                status = await (self._on_a_kept_one(request) if keeps else self._on_a_new_one(request))
            failure = None if status in (200, 201) else f"answered {status}"
        except TimeoutError:
            failure = f"no answer in {self._timeout_s:g} s"
        except asyncio.IncompleteReadError:
            failure = "closed without an answer"
        except OSError as error:
            failure = type(error).__name__
        self.sent.append(Sent(phase, time.monotonic() - began_s, failure))

    def _request(self, number: int, *, keeps: bool) -> bytes:
        lines = [f"Host: {self._host}"] + ([] if keeps else ["Connection: close"])
        if number % 2 == 0:
            return "\r\n".join([f"GET {READ} HTTP/1.1", *lines, "\r\n"]).encode()
        line = f"PUT {WRITTEN.format(number % DOCUMENTS)} HTTP/1.1"
        lines += ["Content-Type: application/json", f"Content-Length: {len(self._body)}"]
        return "\r\n".join([line, *lines, "\r\n"]).encode() + self._body

    async def _on_a_kept_one(self, request: bytes) -> int:
        connection = self._kept.popleft() if self._kept else None
        back: _Connection | None = None
        try:
            if connection is None or not await connection.is_open():
                if connection is not None:
                    connection.writer.close()
                connection = await self._connect()
            status, stays = await _exchange(connection, request)
            if stays:
                back, connection = connection, None
            return status
        finally:
            if connection is not None:
                connection.writer.close()
            if len(self._kept) < KEPT_CONNECTIONS:
                self._kept.append(back)
            elif back is not None:
                back.writer.close()

    async def _on_a_new_one(self, request: bytes) -> int:
        connection = await self._connect()
        try:
            status, _ = await _exchange(connection, request)
            return status
        finally:
            connection.writer.close()

    async def _connect(self) -> _Connection:
        return _Connection(*await asyncio.open_connection(self._host, self._port, limit=LIMIT_BYTES))


async def _exchange(connection: _Connection, request: bytes) -> tuple[int, bool]:
    """The status, and whether the connection may be used again. Raises IncompleteReadError at an early end."""
    connection.writer.write(request)
    head = await connection.reader.readuntil(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    fields = dict(line.split(b": ", 1) for line in lines[1:-2])
    await connection.reader.readexactly(int(fields[b"content-length"]))
    return int(lines[0].split(b" ")[1]), fields.get(b"connection") != b"close"
