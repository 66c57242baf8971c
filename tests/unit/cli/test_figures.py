"""Figures as an operator reads them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from deora.cli import figures


@pytest.mark.parametrize(
    ("show", "value", "text"),
    [
        (figures.count, 0, "0"),
        (figures.count, 1204567, "1,204,567"),
        (figures.rate, 0, "0"),
        (figures.rate, 0.42, "0.4"),
        (figures.rate, 9.96, "10"),
        (figures.rate, 1204.4, "1,204"),
        (figures.percent, 12.4, "12%"),
        (figures.milliseconds, 0, "0 ms"),
        (figures.milliseconds, 0.034, "0.03 ms"),
        (figures.milliseconds, 3.21, "3.2 ms"),
        (figures.milliseconds, 99.7, "100 ms"),
        (figures.milliseconds, 1234, "1.2s"),
        (figures.duration, 0, "0s"),
        (figures.duration, 0.42, "0.4s"),
        (figures.duration, 3, "3s"),
        (figures.duration, 59.4, "59s"),
        (figures.duration, 59.6, "1m00s"),
        (figures.duration, 200, "3m20s"),
        (figures.duration, 3599.7, "1h00m"),
        (figures.duration, 7400, "2h03m"),
        (figures.duration, 5 * 86400 + 4 * 3600, "5d04h"),
        (figures.size, 512, "512 B"),
        (figures.size, 1023, "1.0 KiB"),
        (figures.size, 67108864, "64 MiB"),
        (figures.size, 1.2 * 2**30, "1.2 GiB"),
        (figures.size, 5 * 2**40, "5.0 TiB"),
        (figures.size, 5000 * 2**40, "5000 TiB"),
    ],
)
def test_figure(show: Callable[[Any], str], value: Any, text: str) -> None:
    assert show(value) == text


@pytest.mark.parametrize(
    "show", [figures.count, figures.rate, figures.percent, figures.milliseconds, figures.duration, figures.size]
)
@pytest.mark.parametrize("value", [None, "12", [], {}, True])
def test_what_is_no_number_reads_as_nothing(show: Callable[[Any], str], value: Any) -> None:
    assert show(value) == figures.NOTHING


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        ("", "-"),
        (4711, "4711"),
        ("Käse 日本", "Käse 日本"),
        ("two\nlines", "two lines"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("c1 \x9b2J", "c1 \\x9b2J"),
        ("\u202eright to left", "\\u202eright to left"),
        ("\ud800", "\\ud800"),
    ],
)
def test_word_holds_nothing_that_a_terminal_acts_on(value: Any, text: str) -> None:
    assert figures.word(value) == text
