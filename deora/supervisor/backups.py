"""Backups: when one is due, the process that makes it, and what became of the last one.

The supervisor touches no disk, so it does not know what is in the folder: the process looks first, and makes a backup
only where the newest one is old. One is made at a time. A process that hangs on a dead disk is left alone: the alert
that the last backup is old tells of it, and it hurts nobody else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import time
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from deora.config.schema import Config
from deora.errors import Problem
from deora.observe.health import BackupState
from deora.supervisor.arbiter import Arbiter
from deora.supervisor.process import exit_reason
from deora.wire.frames import Frame, Kind, encode, pack, unpack
from deora.wire.link import Link

_log = logging.getLogger("deora.supervisor")

# After a start the store has other things to do.
FIRST_S: Final = 10.0
# After a failure: a minute, then twice as long each time, up to the interval itself.
AGAIN_S: Final = 60.0
UNREAPED_S: Final = 0.01
# The alert that backups lag: so many intervals without one.
LATE_INTERVALS: Final = 3


@dataclass(slots=True)
class _Run:
    """One backup on its way. `file`: None for a scheduled one."""

    number: int
    file: str | None
    began_s: float
    phase: str = "starting"
    done: int = 0
    total: int = 0
    facts: dict[str, Any] | None = None
    age_s: float = 0.0
    error: str | None = None
    hint: str | None = None
    pid: int | None = None
    link: Link | None = None
    is_over: bool = False
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Backups:
    """`tick` is called about once a second."""

    def __init__(self, config: Config, data: str, arbiter: Arbiter) -> None:
        self._data = data
        self._arbiter = arbiter
        self._run: _Run | None = None
        self._runs = 0
        self._failures = 0
        self._failed = 0
        self._error: tuple[str, str | None] | None = None
        self._last: tuple[dict[str, Any], float] | None = None
        self._since_s = time.monotonic()
        self._due_s = self._since_s + FIRST_S
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Goes by this configuration from now on."""
        self._wire_config = config.to_wire()
        former = getattr(self, "_settings", config.operations.backup)
        self._settings = config.operations.backup
        if former != self._settings:
            self._error, self._failures, self._last = None, 0, None
            self._since_s = time.monotonic()
            self._due_s = min(self._due_s, self._since_s + FIRST_S)

    # -- schedule

    def tick(self, now_s: float) -> None:
        """Once a second: starts the backup that is due."""
        is_running = self._run is not None and not self._run.is_over
        # Empty while no store has been up.
        node = self._arbiter.queue.get("node")
        if self._settings.dir is not None and now_s >= self._due_s and not is_running and node:
            self._due_s = now_s + self._every_s
            self._arbiter.start_task(self._start(self._new_run(None), {"node": node}))

    @property
    def _every_s(self) -> float:
        return self._settings.every_minutes * 60

    def state(self, now_s: float) -> BackupState | None:
        """What status shows; None where no backups are scheduled."""
        if self._settings.dir is None:
            return None
        facts, at_s = self._last or ({}, None)
        age_s = now_s - at_s if at_s is not None else None
        without_s = age_s if age_s is not None else now_s - self._since_s
        return BackupState(
            folder=self._settings.dir,
            every_s=self._every_s,
            running=self._run is not None and not self._run.is_over and self._run.file is None,
            age_s=round(age_s, 1) if age_s is not None else None,
            file=facts.get("file"),
            size_bytes=facts.get("size"),
            took_s=facts.get("took_s"),
            failures=self._failed,
            error=self._error[0] if self._error is not None else None,
            hint=self._error[1] if self._error is not None else None,
            is_late=without_s > LATE_INTERVALS * self._every_s,
        )

    # -- an operator's

    async def order(self, content: bytes) -> dict[str, Any]:
        """Begins a backup to the file that a request's content names. Raises Problem."""
        try:
            asked = orjson.loads(content)
            file, force = asked["file"], asked.get("force", False)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise Problem("bad-request", 'the body is {"file": "<whole path>", "force": false}') from None
        if not isinstance(file, str) or not file.startswith("/") or "\0" in file or not isinstance(force, bool):
            raise Problem("bad-request", "file is a whole path, and force true or false")
        if self._run is not None and not self._run.is_over:
            raise Problem("conflict", "another backup is being made", hint="wait for its end, then ask again")
        run = self._new_run(file)
        self._arbiter.start_task(self._start(run, {"file": file, "force": force}))
        return {"number": run.number}

    def show(self) -> dict[str, Any]:
        """The backup that is being made, or the last one."""
        run = self._run
        if run is None:
            raise Problem("not-found", "no backup was made since the start", hint="deora backup FILE")
        return {
            "number": run.number,
            "running": not run.is_over,
            "phase": run.phase,
            "done": run.done,
            "total": run.total,
            "backup": run.facts,
            "error": run.error,
            "hint": run.hint,
        }

    # -- the process

    def _new_run(self, file: str | None) -> _Run:
        self._runs += 1
        self._run = _Run(self._runs, file, time.monotonic())
        return self._run

    async def _start(self, run: _Run, task: dict[str, Any]) -> None:
        try:
            pid, sock = await self._arbiter.zygotes.spawn("backup")
            pidfd = os.pidfd_open(pid)
        except OSError as error:
            self._over(run, f"the process for it could not be started: {error}")
            return
        run.pid = pid
        asyncio.get_running_loop().add_reader(pidfd, self._on_ended, run, pidfd)
        run.link = await Link.open(sock, lambda _, frame: self._on_frame(run, frame), lambda _: None)
        init = {"role": "backup", "slot": "backup", "config": self._wire_config, "data": self._data, "backup": task}
        run.link.send(encode(Kind.INIT, 0, pack(init)))

    def _on_frame(self, run: _Run, frame: Frame) -> None:
        name, *rest = unpack(frame[5])
        if name == "progress":
            run.phase, run.done, run.total = rest
        elif name == "done":
            run.facts, run.age_s = rest
        elif name == "failed":
            run.error, run.hint = rest

    def _on_ended(self, run: _Run, pidfd: int) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(pidfd)
        try:
            reason = exit_reason(pidfd)
        except BlockingIOError:
            loop.call_later(UNREAPED_S, self._on_ended, run, pidfd)
            return
        os.close(pidfd)
        run.pid = None
        if run.link is not None:
            run.link.close()
        self._over(run, None if run.facts is not None else run.error or f"its process ended: {reason}")

    def _over(self, run: _Run, error: str | None) -> None:
        run.is_over, run.error = True, error
        run.ended.set()
        if run.file is not None:
            return
        now_s = time.monotonic()
        if error is None and run.facts is not None:
            self._last = run.facts, now_s - run.age_s
            self._error, self._failures = None, 0
            self._due_s = now_s + max(1.0, self._every_s - run.age_s)
            return
        self._failures += 1
        self._failed += 1
        self._error = error or "", run.hint
        self._due_s = now_s + min(self._every_s, AGAIN_S * 2.0 ** (self._failures - 1))
        _log.error("the scheduled backup failed: %s", error)

    async def stop(self) -> None:
        """Ends the process that makes one, which leaves nothing behind but what the next one overwrites."""
        run = self._run
        if run is not None and run.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(run.pid, signal.SIGKILL)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await run.ended.wait()
