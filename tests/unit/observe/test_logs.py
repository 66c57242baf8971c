"""Logs: one JSON object a line, whatever a value holds; rotation loses no line."""

from __future__ import annotations

import errno
import io
import json
import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


# -- what a value may hold

LINE_ENDS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
COMMANDS = "\x00\x07\x08\x1b\x7f\x9b\u202e"


@given(st.text(), st.text(), st.one_of(st.none(), st.integers(), st.lists(st.text(), max_size=3)))
def test_whatever_the_values_a_line_is_one_line_and_reads_back(message: str, path: str, found: object) -> None:
    line = JsonLines("store").format(record(message.replace("%", "%%"), path=path, found=found))
    assert len(line.splitlines()) == 1
    members = json.loads(line)
    assert (members["message"], members["path"], members["found"]) == (message.replace("%", "%%"), path, found)


def test_no_reader_sees_a_line_end_or_a_command_in_a_value() -> None:
    line = JsonLines("store").format(record(LINE_ENDS + COMMANDS))
    assert len(line.splitlines()) == 1
    assert not set(line) & (set(LINE_ENDS + COMMANDS) - {"\u202e"})
    assert json.loads(line)["message"] == LINE_ENDS + COMMANDS


def test_a_lone_surrogate_reaches_the_file(tmp_path: Path) -> None:
    """Python reads undecodable bytes, a file's name for example, as such."""
    handler = AppendFile(tmp_path / "app.log", 1000, 1)
    handler.setFormatter(JsonLines("store"))
    handler.handle(record("caf\udce9"))
    handler.close()
    assert json.loads((tmp_path / "app.log").read_bytes())["message"] == "caf\udce9"


def test_every_kind_of_value_is_cut() -> None:
    long = "x" * 9999
    line = JsonLines("store").format(record("m", text=long, several=[long, long], keyed={"k": long}, path=Path(long)))
    members = json.loads(line)
    assert {name: len(members[name]) for name in ("text", "several", "keyed", "path")} == dict.fromkeys(
        ("text", "several", "keyed", "path"), MAX_FIELD_CHARACTERS
    )
    short = json.loads(
        JsonLines("store").format(record("m", several=["a", 1], n=1, yes=True, none=None, path=Path("p")))
    )
    assert (short["several"], short["n"], short["yes"], short["none"], short["path"]) == (["a", 1], 1, True, None, "p")


def test_an_exception_is_cut_from_its_beginning() -> None:
    """What was raised stands at its end."""
    made = record("m")
    try:
        raise ValueError("y" * 9999 + " the end")
    except ValueError:
        made.exc_info = sys.exc_info()
    text = json.loads(JsonLines("store").format(made))["exception"]
    assert len(text) == MAX_FIELD_CHARACTERS
    assert text.endswith(" the end")


def test_a_line_tells_when_where_and_who() -> None:
    made = record("hello", upstream="primary")
    made.created = 1_769_860_800.9876
    members = json.loads(JsonLines("replayer").format(made))
    assert members == {
        "time": "2026-01-31T12:00:00.987Z",
        "level": "info",
        "process": "replayer",
        "pid": made.process,
        "logger": "deora.test",
        "message": "hello",
        "upstream": "primary",
    }


def test_the_console_shows_letters_and_escapes_the_rest() -> None:
    made = record("Café\r\x1b[31m\n12:00:00.000 error   store     forged", table="Tisch\u202eä")
    made.created = 1_769_860_800.5
    first, second = ConsoleLines("store").format(made).split("\n")
    assert first == "12:00:00.500 info    store     Café\\r\\x1b[31m"
    assert second == "    12:00:00.000 error   store     forged  table=Tisch\\u202eä"


# -- the file


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
    assert (tmp_path / "app.log").read_text() == "first\nsec"
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
        full.setattr(handler, "_open", fail)
        handler.handle(record("waits"))
    assert "No space left on device" in capsys.readouterr().err
    handler.handle(record("behind"))
    handler.close()
    assert (tmp_path / "app.log").read_text() == "waits\nbehind\n"


def test_a_log_that_is_moved_away_is_followed_by_a_new_one_once_it_is_full(tmp_path: Path) -> None:
    handler = text_handler(tmp_path / "app.log", max_bytes=30)
    handler.handle(record("one"))
    (tmp_path / "app.log").rename(tmp_path / "taken.log")
    for number in range(20):
        handler.handle(record(f"line {number}"))
    handler.close()
    assert (tmp_path / "app.log").exists()


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


WRITER = """
import logging, sys
from pathlib import Path
from deora.observe.logs import AppendFile, JsonLines
handler = AppendFile(Path(sys.argv[1]), 2000, 1000)
handler.setFormatter(JsonLines(sys.argv[2]))
sys.stdin.readline()
for number in range(400):
    handler.handle(logging.LogRecord("x", logging.INFO, "", 1, "%d", (number,), None))
"""


def test_rotation_by_processes_loses_and_mixes_no_line(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    root = Path(__file__).resolve().parents[3]
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(path), name], stdin=subprocess.PIPE, cwd=root, text=True)
        for name in ("store", "replayer")
    ]
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=30)
        assert writer.returncode == 0
    files = [path, *tmp_path.glob("app.log.*")]
    assert len(files) > 10
    assert all(file.stat().st_size >= 2000 for file in files[1:]), "a file was put away before it was full"
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert len(lines) == 800
    for name in ("store", "replayer"):
        assert sorted(int(line["message"]) for line in lines if line["process"] == name) == list(range(400))


# -- setting up


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    """The root logger, put back as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    for handler in root.handlers:
        listener = getattr(handler, "listener", None)
        if listener is not None:
            listener.stop()
    root.handlers[:] = handlers
    root.setLevel(level)


def test_the_file_lies_under_the_data_directory(
    root_logger: logging.Logger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stops: list[Callable[[], None]] = []
    monkeypatch.setattr("deora.observe.logs.atexit.register", stops.append)
    configure("store", Settings(outputs=("file",), dir="notes", max_file_size=10**6), tmp_path)
    root_logger.info("hello", extra={"n": 1})
    [stop] = stops
    stop()
    [line] = (tmp_path / "notes" / "app.log").read_text().splitlines()
    assert (json.loads(line)["message"], json.loads(line)["n"]) == ("hello", 1)


def test_a_folder_that_cannot_be_made_costs_the_file_and_nothing_else(
    root_logger: logging.Logger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = io.StringIO()
    monkeypatch.setattr(sys, "stderr", output)
    (tmp_path / "logs").write_text("in the way")
    configure("store", Settings(outputs=("console", "file")), tmp_path)
    root_logger.info("hello")
    messages = [json.loads(line)["message"] for line in output.getvalue().splitlines()]
    assert messages[0].startswith("no log file can be written")
    assert messages[1] == "hello"
