"""Log files that processes share: rotation loses and tears no line."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deora.observe import log_files
from deora.observe.log_files import LogFile

WRITER = """
import sys
from pathlib import Path
from deora.observe.log_files import LogFile
file = LogFile(Path(sys.argv[1]), 2000, 1000)
sys.stdin.readline()
for number in range(400):
    file.write([b'{"process": "%s", "message": "%d"}\\n' % (sys.argv[2].encode(), number)])
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


def written(path: Path) -> list[str]:
    """The lines of a log, oldest first."""
    files = sorted(path.parent.glob(f"{path.name}.*"), key=lambda file: -int(file.suffix[1:]))
    return [line for file in (*files, path) for line in file.read_text().splitlines()]


def test_two_writers_share_a_file_that_is_put_away_by_either(tmp_path: Path) -> None:
    path = tmp_path / "app.log"
    writers = [LogFile(path, 100, 100) for _ in range(2)]
    for number in range(200):
        writers[number % 2].write([b"line %d\n" % number])
    assert len(list(tmp_path.glob("app.log.*"))) > 5
    assert written(path) == [f"line {number}" for number in range(200)]
    for writer in writers:
        writer.close()


def test_a_part_that_finds_no_room_leaves_no_torn_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "app.log"
    file = LogFile(path, 10**6, 1)
    write = os.write
    with monkeypatch.context() as full:
        full.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:8]))
        assert file.write([b"one\n", b"two\n", b"three\n"]) == 2
        with pytest.raises(OSError, match="No space left"):
            file.write([b"a longer line\n"])
    assert path.read_text() == "one\ntwo\n"
    assert file.write([b"three\n"]) == 1
    assert path.read_text() == "one\ntwo\nthree\n"
    file.close()


def test_a_lock_that_is_not_given_back_delays_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its holder was stopped in the middle of a write."""
    monkeypatch.setattr(log_files, "LOCK_S", 0.01)
    path = tmp_path / "app.log"
    with path.open("w") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        file = LogFile(path, 5, 1)
        for number in range(3):
            file.write([b"line %d\n" % number])
        assert [each.name for each in tmp_path.iterdir()] == ["app.log"], "it was renamed without the lock"
    file.write([b"behind\n"])
    file.close()
    assert (tmp_path / "app.log.1").read_text() == "line 0\nline 1\nline 2\n"
    assert path.read_text() == "behind\n"


def test_the_errors_of_the_disk_are_told(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "none" / "app.log", 10, 1)
    with pytest.raises(FileNotFoundError):
        file.write([b"x\n"])
    full = LogFile(Path("/dev/full"), 10, 1)
    with pytest.raises(OSError, match="No space left") as told:
        full.write([b"x\n"])
    assert told.value.errno == errno.ENOSPC
    full.close()
