"""Log records as lines: JSON, which no value can forge, and text for a person at a terminal."""

from __future__ import annotations

import json
import logging
import time
from typing import Any, Final

MAX_FIELD_CHARACTERS: Final = 4096
# Valid in JSON, and yet a line's end or a command to some reader of the file: DEL, the C1 controls, two separators.
_UNSAFE: Final = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029)}
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, process, logger, message, and what was given as `extra`."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        members: dict[str, Any] = {
            "time": time_text(record.created),
            "level": record.levelname.lower(),
            "process": self._process,
            "pid": record.process,
            "logger": record.name,
            "message": record.getMessage()[:MAX_FIELD_CHARACTERS],
        }
        members.update(extras(record))
        if record.exc_info:
            members["exception"] = self.formatException(record.exc_info)[-MAX_FIELD_CHARACTERS:]
        return json.dumps(members, ensure_ascii=False, default=str).translate(_UNSAFE)


class ConsoleLines(logging.Formatter):
    """The same for a person at a terminal. What is not printable is escaped; a further line of a text is indented."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        more = " ".join(f"{name}={value}" for name, value in extras(record).items() if value is not None)
        text = (
            f"{time_text(record.created)[11:23]} {record.levelname.lower():7} {self._process:9} {record.getMessage()}"
        )
        line = f"{text}  {more}" if more else text
        if record.exc_info:
            line += " " + self.formatException(record.exc_info)
        return "\n    ".join(map(_printable, line.split("\n")))


def extras(record: logging.LogRecord) -> dict[str, Any]:
    """What was given as `extra`, each value cut to MAX_FIELD_CHARACTERS."""
    found: dict[str, Any] = {}
    for name, value in vars(record).items():
        if name not in _STANDARD:
            found[name] = value
            if not isinstance(value, int | float | None):
                text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
                if isinstance(value, str) or len(text) > MAX_FIELD_CHARACTERS:
                    found[name] = text[:MAX_FIELD_CHARACTERS]
    return found


def _printable(text: str) -> str:
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def time_text(seconds: float) -> str:
    """A time of the wall clock as every log shows it: UTC, with milliseconds."""
    return f"{second_text(seconds)}.{int(seconds % 1 * 1000):03d}Z"


def second_text(seconds: float) -> str:
    """The same up to its second."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
