"""What takes longer than clients should wait: done in steps, one within each transaction, and answered at the end.

An errand is an iterator that does a step each time it is asked; what it returns is the answer. Between its steps the
world goes on, so each step looks again at what it touches. An errand that a crash cuts off is asked for again by
whoever waits for it, and begins anew: it must find what it has done already.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

from deora.errors import Problem

Steps = Generator[None, None, Any]
Answer = Callable[[Any], bytes]
"""Encodes the answer to whoever waits: what the steps came to, or a Problem."""


@dataclass(slots=True)
class _Errand:
    steps: Steps
    answer: Answer


class Errands:
    """The errands under way, in the order in which they were asked for."""

    def __init__(self) -> None:
        self._under_way: list[_Errand] = []

    def begin(self, steps: Steps, answer: Answer) -> None:
        """Takes an errand on; its first step comes with the next `step`."""
        self._under_way.append(_Errand(steps, answer))

    @property
    def is_busy(self) -> bool:
        """Whether something is under way."""
        return bool(self._under_way)

    def step(self) -> list[bytes]:
        """One step of the oldest errand; its answer where that was the last."""
        if not self._under_way:
            return []
        errand = self._under_way[0]
        try:
            next(errand.steps)
        except StopIteration as end:
            result = end.value
        except Problem as problem:
            result = problem
        else:
            return []
        del self._under_way[0]
        return [errand.answer(result)]

    def give_up(self, problem: Problem) -> list[bytes]:
        """Ends all of them with this problem: what they have done is taken back."""
        under_way, self._under_way = self._under_way, []
        return [errand.answer(problem) for errand in under_way]
