"""JSON files and .env files as text: strict parsers that say where a fault is, and never quote the text. Pure."""

from __future__ import annotations

import json
import re
from typing import Any, Final, NamedTuple, NoReturn

_NAME: Final = r"[A-Za-z_][A-Za-z0-9_.-]*"
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "$": "$", "'": "'"}


def parse_json(text: str) -> Any:
    """The value of a JSON text; names that stand twice in an object, NaN and infinities are refused.

    Raises ValueError that says what is wrong and where, without any of the text, which may hold a secret.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON, line {error.lineno} column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise ValueError("not valid JSON: it is nested too deeply") from None
    except _JsonFault:
        raise
    except ValueError:  # the interpreter's limit on the digits of an integer
        raise ValueError("not valid JSON: a number has too many digits") from None


class _JsonFault(ValueError):
    """A fault that the standard parser lets pass."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in pairs:
        if name in result:
            raise _JsonFault(f"the key {json.dumps(name)} stands twice in one object")
        result[name] = value
    return result


def _refuse_constant(name: str) -> NoReturn:
    raise _JsonFault(f"not valid JSON: {name} is no JSON number")


class Line(NamedTuple):
    """One setting of a .env file: the number of its line (from 1), its name, its value."""

    number: int
    name: str
    value: str


def parse_dotenv(text: str) -> tuple[list[Line], list[tuple[int, str]]]:
    """The settings of a .env file, and its faults as (line number, what is wrong).

    A line is `NAME=value`, also after `export`; empty ones and those that begin with `#` are skipped. A value in
    single quotes is taken as it is; in double quotes, backslash escapes count; without quotes it ends before ` #`.
    Nothing is expanded, and a value does not go over the end of its line.
    """
    settings: list[Line] = []
    faults: list[tuple[int, str]] = []
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        match = re.fullmatch(rf"(?:export\s+)?({_NAME})\s*=\s*(.*)", line)
        if not match:
            faults.append((number, "found a line that is no setting; allowed are NAME=value and # comments"))
            continue
        try:
            settings.append(Line(number, match[1], _unquoted(match[2])))
        except ValueError as error:
            faults.append((number, f"{match[1]}: {error}"))
    return settings, faults


def _unquoted(value: str) -> str:
    quote = value[:1]
    if quote not in ("'", '"'):
        return re.split(r"(?:^|\s)#", value, maxsplit=1)[0].rstrip()
    body = r"((?:[^\"\\]|\\.)*)" if quote == '"' else r"([^']*)"
    match = re.fullmatch(rf"{quote}{body}{quote}\s*(?:#.*)?", value)
    if not match:
        raise ValueError(f"a value that begins with {quote} must end with {quote} on the same line")
    if quote == "'":
        return match[1]
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[0]), match[1])
