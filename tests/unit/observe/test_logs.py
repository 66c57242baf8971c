"""Logs: one JSON object a line, whatever a value holds; rotation loses no line."""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest

from deora.observe.logs import MAX_FIELD_CHARACTERS, AppendFile, ConsoleLines, JsonLines, configure

FORGED = 'x"}\n{"level": "error", "message": "forged"}\r\n\x1b[31m'


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


def test_rotation_by_two_writers_loses_no_line(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    handlers = [AppendFile(path, 300, 100) for _ in range(2)]
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(message)s"))

    def write(number: int) -> None:
        for line in range(300):
            handlers[number].handle(record(f"{number}-{line}"))

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    files = [path, *tmp_path.glob("app.log.*")]
    assert len(files) > 2
    lines = sorted(line for file in files for line in file.read_text().splitlines())
    assert lines == sorted(f"{number}-{line}" for number in range(2) for line in range(300))
    for handler in handlers:
        handler.close()


def test_only_so_many_files_are_kept(tmp_path: Path) -> None:
    handler = AppendFile(tmp_path / "app.log", 100, 3)
    handler.setFormatter(logging.Formatter("%(message)s"))
    for number in range(100):
        handler.handle(record(f"a line of some length {number}"))
    handler.close()
    names = {file.name for file in tmp_path.glob("app.log*")}
    assert names == {"app.log", "app.log.1", "app.log.2", "app.log.3"}


@dataclass(frozen=True)
class Settings:
    level: str = "info"
    outputs: tuple[str, ...] = ("console",)
    dir: str = "logs"
    max_file_size: int = 1000
    keep: int = 2


def test_the_console_is_json_where_nobody_watches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    before = logging.getLogger().handlers[:], logging.getLogger().level
    output = io.StringIO()
    monkeypatch.setattr(sys, "stderr", output)
    try:
        configure("store", Settings(), tmp_path)
        logging.getLogger("deora.x").info("hello", extra={"n": 1})
        logging.getLogger("deora.x").debug("not this")
    finally:
        logging.getLogger().handlers[:], level = before
        logging.getLogger().setLevel(level)
    [line] = output.getvalue().splitlines()
    members = json.loads(line)
    assert (members["process"], members["message"], members["n"]) == ("store", "hello", 1)
