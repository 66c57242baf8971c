"""Field names, and dotted field paths as Cloud Firestore writes them: `total`, `guest.name`, `` `a.b`.c ``.

    path     := segment ("." segment)*
    segment  := quoted | plain
    plain    := one or more characters other than ".", "`" and control characters
    quoted   := "`" (any character but "`" and "\\" | "\\`" | "\\\\")+ "`"

Firestore itself takes only [A-Za-z_][A-Za-z0-9_]* unquoted; `format_field_path` writes that strict form.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from deora.documents.paths import is_reserved
from deora.documents.wording import shown
from deora.errors import Problem

MAX_KEY_BYTES: Final = 1500

_STRICT_SEGMENT: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Segments that begin with a letter are never `__x__` or `$x`: one match decides the common case.
_COMMON_PATH: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*(?:\.[A-Za-z][A-Za-z0-9_]*)*")
_SEGMENT: Final = re.compile(r"`((?:[^`\\]|\\[`\\])*)`|([^.`\x00-\x1f\x7f-\x9f]+)")
_ESCAPE: Final = re.compile(r"\\([`\\])")


def key_fault(key: str) -> str | None:
    """What is wrong with a member's name, or None.

    A name is 1 to MAX_KEY_BYTES bytes of UTF-8, has no NUL, is not `__.*__` and does not begin with '$'.
    """
    if not key:
        return "an empty field name is not allowed"
    try:
        size_bytes = len(key.encode())
    except UnicodeEncodeError:
        return f"the field name {shown(key)} has a lone surrogate"
    if size_bytes > MAX_KEY_BYTES:
        return f"a field name has {size_bytes} bytes; at most {MAX_KEY_BYTES} are allowed"
    if "\0" in key:
        return f"the field name {shown(key)} has a NUL character"
    if is_reserved(key):
        return f"the field name {shown(key)} is reserved; '__.*__' is not allowed"
    if key.startswith("$"):
        return f"the field name {shown(key)} begins with '$', which is kept for tagged values and operators"
    return None


def parse_field_path(text: str, kind: str = "invalid-update") -> tuple[str, ...]:
    """The segments of a field path, unquoted, each a valid member's name.

    Raises Problem(kind); `kind` is "invalid-update" or "invalid-query".
    """
    if len(text) <= MAX_KEY_BYTES and _COMMON_PATH.fullmatch(text) is not None:
        return tuple(text.split("."))
    segments = []
    position = 0
    while True:
        match = _SEGMENT.match(text, position)
        if match is None:
            raise _refusal(kind, text, _syntax_fault(text, position))
        quoted, plain = match.groups()
        segment = plain if plain is not None else _ESCAPE.sub(r"\1", quoted)
        fault = key_fault(segment)
        if fault is not None:
            raise _refusal(kind, text, fault)
        segments.append(segment)
        position = match.end()
        if position == len(text):
            return tuple(segments)
        if text[position] != ".":
            raise _refusal(kind, text, f"a '.' is expected at character {position + 1}")
        position += 1


def format_field_path(segments: Sequence[str]) -> str:
    """The segments as a field path; each that is not [A-Za-z_][A-Za-z0-9_]* is quoted by backquotes."""
    return ".".join(segment if _STRICT_SEGMENT.fullmatch(segment) else _quoted(segment) for segment in segments)


def _quoted(segment: str) -> str:
    escaped = segment.replace("\\", "\\\\").replace("`", "\\`")
    return f"`{escaped}`"


def _syntax_fault(text: str, position: int) -> str:
    """Why no segment begins at this position."""
    if position == len(text) or text[position] == ".":
        return f"an empty segment at character {position + 1}"
    if text[position] == "`":
        return "a quoted segment does not end, or has a backslash before something other than a backquote or backslash"
    return f"a control character at character {position + 1} (such a name must be quoted by backquotes)"


def _refusal(kind: str, text: str, fault: str) -> Problem:
    return Problem(
        kind,
        f"the field path {shown(text)} is not valid: {fault}",
        hint="Separate nested names by dots and quote a name that has dots or backquotes by backquotes: `a.b`.c",
    )
