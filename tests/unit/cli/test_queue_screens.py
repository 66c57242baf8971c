"""The screens of the queue, from fixed answers."""

from __future__ import annotations

import re
from typing import Any

import pytest

from deora.cli.blocks import Block, draw
from deora.cli.queue_screens import entries_screen, entry_screen, queue_screen


def _lines(blocks: list[Block], width: int = 140) -> list[str]:
    return draw(blocks, width=width, colour=False).splitlines()


def test_summary(summary: dict[str, Any]) -> None:
    lines = _lines(queue_screen(summary))
    assert lines[0].startswith("QUEUE  waiting 12,044  in flight 500  dead 3")
    assert lines[1] == "BY PRIORITY  9: 3  5: 12,041"
    assert lines[3].startswith("UPSTREAM")
    assert lines[4].startswith("primary    firestore  down   OPEN")


def test_upstreams_by_name_are_as_good_as_a_list(summary: dict[str, Any]) -> None:
    by_name = {upstream.pop("name"): upstream for upstream in summary["upstreams"]}
    assert _lines(queue_screen({**summary, "upstreams": by_name}))[4].startswith("primary    firestore")


@pytest.mark.parametrize("answer", [{}, None, [], {"by_priority": [1], "upstreams": 3}])
def test_a_summary_of_another_version_still_makes_a_screen(answer: Any) -> None:
    assert _lines(queue_screen(answer))[0].startswith("QUEUE")


def test_entries(entry: dict[str, Any]) -> None:
    entry["error"] = "INVALID: the total"
    waiting = {**entry, "id": 1205, "state": "pending", "attempts": 0, "error": None, "writes": entry["writes"][1:]}
    assert _lines(entries_screen({"entries": [entry, waiting], "cursor": None})) == [
        "ID    STATE    UPSTREAM  PRIORITY  CREATED              ATTEMPTS  WRITES            ERROR",
        "1204  dead     primary          5  2026-01-31 12:00:00         3  set orders/o1 +1  INVALID: the total",
        "1205  pending  primary          5  2026-01-31 12:00:00         0  update stock/s1   -",
    ]


@pytest.mark.parametrize("width", [80, 60])
def test_narrow_entries_keep_id_state_writes_and_error(entry: dict[str, Any], width: int) -> None:
    lines = _lines(entries_screen({"entries": [entry]}), width)
    assert max(map(len, lines)) <= width
    assert {"ID", "STATE", "WRITES", "ERROR"} <= set(lines[0].split())
    assert "set orders/o1 +1" in lines[1]


@pytest.mark.parametrize("page", [{"entries": []}, {}, None, []])
def test_no_entries(page: Any) -> None:
    assert _lines(entries_screen(page)) == ["no entries"]


@pytest.mark.parametrize(
    ("writes", "phrase"),
    [
        ([{"delete": {"path": "a/b"}}], "delete a/b"),
        ([{"op": "set", "path": "a/b"}], "set a/b"),
        ([{"path": "a/b"}], "a/b"),
        ([], "-"),
        (None, "-"),
        (["?"], "-"),
    ],
)
def test_a_write_in_a_few_words(entry: dict[str, Any], writes: Any, phrase: str) -> None:
    line = _lines(entries_screen({"entries": [{**entry, "writes": writes, "error": "E"}]}))[1]
    assert re.split(r"\s{2,}", line)[-2] == phrase


def test_one_entry_whole(entry: dict[str, Any]) -> None:
    text = "\n".join(_lines(entry_screen(entry)))
    assert text.startswith("ENTRY 1204  dead  upstream primary  priority 5  attempts 3")
    assert "error: INVALID_ARGUMENT: the property total is not valid" in text
    assert '      "total": 12.5,' in text
    assert '"$increment": -1' in text


def test_an_entry_s_values_reach_the_terminal_escaped(entry: dict[str, Any]) -> None:
    entry["writes"][0]["set"]["data"]["note"] = "\x9b2J \u202e"
    assert '"note": "\\u009b2J \\u202e"' in "\n".join(_lines(entry_screen(entry)))
