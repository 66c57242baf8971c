"""Silence, heartbeats, and the supervisor's own lag."""

from __future__ import annotations

import pytest

from deora.supervisor.pulse import STEP_AT_MOST_S, Attention, Pulse


def test_only_who_owes_an_answer_is_silent() -> None:
    pulse = Pulse()
    for _ in range(10):
        assert pulse.listen(0.1, heard=False, owes=False) == 0
    for number in range(1, 11):
        assert pulse.listen(0.1, heard=False, owes=True) == pytest.approx(number / 10)
    assert pulse.listen(0.1, heard=True, owes=True) == 0
    assert pulse.listen(0.1, heard=False, owes=True) == pytest.approx(0.1)
    assert pulse.listen(0.1, heard=False, owes=False) == 0


def test_the_supervisors_own_lag_counts_little() -> None:
    attention = Attention()
    assert attention.step(100.0) == 0
    assert attention.step(100.1) == pytest.approx(0.1)
    # A night's suspension, and a clock that goes back.
    assert attention.step(40_000.0) == STEP_AT_MOST_S
    assert attention.step(39_000.0) == 0
    assert attention.step(39_000.1) == pytest.approx(0.1)


def test_a_pong_answers_the_latest_ping_only() -> None:
    pulse = Pulse(owed_ping=7)
    pulse.answered(6)
    assert (pulse.owed_ping, pulse.is_beating) == (7, False)
    pulse.answered(7)
    assert (pulse.owed_ping, pulse.is_beating) == (0, True)


@pytest.mark.parametrize(
    ("beats", "rise", "fall", "expected"),
    [
        ("++++", 2, 3, "++++"),
        ("+--+--+", 2, 3, "+++++++"),
        ("+---", 2, 3, "+++-"),
        ("---+-++", 2, 3, "++----+"),
        ("---++---", 2, 3, "++--++" + "+-"),
        ("-+", 1, 1, "-+"),
        ("--+++", 3, 2, "+---+"),
    ],
)
def test_rise_and_fall(beats: str, rise: int, fall: int, expected: str) -> None:
    pulse, is_sound, found = Pulse(), True, ""
    for beat in beats:
        pulse.is_beating = beat == "+"
        is_sound = pulse.beat(is_sound=is_sound, rise=rise, fall=fall)
        found += "+" if is_sound else "-"
    assert found == expected
