"""The breaker: a table, and the counting around it."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deora.replay.breaker import TRANSITIONS, Breaker, Event, State


def opened(at_s: float = 100.0, *, threshold: int = 3, timeout_s: float = 60.0) -> Breaker:
    """A breaker that opened at this moment."""
    breaker = Breaker(threshold, timeout_s)
    for _ in range(threshold):
        breaker.failed(at_s)
    assert breaker.state is State.OPEN
    return breaker


def test_the_table_knows_every_event_in_every_state() -> None:
    possible = set(product(State, Event)) - {
        # Time passes in every state, but only an OPEN breaker waits for it.
        (State.CLOSED, Event.TIMEOUT_PASSED),
        (State.HALF_OPEN, Event.TIMEOUT_PASSED),
    }
    assert set(TRANSITIONS) == possible


@pytest.mark.parametrize(
    ("state", "event", "following"),
    [
        (State.CLOSED, Event.SUCCEEDED, State.CLOSED),
        (State.CLOSED, Event.FAILED, State.CLOSED),
        (State.CLOSED, Event.TRIPPED, State.OPEN),
        (State.OPEN, Event.TIMEOUT_PASSED, State.HALF_OPEN),
        (State.OPEN, Event.FAILED, State.OPEN),
        (State.OPEN, Event.TRIPPED, State.OPEN),
        (State.OPEN, Event.SUCCEEDED, State.CLOSED),
        (State.HALF_OPEN, Event.SUCCEEDED, State.CLOSED),
        (State.HALF_OPEN, Event.FAILED, State.OPEN),
        (State.HALF_OPEN, Event.TRIPPED, State.OPEN),
    ],
)
def test_each_transition(state: State, event: Event, following: State) -> None:
    assert TRANSITIONS[state, event] is following


def test_a_new_breaker_lets_calls_through() -> None:
    breaker = Breaker(5, 60.0)
    assert (breaker.state, breaker.failures, breaker.wait_s(0.0)) == (State.CLOSED, 0, 0.0)


def test_it_opens_at_the_threshold_and_not_before() -> None:
    breaker = Breaker(5, 60.0)
    for count in range(1, 5):
        breaker.failed(100.0)
        assert (breaker.state, breaker.failures, breaker.wait_s(100.0)) == (State.CLOSED, count, 0.0)
    breaker.failed(100.0)
    assert (breaker.state, breaker.failures, breaker.wait_s(100.0)) == (State.OPEN, 5, 60.0)


def test_a_threshold_of_one() -> None:
    assert opened(threshold=1).wait_s(100.0) == 60.0


def test_only_failures_in_a_row_count() -> None:
    breaker = Breaker(3, 60.0)
    for _ in range(10):
        breaker.failed(100.0)
        breaker.failed(100.0)
        breaker.succeeded(100.0)
    assert (breaker.state, breaker.failures) == (State.CLOSED, 0)


def test_after_the_timeout_one_call_may_probe() -> None:
    breaker = opened(100.0)
    assert (breaker.wait_s(130.0), breaker.state) == (30.0, State.OPEN)
    assert (breaker.wait_s(160.0), breaker.state) == (0.0, State.HALF_OPEN)
    breaker.succeeded(161.0)
    assert (breaker.state, breaker.failures) == (State.CLOSED, 0)


def test_a_probe_that_fails_opens_it_for_the_whole_time_again() -> None:
    breaker = opened(100.0)
    breaker.wait_s(160.0)
    breaker.failed(175.0)
    assert (breaker.state, breaker.failures) == (State.OPEN, 4)
    assert breaker.wait_s(175.0) == 60.0
    assert breaker.wait_s(235.0) == 0.0


def test_a_call_that_was_under_way_when_it_opened_does_not_prolong_it() -> None:
    breaker = opened(100.0)
    breaker.failed(150.0)
    assert breaker.wait_s(150.0) == 10.0


def test_a_call_that_was_under_way_and_succeeds_closes_it() -> None:
    breaker = opened(100.0)
    breaker.succeeded(101.0)
    assert (breaker.state, breaker.wait_s(101.0)) == (State.CLOSED, 0.0)


@given(
    st.lists(st.tuples(st.sampled_from(["failed", "succeeded", "ask"]), st.floats(0, 100)), max_size=60),
    st.integers(1, 6),
)
def test_it_is_never_open_for_longer_than_its_timeout(steps: list[tuple[str, float]], threshold: int) -> None:
    breaker = Breaker(threshold, 60.0)
    now_s = 0.0
    in_a_row = 0
    for step, passed_s in steps:
        now_s += passed_s
        if step == "ask":
            wait_s = breaker.wait_s(now_s)
            assert 0 <= wait_s <= 60.000001
            assert (wait_s > 0) == (breaker.state is State.OPEN)
        elif step == "failed":
            breaker.failed(now_s)
            in_a_row += 1
        else:
            breaker.succeeded(now_s)
            in_a_row = 0
        assert breaker.failures == in_a_row
        if in_a_row == 0:
            assert breaker.state is State.CLOSED
        assert breaker.state is not State.CLOSED or in_a_row < threshold


def test_how_long_it_stays_open_can_be_seen_without_a_probe() -> None:
    breaker = opened(100.0)
    assert breaker.left_s(110.0) == 50.0
    assert breaker.left_s(200.0) == 0.0
    assert breaker.state is State.OPEN
    breaker.succeeded(200.0)
    assert breaker.left_s(110.0) == 0.0
