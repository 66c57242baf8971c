"""What a run comes to: each way in which a promise can be broken shows, and nothing else does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from deora.drill.judge import Findings
from deora.drill.promises import NAMES, PROMISES, RECOVERY_S, Result, Verdict, all_held, failed, judged

BY_NAME = {promise.name: promise for promise in PROMISES}


def row(name: str = "kill-store", statuses: list[int | None] | None = None, **given: Any) -> Result:
    asked: dict[str, Any] = {"findings": Findings(), "recovered_s": 1.0, **given}
    return judged(BY_NAME[name], [200, 201, 404] if statuses is None else statuses, **asked)


def test_the_scenarios_are_those_of_the_command() -> None:
    assert NAMES == (
        "kill-primary",
        "kill-store",
        "kill-all",
        "upstream-outage",
        "network-partition",
        "lost-answers",
        "disk-full",
        "slow-disk",
        "reload",
    )


def test_a_promise_that_held() -> None:
    assert row(kept="/tmp/x") == Result(BY_NAME["kill-store"], Verdict.HELD, 3, 0, 0, 0, 1.0, [], None)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"findings": Findings(lost=["a", "b"])}, "2 acknowledged writes are lost: a, b"),
        ({"findings": Findings(doubled=["a"])}, "1 writes took effect twice: a"),
        ({"findings": Findings(disordered=["a"])}, "1 writes took effect out of order: a"),
        (
            {"findings": Findings(false_fail=["a"])},
            "1 writes took effect although their client was told that they failed: a",
        ),
        ({"findings": Findings(strange=list("abcdef"))}, "6 writes took effect that nobody sent: a, b, c, d, e, ..."),
        ({"stale": ["t/1 lacks x"]}, "1 reads did not show what was acknowledged before: t/1 lacks x"),
        ({"statuses": [200, 503, None]}, "2 requests failed that had to be answered: 503, no answer"),
        ({"statuses": [200, 507]}, "1 requests failed that had to be answered: 507"),
        ({"statuses": []}, "no request was sent"),
        ({"troubles": ["the store is gone"]}, "the store is gone"),
        ({"recovered_s": RECOVERY_S + 1}, "it took 31.0 s to recover; 30 s are allowed"),
    ],
)
def test_a_promise_that_was_broken(given: dict[str, Any], said: str) -> None:
    result = row(**given, kept="/tmp/x")
    assert (result.verdict, result.complaints, result.kept) == (Verdict.BROKEN, [said], "/tmp/x")


def test_lost_and_doubled_are_counted() -> None:
    result = row(findings=Findings(lost=["a", "b"], doubled=["c"]))
    assert (result.lost, result.doubled, len(result.complaints)) == (2, 1, 2)


@pytest.mark.parametrize(("name", "status"), [("kill-all", None), ("kill-all", 503), ("disk-full", 507)])
def test_what_a_scenario_explains_is_counted_and_tolerated(name: str, status: int | None) -> None:
    result = row(name, [200, status])
    assert (result.verdict, result.failed) == (Verdict.HELD, 1)
    assert row(name, [200, 500]).verdict is Verdict.BROKEN


@pytest.mark.parametrize(
    ("status", "is_one"),
    [(200, False), (201, False), (404, False), (400, True), (409, True), (507, True), (None, True)],
)
def test_what_a_failure_is(status: int | None, is_one: bool) -> None:
    assert failed(status) is is_one


def test_all_held_only_where_something_was_put_to_the_test() -> None:
    held, left_out = row(), Result(BY_NAME["lost-answers"], Verdict.NOT_RUN)
    broken = replace(held, verdict=Verdict.BROKEN)
    assert all_held([held, left_out])
    assert not all_held([held, broken])
    assert not all_held([left_out])
    assert not all_held([])
