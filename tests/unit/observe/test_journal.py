"""The journal: its protocol, whatever a value holds; a journal that is gone ends no logging."""

from __future__ import annotations

import logging
import os
import socket
import struct
import sys
from pathlib import Path

import pytest

from deora.observe import journal
from deora.observe.journal import JournalHandler, leads_to_journal, priority


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where a journal listens."""
    return tmp_path / "journal"


def listening(place: Path) -> socket.socket:
    place.unlink(missing_ok=True)
    found = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    found.bind(str(place))
    found.settimeout(10)
    return found


def fields(entry: bytes) -> dict[str, str]:
    """What a journal reads in a datagram (systemd.io/JOURNAL_NATIVE_PROTOCOL)."""
    found: dict[str, str] = {}
    while entry:
        line, _, rest = entry.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            [length] = struct.unpack("<Q", rest[:8])
            value, end, entry = rest[8 : 8 + length], rest[8 + length : 9 + length], rest[9 + length :]
            assert end == b"\n"
        else:
            entry = rest
        found[name.decode()] = value.decode()
    return found


def record(message: str, level: int = logging.INFO, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("deora.test", level, __file__, 1, message, None, None)
    vars(made).update(extra)
    return made


def test_an_entry_has_level_and_fields(place: Path) -> None:
    with listening(place) as end:
        handler = JournalHandler("store", str(place))
        handler.handle(record("opened", logging.WARNING, requestId="7-1", file=Path("/x"), nothing=None))
        handler.close()
        assert fields(end.recv(65536)) == {
            "MESSAGE": "opened",
            "PRIORITY": "4",
            "SYSLOG_IDENTIFIER": "deora",
            "DEORA_PROCESS": "store",
            "DEORA_LOGGER": "deora.test",
            "DEORA_REQUESTID": "7-1",
            "DEORA_FILE": "/x",
        }


def test_no_value_forges_a_field(place: Path) -> None:
    forged = "x\nPRIORITY=0\nDEORA_PROCESS=kernel"
    with listening(place) as end:
        handler = JournalHandler("store", str(place))
        handler.handle(record(forged, path=forged))
        handler.close()
        found = fields(end.recv(65536))
    assert (found["MESSAGE"], found["DEORA_PATH"], found["PRIORITY"], found["DEORA_PROCESS"]) == (
        forged,
        forged,
        "6",
        "store",
    )


def test_a_trace_comes_with_its_message(place: Path) -> None:
    made = record("failed", logging.ERROR)
    try:
        raise ValueError("the cause")
    except ValueError:
        made.exc_info = sys.exc_info()
    with listening(place) as end:
        handler = JournalHandler("store", str(place))
        handler.handle(made)
        handler.close()
        text = fields(end.recv(65536))["MESSAGE"]
    assert text.startswith("failed\nTraceback")
    assert text.endswith("ValueError: the cause")


def test_a_journal_that_was_started_anew_is_found(place: Path) -> None:
    with listening(place):
        handler = JournalHandler("store", str(place))
    with listening(place) as second:
        handler.handle(record("hello"))
        assert fields(second.recv(65536))["MESSAGE"] == "hello"
    handler.close()


def test_a_journal_that_is_gone_ends_no_logging(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with listening(place):
        handler = JournalHandler("store", str(place))
    place.unlink()
    handler.handle(record("hello"))
    handler.close()
    assert "FileNotFoundError" in capsys.readouterr().err


def test_a_journal_that_does_not_read_is_not_waited_for(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(journal, "SEND_S", 0.001)
    with listening(place):
        handler = JournalHandler("store", str(place))
        for _ in range(10_000):
            handler.handle(record("x" * 4000))
            if "Logging error" in capsys.readouterr().err:
                break
        else:
            pytest.fail("the journal never filled up")
        handler.close()


def test_where_there_is_none_that_is_told(place: Path) -> None:
    with pytest.raises(FileNotFoundError):
        JournalHandler("store", str(place))


@pytest.mark.parametrize(("level", "number"), [(10, 7), (20, 6), (30, 4), (40, 3), (50, 3)])
def test_levels_as_syslog_numbers_them(level: int, number: int) -> None:
    assert priority(level) == number


def test_a_stream_that_leads_to_the_journal_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (tmp_path / "stream").open("w") as stream:
        found = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        assert leads_to_journal(stream)
        with (tmp_path / "other").open("w") as other:
            assert not leads_to_journal(other)
        monkeypatch.delenv("JOURNAL_STREAM")
        assert not leads_to_journal(stream)
