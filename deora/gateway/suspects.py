"""Which requests may have ended a worker, and where each of them is tried. Pure: requests and slots in, decisions out.

A worker that dies leaves suspects: all that it held. Most deaths are nobody's fault, and in one that is, the neighbours
of the guilty request are innocent. So each suspect is tried alone: it goes to a worker that holds nothing else and that
gets nothing else meanwhile. Only a death on such a trial counts against it; after so many it is given up.

    held by a dead worker --> waits --> on trial, alone at a worker --answered------------> innocent
                                ^         |  |
                                |         |  +--for longer than its trial may take--------> let go on among others
                                +--death--+--the last death that it may cause-------------> guilty

While a suspect waits, one worker less than there are is kept for trials, or the only one; others wait there meanwhile.
A trial takes as long as the request does, so a hundred suspects are over in some ten milliseconds. One that takes
longer than a hung worker is waited for is let go on; if it is a suspect once more, its trial may take twice as long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar


class Suspect(Protocol):
    """What is kept of a request: the deaths that it was alone in, and its trials that took too long."""

    deaths: int
    trials: int


S = TypeVar("S", bound=Suspect)


@dataclass(slots=True)
class Trial(Generic[S]):
    """One suspect, alone at a worker since `since_s`."""

    suspect: S
    since_s: float


class Suspects(Generic[S]):
    """`most_deaths`: so many deaths on trial make a request guilty. `trial_s`: how long its first trial may take."""

    def __init__(self, most_deaths: int, trial_s: float) -> None:
        self._most_deaths = most_deaths
        self._trial_s = trial_s
        self._trials: dict[str, Trial[S]] = {}
        self.waiting: deque[S] = deque()
        self.reserved: frozenset[str] = frozenset()
        """the slots that get nothing but suspects"""
        self.are_there = False
        """whether any waits, is on trial, or has a worker kept for it, as `plan` last saw it"""

    def configure(self, most_deaths: int, trial_s: float) -> None:
        """From now on it is judged by these figures."""
        self._most_deaths = most_deaths
        self._trial_s = trial_s

    def died(self, slot: str, held: list[S]) -> S | None:
        """The worker in a slot died and left these requests; the one that is guilty beyond doubt, if any is."""
        trial = self._trials.pop(slot, None)
        if len(held) == 1:
            [suspect] = held
            if trial is not None and trial.suspect is suspect:
                suspect.deaths += 1
                if suspect.deaths >= self._most_deaths:
                    return suspect
            elif not self._most_deaths:
                return suspect
        self.waiting.extend(held)
        return None

    def is_on_trial(self, slot: str, suspect: S) -> bool:
        """Whether a request is alone at the worker in a slot, as a suspect."""
        trial = self._trials.get(slot)
        return trial is not None and trial.suspect is suspect

    def acquit(self, slot: str) -> None:
        """The trial in a slot is over, without a death."""
        self._trials.pop(slot, None)

    def expire(self, now_s: float) -> bool:
        """Ends the trials that have taken too long; whether there were any. The requests stay where they are."""
        late = [
            slot
            for slot, trial in self._trials.items()
            if now_s - trial.since_s > self._trial_s * 2**trial.suspect.trials
        ]
        for slot in late:
            self._trials.pop(slot).suspect.trials += 1
        return bool(late)

    def plan(self, loads: Mapping[str, int], now_s: float) -> list[tuple[str, S]]:
        """Which suspects go where now, and which slots are `reserved`. `loads` is what the workers that serve hold, but
        for what was let go on."""
        trying = [slot for slot in self._trials if slot in loads]
        wanted = min(len(trying) + len(self.waiting), max(1, len(loads) - 1)) if self.waiting or trying else 0
        free = [slot for slot in loads if slot not in self._trials]
        # The emptiest one is soonest ready for it; a slot that is reserved already stays so among equals.
        free.sort(key=lambda slot: (loads[slot], slot not in self.reserved))
        chosen = free[: max(0, wanted - len(trying))] if self.waiting else []
        self.reserved = frozenset((*trying, *chosen))
        started = []
        for slot in chosen:
            if not loads[slot] and self.waiting:
                suspect = self.waiting.popleft()
                self._trials[slot] = Trial(suspect, now_s)
                started.append((slot, suspect))
        self.are_there = bool(self.waiting or self._trials or self.reserved)
        return started
