"""The Redis tier, shared by this box's workers. Imported only where cache.json has a URL: the package is an extra.

Redis is a help, never a need. Each command has `timeout_s` (50 ms by default) and no second try. After THRESHOLD
failures in a row Redis counts as lost: one log line, and nothing more is asked of it but a ping every PROBE_S, until it
answers again: one log line. What it answers is trusted in nothing (see `copies`), and after any failure its connections
are closed: what a late or a garbled answer left in one must not be taken for the answer to the next question.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from deora.config.formats import mask_url

_log = logging.getLogger("deora.cache")

THRESHOLD: Final = 3
PROBE_S: Final = 1.0


class RedisTier:
    """Path -> bytes, under keys that begin with this box's node, each for `ttl_s`. Never raises; it knows, or not."""

    def __init__(self, url: str, node: str, timeout_s: float, ttl_s: float, now_s: Callable[[], float]) -> None:
        self._shown_url = mask_url(url)
        self._prefix = f"deora:{node}:"
        self._timeout_s = timeout_s
        self._ttl_ms = max(1, int(ttl_s * 1000))
        self._now_s = now_s
        self._failures = 0
        self._probed_s = 0.0
        self._client: Redis = Redis.from_url(
            url,
            socket_timeout=timeout_s,
            socket_connect_timeout=timeout_s,
            retry=Retry(NoBackoff(), 0),
        )

    @property
    def is_up(self) -> bool:
        """Whether Redis answers, as far as is known."""
        return self._failures < THRESHOLD

    async def get(self, path: str) -> bytes | None:
        """See `Tier.get`."""
        value = await self._ask(lambda: self._client.get(self._prefix + path)) if self.is_up else None
        return value if isinstance(value, bytes) else None

    async def put(self, path: str, value: bytes) -> None:
        """See `Tier.put`."""
        if self.is_up:
            await self._ask(lambda: self._client.set(self._prefix + path, value, px=self._ttl_ms))

    async def drop(self, paths: list[str]) -> None:
        """See `Tier.drop`. While Redis is lost it shows nothing, and what it keeps meanwhile expires."""
        if self.is_up:
            await self._ask(lambda: self._client.delete(*(self._prefix + path for path in paths)))

    async def check(self) -> None:
        """Asks whether Redis is there, at most every PROBE_S. Called now and then, so that its return is seen."""
        now_s = self._now_s()
        if now_s - self._probed_s >= PROBE_S:
            self._probed_s = now_s
            await self._ask(self._client.ping)

    async def close(self) -> None:
        """See `Tier.close`."""
        with suppress(Exception):
            async with asyncio.timeout(self._timeout_s):
                await self._client.aclose()

    async def _ask(self, command: Callable[[], Any]) -> Any:
        try:
            async with asyncio.timeout(self._timeout_s):
                result = await command()
        except Exception as error:
            # Whatever a server can send, or a network do: the next tier is asked.
            await self._failed(error)
            return None
        if not self.is_up:
            _log.info("Redis is back", extra={"url": self._shown_url})
        self._failures = 0
        return result

    async def _failed(self, error: Exception) -> None:
        self._failures += 1
        if self._failures == THRESHOLD:
            reason = str(error) or type(error).__name__
            _log.warning("Redis is lost: %s; the disk cache goes on without it", reason, extra={"url": self._shown_url})
        with suppress(Exception):
            async with asyncio.timeout(self._timeout_s):
                await self._client.connection_pool.disconnect()
