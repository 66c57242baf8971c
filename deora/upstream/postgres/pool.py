"""A pool of connections: at least `min` are kept, at most `max` made, idle ones above `min` closed, old ones replaced.

It knows nothing of PostgreSQL: how to connect, and the time, are arguments. Who breaks a connection says so on giving
it back; whoever asks next gets another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from deora.config.database import Pool as PoolSettings
from deora.upstream.base import PoolFigures

_CLOSING_S: Final = 2.0


class Connection(Protocol):
    """What the pool asks of a connection."""

    def is_closed(self) -> bool:
        """Whether it is of no use any more."""

    async def close(self, *, timeout: float | None = None) -> None:
        """Says goodbye."""

    def terminate(self) -> None:
        """Cuts it off."""


C = TypeVar("C", bound=Connection)


@dataclass(slots=True)
class Lease(Generic[C]):
    """A connection in somebody's hands. `broken`: it must not be used again."""

    connection: C
    opened_s: float
    broken: bool = False
    idle_since_s: float = 0.0


class Pool(Generic[C]):
    """Connections to one database. Times are monotonic seconds."""

    def __init__(self, connect: Callable[[], Awaitable[C]], settings: PoolSettings, now_s: Callable[[], float]) -> None:
        self._connect = connect
        self._settings = settings
        self._now_s = now_s
        self._room = asyncio.Semaphore(settings.max)
        self._idle: list[Lease[C]] = []
        self._active: set[int] = set()
        self._waiting = 0
        self._closing: set[asyncio.Task[None]] = set()
        self._generation = 0
        self._reachable = True
        self._keeper: asyncio.Task[None] | None = None

    @property
    def figures(self) -> PoolFigures:
        """The pool as it is now."""
        return PoolFigures(len(self._idle) + len(self._active), len(self._idle), len(self._active), self._waiting)

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Lease[C]]:
        """A connection, the one used last. Waits for one where all are taken. Raises what connecting raises.

        It is cut off where the block ends by anything that is not an ordinary exception, or sets `broken`.
        """
        self._waiting += 1
        try:
            await self._room.acquire()
        finally:
            self._waiting -= 1
        try:
            lease = self._take() or await self._open()
            generation = self._generation
            self._active.add(id(lease))
            try:
                yield lease
            except Exception:
                raise
            except BaseException:
                lease.broken = True
                raise
            finally:
                self._active.discard(id(lease))
                self._reachable = not lease.broken
                self._give_back(lease, generation)
        finally:
            self._room.release()
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep())

    def drop_idle(self) -> None:
        """Closes what is idle, and what is in use once it comes back: the server is not what it was."""
        self._generation += 1
        while self._idle:
            self._close(self._idle.pop())

    async def tend(self) -> None:
        """Closes what has idled too long or is too old, and connects what is missing to `min`.

        Connects only while the server is known to answer: in an outage the one probe is the breaker's affair.
        """
        now_s = self._now_s()
        kept: list[Lease[C]] = []
        above = self.figures.total - self._settings.min
        for lease in self._idle:
            idled_out = above > 0 and now_s - lease.idle_since_s >= self._settings.idle_timeout_s
            if lease.connection.is_closed() or self._is_old(lease, now_s) or idled_out:
                above -= 1
                self._close(lease)
            else:
                kept.append(lease)
        self._idle = kept
        while self._reachable and self.figures.total < self._settings.min and not self._room.locked():
            generation = self._generation
            self._give_back(await self._open(), generation)

    async def close(self) -> None:
        """Closes everything that is not in use."""
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
            self._keeper = None
        self.drop_idle()
        if self._closing:
            await asyncio.wait(self._closing, timeout=_CLOSING_S)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(min(self._settings.idle_timeout_s / 2, 10.0))
            # A server that cannot be reached is found out by who needs it.
            with suppress(Exception):
                await self.tend()

    async def _open(self) -> Lease[C]:
        """A new connection. Raises what connecting raises."""
        self._reachable = False
        connection = await self._connect()
        self._reachable = True
        return Lease(connection, self._now_s())

    def _take(self) -> Lease[C] | None:
        now_s = self._now_s()
        while self._idle:
            lease = self._idle.pop()
            if not lease.connection.is_closed() and not self._is_old(lease, now_s):
                return lease
            self._close(lease)
        return None

    def _give_back(self, lease: Lease[C], generation: int) -> None:
        now_s = self._now_s()
        if lease.broken:
            lease.connection.terminate()
        elif generation != self._generation or lease.connection.is_closed() or self._is_old(lease, now_s):
            self._close(lease)
        else:
            lease.idle_since_s = now_s
            self._idle.append(lease)

    def _is_old(self, lease: Lease[C], now_s: float) -> bool:
        return now_s - lease.opened_s >= self._settings.max_age_s

    def _close(self, lease: Lease[C]) -> None:
        if lease.connection.is_closed():
            return
        task = asyncio.create_task(self._say_goodbye(lease.connection))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _say_goodbye(self, connection: C) -> None:
        try:
            await connection.close(timeout=_CLOSING_S)
        except Exception:
            connection.terminate()
