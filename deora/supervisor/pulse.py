"""Whether a child is alive: how long it has been silent, and its heartbeats, good and bad. Pure.

A child answers each ping from the loop that does its work, in the order in which frames came. So one that owes an
answer and sends nothing, no answer and no pong, does not read its socket: it hangs. What a request waits for by design
(an upstream, a large query) is no silence: its worker answers pings meanwhile.

All seconds here are those in which the supervisor paid attention. A machine that was suspended, or a supervisor that
was stopped or busy, has heard nobody, and holds that against nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# One look may count this much at most; looks are a tenth of a second apart.
STEP_AT_MOST_S: Final = 0.25


@dataclass(slots=True)
class Attention:
    """The supervisor's own clock of attention."""

    looked_s: float | None = None

    def step(self, now_s: float) -> float:
        """The seconds since the last look that count."""
        step_s = 0.0 if self.looked_s is None else min(max(0.0, now_s - self.looked_s), STEP_AT_MOST_S)
        self.looked_s = now_s
        return step_s


@dataclass(slots=True)
class Pulse:
    """One child's. `owed_ping` is the ping that it has not answered yet, 0 for none."""

    silent_s: float = 0.0
    owed_ping: int = 0
    is_beating: bool = False
    good: int = 0
    bad: int = 0

    def listen(self, step_s: float, *, heard: bool, owes: bool) -> float:
        """How long it has been silent while it owed an answer. `heard`: it has sent something since the last look."""
        self.silent_s = 0.0 if heard or not owes else self.silent_s + step_s
        return self.silent_s

    def answered(self, ping: int) -> None:
        """Its PONG has come."""
        if ping == self.owed_ping:
            self.owed_ping = 0
            self.is_beating = True

    def beat(self, *, is_sound: bool, rise: int, fall: int) -> bool:
        """A heartbeat is due: whether the child counts as sound now. After `fall` bad ones in a row it does not, after
        `rise` good ones it does again."""
        if self.is_beating:
            self.good, self.bad = self.good + 1, 0
        else:
            self.good, self.bad = 0, self.bad + 1
        self.is_beating = False
        return self.bad < fall if is_sound else self.good >= rise
