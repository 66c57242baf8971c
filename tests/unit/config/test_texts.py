"""The parsers of JSON and .env: what they take, and where they say a fault is."""

from __future__ import annotations

import pytest

from deora.config.texts import Line, parse_dotenv, parse_json

CANARY = "canary7f3a"


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "not valid JSON, line 1 column 1: "),
        ('{\n  "port" 3000\n}', "not valid JSON, line 2 column 10: "),
        ('{"a": 1} x', "not valid JSON, line 1 column 10: "),
        ('{"a": NaN}', "not valid JSON: NaN is no JSON number"),
        ('{"a": -Infinity}', "not valid JSON: -Infinity is no JSON number"),
        ('{"a": {"b": 1, "b": 2}}', 'the key "b" stands twice in one object'),
        ("[" * 100_000, "not valid JSON: it is nested too deeply"),
        ("1" * 5000, "not valid JSON: a number has too many digits"),
        (f'{{"url": "{CANARY}" "{CANARY}"}}', "not valid JSON, line 1 column 22: "),
    ],
)
def test_json_fault(text: str, fault: str) -> None:
    with pytest.raises(ValueError, match=r"JSON|twice") as caught:
        parse_json(text)
    assert str(caught.value).startswith(fault)
    assert CANARY not in str(caught.value)


def test_json() -> None:
    assert parse_json('{"a": [1, 2.5, null, true, "ä"]}') == {"a": [1, 2.5, None, True, "ä"]}


@pytest.mark.parametrize(
    ("line", "name", "value"),
    [
        ("PORT=3000", "PORT", "3000"),
        ("  export PORT = 3000  ", "PORT", "3000"),
        ("PORT=3000\r", "PORT", "3000"),
        ("A=", "A", ""),
        ("A=b # comment", "A", "b"),
        ("A=b#c", "A", "b#c"),
        ("A= # comment", "A", ""),
        ("A='b # c $d \\n'", "A", "b # c $d \\n"),
        ("A='b' # comment", "A", "b"),
        ('A="b\\nc \\"d\\" \\\\ \\x # e"', "A", 'b\nc "d" \\ \\x # e'),
        ('A=b"c"', "A", 'b"c"'),
        ("A=x=y", "A", "x=y"),
        ('L=["menu", "tables"]', "L", '["menu", "tables"]'),
        ("exported=1", "exported", "1"),
    ],
)
def test_dotenv_line(line: str, name: str, value: str) -> None:
    assert parse_dotenv(line) == ([Line(1, name, value)], [])


def test_dotenv_faults_name_their_lines_and_show_no_value() -> None:
    text = f"# comment\n\nA=1\n{CANARY}\nB='{CANARY}\nC=\"{CANARY}\\\"\n=x\nD='a' {CANARY}\nE=2"
    settings, faults = parse_dotenv(text)
    assert settings == [Line(3, "A", "1"), Line(9, "E", "2")]
    assert [number for number, _ in faults] == [4, 5, 6, 7, 8]
    assert faults[1][1].startswith("B: a value that begins with ' must end with '")
    assert CANARY not in str(faults)
