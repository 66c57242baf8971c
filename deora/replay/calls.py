"""Calls from this process to the store, over the one socket: `StoreCalls` of the lanes."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Any

from deora.errors import Problem
from deora.replay.batches import Batch
from deora.wire.frames import Frame, Kind, Role, encode, pack, unpack
from deora.wire.link import Link


class Calls:
    """Sends a CALL and awaits its REPLY. A call that the store's end cuts off is made again to the next store."""

    def __init__(self) -> None:
        self._ids = count(1)
        self._waiting: dict[int, asyncio.Future[Frame]] = {}
        self.link: Link | None = None

    def replied(self, frame: Frame) -> None:
        """Takes a REPLY from the link."""
        future = self._waiting.pop(frame[4], None)
        if future is not None and not future.done():
            future.set_result(frame)

    async def _call(self, *parts: Any) -> Any:
        while True:
            assert self.link is not None
            ident = next(self._ids)
            future: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
            self._waiting[ident] = future
            self.link.send(encode(Kind.CALL, ident, pack(parts), aux=Role.STORE))
            try:
                _, _, failed, _, _, body = await future
            finally:
                self._waiting.pop(ident, None)
            if not failed:
                return unpack(body)
            problem = Problem.from_wire(unpack(body))
            if problem.kind != "unavailable":
                raise problem
            await asyncio.sleep(0.05)

    async def open(self, upstream: str) -> tuple[str, str]:
        """See `StoreCalls.open`."""
        node, epoch, _, _ = await self._call("open", upstream)
        return node, epoch

    async def next(self, upstream: str, max_writes: int, max_bytes: int, urgent_share: float) -> Batch:
        """See `StoreCalls.next`."""
        batch_id, attempts, seq, cursor_id, entries = await self._call(
            "next", upstream, max_writes, max_bytes, urgent_share
        )
        return Batch(
            batch_id, attempts, seq, cursor_id, [entry[0] for entry in entries], [entry[1] for entry in entries]
        )

    async def paused(self, upstream: str) -> bool:
        """See `StoreCalls.paused`."""
        return bool(await self._call("paused", upstream))

    async def attempted(self, upstream: str, batch_id: str, error: str) -> bool:
        """See `StoreCalls.attempted`."""
        return bool(await self._call("attempted", upstream, batch_id, error))

    async def split(self, upstream: str, batch_id: str, at: list[int], seq: int, cursor_id: str) -> None:
        """See `StoreCalls.split`."""
        await self._call("split", upstream, batch_id, at, seq, cursor_id)

    async def settle(self, upstream: str, batch_id: str, error: str | None, seq: int, cursor_id: str) -> None:
        """See `StoreCalls.settle`."""
        await self._call("settle", upstream, batch_id, error, seq, cursor_id)
