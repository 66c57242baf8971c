"""The zygote of the moment: one is always there or being started."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
import time
from collections.abc import Callable, Coroutine
from typing import Any

from deora.supervisor.roster import pause_s
from deora.supervisor.spawn import Zygote

_log = logging.getLogger("deora.supervisor")


class Zygotes:
    """Keeps a zygote. `start_task` runs a coroutine in the background; `on_replaced` is told of each new zygote that
    comes after one that ended."""

    def __init__(
        self,
        start_task: Callable[[Coroutine[Any, Any, None]], None],
        on_replaced: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        self._start_task = start_task
        self._on_replaced = on_replaced
        self._zygote: Zygote | None = None
        self.stopping = False
        self.restarts = 0
        self.since_s = 0.0

    @property
    def pid(self) -> int | None:
        """The zygote's process id; None while there is none."""
        return self._zygote.pid if self._zygote is not None else None

    async def start(self) -> None:
        """Starts a zygote. Raises StartError."""
        former = self.take(await Zygote.start())
        if former is not None:
            former.close()

    def take(self, zygote: Zygote) -> Zygote | None:
        """Children are forked by this zygote from now on. Returns the one that did so before, which is the caller's."""
        former, self._zygote = self._zygote, zygote
        self.since_s = time.monotonic()
        loop = asyncio.get_running_loop()
        if former is not None:
            loop.remove_reader(former.pidfd)
        loop.add_reader(zygote.pidfd, self._on_ended, zygote)
        return former

    async def spawn(self, slot: str) -> tuple[int, socket.socket]:
        """See `Zygote.spawn`."""
        if self._zygote is None:
            raise ConnectionError("there is no zygote now")
        return await self._zygote.spawn(slot)

    def stop(self) -> None:
        """Ends it for good."""
        self.stopping = True
        if self._zygote is not None:
            zygote, self._zygote = self._zygote, None
            asyncio.get_running_loop().remove_reader(zygote.pidfd)
            zygote.close()

    def _on_ended(self, zygote: Zygote) -> None:
        asyncio.get_running_loop().remove_reader(zygote.pidfd)
        if self._zygote is zygote:
            self._zygote = None
            zygote.close()
            if not self.stopping:
                _log.warning("the zygote ended; starting another")
                self.restarts += 1
                self._start_task(self._replace())

    async def _replace(self) -> None:
        failures = 0
        while self._zygote is None and not self.stopping:
            try:
                await self.start()
            except Exception as error:
                failures += 1
                _log.error("no zygote: %s", error)
                await asyncio.sleep(pause_s(failures, random.random()))
        await self._on_replaced()
