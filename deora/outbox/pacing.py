"""How long the store waits before it claims the next batch: clients first, upstream as soon as they leave room. Pure.

Every batch costs the store a claim and a settlement, and the embedded upstream an fsync on the same disk. While clients
write fast, the queue is what takes the load, so batches are spaced out; when they pause, or when the queue has grown
long, the drain goes at full speed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# Below this many commits a second each write is claimed in the transaction that brings it.
QUIET_PER_S: Final = 200.0
GATHER_S: Final = 0.05

# While clients write fast, replay may take one part in ten of the time.
PAUSE_FACTOR: Final = 9.0
LONGEST_PAUSE_S: Final = 1.0

# From this many waiting entries on the queue itself is the worry: no more pauses.
CROWDED: Final = 50_000


@dataclass(slots=True)
class Pace:
    """What is known of one upstream's last batch; times are monotonic seconds, `commits` the store's counter then."""

    claimed_s: float = 0.0
    ended_s: float = float("-inf")
    commits: int = 0


def due_s(pace: Pace, now_s: float, commits: int, waiting: int, max_writes: int) -> float:
    """When the next batch may be claimed; a time that has passed means now."""
    elapsed_s = max(now_s - pace.claimed_s, 0.001)
    if waiting >= CROWDED or (commits - pace.commits) / elapsed_s < QUIET_PER_S:
        return now_s
    took_s = max(0.0, pace.ended_s - pace.claimed_s)
    pause_s = min(LONGEST_PAUSE_S, PAUSE_FACTOR * took_s)
    return pace.ended_s + (pause_s if waiting >= max_writes else max(pause_s, GATHER_S))
