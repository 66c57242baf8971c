"""The access log: a line for each request, whatever it holds; a slow or full disk stops nobody."""

from __future__ import annotations

import errno
import json
import logging
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from deora.observe import access
from deora.observe.access import AccessLog, Entry, line
from deora.observe.log_files import LogFile

IDENT = 0x7F03 << 32 | 0x2A


def entry(**changed: Any) -> Entry:
    """The entry of a write by a till."""
    members = {
        "ended_s": 100.5,
        "started_s": 100.496,
        "request_id": b"7f03-2a",
        "ident": IDENT,
        "method": b"PUT",
        "target": b"/v1/documents/orders/o1",
        "status": 201,
        "size_bytes": 312,
        "client": "192.168.1.20",
        "slot": "primary",
        "token": b"till-3",
        "commit": 815,
    }
    assert set(changed) <= set(members)
    made: Any = tuple((members | changed).values())
    return cast("Entry", made)


OFFSET_S = 1_769_860_800.0 - 100.5


def test_a_line_says_who_asked_for_what_and_what_came_of_it() -> None:
    assert json.loads(line(entry(), OFFSET_S)) == {
        "time": "2026-01-31T12:00:00.000Z",
        "id": "7f03-2a",
        "method": "PUT",
        "path": "/v1/documents/orders/o1",
        "status": 201,
        "bytes": 312,
        "ms": 4.0,
        "client": "192.168.1.20",
        "slot": "primary",
        "token": "till-3",
        "commit": 815,
    }


def test_what_there_is_not_is_left_out_and_an_id_of_the_clients_own_is_not_all() -> None:
    members = json.loads(line(entry(request_id=b"order-7", token=b"", commit=0), OFFSET_S))
    assert (members["id"], members["frame"]) == ("order-7", "7f03-2a")
    assert not {"token", "commit"} & set(members)


def test_no_target_forges_a_line() -> None:
    forged = b'/x"}\n{"status": 200, "path": "\xff\x1b[31m' + b"y" * 9999
    made = line(entry(target=forged), OFFSET_S)
    assert made.count(b"\n") == 1
    assert made.endswith(b"\n")
    path = json.loads(made)["path"]
    assert path.startswith('/x"}\n{"status": 200, "path": "\\xff\x1b[31myyy')
    assert len(path) < 4200


def log(path: Path) -> AccessLog:
    return AccessLog(LogFile(path, 10**6, 1), lambda: OFFSET_S)


def statuses(path: Path) -> list[int]:
    return [json.loads(each)["status"] for each in path.read_text().splitlines()]


def test_lines_come_in_order_and_all_are_there_at_the_end(tmp_path: Path) -> None:
    made = log(tmp_path / "access.log")
    for status in range(1200):
        made.add(entry(status=status))
        if status % 500 == 0:
            made.flush()
    made.close()
    assert statuses(tmp_path / "access.log") == list(range(1200))


class Disk(LogFile):
    """A file whose disk is full, or hangs, until it is let go."""

    def __init__(self, path: Path, *, hangs: bool = False) -> None:
        super().__init__(path, 10**6, 1)
        self.let_go = threading.Event()
        self.asked = threading.Event()
        self.hangs = hangs

    def write(self, lines: Sequence[bytes]) -> int:
        self.asked.set()
        if self.hangs:
            self.let_go.wait(30)
        elif not self.let_go.is_set():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(lines)


def test_what_a_full_disk_does_not_take_waits_and_is_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = Disk(tmp_path / "access.log")
    made = AccessLog(disk, lambda: OFFSET_S)
    for status in (1, 2):
        made.add(entry(status=status))
        made.flush()
    assert disk.asked.wait(30)
    while made._waiting:
        disk.let_go.wait(0.001)
    disk.let_go.set()
    made.add(entry(status=3))
    made.close()
    assert statuses(tmp_path / "access.log") == [1, 2, 3]
    assert [each.levelno for each in caplog.records] == [logging.ERROR]
    assert "No space left" in caplog.text


def test_a_disk_that_hangs_costs_lines_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(access, "WAITING_LINES", 2)
    disk = Disk(tmp_path / "access.log", hangs=True)
    made = AccessLog(disk, lambda: OFFSET_S)
    for status in range(10):
        made.add(entry(status=status))
        made.flush()
    disk.let_go.set()
    while made._waiting:
        disk.asked.wait(0.001)
    made.add(entry(status=99))
    made.close()
    assert statuses(tmp_path / "access.log") == [0, 1, 2, 99]
    assert "7 lines of the access log were dropped" in caplog.text
