"""What becomes of a child: its states in one table, and the pause before it is started again. Pure.

              SPAWN            HELLO
        DOWN -------> STARTING ------> UP
         ^             |               |
         |  PAUSED     | ENDED         | ENDED: started again at once
         +--- DELAYED <+               +--------> DOWN
                ^                                  |
                +---- ENDED before it was ready ---+      STOP, from anywhere -> STOPPING -- ENDED --> STOPPED

A child that had been ready is started again at once, however often: it served, so its fault is not in its start. One
that ends before its HELLO waits, longer each time, up to 30 s: ten starts a minute at most, and never giving up.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final


class State(Enum):
    """Where a child is. `value` is the word that status shows."""

    DOWN = "down"
    STARTING = "starting"
    UP = "up"
    DELAYED = "delayed"
    STOPPING = "stopping"
    STOPPED = "stopped"


class Event(Enum):
    """What happens to a child."""

    SPAWN = "spawn"
    HELLO = "hello"
    ENDED = "ended"
    PAUSED = "the pause is over"
    STOP = "stop"


TRANSITIONS: Final[dict[tuple[State, Event], State]] = {
    (State.DOWN, Event.SPAWN): State.STARTING,
    (State.STARTING, Event.HELLO): State.UP,
    (State.STARTING, Event.ENDED): State.DELAYED,
    (State.UP, Event.ENDED): State.DOWN,
    (State.DELAYED, Event.PAUSED): State.DOWN,
    (State.DOWN, Event.STOP): State.STOPPED,
    (State.DELAYED, Event.STOP): State.STOPPED,
    (State.STARTING, Event.STOP): State.STOPPING,
    (State.UP, Event.STOP): State.STOPPING,
    (State.STOPPING, Event.ENDED): State.STOPPED,
    (State.STOPPING, Event.HELLO): State.STOPPING,
    (State.STOPPING, Event.STOP): State.STOPPING,
    (State.STOPPED, Event.STOP): State.STOPPED,
    (State.STOPPED, Event.PAUSED): State.STOPPED,
}

FIRST_PAUSE_S: Final = 1.0
LONGEST_PAUSE_S: Final = 30.0


@dataclass(slots=True)
class Member:
    """One slot of the roster. `generation` counts its starts, `failures` those in a row that never became ready."""

    slot: str
    role: str
    state: State = State.DOWN
    generation: int = 0
    failures: int = 0
    restarts: int = 0
    reason: str | None = None

    def move(self, event: Event) -> State:
        """Takes the transition of the table; a pair that is not in it is a fault of ours and raises KeyError."""
        self.state = TRANSITIONS[self.state, event]
        if event is Event.SPAWN:
            self.generation += 1
            self.restarts = self.generation - 1
        elif event is Event.HELLO:
            self.failures = 0
            self.reason = None
        return self.state


def pause_s(failures: int, random: float) -> float:
    """Seconds before the start that follows the `failures`th failed one (1 is the first); `random` from 0 to 1.

    From 1 s doubling to 30 s, with up to a quarter added: no more than seven starts in the first minute and two or
    three in each later one.
    """
    grown_s = min(LONGEST_PAUSE_S / 1.25, FIRST_PAUSE_S * 2.0 ** min(failures - 1, 10))
    return grown_s * (1.0 + 0.25 * random)
