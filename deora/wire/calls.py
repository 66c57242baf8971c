"""Calls from a child to another child, over its one socket to the supervisor, which routes them by role."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any

from deora.errors import Problem
from deora.wire.frames import Frame, Kind, Role, encode, pack, unpack
from deora.wire.link import Link


class Caller:
    """Sends a CALL and awaits its REPLY. `link` is set once the process has its socket."""

    def __init__(self) -> None:
        self._ids = count(1)
        self._waiting: dict[int, asyncio.Future[Frame]] = {}
        self.link: Link | None = None

    def replied(self, frame: Frame) -> None:
        """Takes a REPLY from the link."""
        future = self._waiting.pop(frame[4], None)
        if future is not None and not future.done():
            future.set_result(frame)

    async def ask(self, role: Role, *parts: Any) -> Any:
        """What the child of this role replies. Raises the Problem with which it refuses; "unavailable" also where it is
        not up, or ends before it has replied."""
        assert self.link is not None
        ident = next(self._ids)
        future: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._waiting[ident] = future
        self.link.send(encode(Kind.CALL, ident, pack(parts), aux=role))
        try:
            _, _, failed, _, _, body = await future
        finally:
            self._waiting.pop(ident, None)
        if failed:
            raise Problem.from_wire(unpack(body))
        return unpack(body)
