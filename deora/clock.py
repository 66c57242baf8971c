"""Time as an argument: production code takes a `Clock`, so that a test needs neither sleep nor mock.

Durations come from the monotonic clock alone. The wall clock only labels: a venue's box may have it wrong by years,
and nothing is ordered, expired or retried by it.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final, Protocol

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


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


def since_boot_s() -> float:
    """Seconds that this box has been up, times of suspension included: what several processes can compare."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def boot_id() -> str:
    """What names this boot. Where the kernel's word cannot be read, what names this process: nothing compares then."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return os.urandom(16).hex()


def wall_offset_s() -> float:
    """What this box's wall clock adds to the monotonic one now: it turns the time of an event into a label."""
    return time.time() - time.monotonic()
