"""Printing to what is at the other end."""

from __future__ import annotations

import pytest

from deora.cli import terminal
from deora.cli.blocks import Cell, Flow
from deora.errors import DeoraError


@pytest.fixture
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "on_terminal", lambda: True)
    monkeypatch.setenv("TERM", "xterm")


@pytest.mark.usefixtures("_terminal")
@pytest.mark.parametrize(
    ("name", "value", "wanted"), [("TERM", "xterm", True), ("TERM", "dumb", False), ("NO_COLOR", "1", False)]
)
def test_colour_on_a_terminal(monkeypatch: pytest.MonkeyPatch, name: str, value: str, wanted: bool) -> None:
    monkeypatch.setenv(name, value)
    assert terminal.wants_colour() is wanted


@pytest.mark.usefixtures("_terminal")
def test_an_empty_no_color_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "")
    assert terminal.wants_colour()


def test_no_colour_and_no_width_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not terminal.wants_colour()
    assert terminal.width() == terminal.PIPED_WIDTH
    for columns, width in (("60", 60), ("3", 20), ("0", terminal.PIPED_WIDTH), ("wide", terminal.PIPED_WIDTH)):
        monkeypatch.setenv("COLUMNS", columns)
        assert terminal.width() == width


@pytest.mark.usefixtures("_terminal")
def test_a_screen_is_coloured_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show([Flow([[Cell("up", "good")]])])
    assert capsys.readouterr().out == "\x1b[32mup\x1b[0m\n"


def test_json_keeps_its_types_and_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.show_json({"whole": 1, "real": 1.0, "word": "Käse", "none": None})
    assert capsys.readouterr().out == '{\n  "whole": 1,\n  "real": 1.0,\n  "word": "Käse",\n  "none": null\n}\n'


def test_an_error_goes_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.report(DeoraError("it is so"))
    terminal.report(DeoraError("it is so", hint="do this"))
    output = capsys.readouterr()
    assert output.out == ""
    assert output.err == "error: it is so\nerror: it is so\nhint: do this\n"


def test_an_error_keeps_its_lines_and_escapes_the_rest(capsys: pytest.CaptureFixture[str]) -> None:
    terminal.report(DeoraError("two faults:\n  - \x1b[2J", hint="a\nb"))
    assert capsys.readouterr().err == "error: two faults:\n  - \\x1b[2J\nhint: a\nb\n"
