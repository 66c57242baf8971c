"""A tier of the cache in memory, that a test can look into and hold up."""

from __future__ import annotations

import asyncio


class MemoryTier:
    """Keeps `cache.tiered.Tier`. While `putting` is set, a put waits for it."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}
        self.putting: asyncio.Event | None = None
        self.put_begins = asyncio.Event()

    async def get(self, path: str) -> bytes | None:
        """See `Tier.get`."""
        return self.values.get(path)

    async def put(self, path: str, value: bytes) -> None:
        """See `Tier.put`."""
        self.put_begins.set()
        if self.putting is not None:
            await self.putting.wait()
        self.values[path] = value

    async def drop(self, paths: list[str]) -> None:
        """See `Tier.drop`."""
        for path in paths:
            self.values.pop(path, None)

    async def close(self) -> None:
        """See `Tier.close`."""
