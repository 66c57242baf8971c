"""Tells people of alerts, whatever fails on the way: what cannot be sent now is kept, and sent once when it can be.

The supervisor says which alerts there are; what changed since people were told last is an event, and waits here until
each of its targets has it. Both are kept in `alerts.json`, so neither a restart of the box nor of a process tells of an
alert twice, and none is forgotten. A target gets its events in order, one at a time; the `id` of an event tells a
repetition, where an answer was lost.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from deora import __version__
from deora.observe.posting import DeliveryError, Posted
from deora.observe.webhook import Event

_log = logging.getLogger("deora.alerts")

FILE: Final = "alerts.json"
# What may wait; beyond that the oldest are given up.
MOST_WAITING: Final = 500
FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 300.0
MOST_PATIENCE_S: Final = 3600.0


class Target(Protocol):
    """Who tells people. `place` is where, without secrets."""

    name: str
    place: str

    def takes(self, event: Event) -> bool:
        """Whether it is sent events of this kind."""

    def send(self, event: Event) -> Posted:
        """Sends one. Raises DeliveryError."""


@dataclass(slots=True)
class _Line:
    """How a target fares."""

    target: Target
    failures: int = 0
    due_s: float = 0.0


class Courier:
    """The alerts that people were told of, and what waits. Not for several threads at once.

    `random` from 0 to 1; `label` is the wall clock's time, as text; times given are monotonic.
    """

    def __init__(
        self, path: Path, targets: Iterable[Target], random: Callable[[], float], label: Callable[[], str]
    ) -> None:
        self._path = path
        self._lines = [_Line(target) for target in targets]
        self._random = random
        self._label = label
        self._told: dict[str, list[Any]] = {}
        self._waiting: list[tuple[Event, list[str]]] = []
        self.last_error = ""
        self._read()

    def __len__(self) -> int:
        """How many events wait."""
        return len(self._waiting)

    # -- what there is to tell

    def take(self, server: str, alerts: list[list[Any]], *, is_settled: bool) -> None:
        """Takes the alerts that there are now (`Alert.told`). `is_settled`: what is not among them is over; an instance
        that has just started does not know that yet."""
        now = {json.dumps(alert[:2]): alert for alert in alerts}
        told = dict(self._told)
        for key, alert in now.items():
            known = told.get(key)
            if known is None:
                self._tell("raised", server, alert)
            elif alert[-1] > known[-1]:
                self._tell("again", server, alert)
            told[key] = alert if known is None or alert[-1] > known[-1] else known
        if is_settled:
            for key in [key for key in told if key not in now]:
                self._tell("cleared", server, told.pop(key))
        if told != self._told:
            self._told = told
            self._write()

    def note_error(self, server: str, logger: str, process: str, detail: str) -> None:
        """Takes an error of the log. It is kept with `keep_last_error`."""
        self._tell("error", server, [logger, process, "error", detail, "", 0])

    def keep_last_error(self, line: str) -> None:
        """The errors of the log up to this line have been taken."""
        self.last_error = line
        self._write()

    def _tell(self, kind: str, server: str, alert: list[Any]) -> None:
        event = self._event(kind, server, alert)
        to = [line.target.name for line in self._lines if line.target.takes(event)]
        if to:
            self._waiting.append((event, to))
        if len(self._waiting) > MOST_WAITING:
            given_up = len(self._waiting) - MOST_WAITING
            del self._waiting[:given_up]
            _log.error("%d events that could not be sent were given up: more than %d wait", given_up, MOST_WAITING)

    def _event(self, kind: str, server: str, alert: list[Any]) -> Event:
        name, subject, severity, detail, hint, _ = alert
        return {
            "id": uuid.uuid4().hex,
            "event": kind,
            "alert": name,
            "subject": subject,
            "severity": severity,
            "detail": detail,
            "hint": hint,
            "time": self._label(),
            "server": server,
            "version": __version__,
        }

    # -- telling it

    def deliver(self, now_s: float) -> float | None:
        """Sends what is due. Returns when it is to be called again; None where nothing waits."""
        for line in self._lines:
            while line.due_s <= now_s and (found := self._first(line.target.name)) is not None:
                event, to = found
                if self._send(line, event, now_s):
                    to.remove(line.target.name)
                    self._waiting = [each for each in self._waiting if each[1]]
                    self._write()
        return min((line.due_s for line in self._lines if self._first(line.target.name) is not None), default=None)

    def test(self, server: str) -> list[dict[str, Any]]:
        """Sends a test to each target at once, and says what came back; it is not repeated."""
        alert = ["test", "", "warning", "this is a test of DEORA's alerts", "nothing is wrong", 0]
        event = self._event("test", server, alert)
        rows = []
        for line in self._lines:
            row: dict[str, Any] = {"target": line.target.name, "place": line.target.place}
            try:
                posted = line.target.send(event)
            except DeliveryError as error:
                row |= {"sent": False, "status": error.status, "detail": error.message}
            else:
                row |= {"sent": True, "status": posted.status, "detail": posted.content.strip()}
                # What waits need not wait any longer.
                line.due_s = 0.0
            rows.append(row)
        return rows

    def _first(self, name: str) -> tuple[Event, list[str]] | None:
        return next((each for each in self._waiting if name in each[1]), None)

    def _send(self, line: _Line, event: Event, now_s: float) -> bool:
        """Sends an event; whether it needs no other attempt."""
        target = line.target
        try:
            target.send(event)
        except DeliveryError as error:
            if error.is_final:
                _log.error("an alert was refused for good: %s", error.message, extra={"alert": event["alert"]})
                return True
            line.failures += 1
            pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(line.failures - 1, 20))
            wait_s = pause_s * (0.5 + 0.5 * self._random())
            line.due_s = now_s + max(wait_s, min(error.retry_after_s or 0.0, MOST_PATIENCE_S))
            if line.failures == 1:
                _log.warning("alerts cannot be sent, and wait: %s", error.message)
            return False
        if line.failures:
            _log.info("alerts are sent to %s again", target.place)
            line.failures = 0
        return True

    # -- the file

    def _read(self) -> None:
        try:
            kept = json.loads(self._path.read_bytes())
            told = {str(key): [*alert] for key, alert in kept["told"].items() if len(alert) == 6}
            waiting = [(dict(event), [*map(str, to)]) for event, to in kept["waiting"]]
            self.last_error = str(kept["last_error"])
        except FileNotFoundError:
            return
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            _log.warning("%s cannot be read, and is begun anew: %s", self._path, error)
            return
        self._told = told
        names = {line.target.name for line in self._lines}
        self._waiting = [(event, kept) for event, to in waiting if (kept := [name for name in to if name in names])]

    def _write(self) -> None:
        text = json.dumps(
            {"told": self._told, "waiting": self._waiting, "last_error": self.last_error}, ensure_ascii=False
        )
        new = self._path.with_name(self._path.name + ".new")
        # On a full disk it is kept in memory alone.
        with contextlib.suppress(OSError):
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
