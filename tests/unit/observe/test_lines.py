"""Log lines: one JSON object a line, whatever a value holds."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from deora.observe.lines import MAX_FIELD_CHARACTERS, ConsoleLines, JsonLines

FORGED = 'x"}\n{"level": "error", "message": "forged"}\r\n\x1b[31m'
LINE_ENDS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
COMMANDS = "\x00\x07\x08\x1b\x7f\x9b\u202e"


def record(message: str, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("deora.test", logging.INFO, __file__, 1, message, None, None)
    vars(made).update(extra)
    return made


def test_no_value_can_forge_a_line() -> None:
    line = JsonLines("store").format(record(FORGED, path=FORGED))
    assert "\n" not in line
    assert "\r" not in line
    members = json.loads(line)
    assert (members["message"], members["path"], members["level"]) == (FORGED, FORGED, "info")
    shown = ConsoleLines("store").format(record(FORGED))
    assert "\x1b" not in shown
    assert "\r" not in shown


def test_a_field_is_cut() -> None:
    members = json.loads(JsonLines("store").format(record("m" * 9999, path="p" * 9999)))
    assert len(members["message"]) == len(members["path"]) == MAX_FIELD_CHARACTERS


@given(st.text(), st.text(), st.one_of(st.none(), st.integers(), st.lists(st.text(), max_size=3)))
def test_whatever_the_values_a_line_is_one_line_and_reads_back(message: str, path: str, found: object) -> None:
    line = JsonLines("store").format(record(message.replace("%", "%%"), path=path, found=found))
    assert len(line.splitlines()) == 1
    members = json.loads(line)
    assert (members["message"], members["path"], members["found"]) == (message.replace("%", "%%"), path, found)


def test_no_reader_sees_a_line_end_or_a_command_in_a_value() -> None:
    line = JsonLines("store").format(record(LINE_ENDS + COMMANDS))
    assert len(line.splitlines()) == 1
    assert not set(line) & (set(LINE_ENDS + COMMANDS) - {"\u202e"})
    assert json.loads(line)["message"] == LINE_ENDS + COMMANDS


def test_every_kind_of_value_is_cut() -> None:
    long = "x" * 9999
    line = JsonLines("store").format(record("m", text=long, several=[long, long], keyed={"k": long}, path=Path(long)))
    members = json.loads(line)
    assert {name: len(members[name]) for name in ("text", "several", "keyed", "path")} == dict.fromkeys(
        ("text", "several", "keyed", "path"), MAX_FIELD_CHARACTERS
    )
    short = json.loads(
        JsonLines("store").format(record("m", several=["a", 1], n=1, yes=True, none=None, path=Path("p")))
    )
    assert (short["several"], short["n"], short["yes"], short["none"], short["path"]) == (["a", 1], 1, True, None, "p")


def test_an_exception_is_cut_from_its_beginning() -> None:
    """What was raised stands at its end."""
    made = record("m")
    try:
        raise ValueError("y" * 9999 + " the end")
    except ValueError:
        made.exc_info = sys.exc_info()
    text = json.loads(JsonLines("store").format(made))["exception"]
    assert len(text) == MAX_FIELD_CHARACTERS
    assert text.endswith(" the end")


def test_a_line_tells_when_where_and_who() -> None:
    made = record("hello", upstream="primary")
    made.created = 1_769_860_800.9876
    members = json.loads(JsonLines("replayer").format(made))
    assert members == {
        "time": "2026-01-31T12:00:00.987Z",
        "level": "info",
        "process": "replayer",
        "pid": made.process,
        "logger": "deora.test",
        "message": "hello",
        "upstream": "primary",
    }


def test_the_console_shows_letters_and_escapes_the_rest() -> None:
    made = record("Café\r\x1b[31m\n12:00:00.000 error   store     forged", table="Tisch\u202eä")
    made.created = 1_769_860_800.5
    first, second = ConsoleLines("store").format(made).split("\n")
    assert first == "12:00:00.500 info    store     Café\\r\\x1b[31m"
    assert second == "    12:00:00.000 error   store     forged  table=Tisch\\u202eä"
