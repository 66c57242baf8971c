"""What one program hands to the next, with small programs in the place of DEORA."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from deora.errors import StartError
from deora.supervisor import upgrade as module
from deora.supervisor.upgrade import VARIABLE, check, taken_over

# The program before: it opens a lock file and three sockets, and becomes the one after.
BEFORE = """
import os, socket, sys
from deora.supervisor import upgrade
listener = socket.create_server(("127.0.0.1", 0))
one = socket.create_connection(listener.getsockname())
other, _ = listener.accept()
control = socket.socket(socket.AF_UNIX)
lock = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
upgrade.program = lambda: [sys.executable, "-c", sys.argv[2]]
handover = upgrade.Handover(os.getpid(), lock, listener.fileno(), control.fileno(), [other.fileno()])
print(os.getpid(), listener.getsockname()[1], flush=True)
upgrade.become_new(handover, ["--data", "x"])
"""
AFTER = """
import os, sys
from deora.supervisor import upgrade
found = upgrade.taken_over()
listener, control, clients = found.sockets()
print(os.getpid(), listener.getsockname()[1], found.pid == os.getpid(), len(clients), clients[0].getpeername()[0])
print(sys.argv[1:], os.readlink(f"/proc/self/fd/{found.lock}"))
print([os.get_inheritable(number) for number in found.descriptors], upgrade.VARIABLE in os.environ)
print(upgrade.taken_over())
"""


def test_the_next_program_has_what_was_handed_over(tmp_path: Path) -> None:
    lock = tmp_path / "lock"
    ended = subprocess.run(
        [sys.executable, "-c", BEFORE, str(lock), AFTER], capture_output=True, text=True, check=False, timeout=30
    )
    assert ended.returncode == 0, ended.stderr
    before, *after = ended.stdout.splitlines()
    # The same process, the same port, the same open file; and no child of its inherits any of it.
    assert after == [
        f"{before} True 1 127.0.0.1",
        f"['start', '--data', 'x'] {lock}",
        "[False, False, False, False] False",
        "None",
    ]


def test_a_program_that_is_not_there_leaves_all_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "program", lambda: [str(tmp_path / "none")])
    with socket.create_server(("127.0.0.1", 0)) as listener, open(tmp_path / "lock", "w") as lock:
        number = listener.fileno()
        handover = module.Handover(os.getpid(), lock.fileno(), number, number, [])
        before = sorted(os.listdir("/proc/self/fd"))
        with pytest.raises(FileNotFoundError):
            module.become_new(handover, [])
        assert sorted(os.listdir("/proc/self/fd")) == before
        assert not os.get_inheritable(number)


@pytest.mark.parametrize("content", ["", "nonsense", "[]", '{"pid": 1}'])
def test_what_nobody_has_handed_over(tmp_path: Path, content: str) -> None:
    file = tmp_path / "note"
    file.write_text(content)
    environ = {VARIABLE: str(os.open(file, os.O_RDONLY))}
    assert taken_over(environ) is None
    assert environ == {}
    assert taken_over({}) is None
    assert taken_over({VARIABLE: "x"}) is None


def test_what_was_handed_to_another_process(tmp_path: Path) -> None:
    file = tmp_path / "note"
    file.write_text(json.dumps({"pid": 1, "lock": 0, "listener": 0, "control": 0, "clients": []}))
    assert taken_over({VARIABLE: str(os.open(file, os.O_RDONLY))}) is None


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo would start: DEORA 9", None),
        ("echo servers.json: no such key >&2; exit 1", "no such key"),
        ("echo fine", "would not start"),
        ("echo would start: DEORA 9; exit 1", "would not start"),
    ],
)
def test_the_installed_program_is_asked_first(monkeypatch: pytest.MonkeyPatch, script: str, said: str | None) -> None:
    monkeypatch.setattr(module, "program", lambda: ["/bin/sh", "-c", script, "deora"])
    if said is None:
        assert check(["--data", "x"]) == "DEORA 9"
        return
    with pytest.raises(StartError, match=said):
        check([])


def test_one_that_cannot_even_be_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "program", lambda: [str(tmp_path / "none")])
    with pytest.raises(StartError, match="cannot be asked"):
        check([])
