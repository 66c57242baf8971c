"""What is done in steps."""

from __future__ import annotations

from typing import Any

from deora.errors import Problem
from deora.store.errands import Errands, Steps


def counted(steps: int, done: list[int]) -> Steps:
    for step in range(steps):
        done.append(step)
        yield
    return len(done)


def told(found: Any) -> bytes:
    return found.detail.encode() if isinstance(found, Problem) else str(found).encode()


def test_one_step_at_a_time_and_one_errand_after_the_other() -> None:
    errands, done = Errands(), list[int]()
    assert (errands.is_busy, errands.step()) == (False, [])
    errands.begin(counted(2, done), told)
    errands.begin(counted(0, done), told)
    assert done == []
    assert [errands.step() for _ in range(5)] == [[], [], [b"2"], [b"2"], []]
    assert not errands.is_busy


def test_a_problem_is_an_answer() -> None:
    def refuse() -> Steps:
        yield
        raise Problem("conflict", "not now")

    errands = Errands()
    errands.begin(refuse(), told)
    assert [errands.step(), errands.step(), errands.step()] == [[], [b"not now"], []]


def test_all_can_be_given_up() -> None:
    errands, done = Errands(), list[int]()
    for _ in range(2):
        errands.begin(counted(3, done), told)
    errands.step()
    assert errands.give_up(Problem("unavailable", "no room")) == [b"no room"] * 2
    assert not errands.is_busy
    assert done == [0]
