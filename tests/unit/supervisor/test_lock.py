"""One instance for each data directory."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deora.errors import StartError
from deora.supervisor.lock import LOCK_NAME, InstanceLock

# Takes the lock of each directory that is named on a line, says what came of it, and holds it.
STARTER = """
import sys
from pathlib import Path
from deora.errors import StartError
from deora.supervisor.lock import InstanceLock
held = []
print("ready", flush=True)
for line in sys.stdin:
    try:
        held.append(InstanceLock(Path(line.strip()), ["--data", line.strip()]))
        print("won", flush=True)
    except StartError as error:
        print(error.message, flush=True)
"""


class Starter:
    """A process that starts instances."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", STARTER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert self.heard() == "ready"

    def tell(self, data: Path) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{data}\n")
        self.process.stdin.flush()

    def heard(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()


def content(data: Path) -> object:
    return json.loads((data / LOCK_NAME).read_bytes())


def test_the_lock_says_who_holds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INVOCATION_ID", "RUNTIME_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    data = tmp_path / "deep" / "data"
    lock = InstanceLock(data, ["--port", "1"])
    assert content(data) == {"pid": os.getpid(), "argv": ["--port", "1"], "systemd": False, "control": None}
    # What the venue wrote is nobody else's to read.
    assert data.stat().st_mode & 0o777 == 0o700
    assert (data / LOCK_NAME).stat().st_mode & 0o777 == 0o600
    with pytest.raises(StartError, match=f"another instance runs on {data} .pid {os.getpid()}") as refused:
        InstanceLock(data, [])
    assert "deora stop" in (refused.value.hint or "")
    lock.release()
    InstanceLock(data, []).release()


def test_systemd_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVOCATION_ID", "1")
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/run/deora")
    lock = InstanceLock(tmp_path, [])
    written = json.loads((tmp_path / LOCK_NAME).read_bytes())
    assert (written["systemd"], written["control"]) == (True, "/run/deora")
    lock.release()


def test_of_two_starters_one_wins_a_hundred_times_and_the_other_says_who(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as ended:
        gone = ended.pid  # who held the lock before
    starters = Starter(), Starter()
    wins = 0
    try:
        for number in range(100):
            data = tmp_path / str(number)
            data.mkdir()
            if number % 3 == 0:
                (data / LOCK_NAME).write_text(json.dumps({"pid": gone, "argv": [], "systemd": False}))
            order = starters if number % 2 else starters[::-1]
            for starter in order:
                starter.tell(data)
            said = {starter.process.pid: starter.heard() for starter in starters}
            [winner] = [pid for pid, words in said.items() if words == "won"]
            [loser] = [words for words in said.values() if words != "won"]
            assert loser == f"another instance runs on {data} (pid {winner})"
            wins += winner == starters[0].process.pid
    finally:
        for starter in starters:
            starter.end()
    print(f"{wins} of 100 went to the first")


def test_the_program_that_follows_holds_it_on_and_names_itself(tmp_path: Path) -> None:
    former = InstanceLock(tmp_path, ["--port", "1"])
    lock = InstanceLock.adopt(former.descriptor, tmp_path, ["--port", "2"])
    assert content(tmp_path) == {"pid": os.getpid(), "argv": ["--port", "2"], "systemd": False, "control": None}
    with pytest.raises(StartError, match=f"pid {os.getpid()}"):
        InstanceLock(tmp_path, [])
    lock.release()
    InstanceLock(tmp_path, []).release()


def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    starter = Starter()
    starter.tell(tmp_path)
    assert starter.heard() == "won"
    with pytest.raises(StartError, match=f"pid {starter.process.pid}"):
        InstanceLock(tmp_path, [])
    starter.end()
    # What it has left in the file is of no account.
    lock = InstanceLock(tmp_path, [])
    assert content(tmp_path) == {"pid": os.getpid(), "argv": [], "systemd": False, "control": None}
    lock.release()


@pytest.mark.parametrize(
    "stale",
    [
        b"",
        b"nonsense",
        b"[]",
        b'{"pid": 1, "argv": ["' + b"x" * 9000 + b'"]}',
        b'{"pid": "1"}',
        b"\xff\xfe",
        b"17",
        b"null",
    ],
)
def test_stale_content_hurts_nobody(tmp_path: Path, stale: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deora.supervisor.lock.HOLDER_S", 0)
    (tmp_path / LOCK_NAME).write_bytes(stale)
    lock = InstanceLock(tmp_path, [])
    assert content(tmp_path) == {"pid": os.getpid(), "argv": [], "systemd": False, "control": None}
    # And content that nobody can read does not keep the second one from being told off.
    (tmp_path / LOCK_NAME).write_bytes(stale)
    with pytest.raises(StartError, match="another instance runs"):
        InstanceLock(tmp_path, [])
    lock.release()


def test_no_child_inherits_it(tmp_path: Path) -> None:
    lock = InstanceLock(tmp_path, [])
    with subprocess.Popen(["sleep", "60"], close_fds=False) as child:
        lock.release()
        InstanceLock(tmp_path, []).release()
        child.kill()


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="cannot be made") as refused:
        InstanceLock(tmp_path / "file" / "data", [])
    assert "--data" in (refused.value.hint or "")


def test_a_file_in_the_place_of_the_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartError, match="cannot be") as refused:
        InstanceLock(tmp_path / "file", [])
    assert refused.value.hint


def test_a_lock_file_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).mkdir()
    with pytest.raises(StartError, match="cannot be written to") as refused:
        InstanceLock(tmp_path, [])
    assert "permissions" in (refused.value.hint or "")


def test_a_full_disk_keeps_nobody_from_starting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", fail)
    lock = InstanceLock(tmp_path, ["start"])
    with pytest.raises(StartError, match="another instance runs"):
        InstanceLock(tmp_path, ["start"])
    lock.release()
