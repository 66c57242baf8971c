"""Logs: what goes where; a full disk or a slow one ends no logging."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deora.observe.lines import JsonLines
from deora.observe.logs import AUDIT, AppendFile, InBackground, configure, release


def record(message: str, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("deora.test", logging.INFO, __file__, 1, message, None, None)
    vars(made).update(extra)
    return made


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


def test_a_lone_surrogate_reaches_the_file(tmp_path: Path) -> None:
    """Python reads undecodable bytes, a file's name for example, as such."""
    handler = AppendFile(tmp_path / "app.log", 1000, 1)
    handler.setFormatter(JsonLines("store"))
    handler.handle(record("caf\udce9"))
    handler.close()
    assert json.loads((tmp_path / "app.log").read_bytes())["message"] == "caf\udce9"


def text_handler(path: Path, max_bytes: int = 10**6, keep: int = 3) -> AppendFile:
    handler = AppendFile(path, max_bytes, keep)
    handler.setFormatter(logging.Formatter("%(message)s"))
    return handler


def test_a_record_that_cannot_be_formatted_does_not_end_the_logging(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = text_handler(tmp_path / "app.log")
    broken = logging.LogRecord("deora.test", logging.INFO, __file__, 1, "%d entries", ("many",), None)
    for made in (record("before"), broken, record("behind")):
        handler.handle(made)
    handler.close()
    assert (tmp_path / "app.log").read_text() == "before\nbehind\n"
    assert "%d format" in capsys.readouterr().err


def test_a_full_disk_does_not_end_the_logging(capsys: pytest.CaptureFixture[str]) -> None:
    handler = text_handler(Path("/dev/full"))
    handler.handle(record("lost"))
    handler.close()
    assert "No space left on device" in capsys.readouterr().err


def test_what_a_full_disk_did_not_take_is_written_once_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The lines that say what was wrong are those that found no room."""
    write = os.write
    room = [9]

    def little(descriptor: int, data: bytes) -> int:
        taken = data[: room[0]]
        room[0] -= len(taken)
        if not taken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, taken)

    handler = text_handler(tmp_path / "app.log")
    monkeypatch.setattr(os, "write", little)
    for text in ("first", "second", "third"):
        handler.handle(record(text))
    assert (tmp_path / "app.log").read_text() == "first\n", "a torn line"
    room[0] = 1000
    handler.handle(record("fourth"))
    monkeypatch.undo()
    handler.close()
    assert (tmp_path / "app.log").read_text() == "first\nsecond\nthird\nfourth\n"
    assert "No space left on device" in capsys.readouterr().err


def test_a_log_that_cannot_be_made_anew_goes_on_in_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    handler = text_handler(tmp_path / "app.log", max_bytes=10)
    handler.handle(record("a line that fills it"))

    def fail() -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as full:
        full.setattr(handler.file, "open", fail)
        handler.handle(record("waits"))
    assert "No space left on device" in capsys.readouterr().err
    handler.handle(record("behind"))
    handler.close()
    assert (tmp_path / "app.log").read_text() == "waits\nbehind\n"


def test_a_log_that_is_moved_away_is_followed_by_a_new_one_at_once(tmp_path: Path) -> None:
    """As logrotate does it: nobody need be told."""
    handler = text_handler(tmp_path / "app.log")
    handler.handle(record("one"))
    (tmp_path / "app.log").rename(tmp_path / "taken.log")
    handler.handle(record("two"))
    handler.close()
    assert ((tmp_path / "taken.log").read_text(), (tmp_path / "app.log").read_text()) == ("one\n", "two\n")


def test_a_log_that_is_deleted_is_made_again(tmp_path: Path) -> None:
    handler = text_handler(tmp_path / "app.log")
    handler.handle(record("one"))
    (tmp_path / "app.log").unlink()
    handler.handle(record("two"))
    handler.close()
    assert (tmp_path / "app.log").read_text() == "two\n"


@pytest.mark.parametrize("keep", [0, 1])
def test_as_few_files_as_wanted_are_kept(tmp_path: Path, keep: int) -> None:
    handler = text_handler(tmp_path / "app.log", max_bytes=50, keep=keep)
    for number in range(40):
        handler.handle(record(f"line {number}"))
    handler.close()
    assert {file.name for file in tmp_path.glob("app.log*")} == {"app.log", "app.log.1"} - (
        {"app.log.1"} if not keep else set()
    )
    assert (tmp_path / "app.log").stat().st_size < 60


@pytest.fixture
def loggers() -> Iterator[logging.Logger]:
    """The root logger; it and that of audits are put back as they were."""
    kept = [(each, each.handlers[:], each.level) for each in (logging.getLogger(), logging.getLogger(AUDIT))]
    yield kept[0][0]
    release()
    for each, handlers, level in kept:
        each.handlers[:] = handlers
        each.setLevel(level)
    logging.getLogger(AUDIT).propagate = True


def members(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.usefixtures("loggers")
def test_the_console_is_json_where_nobody_watches(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    output = io.StringIO()
    monkeypatch.setattr(sys, "stderr", output)
    configure("store", Settings(), tmp_path)
    logging.getLogger("deora.x").info("hello", extra={"n": 1})
    logging.getLogger("deora.x").debug("not this")
    release()
    [line] = output.getvalue().splitlines()
    found = json.loads(line)
    assert (found["process"], found["message"], found["n"]) == ("store", "hello", 1)


def test_files_lie_under_the_data_directory_and_errors_stand_apart_as_well(
    loggers: logging.Logger, tmp_path: Path
) -> None:
    configure("store", Settings(outputs=("file",), dir="notes", max_file_size=10**6), tmp_path)
    loggers.info("hello", extra={"n": 1})
    loggers.error("a fault")
    release()
    assert [(each["message"], each.get("n")) for each in members(tmp_path / "notes" / "app.log")] == [
        ("hello", 1),
        ("a fault", None),
    ]
    assert [each["message"] for each in members(tmp_path / "notes" / "error.log")] == ["a fault"]
    assert not (tmp_path / "notes" / "audit.log").exists()


def test_audits_have_a_file_of_their_own_at_any_level(loggers: logging.Logger, tmp_path: Path) -> None:
    configure("supervisor", Settings(level="error", outputs=("file",), max_file_size=10**6), tmp_path)
    logging.getLogger(AUDIT).info("a worker was drained")
    loggers.info("not this")
    release()
    assert [each["message"] for each in members(tmp_path / "logs" / "audit.log")] == ["a worker was drained"]
    assert (tmp_path / "logs" / "app.log").read_text() == ""


@pytest.mark.usefixtures("loggers")
def test_without_files_audits_go_where_all_goes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    output = io.StringIO()
    monkeypatch.setattr(sys, "stderr", output)
    configure("supervisor", Settings(level="error"), tmp_path)
    logging.getLogger(AUDIT).info("a worker was drained")
    release()
    assert "a worker was drained" in output.getvalue()


def test_a_console_that_leads_to_the_journal_is_the_journal(
    loggers: logging.Logger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[str] = []

    class Journal(logging.Handler):
        def __init__(self, process: str) -> None:
            super().__init__()
            assert process == "store"

        def emit(self, made: logging.LogRecord) -> None:
            kept.append(made.getMessage())

    output = io.StringIO()
    monkeypatch.setattr(sys, "stderr", output)
    monkeypatch.setattr("deora.observe.logs.JournalHandler", Journal)
    monkeypatch.setattr("deora.observe.logs.leads_to_journal", lambda _: True)
    configure("store", Settings(outputs=("console", "journald")), tmp_path)
    loggers.info("hello")
    release()
    assert (kept, output.getvalue()) == (["hello"], "")


def test_a_folder_that_cannot_be_made_costs_the_file_and_nothing_else(
    loggers: logging.Logger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = io.StringIO()
    monkeypatch.setattr(sys, "stderr", output)
    (tmp_path / "logs").write_text("in the way")
    configure("store", Settings(outputs=("console", "file")), tmp_path)
    loggers.info("hello")
    release()
    messages = [json.loads(line)["message"] for line in output.getvalue().splitlines()]
    assert messages[0].startswith("no log file can be written")
    assert messages[1] == "hello"


def test_without_a_journal_that_is_said(
    loggers: logging.Logger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = io.StringIO()
    monkeypatch.setattr(sys, "stderr", output)
    monkeypatch.setattr("deora.observe.logs.JournalHandler", lambda _: (tmp_path / "none").read_text())
    configure("store", Settings(outputs=("console", "journald")), tmp_path)
    loggers.info("hello")
    release()
    messages = [json.loads(line)["message"] for line in output.getvalue().splitlines()]
    assert messages[0].startswith("there is no journal to log to")
    assert messages[1] == "hello"


class Held(logging.Handler):
    """A handler whose disk hangs until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.let_go = threading.Event()
        self.written: list[str] = []

    def emit(self, made: logging.LogRecord) -> None:
        self.let_go.wait(30)
        self.written.append(made.getMessage())


def test_a_disk_that_hangs_stops_nobody_and_what_it_costs_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deora.observe.logs.WAITING_LINES", 10)
    held = Held()
    background = InBackground([held])
    for number in range(100):
        background.handle(record(f"line {number}"))
    held.let_go.set()
    background.close()
    [told] = [text for text in held.written if "dropped" in text]
    kept = [text for text in held.written if text != told]
    assert kept == [f"line {number}" for number in range(len(kept))]
    assert 10 <= len(kept) <= 11
    assert told == f"{100 - len(kept)} lines were dropped: the logs were written too slowly"


def test_the_end_of_a_process_does_not_wait_for_a_disk_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deora.observe.logs.CLOSING_S", 0.01)
    held = Held()
    background = InBackground([held])
    background.handle(record("line"))
    background.close()
    assert held.written == []
    held.let_go.set()
