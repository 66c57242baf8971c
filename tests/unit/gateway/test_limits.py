"""How much one client may ask."""

from __future__ import annotations

from deora.gateway.limits import KEYS_AT_MOST, Budget, Limits


def test_a_budget_is_spent_and_comes_back_with_the_next_window() -> None:
    budget = Budget(3, 10.0)
    assert [budget.spend("till", now_s) for now_s in (100.0, 101.0, 102.0)] == [0, 0, 0]
    assert budget.spend("till", 103.0) == 7
    assert budget.spend("till", 109.5) == 1
    assert budget.spend("till", 110.0) == 0


def test_what_is_refused_costs_nothing() -> None:
    budget = Budget(1, 10.0)
    budget.spend("till", 0.0)
    for second in range(1, 10):
        assert budget.spend("till", float(second)) == 10 - second
    assert budget.spend("till", 10.0) == 0


def test_each_key_has_its_own() -> None:
    budget = Budget(1, 10.0)
    assert budget.spend("a", 0.0) == budget.spend("b", 0.0) == 0
    assert budget.spend("a", 1.0) == 9


def test_looking_spends_nothing() -> None:
    budget = Budget(1, 10.0)
    assert budget.exhausted("a", 0.0) == budget.exhausted("a", 0.0) == 0
    budget.spend("a", 0.0)
    assert budget.exhausted("a", 4.0) == 6


def test_a_crowd_takes_bounded_memory() -> None:
    budget = Budget(1, 10.0)
    for number in range(KEYS_AT_MOST + 500):
        budget.spend(f"address-{number}", 0.0)
    assert len(budget._windows) == KEYS_AT_MOST
    assert budget.exhausted(f"address-{KEYS_AT_MOST + 499}", 1.0) == 9
    budget.spend("late", 20.0)
    assert list(budget._windows) == ["late"]


def test_the_next_budget_goes_on_with_what_was_spent_and_its_own_figures() -> None:
    former = Budget(1, 10.0)
    former.spend("till", 100.0)
    budget = Budget(2, 20.0)
    budget.remember(former)
    assert budget.spend("till", 105.0) == 0
    assert budget.spend("till", 106.0) == 14
    assert budget.spend("till", 120.0) == 0


def test_a_slow_body() -> None:
    limits = Limits(1 << 20, 1 << 14, 1 << 13, head_timeout_s=10)
    assert not limits.body_is_slow(10.0, 0)
    assert limits.body_is_slow(10.1, 0)
    assert not limits.body_is_slow(110.0, 102_400)
    assert limits.body_is_slow(111.0, 102_400)
