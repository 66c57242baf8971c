"""Calls from this process to the store, over the one socket: `StoreCalls` of the lanes, `ReadCalls` of the readers."""

from __future__ import annotations

import asyncio
from typing import Any

from deora.errors import Problem
from deora.replay.batches import Batch
from deora.replay.restored import Known
from deora.upstream.base import CursorKey
from deora.wire.calls import Caller
from deora.wire.frames import Role


class Calls(Caller):
    """A call that the store's end cuts off is made again to the next store."""

    async def _call(self, *parts: Any) -> Any:
        while True:
            try:
                return await self.ask(Role.STORE, *parts)
            except Problem as problem:
                if problem.kind != "unavailable":
                    raise
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
        numbers, payloads = [entry[0] for entry in entries], [entry[1] for entry in entries]
        # Only an entry that was taken over names where it is from.
        origins = {
            index: CursorKey(entry[2][0], entry[2][1], 0) for index, entry in enumerate(entries) if len(entry) > 2
        }
        return Batch(batch_id, attempts, seq, cursor_id, numbers, payloads, origins)

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

    async def known(self, upstream: str) -> Known:
        """See `RestoreCalls.known`."""
        return Known(*await self._call("known", upstream))

    async def survey(self, upstream: str, covered: list[Any]) -> tuple[int, int | None]:
        """See `RestoreCalls.survey`."""
        missing, before_us = await self._call("survey", upstream, covered)
        return missing, before_us

    async def requeue(self, upstream: str, seq: int, cursor_id: str, covered: list[Any]) -> int:
        """See `RestoreCalls.requeue`."""
        count: int = await self._call("requeue", upstream, seq, cursor_id, covered)
        return count

    async def adopt(self, upstream: str, seq: int, copies: list[tuple[str, bytes | None]]) -> list[str]:
        """See `ReadCalls.adopt`."""
        again: list[str] = await self._call("adopt", upstream, seq, copies)
        return again

    async def replica(self, upstream: str, collection: str, source: str) -> str | None:
        """See `ReadCalls.replica`."""
        since: str | None = await self._call("replica", upstream, collection, source)
        return since

    async def synced(self, upstream: str, collection: str, source: str, since: str) -> None:
        """See `ReadCalls.synced`."""
        await self._call("synced", upstream, collection, source, since)

    async def held(self, upstream: str, collection: str, after: str, limit: int) -> list[str]:
        """See `ReadCalls.held`."""
        paths: list[str] = await self._call("held", upstream, collection, after, limit)
        return paths
