"""A clock that moves only when a test moves it."""

from __future__ import annotations

# 2026-01-31T12:00:00Z, the moment of the examples in the documentation.
NOON_US = 1_769_860_800_000_000


class ManualClock:
    """Keeps `deora.clock.Clock`. Monotonic and wall time move together with `advance`; the wall alone by `wall_now_us`,
    since a venue's wall clock may jump while nothing else does."""

    def __init__(self, monotonic_s: float = 1000.0, wall_us: int = NOON_US) -> None:
        self.now_s = monotonic_s
        self.wall_now_us = wall_us

    def monotonic_s(self) -> float:
        """Seconds since an arbitrary start."""
        return self.now_s

    def wall_us(self) -> int:
        """Microseconds since 1970-01-01 UTC."""
        return self.wall_now_us

    def advance(self, seconds: float) -> None:
        """Lets time pass. It never goes back."""
        assert seconds >= 0
        self.now_s += seconds
        self.wall_now_us += round(seconds * 1_000_000)
