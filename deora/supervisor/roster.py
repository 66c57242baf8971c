"""What becomes of a child, and who serves: the states in one table, the pause before another start, and which workers
take requests. Pure.

              SPAWN            HELLO
        DOWN -------> STARTING ------> UP
         ^             |               |
         |  PAUSED     | ENDED         | ENDED: started again at once
         +--- DELAYED <+               +--------> DOWN
                ^                                  |
                +---- ENDED before it was ready ---+      STOP, from anywhere -> STOPPING -- ENDED --> STOPPED

A child that had been ready is started again at once, however often: it served, so its fault is not in its start. One
that ends before its HELLO waits, longer each time, up to 30 s: ten starts a minute at most, and never giving up.

Beside its state a worker has its duty, which an operator sets and which outlives the process in the slot: ready; drain,
it gets nothing new and its health is watched; maint, it gets nothing and nobody judges it. While failed over, the
workers of the first role stand by, which is as a drain. A worker that serves is in state UP, ready and not standing by;
`serving` tells when one of the others has to help out.
"""

from __future__ import annotations

from collections.abc import Iterable
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


class Duty(Enum):
    """What an operator wants of a worker. `value` is the word that status shows of one that is up, but for ready."""

    READY = "ready"
    DRAIN = "drain"
    MAINT = "maint"


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
    """One slot of the roster. `generation` counts its starts, `failures` those in a row that never became ready,
    `crashes` its ends that nobody asked for.

    `is_sound`: its heartbeat is heard. `stands_by`: others serve in its place, by an operator's wish.
    """

    slot: str
    role: str
    state: State = State.DOWN
    generation: int = 0
    failures: int = 0
    restarts: int = 0
    crashes: int = 0
    reason: str | None = None
    duty: Duty = Duty.READY
    stands_by: bool = False
    is_sound: bool = True

    @property
    def is_wanted(self) -> bool:
        """Whether it is to serve while it can."""
        return self.duty is Duty.READY and not self.stands_by

    @property
    def shown(self) -> str:
        """The state that status shows: as HAProxy names them where it is up or kept from it."""
        state, duty = self.state, self.duty
        if state is not State.UP:
            return str(state.value)
        if not self.is_sound:
            return "down"
        if duty is not Duty.READY:
            return str(duty.value)
        return "drain" if self.stands_by else "up"

    def move(self, event: Event) -> State:
        """Takes the transition of the table; a pair that is not in it is a fault of ours and raises KeyError."""
        self.state = TRANSITIONS[self.state, event]
        if event is Event.SPAWN:
            self.generation += 1
            self.restarts = self.generation - 1
        elif event is Event.HELLO:
            self.failures = 0
            self.reason = None
            self.is_sound = True
        return self.state


def pause_s(failures: int, random: float) -> float:
    """Seconds before the start that follows the `failures`th failed one (1 is the first); `random` from 0 to 1.

    From 1 s doubling to 30 s, with up to a quarter added: no more than seven starts in the first minute and two or
    three in each later one.
    """
    grown_s = min(LONGEST_PAUSE_S / 1.25, FIRST_PAUSE_S * 2.0 ** min(failures - 1, 10))
    return grown_s * (1.0 + 0.25 * random)


def serving(workers: Iterable[Member]) -> list[Member]:
    """Those that take requests, of all workers.

    Those that are wanted and sound; where none is, those that are wanted, since one that answers late is better than
    none. Where not one that is wanted can even start, a drained one or one that stands by helps out: an operator who
    forgot it must not leave the venue without service. One in maintenance never does.
    """
    workers = list(workers)
    up = [member for member in workers if member.state is State.UP]
    wanted = [member for member in up if member.is_wanted]
    chosen = [member for member in wanted if member.is_sound] or wanted
    if not chosen and all(member.failures for member in workers if member.is_wanted):
        chosen = [member for member in up if member.duty is not Duty.MAINT]
    return chosen


def left_without(taken: Iterable[Member], workers: Iterable[Member]) -> bool:
    """Whether none of `workers` would serve by right once those of `taken` do not."""
    out = {member.slot for member in taken}
    return not any(
        member.state is State.UP and member.is_wanted and member.is_sound and member.slot not in out
        for member in workers
    )
