"""Names to addresses, without holding up the process's end.

In an outage a lookup often hangs: the venue's router answers, its way out does not. uvloop, and asyncio's own executor,
wait for such a lookup before they end (measured: 10 s with a silent name server), and the process has to end by then.
So each lookup has a daemon thread of its own. aiohttp keeps answers for 10 s and lets all who ask meanwhile share one.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

Lookup = Callable[..., list[Any]]


class ThreadResolver(AbstractResolver):
    """The system's resolver, each lookup in a thread that nobody waits for."""

    def __init__(self, lookup: Lookup = socket.getaddrinfo) -> None:
        self._lookup = lookup

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a host. Raises OSError."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[Any]] = loop.create_future()

        def look_up() -> None:
            found: list[Any] | OSError
            try:
                found = self._lookup(host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG)
            except OSError as error:
                found = error
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(_settle, future, found)

        threading.Thread(target=look_up, name="resolver", daemon=True).start()
        return [_result(host, entry) for entry in await future]

    async def close(self) -> None:
        """Nothing is open."""


def _settle(future: asyncio.Future[list[Any]], found: list[Any] | OSError) -> None:
    if future.done():
        return
    if isinstance(found, OSError):
        future.set_exception(found)
    else:
        future.set_result(found)


def _result(host: str, entry: Any) -> ResolveResult:
    family, _, protocol, _, (address, port, *_) = entry
    return ResolveResult(
        hostname=host,
        host=address,
        port=port,
        family=family,
        proto=protocol,
        flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
    )
