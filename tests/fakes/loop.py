"""An event loop on a manual clock: when nothing is left to do, time jumps to the next timer.

So time-outs and pauses of production code run as they are, take no time, and always in the same order. (The habit is
trio's `MockClock(autojump_threshold=0)`.) There are no threads in this world: waiting for one would be a deadlock.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from tests.fakes.clock import ManualClock

T = TypeVar("T")


class _Selector(selectors.SelectSelector):
    """Never waits: it moves the clock by what it was asked to wait."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
            raise AssertionError("every task waits for something that nobody will do")
        self._clock.advance(timeout)
        return []


class ManualLoop(asyncio.SelectorEventLoop):
    """Its time is the clock's."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(_Selector(clock))
        self._manual = clock

    def time(self) -> float:
        return self._manual.monotonic_s()


def run(main: Coroutine[Any, Any, T], clock: ManualClock) -> T:
    """Runs a coroutine to its end, in no time."""
    with asyncio.Runner(loop_factory=lambda: ManualLoop(clock)) as runner:
        return runner.run(main)
