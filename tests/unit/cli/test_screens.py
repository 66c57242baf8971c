"""The status screen, from fixed answers."""

from __future__ import annotations

from typing import Any

import pytest

from deora.cli.blocks import Cell, Table, draw
from deora.cli.screens import error_text, queue_flow, status_screen, tone_of, upstream_errors


def _drawn(status: Any, width: int = 100) -> list[str]:
    return draw(status_screen(status), width=width, colour=False).splitlines()


def test_the_whole_screen(status: dict[str, Any]) -> None:
    assert _drawn(status) == [
        "DEORA  degraded  node n-3f2a9c  up 2h03m  pid 4711  version 0.1.0",
        "",
        "CHILD       PID  STATE     UPTIME  RESTARTS  CPU   MEMORY  REQ/S     P99",
        "primary    4712  up         2h03m         0  12%   64 MiB  1,204  3.2 ms",
        "secondary     -  starting       -        13    -        -      0       -",
        "store      4714  up         2h03m         0    -   50 MiB      -       -",
        "replayer   4715  up         3d02h         1    -  1.2 GiB      -       -",
        "zygote     4716  up          0.4s         0    -   21 MiB      -       -",
        "",
        "UPSTREAM   TYPE       STATE  BREAKER  LATENCY  WAITING     LAG",
        "primary    firestore  down   OPEN           -   12,044  12m20s",
        "secondary  postgres   up     CLOSED    1.2 ms        0       -",
        "primary: last error: UNAVAILABLE: Network is unreachable",
        "",
        "QUEUE  waiting 12,044  in flight 500  dead 3  oldest 12m20s  in 12/s  out 480/s  drains in 25s",
        "CACHE HITS  memory 99% of 100",
        "",
        "ALERTS",
        "! upstream primary: breaker open for 12 minutes",
    ]


@pytest.mark.parametrize("width", [120, 80, 60, 40])
def test_a_narrow_terminal_shows_less_and_never_a_wider_line(status: dict[str, Any], width: int) -> None:
    lines = _drawn(status, width)
    assert max(map(len, lines)) <= width
    assert all(any(line.startswith(name) for line in lines) for name in ("primary", "secondary", "store", "zygote"))
    assert sum(line.startswith("secondary") and "starting" in line for line in lines) == 1


def test_all_columns_of_the_children_at_80_and_the_most_important_at_60(status: dict[str, Any]) -> None:
    assert _drawn(status, 80)[2].split() == [
        "CHILD",
        "PID",
        "STATE",
        "UPTIME",
        "RESTARTS",
        "CPU",
        "MEMORY",
        "REQ/S",
        "P99",
    ]
    assert _drawn(status, 60)[3].split() == ["CHILD", "PID", "STATE", "UPTIME", "RESTARTS", "REQ/S", "P99"]


@pytest.mark.parametrize("width", [80, 40])
def test_an_alert_says_what_is_wrong_and_what_to_do(status: dict[str, Any], width: int) -> None:
    detail, hint = "primary refuses us: PERMISSION_DENIED", "check its credentials and what they may \x1bwrite"
    status["alerts"] = [
        {"name": "upstream-unauthorised", "detail": detail, "hint": hint},
        {"name": "disk", "detail": "d"},
    ]
    lines = _drawn(status, width)
    shown = " ".join(" ".join(lines[lines.index("ALERTS") :]).split())
    escaped = hint.replace("\x1b", "\\x1b")
    assert shown == f"ALERTS ! {detail} hint: {escaped} ! d"
    assert any(line.startswith("hint: check") for line in lines)
    assert max(map(len, lines)) <= width


def test_why_a_child_is_not_up(status: dict[str, Any]) -> None:
    status["workers"][1]["reason"] = "cannot boot: \x1bno memory"
    assert _drawn(status)[8] == "secondary: cannot boot: \\x1bno memory"


@pytest.mark.parametrize(
    "answer",
    [
        {},
        None,
        [],
        "down",
        {"workers": None, "queue": [], "upstreams": {}, "alerts": {}, "cache": 3, "supervisor": 1},
        {"workers": [None, {"slot": 3, "restarts": "many"}], "upstreams": [{}], "alerts": [None, {}, {"name": "disk"}]},
    ],
)
def test_an_answer_of_another_version_still_makes_a_screen(answer: Any) -> None:
    assert _drawn(answer)[0].startswith("DEORA")


def test_a_server_s_words_reach_the_terminal_escaped(status: dict[str, Any]) -> None:
    status["upstreams"][0]["last_error"] = "\x1b[2J[bold]gone"
    status["alerts"] = ["\x1b]0;title\x07"]
    text = "\n".join(_drawn(status))
    assert "\x1b" not in text
    assert "\\x1b[2J[bold]gone" in text


@pytest.mark.parametrize(
    ("state", "tone"),
    [
        ("up", "good"),
        ("CLOSED", "good"),
        ("starting", "warn"),
        ("drain", "warn"),
        ("paused", "warn"),
        ("HALF_OPEN", "warn"),
        ("half-open", "warn"),
        ("down", "bad"),
        ("OPEN", "bad"),
        ("dead", "bad"),
        ("unheard of", "plain"),
        (None, "plain"),
    ],
)
def test_tone_of_a_state(state: Any, tone: str) -> None:
    assert tone_of(state) == tone


def test_states_carry_their_tone_into_the_tables(status: dict[str, Any]) -> None:
    children, upstreams = (block for block in status_screen(status) if isinstance(block, Table))
    assert [row[2].tone for row in children.rows] == ["good", "warn", "good", "good", "good"]
    assert [row[4].tone for row in children.rows] == ["plain", "warn", "plain", "warn", "plain"]
    assert [row[3].tone for row in upstreams.rows] == ["bad", "good"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "drains in 25s"),
        ({"pending": 0, "inflight": 0, "drain_eta_s": None}, "empty"),
        ({"pending": 0}, "drains in 25s"),
        ({"drain_eta_s": None}, "not draining"),
        ({"drain_eta_s": None, "paused": True}, "drains once resumed"),
    ],
)
def test_the_time_to_drain(status: dict[str, Any], changes: dict[str, Any], words: str) -> None:
    line = draw([queue_flow({**status["queue"], **changes})], width=200, colour=False)
    assert line.endswith(words)
    assert ("PAUSED" in line) == bool(changes.get("paused"))


def test_an_old_error_of_an_upstream_that_is_back_is_faint() -> None:
    def tone(breaker: str) -> str:
        (block,) = upstream_errors([{"name": "primary", "state": "up", "breaker": breaker, "last_error": "reset"}])
        return block.phrases[0][0].tone  # type: ignore[union-attr]

    assert tone("CLOSED") == "faint"
    assert tone("OPEN") == "bad"


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (None, ""),
        ("", ""),
        ({}, ""),
        ("reset by peer", "reset by peer"),
        ({"code": "NOT_FOUND", "message": "no document"}, "NOT_FOUND: no document"),
        ({"message": "no document"}, "no document"),
        ({"odd": 1}, "{'odd': 1}"),
    ],
)
def test_error_text(error: Any, text: str) -> None:
    assert error_text(error) == text


def test_a_count_of_zero_is_no_alarm(status: dict[str, Any]) -> None:
    def dead_cell(count: int) -> Cell:
        flow = queue_flow({**status["queue"], "dead": count})
        return next(phrase[1] for phrase in flow.phrases if phrase[0].text == "dead ")

    assert dead_cell(0).tone == "plain"
    assert dead_cell(3) == Cell("3", "bad")
