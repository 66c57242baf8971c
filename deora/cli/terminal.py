"""The terminal at the other end: how wide it is, whether it wants colour, and printing to it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from deora.cli.figures import printable
from deora.errors import DeoraError

if TYPE_CHECKING:
    from deora.cli.blocks import Block

# A pipe has no width. What reads it (grep, a log) wants every column, and a line that is not cut.
PIPED_WIDTH: Final = 4096
_NARROWEST: Final = 20


def on_terminal() -> bool:
    """Whether a person reads standard output directly."""
    return sys.stdout.isatty()


def wants_colour() -> bool:
    """Colour for a terminal alone, and not where NO_COLOR is set and not empty (no-color.org)."""
    return on_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def width() -> int:
    """Columns: COLUMNS where it is set, else the terminal's; a pipe gets PIPED_WIDTH."""
    fallback = (PIPED_WIDTH, 24)
    columns = shutil.get_terminal_size(fallback).columns if on_terminal() else _columns_variable()
    return max(columns, _NARROWEST)


def _columns_variable() -> int:
    value = os.environ.get("COLUMNS", "")
    return int(value) if value.isdecimal() and int(value) else PIPED_WIDTH


def show(blocks: Sequence[Block]) -> None:
    """Prints a screen to standard output."""
    from deora.cli.blocks import draw

    colour = wants_colour()
    click.echo(draw(blocks, width=width(), colour=colour), color=colour)


def show_json(value: Any) -> None:
    """Prints a JSON value to standard output, indented."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def report(error: DeoraError) -> None:
    """Prints an error and its hint to standard error."""
    lines = f"error: {error.message}".split("\n") + ([] if error.hint is None else f"hint: {error.hint}".split("\n"))
    for line in lines:
        click.echo(printable(line), err=True)
