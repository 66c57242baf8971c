"""How long to wait, and how much to send."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deora.replay.policy import MAX_DELAY_S, RAMP_FIRST_WRITES, Retry, delay_s, ramp

CHANCE = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("failures", "ceiling_s"), [(1, 0.1), (2, 0.2), (3, 0.4), (9, 25.6), (10, 30.0), (10**6, 30.0)]
)
def test_the_pause_doubles_up_to_its_limit(failures: int, ceiling_s: float) -> None:
    assert delay_s(Retry(), failures, 0.0) == 0.0
    assert delay_s(Retry(), failures, 0.5) == pytest.approx(ceiling_s / 2)
    assert delay_s(Retry(), failures, 1.0) == pytest.approx(ceiling_s)


@given(st.integers(1, 10**9), CHANCE, st.floats(0.001, 60))
def test_the_pause_is_anywhere_between_nothing_and_its_ceiling(failures: int, chance: float, base_s: float) -> None:
    pause_s = delay_s(Retry(3, base_s), failures, chance)
    assert 0 <= pause_s <= MAX_DELAY_S
    assert pause_s <= base_s * 2.0 ** min(failures - 1, 100)


@given(st.floats(0.1, 10**6), st.integers(1, 100), CHANCE)
def test_what_upstream_asks_for_is_kept_within_a_tenth(retry_after_s: float, failures: int, chance: float) -> None:
    pause_s = delay_s(Retry(), failures, chance, retry_after_s)
    assert retry_after_s <= pause_s <= retry_after_s * 1.1


def test_an_upstream_that_asks_for_no_pause_is_not_flooded() -> None:
    assert 0.1 <= delay_s(Retry(), 1, 0.9, 0.0) <= 0.11


def test_the_ramp_doubles_up_to_the_whole_batch() -> None:
    assert [ramp(500, successes) for successes in range(7)] == [25, 50, 100, 200, 400, 500, 500]


@pytest.mark.parametrize("max_writes", [1, 10, 500, 10_000])
@pytest.mark.parametrize("successes", [0, 1, 16, 10**9])
def test_the_ramp_keeps_the_limit(max_writes: int, successes: int) -> None:
    assert min(max_writes, RAMP_FIRST_WRITES) <= ramp(max_writes, successes) <= max_writes
    assert ramp(max_writes, 16) == max_writes
