"""What an operator should know of, found in the figures of an instance. Pure: time comes with the snapshot.

A condition is what is seen at one look. When it becomes an alert, and when it is one no more, is decided in `alerts`. A
figure that has crossed its threshold counts until it is well below it again: the space between is the hysteresis.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from typing import Final, NamedTuple

from deora.observe.health import (
    OUT_BY_ORDER,
    Snapshot,
    UpstreamState,
    WorkerState,
    children,
    year_is_plausible,
)

Key = tuple[str, str]
"""(kind, what it is about): one alert at most of each."""

# A threshold that was crossed is crossed back at this share of it.
BACK: Final = 0.8
# The disk is no longer low with this much more than its threshold.
DISK_BACK: Final = 1.2
# The error rate is that of so many seconds, and says nothing of fewer answers.
ERROR_WINDOW_S: Final = 60.0
LEAST_ANSWERS: Final = 20
# A clock that was set by more is worth a word, for so long.
CLOCK_STEP_S: Final = 30.0
CLOCK_TOLD_S: Final = 60.0


class Condition(NamedTuple):
    """`name` says what it is, `subject` of what, `detail` what was seen, `hint` what to do.

    `at_once`: it is proven, and need not last. `level`: how bad it is, where that can grow.
    """

    name: str
    subject: str
    detail: str
    hint: str
    at_once: bool = False
    level: int = 0

    @property
    def key(self) -> Key:
        """Which alert it is."""
        return self.name, self.subject


class Thresholds(NamedTuple):
    """operations.json's `alerts`: entries, seconds, bytes, a share of the answers."""

    queue_entries: int = 10_000
    queue_oldest_s: float = 3600
    disk_free: int = 500 * 1024 * 1024
    error_rate: float = 0.05


class Conditions:
    """Looks at one snapshot after the other, and remembers what needs two."""

    def __init__(self, thresholds: Thresholds) -> None:
        self.thresholds = thresholds
        self._crashes: dict[str, int] = {}
        self._answers: deque[tuple[float, int, int]] = deque()
        self._offset_s: float | None = None
        self._stepped: tuple[float, float] | None = None

    def look(self, snapshot: Snapshot, active: Collection[Key]) -> list[Condition]:
        """What holds now; `active` are the alerts that there are."""
        return [
            *_orders(snapshot),
            *self._processes(snapshot),
            *_store(snapshot),
            *_upstreams(snapshot),
            *self._queue(snapshot, active),
            *self._disk(snapshot, active),
            *self._clock(snapshot),
            *self._error_rate(snapshot, active),
            *_redis(snapshot),
            *_backup(snapshot),
        ]

    def _processes(self, snapshot: Snapshot) -> Iterator[Condition]:
        for name, child in children(snapshot):
            crashes = child.crashes
            has_crashed = crashes > self._crashes.get(name, 0)
            self._crashes[name] = crashes
            if child.state in OUT_BY_ORDER:
                continue
            reason = f": {child.reason}" if child.reason is not None else ""
            hint = "it is started again by itself; see the log"
            if child.state != "up":
                # One that has failed to start has proven it; one that is being started may only need a moment.
                is_proven = has_crashed or child.state == "delayed"
                yield Condition("process-down", name, f"{name} is {child.state}{reason}", hint, is_proven, crashes)
            elif has_crashed:
                yield Condition("process-down", name, f"{name} ended and was started again", hint, True, crashes)

    def _queue(self, snapshot: Snapshot, active: Collection[Key]) -> Iterator[Condition]:
        limits, queue = self.thresholds, snapshot.queue
        hint = "bring upstream back (`deora upstream`); writes are accepted and wait, nothing is lost"
        waiting, oldest_s = queue["pending"] + queue["inflight"], queue["oldest_s"] or 0
        if waiting > limits.queue_entries * _share("queue-entries", active):
            yield Condition("queue-entries", "", f"{waiting} entries wait, more than {limits.queue_entries}", hint)
        if oldest_s > limits.queue_oldest_s * _share("queue-oldest", active):
            detail = f"an entry has waited for {oldest_s} s, longer than {limits.queue_oldest_s:g} s"
            yield Condition("queue-oldest", "", detail, hint)
        dead = queue["dead"]
        if dead:
            hint = "deora queue ls --state dead"
            yield Condition("dead-letters", "", f"entries that upstream refused for good: {dead}", hint, True, dead)

    def _disk(self, snapshot: Snapshot, active: Collection[Key]) -> Iterator[Condition]:
        if snapshot.refusal is not None:
            hint = "make room; writes are taken again by themselves, nothing is lost"
            yield Condition("writes-refused", "", snapshot.refusal, hint)
        free, least = snapshot.disk_free_bytes, self.thresholds.disk_free
        if free is not None and free < least * (DISK_BACK if ("disk-low", "") in active else 1):
            detail = f"{free} bytes are free; the threshold is {least}"
            yield Condition("disk-low", "", detail, "make room before writes are refused")

    def _clock(self, snapshot: Snapshot) -> Iterator[Condition]:
        hint = "set the clock, or see to its time server; nothing is ordered by it"
        if not year_is_plausible(snapshot.timestamp):
            yield Condition("clock-wrong", "", f"this box says {snapshot.timestamp}", hint)
            return
        now_s, offset_s = snapshot.uptime_s, snapshot.clock_offset_s
        if offset_s is None:
            return
        before_s, self._offset_s = self._offset_s, offset_s
        if before_s is not None and abs(offset_s - before_s) > CLOCK_STEP_S:
            self._stepped = now_s, offset_s - before_s
        if self._stepped is not None and now_s - self._stepped[0] < CLOCK_TOLD_S:
            detail = f"the clock was set by {self._stepped[1]:+.0f} s, and says {snapshot.timestamp} now"
            yield Condition("clock-wrong", "", detail, hint, at_once=True)

    def _error_rate(self, snapshot: Snapshot, active: Collection[Key]) -> Iterator[Condition]:
        self._answers.append((snapshot.uptime_s, snapshot.answers, snapshot.errors))
        while len(self._answers) > 2 and snapshot.uptime_s - self._answers[1][0] >= ERROR_WINDOW_S:
            self._answers.popleft()
        _, answers_then, errors_then = self._answers[0]
        answers, errors = snapshot.answers - answers_then, snapshot.errors - errors_then
        allowed = self.thresholds.error_rate
        if answers >= LEAST_ANSWERS and errors > answers * allowed * _share("error-rate", active):
            detail = f"{errors} of the last {answers} answers were errors of DEORA's (5xx); {allowed:.1%} are allowed"
            yield Condition("error-rate", "", detail, "see the other alerts, error.log, and the codes in /metrics")


