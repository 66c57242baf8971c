"""Taking a cursor over: who may, what is refused, and what upstream is then known to have."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import pytest

from deora.errors import Problem
from deora.replay.breaker import Breaker
from deora.replay.coverage import Coverage
from deora.replay.reads import Source
from deora.replay.takeover import Takeovers
from deora.upstream.base import Cursor, CursorKey, Unauthorised, Unclear
from tests.fakes.clock import ManualClock
from tests.fakes.loop import run
from tests.fakes.upstream import FakeUpstream, Fault

OWN, OLD = CursorKey("me", "e2", 0), CursorKey("old", "e1", 0)
COVERAGE = Coverage(5, [(8, 9)], [3])


class Bench:
    """One upstream in memory, and takeovers there."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.upstream = FakeUpstream()
        self.upstream.cursors[OLD] = Cursor(7, "b7", COVERAGE.encode())
        self.breaker = Breaker(5, 60.0)
        sources = [Source("primary", self.upstream, self.breaker, lambda _: None)]
        self.takeovers = Takeovers(sources, self, self.clock)

    async def open(self, upstream: str) -> tuple[str, str]:
        """See `Opener.open`."""
        assert upstream == "primary"
        return OWN.node, OWN.epoch

    def take(
        self, key: CursorKey = OLD, *, seq: int = 7, sender: str = "old.e1", upstream: str = "primary"
    ) -> tuple[list[int], list[int]]:
        """Takes a cursor over."""
        taking: Coroutine[Any, Any, tuple[list[int], list[int]]] = self.takeovers.take(
            [upstream, key.node, key.epoch, seq, sender], list(range(1, 11))
        )
        return run(taking, self.clock)

    def refusal(self, **asked: Any) -> Problem:
        """With what a takeover is refused."""
        with pytest.raises(Problem) as caught:
            self.take(**asked)
        assert caught.value.hint is not None
        return caught.value


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_what_the_cursor_covers_is_told_apart(bench: Bench) -> None:
    assert bench.take() == ([1, 2, 4, 5, 8, 9], [3])
    assert bench.upstream.cursors[OLD] == Cursor(7, "b7", COVERAGE.encode(), "me.e2")
    assert bench.take() == ([1, 2, 4, 5, 8, 9], [3])


def test_a_source_that_never_sent_is_fenced_too(bench: Bench) -> None:
    key = CursorKey("new", "e9", 0)
    assert bench.take(key, seq=0) == ([], [])
    assert bench.upstream.cursors[key] == Cursor(0, "", b"", "me.e2")


def test_the_one_who_has_it_is_named(bench: Bench) -> None:
    bench.upstream.mark_taken(OLD, "you.e5")
    problem = bench.refusal()
    assert problem.status == 409
    assert "old.e1 for primary was taken over by you.e5 already" in problem.detail
    assert bench.upstream.cursors[OLD].taken_by == "you.e5"
    # Of a file that the taker wrote its marker is handed on.
    assert bench.take(seq=0, sender="you.e5")[1] == [3]
    assert bench.upstream.cursors[OLD].taken_by == "me.e2"


def test_a_box_that_was_taken_over_takes_nothing(bench: Bench) -> None:
    bench.upstream.cursors[OWN] = Cursor(1, "x", b"", "you.e5")
    for key in (OLD, OWN):
        assert "taken over by you.e5" in bench.refusal(key=key, seq=0).detail
    assert bench.upstream.cursors[OLD].taken_by is None


def test_its_own_cursor_gets_no_marker(bench: Bench) -> None:
    assert bench.take(OWN, seq=0) == ([], [])
    assert OWN not in bench.upstream.cursors
    bench.upstream.cursors[OWN] = Cursor(1, "x", Coverage(2).encode())
    assert bench.take(OWN, seq=1) == ([1, 2], [])
    assert bench.upstream.cursors[OWN].taken_by is None


@pytest.mark.parametrize("is_there", [True, False])
def test_another_upstream_gets_no_marker(bench: Bench, is_there: bool) -> None:
    if not is_there:
        del bench.upstream.cursors[OLD]
    before = dict(bench.upstream.cursors)
    problem = bench.refusal(seq=8)
    assert "at 8, and here it is " + ("at 7" if is_there else "not there") in problem.detail
    assert bench.upstream.cursors == before


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.UNANSWERED, Fault.SILENT, Unauthorised("no"), Unclear("busy")])
@pytest.mark.parametrize("at", [0, 1, 2])
def test_an_upstream_that_does_not_answer_is_a_503(bench: Bench, fault: Any, at: int) -> None:
    bench.upstream.faults = lambda call: fault if call.index == at else None
    problem = bench.refusal()
    assert (problem.status, problem.retry_after_s) == (503, 1)
    bench.upstream.faults = lambda _: None
    assert bench.take()[1] == [3]


def test_an_open_breaker_is_not_disturbed(bench: Bench) -> None:
    for _ in range(5):
        bench.breaker.failed(bench.clock.monotonic_s())
    problem = bench.refusal()
    assert (problem.status, problem.retry_after_s) == (503, 60)
    assert bench.upstream.calls == []


def test_an_upstream_that_is_not_configured_is_named(bench: Bench) -> None:
    problem = bench.refusal(upstream="secondary")
    assert problem.status == 409
    assert "'secondary'; configured here: primary" in problem.detail


def test_a_cursor_that_cannot_be_understood_is_said(bench: Bench) -> None:
    bench.upstream.cursors[OLD] = Cursor(7, "b7", b"\x09")
    assert "format 9" in bench.refusal().detail
