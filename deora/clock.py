"""Time as an argument: production code takes a `Clock`, so that a test needs neither sleep nor mock.

Durations come from the monotonic clock alone. The wall clock only labels: a venue's box may have it wrong by years,
and nothing is ordered, expired or retried by it.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """The two clocks of a process."""

    def monotonic_s(self) -> float:
        """Seconds that only grow, from an arbitrary start."""

    def wall_us(self) -> int:
        """Microseconds since 1970-01-01 UTC, as this box believes."""


class SystemClock:
    """The clocks of the operating system."""

    def monotonic_s(self) -> float:
        return time.monotonic()

    def wall_us(self) -> int:
        return time.time_ns() // 1000
