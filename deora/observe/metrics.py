"""Figures of the requests: counts by slot and status, latencies as histograms and as a recent p99."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Final

# Seconds. From a cached read to a request that waited for a restart.
BUCKETS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
# Of the store: from a write that a disk's cache takes to one that waits for a disk that is dying.
STORE_BUCKETS_S: Final = (0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
RECENT: Final = 1000


class Histogram:
    """Durations by STORE_BUCKETS_S."""

    def __init__(self) -> None:
        self._buckets = [0] * (len(STORE_BUCKETS_S) + 1)
        self._sum_s = 0.0

    def add(self, duration_s: float) -> None:
        """Counts one."""
        self._buckets[bisect_left(STORE_BUCKETS_S, duration_s)] += 1
        self._sum_s += duration_s

    def to_wire(self) -> list[Any]:
        """[counts of the buckets, their sum in seconds]: `Snapshot.latencies` has it as it is."""
        return [self._buckets, self._sum_s]


@dataclass(slots=True)
class SlotFigures:
    """What one slot has answered."""

    codes: dict[int, int] = field(default_factory=dict)
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    total: int = 0
    sum_s: float = 0.0
    recent_s: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    last_total: int = 0
    per_second: float = 0.0


class Metrics:
    """Counts answers. One object for the supervisor, written on the hot path, read by status and metrics."""

    def __init__(self) -> None:
        self.slots: dict[str, SlotFigures] = {}
        self.said = 0
        """Answers with which `/health` and its like say how the instance is: they are no work of its own."""
        self.unwell = 0
        """Those of them that are 5xx: no request has failed."""

    def answered(self, slot: str, status: int, latency_s: float) -> None:
        """Counts one answer."""
        figures = self.slots.get(slot)
        if figures is None:
            figures = self.slots[slot] = SlotFigures()
        figures.codes[status] = figures.codes.get(status, 0) + 1
        figures.buckets[bisect_left(BUCKETS_S, latency_s)] += 1
        figures.total += 1
        figures.sum_s += latency_s
        figures.recent_s.append(latency_s)

    def tick(self, elapsed_s: float) -> None:
        """Works the rates out again; called about once a second."""
        for figures in self.slots.values():
            figures.per_second = (figures.total - figures.last_total) / elapsed_s if elapsed_s > 0 else 0.0
            figures.last_total = figures.total

    def p99_ms(self, slot: str) -> float | None:
        """The 99th percentile of the last RECENT answers of a slot, in milliseconds."""
        figures = self.slots.get(slot)
        if figures is None or not figures.recent_s:
            return None
        ordered = sorted(figures.recent_s)
        return round(ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))] * 1000, 3)

    def answers(self) -> int:
        """How many requests were answered, but for those that only asked how the instance is."""
        return sum(figures.total for figures in self.slots.values()) - self.said

    def errors(self) -> int:
        """Answers of 500 and above, of all slots."""
        return sum(
            number for figures in self.slots.values() for status, number in figures.codes.items() if status >= 500
        )

    def failures(self) -> int:
        """Requests that were answered with an error of DEORA's."""
        return self.errors() - self.unwell
