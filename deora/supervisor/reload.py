"""A reload: everything of an instance anew but its address and its supervisor's program, without a failed request.

The configuration is read and checked first; where it is wrong, nothing is changed. One reload goes on at a time; those
who ask for one meanwhile share the next.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from deora.config.load import load
from deora.config.schema import Config
from deora.errors import ConfigError, DeoraError, Problem
from deora.supervisor.arbiter import Arbiter
from deora.supervisor.options import StartOptions
from deora.supervisor.renewal import RenewalError, renew
from deora.supervisor.settings import Settings, needs_restart
from deora.supervisor.systemd import Notifier

_log = logging.getLogger("deora.supervisor")

DEFAULT_CONFIG: Final = Path("config")


def read_settings(options: StartOptions, address: str) -> Settings:
    """What the configuration says now. Raises ConfigError and StartError."""
    directory = options.config_dir
    if directory is None and DEFAULT_CONFIG.is_dir():
        # Where none is named, `deora start` takes this one if it is there; it may have been made since.
        directory = DEFAULT_CONFIG
    config = load(directory, environ=os.environ, dotenv=Path(".env"))
    return Settings.of(config, options.data, address)


class Reload:
    """The reloads of one instance. `apply` takes the supervisor's own settings over."""

    def __init__(
        self,
        config: Config,
        arbiter: Arbiter,
        read: Callable[[], Settings],
        apply: Callable[[Settings], Awaitable[None]],
        notifier: Notifier,
    ) -> None:
        self._config = config
        # An instance keeps the address that it was started with.
        self._started_with = config
        self._arbiter = arbiter
        self._read = read
        self._apply = apply
        self._notifier = notifier
        self._lock = asyncio.Lock()
        self._next: asyncio.Task[dict[str, Any]] | None = None
        self._tasks: set[asyncio.Task[dict[str, Any]]] = set()

    async def run(self) -> dict[str, Any]:
        """Reloads, and returns once it is done: `{"reloaded", "took_s", "restart_needed"}`. Raises Problem.

        Who asks while one is under way gets the one after it, since files may have changed after that had read them.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._turn())
            self._tasks.add(self._next)
            self._next.add_done_callback(self._tasks.discard)
        turn = self._next
        try:
            return await asyncio.shield(turn)
        except asyncio.CancelledError:
            if not turn.cancelled():
                raise
            raise Problem("unavailable", "the instance ends; it was not reloaded", hint="start it again") from None

    async def on_signal(self) -> None:
        """The same for a SIGHUP, whose sender looks into the log."""
        try:
            await self.run()
        except Problem:
            return  # it is in the log

    async def stop(self) -> None:
        """Gives up what is under way: the instance ends."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _turn(self) -> dict[str, Any]:
        async with self._lock:
            self._next = None
            self._notifier.reloading()
            try:
                return await self._reload()
            except DeoraError as error:
                _log.error("not reloaded: %s", error.message)
                raise
            finally:
                self._notifier.ready()

    async def _reload(self) -> dict[str, Any]:
        began_s = time.monotonic()
        _log.info("reloading")
        try:
            # Files may lie on a disk that hangs, and the loop must not hang with it.
            settings = await asyncio.to_thread(self._read)
        except ConfigError as error:
            raise _wrong(error, error.problems) from error
        except DeoraError as error:
            raise _wrong(error, [error.message]) from error
        try:
            slots = await renew(self._arbiter, self._config, settings.config)
        except RenewalError as error:
            if not error.is_reverted:
                await self._take_over(settings)
            raise _failed(error, is_reverted=error.is_reverted) from error
        except DeoraError as error:
            raise _failed(error, is_reverted=True) from error
        await self._take_over(settings)
        took_s = round(time.monotonic() - began_s, 2)
        later = needs_restart(self._started_with, settings.config)
        if later:
            _log.warning("in force only after `deora restart`: %s", ", ".join(later))
        _log.info("reloaded in %.1f s: %s", took_s, ", ".join(slots))
        return {"reloaded": slots, "took_s": took_s, "restart_needed": later}

    async def _take_over(self, settings: Settings) -> None:
        self._config = settings.config
        await self._apply(settings)


def _wrong(error: DeoraError, problems: list[str]) -> Problem:
    return Problem(
        "wrong-configuration",
        f"{error.message}\nnothing was changed",
        hint=error.hint or "correct it, then try again; `deora config check` says the same",
        fields={"problems": problems},
    )


def _failed(error: DeoraError, *, is_reverted: bool) -> Problem:
    kept = "everything is as it was" if is_reverted else "what could not be started anew goes on as it was"
    return Problem("unavailable", f"{error.message}; {kept}", hint=error.hint)