def _share(name: str, active: Collection[Key]) -> float:
    return BACK if (name, "") in active else 1.0


def _orders(snapshot: Snapshot) -> Iterator[Condition]:
    standing = ", ".join(worker.slot for worker in snapshot.workers if worker.stands_by)
    if standing:
        detail = f"failed over by an operator's order: {standing} gets no requests"
        yield Condition("failed-over", "", detail, "deora recover")
    for name, child in children(snapshot):
        if child.state in OUT_BY_ORDER and not (isinstance(child, WorkerState) and child.stands_by):
            detail = f"{name} is in {child.state}, by an operator's order"
            yield Condition("worker-out", name, detail, f"deora worker ready {name}")


def _store(snapshot: Snapshot) -> Iterator[Condition]:
    for text, hint in snapshot.damage:
        yield Condition("store-damaged", text.partition(":")[0], text, hint, at_once=True)


def _upstreams(snapshot: Snapshot) -> Iterator[Condition]:
    for upstream in snapshot.upstreams:
        name = upstream.name
        if upstream.state == "stopped":
            hint = "see docs/operations.md"
            yield Condition("upstream-stopped", name, f"{name}: {upstream.last_error}", hint, at_once=True)
        elif upstream.state == "unauthorised":
            hint = "check its credentials and what they may write; writes wait in the queue, nothing is lost"
            yield Condition("upstream-unauthorised", name, f"{name} refuses us: {upstream.last_error}", hint)
        elif upstream.breaker != "CLOSED":
            hint = "writes wait in the queue; it is tried again by itself"
            yield Condition("breaker-open", name, f"{name} is out: {upstream.last_error}", hint, at_once=True)
        yield from _pool(upstream)


def _pool(upstream: UpstreamState) -> Iterator[Condition]:
    pool = upstream.pool or {}
    if pool.get("waiting", 0) > 0:
        detail = (
            f"{upstream.name}: all {pool['total']} connections are in use, and {pool['waiting']} calls wait for one"
        )
        yield Condition(
            "pool-exhausted", upstream.name, detail, "raise the upstream's pool.max, or look why it is slow"
        )


def _redis(snapshot: Snapshot) -> Iterator[Condition]:
    if snapshot.redis is False:
        hint = "bring it back; the disk cache does its part meanwhile"
        yield Condition("redis-lost", "", "Redis does not answer", hint, at_once=True)


def _backup(snapshot: Snapshot) -> Iterator[Condition]:
    backup = snapshot.backup
    if backup is None:
        return
    if backup.error is not None:
        hint = backup.hint or "it is tried again by itself; see the log"
        yield Condition("backup-failed", "", backup.error, hint)
    if backup.is_late:
        since = "none was made since the start" if backup.age_s is None else f"the last one is {backup.age_s:.0f} s old"
        detail = f"a backup is due every {backup.every_s:.0f} s, and {since}"
        yield Condition("backup-late", "", detail, "look after the disk for backups")
