"""The thread that tells people of alerts: it blocks in its own time, so no lane waits for a webhook.

Where Sentry is configured it also follows `error.log`, and hands on what every process has written there, the last
words of one that ended included.
"""

from __future__ import annotations

import asyncio
import json
import logging
import queue
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from deora.clock import wall_offset_s
from deora.config.schema import Config
from deora.observe.courier import FILE, LONGEST_PAUSE_S, Courier, Target
from deora.observe.lines import time_text
from deora.observe.log_reading import LogReader
from deora.observe.sentry import Sentry
from deora.observe.webhook import Webhook

_log = logging.getLogger("deora.alerts")

LOOK_S: Final = 5.0
# A fault that repeats itself must not flood Sentry: so many at one look, and how many more there were.
MOST_ERRORS: Final = 5
_KEPT_ERRORS: Final = 1000

Command = Callable[[Courier], None]


def targets_of(config: Config) -> list[Target]:
    """Who tells people, as operations.json says."""
    alerts = config.operations.alerts
    found: list[Target] = []
    if alerts.webhook is not None:
        found.append(Webhook(alerts.webhook))
    if alerts.sentry_dsn is not None:
        found.append(Sentry(alerts.sentry_dsn))
    return found


class Alerting:
    """What a replayer does about alerts; nothing, and no thread, where nobody is to be told."""

    def __init__(self, config: Config, data: Path) -> None:
        self._commands: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
        self._server = config.servers.id or "deora"
        targets = targets_of(config)
        if not targets:
            return
        courier = Courier(data / FILE, targets, random.random, lambda: time_text(time.monotonic() + wall_offset_s()))
        errors = None
        if config.operations.alerts.sentry_dsn is not None and "file" in config.logger.outputs:
            errors = followed = LogReader(data / config.logger.dir / "error.log")
            self._commands.put(
                lambda courier: self._note_errors(courier, behind(followed.last(_KEPT_ERRORS), courier.last_error))
            )
        threading.Thread(target=self._run, args=(courier, errors), name="alerts", daemon=True).start()

    def take(self, server: str, alerts: list[list[Any]], is_settled: bool) -> None:
        """See `Courier.take`."""
        self._server = server
        self._commands.put(lambda courier: courier.take(server, alerts, is_settled=is_settled))

    async def test(self, server: str) -> list[dict[str, Any]]:
        """See `Courier.test`."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[dict[str, Any]]] = loop.create_future()

        def tell(rows: list[dict[str, Any]]) -> None:
            if not answer.done():
                answer.set_result(rows)

        def test(courier: Courier) -> None:
            loop.call_soon_threadsafe(tell, courier.test(server))

        self._commands.put(test)
        return await answer

    def stop(self) -> None:
        """Ends the thread behind what it does now; nobody waits for it, since all is kept in its file."""
        self._commands.put(None)

    def _run(self, courier: Courier, errors: LogReader | None) -> None:
        due_s: float | None = time.monotonic()
        while (command := self._next(due_s, LOOK_S if errors is not None else None)) is not None:
            try:
                command(courier)
                if errors is not None:
                    self._note_errors(courier, errors.read())
                due_s = courier.deliver(time.monotonic())
            except Exception:
                # Whatever a target or a line of the log brings, it ends no telling of alerts.
                _log.exception("alerts could not be seen to")
                due_s = time.monotonic() + LOOK_S
        if errors is not None:
            errors.close()

    def _next(self, due_s: float | None, most_s: float | None) -> Command | None:
        """The next command, or one that does nothing once it is time; None where it is to end."""
        wait_s = most_s if due_s is None else max(0.0, min(due_s - time.monotonic(), most_s or LONGEST_PAUSE_S))
        try:
            return self._commands.get(timeout=wait_s)
        except queue.Empty:
            return _nothing

    def _note_errors(self, courier: Courier, lines: list[bytes]) -> None:
        for line in lines[:MOST_ERRORS]:
            logger, process, detail = told(line)
            courier.note_error(self._server, logger, process, detail)
        if len(lines) > MOST_ERRORS:
            detail = f"{len(lines) - MOST_ERRORS} more errors within seconds; error.log has them"
            courier.note_error(self._server, "deora", "", detail)
        if lines:
            courier.keep_last_error(lines[-1].decode("utf-8", "replace"))


def _nothing(_: Courier) -> None:
    pass


def behind(lines: list[bytes], last: str) -> list[bytes]:
    """What follows the last line that was seen to; nothing where it is not among these, or none was."""
    texts = [line.decode("utf-8", "replace") for line in lines]
    return lines[texts.index(last) + 1 :] if last in texts else []


def told(line: bytes) -> tuple[str, str, str]:
    """Logger, process and text of a line of error.log."""
    try:
        members = json.loads(line)
        text = "\n".join(filter(None, (members["message"], members.get("exception"))))
        return str(members["logger"]), str(members["process"]), text
    except (ValueError, KeyError, TypeError):
        return "deora", "", line.decode("utf-8", "replace")
