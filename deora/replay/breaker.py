"""The circuit breaker of one upstream, as a table.

                       FAILED, the threshold reached
             CLOSED ---------------------------------> OPEN
               ^ |  FAILED, below it: counts            | timeout_s has passed: one probe may go
               | +--+                                   v
               |                  SUCCEEDED         HALF_OPEN
               +----------------------------------------+--FAILED--> OPEN

While OPEN nothing is sent. HALF_OPEN lets exactly one call through, the probe, and that call has a deadline, so the
state cannot be left hanging.
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class State(Enum):
    """CLOSED lets calls through, OPEN none, HALF_OPEN one."""

    CLOSED = "CLOSED"
    OPEN = "OPEN"
    HALF_OPEN = "HALF_OPEN"


class Event(Enum):
    """What the breaker is told. TRIPPED is a failure with which the threshold is reached."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TRIPPED = "tripped"
    TIMEOUT_PASSED = "timeout passed"


TRANSITIONS: Final[dict[tuple[State, Event], State]] = {
    (State.CLOSED, Event.SUCCEEDED): State.CLOSED,
    (State.CLOSED, Event.FAILED): State.CLOSED,
    (State.CLOSED, Event.TRIPPED): State.OPEN,
    (State.OPEN, Event.TIMEOUT_PASSED): State.HALF_OPEN,
    # A call that was under way when the breaker opened says nothing new by failing; by succeeding it says all is well.
    (State.OPEN, Event.FAILED): State.OPEN,
    (State.OPEN, Event.TRIPPED): State.OPEN,
    (State.OPEN, Event.SUCCEEDED): State.CLOSED,
    (State.HALF_OPEN, Event.SUCCEEDED): State.CLOSED,
    (State.HALF_OPEN, Event.FAILED): State.OPEN,
    (State.HALF_OPEN, Event.TRIPPED): State.OPEN,
}


class Breaker:
    """Counts consecutive failures. Times are monotonic seconds, given by the caller."""

    def __init__(self, threshold: int, timeout_s: float) -> None:
        self.threshold = threshold
        self.timeout_s = timeout_s
        self.state = State.CLOSED
        self.failures = 0
        self._opened_s = 0.0

    def wait_s(self, now_s: float) -> float:
        """How long no call may be made; 0 where one may. After the wait, ask again: the answer makes it the probe."""
        if self.state is not State.OPEN:
            return 0.0
        left_s = self._opened_s + self.timeout_s - now_s
        if left_s > 0:
            return left_s
        self._move(Event.TIMEOUT_PASSED, now_s)
        return 0.0

    def left_s(self, now_s: float) -> float:
        """How long it stays open at least; 0 where it is not. Unlike `wait_s` this asks for no probe."""
        return max(0.0, self._opened_s + self.timeout_s - now_s) if self.state is State.OPEN else 0.0

    def succeeded(self, now_s: float) -> None:
        """A call went through."""
        self.failures = 0
        self._move(Event.SUCCEEDED, now_s)

    def failed(self, now_s: float) -> None:
        """A call failed in a way that speaks of the upstream, not of the call."""
        self.failures += 1
        self._move(Event.TRIPPED if self.failures >= self.threshold else Event.FAILED, now_s)

    def _move(self, event: Event, now_s: float) -> None:
        following = TRANSITIONS[self.state, event]
        if following is State.OPEN and self.state is not State.OPEN:
            self._opened_s = now_s
        self.state = following
