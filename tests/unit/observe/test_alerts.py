"""From conditions to alerts: fast to come, slow to go, and one of each."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

from deora.observe import conditions
from deora.observe.alerts import AGAIN_S, KINDS, Alerts
from deora.observe.conditions import Condition

DOWN = Condition("process-down", "primary", "primary is down", "see the log")
CRASHED = DOWN._replace(at_once=True)
DEAD = Condition("dead-letters", "", "1 entry", "look", at_once=True, level=1)


def raised(alerts: Alerts) -> list[tuple[str, str]]:
    return list(alerts.raised)


def test_what_lasts_is_an_alert_and_what_does_not_is_none() -> None:
    alerts = Alerts()
    for now_s, holds, expected in (
        (0, True, False),
        (4.9, True, False),
        (5.0, True, True),
        (6, False, True),
        (35.9, False, False),
    ):
        alerts.step([DOWN] if holds else [], now_s)
        assert bool(raised(alerts)) is expected, now_s


def test_what_is_seen_for_a_moment_only_begins_anew() -> None:
    alerts = Alerts()
    for now_s in (0, 4):
        alerts.step([DOWN], now_s)
    alerts.step([], 4.5)
    alerts.step([DOWN], 5)
    assert raised(alerts) == []


def test_what_is_proven_need_not_last() -> None:
    alerts = Alerts()
    alerts.step([CRASHED], 0)
    assert raised(alerts) == [("process-down", "primary")]


def test_what_comes_and_goes_is_one_alert() -> None:
    """A worker that dies each second for a minute."""
    alerts = Alerts()
    seen = []
    for half_s in range(120):
        alerts.step([CRASHED] if half_s % 2 else [], half_s / 2)
        seen.append(bool(raised(alerts)))
    assert seen == [False] + [True] * 119
    alerts.step([], 59.5 + KINDS["process-down"].clear_s - 0.1)
    assert raised(alerts)
    alerts.step([], 59.5 + KINDS["process-down"].clear_s)
    assert not raised(alerts)


def test_each_subject_has_its_own() -> None:
    alerts = Alerts()
    alerts.step([CRASHED, CRASHED._replace(subject="store")], 0)
    assert raised(alerts) == [("process-down", "primary"), ("process-down", "store")]


def test_what_got_worse_is_told_of_again_but_not_too_often() -> None:
    alerts = Alerts()
    levels = []
    for now_s, level in ((0, 1), (1, 2), (AGAIN_S - 1, 5), (AGAIN_S, 5), (AGAIN_S + 1, 9), (AGAIN_S + 2, 3)):
        alerts.step([DEAD._replace(level=level)], now_s)
        [alert] = alerts.raised.values()
        levels.append(alert.told()[-1])
    assert levels == [1, 1, 1, 5, 5, 5]


def test_a_row_says_how_long_and_whether_it_still_holds() -> None:
    alerts = Alerts()
    alerts.step([DEAD], 0)
    alerts.step([DEAD, CRASHED], 10)
    alerts.step([DEAD], 20)
    dead, down = (alert.row(20) for alert in alerts.raised.values())
    assert dead == {
        "name": "dead-letters",
        "detail": "1 entry",
        "hint": "look",
        "severity": "warning",
        "for_s": 20,
        "holds": True,
    }
    assert (down["severity"], down["for_s"], down["holds"]) == ("critical", 10, False)


def test_the_table_has_each_condition_and_no_other() -> None:
    tree = ast.parse(inspect.getsource(conditions))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    found = {
        ast.literal_eval(call.args[0])
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == "Condition"
    }
    assert found == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_operators_are_told_what_each_alert_is(name: str) -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "operations.md").read_text(encoding="utf-8")
    assert f"\n### `{name}`\n" in page
