"""How refusals show what was found."""

from __future__ import annotations

from typing import Any

import pytest

from deora.documents.wording import SHOWN_CHARACTERS, kind_of, shown


def test_a_short_text_is_shown_whole() -> None:
    assert shown("orders/o1") == "'orders/o1'"


def test_what_is_not_printable_is_escaped() -> None:
    assert shown("a\0b\nc\ud800") == r"'a\x00b\nc\ud800'"


def test_a_long_text_is_cut_and_its_length_is_told() -> None:
    assert shown("x" * 1_000_000) == f"'{'x' * SHOWN_CHARACTERS}'... (1000000 characters)"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (None, "null"),
        (True, "a boolean"),
        (1, "an integer"),
        (1.0, "a double"),
        ("", "a string"),
        ([], "an array"),
        ({}, "an object"),
        (b"", "a value of the type bytes"),
    ],
)
def test_each_kind_of_value_has_a_name(value: Any, kind: str) -> None:
    assert kind_of(value) == kind
