"""Requests that fail while workers are reloaded, killed and restarted, beside PM2 and gunicorn under the same script.

Every contender has two workers and gets the same load from the same client, one contender after the other. A request
has failed when it was answered by anything but 200 or 201, or not within 5 s, or when its connection was refused, reset
or closed before the answer.
"""

from __future__ import annotations

import os
import signal
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Protocol

import psutil

from bench.get import PATH, SIZE_BYTES, document
from bench.instance import Instance
from bench.measure import Bar, Row, Settings
from bench.peers.managers import Gunicorn, Pm2
from bench.processes import BenchError, NotMeasuredError
from bench.steady_load import READ, Sent, SteadyLoad

TITLE: Final = "requests that fail while workers come and go"
PER_S: Final = 200
ROUNDS: Final = 3
CALM_S: Final = 3.0
RELOADS: Final = 2
A_RELOAD_S: Final = 6.0
KILLS: Final = 10
A_KILL_S: Final = 1.0
RESTART_S: Final = 6.0
NONE: Final = Bar(0, at_most=True)
# Longer than a request may take: what a phase began, it ends.
SETTLE_S: Final = 6.0

CALM, RELOADING, KILLING, RESTARTING = PHASES = (
    "nothing happens",
    f"{RELOADS} reloads",
    f"{KILLS} workers killed (kill -9), one a second",
    "one worker restarted",
)


class Contender(Protocol):
    """Who serves, and how an operator handles it."""

    @property
    def title(self) -> str:
        """Its name in the table."""

    @property
    def url(self) -> str:
        """Where it takes requests."""

    def workers(self) -> list[int]:
        """The pids of the workers that run now."""

    def reload(self) -> None:
        """Workers anew, gracefully."""

    def restart(self, worker: int) -> None:
        """One of them anew, gracefully."""


class Deora:
    """An instance as it is without a configuration."""

    title: Final = "DEORA"

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self.url = instance.url

    def workers(self) -> list[int]:
        """The workers that run now."""
        return [worker["pid"] for worker in self._instance.status()["workers"] if worker["pid"] is not None]

    def reload(self) -> None:
        """As `deora reload` does."""
        self._instance.post("/admin/reload")

    def restart(self, worker: int) -> None:
        """As `deora worker restart` does."""
        slot = next(each["slot"] for each in self._instance.status()["workers"] if each["pid"] == worker)
        self._instance.post(f"/admin/workers/{slot}:restart")


def measure(settings: Settings) -> list[Row]:
    """A row for each phase and contender; DEORA's has a bar."""
    directory = settings.directory / "failed"
    rows: list[Row] = []
    for start in (deora, pm2, gunicorn):
        folder = directory / start.__name__
        folder.mkdir(parents=True)
        try:
            with start(folder) as contender:
                name = contender.title
                rounds = [by_phase(settings, contender) for _ in range(min(settings.pairs, ROUNDS))]
        except NotMeasuredError as reason:
            rows.append(Row(f"{TITLE}: {start.__name__}", "", missing=str(reason)))
            continue
        rows += [row_of(name, phase, [sent[phase] for sent in rounds]) for phase in PHASES]
    return rows


def row_of(name: str, phase: str, rounds: list[list[Sent]]) -> Row:
    """What failed in a phase, round by round."""
    asked = statistics.median(len(sent) for sent in rounds)
    return Row(
        f"failed of {asked:,.0f}, {phase}: {name}",
        "failed",
        NONE if name == Deora.title else None,
        [failed(sent) for sent in rounds],
        details={
            "requests": [len(sent) for sent in rounds],
            "p99_ms": [p99_ms(sent) for sent in rounds],
            "longest_ms": [max(each.took_s for each in sent) * 1000 for sent in rounds],
        },
    )


@contextmanager
def deora(directory: Path) -> Iterator[Contender]:
    """DEORA, with the document that is read."""
    assert READ == PATH
    with Instance(directory) as instance:
        instance.wait_until_ready()
        instance.wait_until_whole()
        written = instance.request("PUT", READ, document(SIZE_BYTES))
        if written.status != 201:
            raise BenchError(f"PUT {READ} answered {written.status}: {written.text}")
        yield Deora(instance)


@contextmanager
def pm2(directory: Path) -> Iterator[Contender]:
    """PM2 with two Node workers in cluster mode."""
    with Pm2(directory, document(SIZE_BYTES)) as manager:
        manager.wait_until_ready()
        yield manager


@contextmanager
def gunicorn(directory: Path) -> Iterator[Contender]:
    """gunicorn with two uvicorn workers."""
    with Gunicorn(directory, document(SIZE_BYTES)) as manager:
        manager.wait_until_ready()
        yield manager


def by_phase(settings: Settings, contender: Contender) -> dict[str, list[Sent]]:
    """The script, once: what was sent in each phase."""
    with SteadyLoad(contender.url, PER_S, document(SIZE_BYTES)) as load:
        for phase, script in zip(PHASES, (calm, reloads, kills, restart), strict=True):
            load.phase = phase
            script(contender)
            time.sleep(SETTLE_S)
    found = {phase: [sent for sent in load.sent if sent.phase == phase] for phase in PHASES}
    for phase, sent in found.items():
        why = Counter(each.failure for each in sent if each.failure is not None)
        listed = "".join(f", {number} {failure}" for failure, number in why.most_common())
        settings.say(
            f"{contender.title}, {phase}: {failed(sent)} of {len(sent)} failed{listed}; p99 {p99_ms(sent):.1f} ms, "
            f"longest {max(each.took_s for each in sent) * 1000:.0f} ms"
        )
    return found


def calm(_: Contender) -> None:
    """Nothing happens."""
    time.sleep(CALM_S)


def reloads(contender: Contender) -> None:
    """One, and when it is done and its time is over the next."""
    for _ in range(RELOADS):
        at_least(A_RELOAD_S, contender.reload)


def kills(contender: Contender) -> None:
    """Each second the worker that has run for longest, so that another one serves if any can."""
    for _ in range(KILLS):
        at_least(A_KILL_S, lambda: os.kill(oldest(contender), signal.SIGKILL))


def restart(contender: Contender) -> None:
    """One worker."""
    at_least(RESTART_S, lambda: contender.restart(oldest(contender)))


def oldest(contender: Contender) -> int:
    """The worker that has run for longest. Waits for one where there is none."""
    deadline_s = time.monotonic() + SETTLE_S
    while not (running := contender.workers()):
        if time.monotonic() > deadline_s:
            raise BenchError(f"{contender.title} has no worker any more")
        time.sleep(0.01)
    return min(running, key=lambda pid: psutil.Process(pid).create_time())


def at_least(seconds: float, act: Callable[[], None]) -> None:
    """Acts, and returns when so much time has passed."""
    until_s = time.monotonic() + seconds
    act()
    time.sleep(max(0.0, until_s - time.monotonic()))


def failed(sent: list[Sent]) -> int:
    """How many failed."""
    return sum(each.failure is not None for each in sent)


def p99_ms(sent: list[Sent]) -> float:
    """The 99th percentile, failures too."""
    ordered = sorted(each.took_s for each in sent)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1000
