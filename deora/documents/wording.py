"""How a refusal shows what was found: short, printable, and never a megabyte of somebody's input."""

from __future__ import annotations

from typing import Any, Final

SHOWN_CHARACTERS: Final = 60

_KINDS: Final[dict[type, str]] = {
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a double",
    str: "a string",
    list: "an array",
    dict: "an object",
}


def shown(text: str) -> str:
    """The text in quotes, with everything that is not printable escaped, cut after SHOWN_CHARACTERS."""
    if len(text) <= SHOWN_CHARACTERS:
        return repr(text)
    return f"{text[:SHOWN_CHARACTERS]!r}... ({len(text)} characters)"


def kind_of(value: Any) -> str:
    """What kind of JSON value this is, with its article: "a string", "an object"."""
    return _KINDS.get(type(value), f"a value of the type {type(value).__name__}")
