"""When the next batch may be claimed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deora.outbox.pacing import CROWDED, GATHER_S, LONGEST_PAUSE_S, PAUSE_FACTOR, QUIET_PER_S, Pace, due_s


def test_the_first_batch_is_claimed_at_once() -> None:
    assert due_s(Pace(), 1000.0, 1, 1, 500) <= 1000.0


def test_while_clients_are_quiet_each_write_is_claimed_at_once() -> None:
    assert due_s(Pace(10.0, 10.1, 100), 11.0, 100 + int(QUIET_PER_S) - 1, 1, 500) <= 11.0


def test_while_clients_write_fast_batches_gather() -> None:
    pace = Pace(10.0, 10.001, 0)
    assert due_s(pace, 10.01, 100, 100, 500) == pytest.approx(10.001 + GATHER_S)
    # A whole batch need not gather; it pauses for as long as the last one says.
    assert due_s(pace, 10.01, 600, 600, 500) == pytest.approx(10.001 + PAUSE_FACTOR * 0.001)


def test_a_slow_batch_is_followed_by_a_longer_pause_up_to_a_limit() -> None:
    assert due_s(Pace(10.0, 10.1, 0), 10.2, 1000, 600, 500) == pytest.approx(10.1 + PAUSE_FACTOR * 0.1)
    assert due_s(Pace(10.0, 14.0, 0), 14.1, 9000, 600, 500) == pytest.approx(14.0 + LONGEST_PAUSE_S)


def test_a_crowded_queue_is_drained_at_full_speed() -> None:
    assert due_s(Pace(10.0, 14.0, 0), 14.1, 90_000, CROWDED, 500) <= 14.1


@given(
    claimed_s=st.floats(0, 1e6),
    took_s=st.floats(0, 100),
    later_s=st.floats(0, 100),
    commits=st.integers(0, 10**6),
    waiting=st.integers(1, 10**6),
    max_writes=st.integers(1, 500),
)
def test_no_claim_waits_longer_than_the_longest_pause(
    claimed_s: float, took_s: float, later_s: float, commits: int, waiting: int, max_writes: int
) -> None:
    now_s = claimed_s + took_s + later_s
    due = due_s(Pace(claimed_s, claimed_s + took_s, 0), now_s, commits, waiting, max_writes)
    assert due <= now_s + LONGEST_PAUSE_S
