"""What the processes of an instance take: memory, descriptors, threads; and how that moves over hours."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from itertools import combinations
from typing import NamedTuple

import psutil

from bench.instance import Instance

MIB = 1024 * 1024


class Sample(NamedTuple):
    """One process at one moment. Of memory that several share, `pss` has its part and `uss` nothing; bytes."""

    at_s: float
    name: str
    pid: int
    rss: int
    pss: int
    uss: int
    descriptors: int
    threads: int


def sample(one: Instance, at_s: float = 0.0) -> list[Sample]:
    """Every process of an instance that runs now."""
    found = []
    for process in one.tree():
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            memory = process.memory_full_info()
            # What a worker of this moment is called, the zygote's fork has not said yet: such a one is left out.
            name, descriptors, threads = process.name(), process.num_fds(), process.num_threads()
        except psutil.NoSuchProcess:
            continue
        found.append(Sample(at_s, name, process.pid, memory.rss, memory.pss, memory.uss, descriptors, threads))
    return found


def memory_table(samples: Iterable[Sample]) -> str:
    """RSS, PSS and USS of each process and of all together, in MiB, for a report."""
    rows = sorted(samples, key=lambda row: row.name)
    lines = [f"{row.name:<18}{row.rss / MIB:9.1f}{row.pss / MIB:9.1f}{row.uss / MIB:9.1f}" for row in rows]
    total = [sum(getattr(row, kind) for row in rows) / MIB for kind in ("rss", "pss", "uss")]
    lines.append(f"{'all':<18}" + "".join(f"{mib:9.1f}" for mib in total))
    return "\n".join([f"{'MiB':<18}{'rss':>9}{'pss':>9}{'uss':>9}", *lines])


def slope_per_h(points: Iterable[tuple[float, float]]) -> float:
    """How fast a value grows, in its unit an hour: the median of the slopes between all pairs of minutes' medians.

    `points` are (seconds, value). A line of least squares would take one step of an allocator for a trend.
    """
    minutes: dict[int, list[float]] = {}
    for at_s, value in points:
        minutes.setdefault(int(at_s // 60), []).append(value)
    medians = [(minute, statistics.median(values)) for minute, values in sorted(minutes.items())]
    slopes = [(later - earlier) / (end - begin) * 60 for (begin, earlier), (end, later) in combinations(medians, 2)]
    return statistics.median(slopes) if slopes else 0.0
