"""What systemd is told and hands over, with a socket of the test's own in its place."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from deora.supervisor.systemd import Notifier, passed_sockets


@pytest.fixture
def heard() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        yield sock


def messages(sock: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(sock.recv(4096).decode())
        except BlockingIOError:
            return found


@pytest.mark.parametrize("is_abstract", [False, True])
def test_it_is_told_by_either_kind_of_address(tmp_path: Path, heard: socket.socket, is_abstract: bool) -> None:
    name = f"@deora-test-{os.getpid()}" if is_abstract else str(tmp_path / "notify")
    heard.bind(f"\0{name[1:]}" if is_abstract else name)
    notifier = Notifier({"NOTIFY_SOCKET": name})
    notifier.ready()
    notifier.stopping()
    assert messages(heard) == ["READY=1", "STOPPING=1"]


def test_a_reload_names_its_moment(tmp_path: Path, heard: socket.socket) -> None:
    heard.bind(str(tmp_path / "notify"))
    before = time.monotonic_ns() // 1000
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")}).reloading()
    [message] = messages(heard)
    first, _, moment = message.partition("\nMONOTONIC_USEC=")
    assert first == "RELOADING=1"
    assert before <= int(moment) <= time.monotonic_ns() // 1000


def test_a_status_is_told_when_it_changes(tmp_path: Path, heard: socket.socket) -> None:
    heard.bind(str(tmp_path / "notify"))
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
    for text in ("1 waits", "1 waits", "0 wait"):
        notifier.status(text)
    assert messages(heard) == ["STATUS=1 waits", "STATUS=0 wait"]


def test_the_watchdog_hears_twice_in_its_time(tmp_path: Path, heard: socket.socket) -> None:
    heard.bind(str(tmp_path / "notify"))
    environ = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "10000000", "WATCHDOG_PID": str(os.getpid())}
    notifier = Notifier(environ)
    for now_s in range(100, 120):
        notifier.alive(now_s)
    assert messages(heard) == ["WATCHDOG=1"] * 4


@pytest.mark.parametrize("environ", [{}, {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "x"}])
def test_no_watchdog_or_another_ones(tmp_path: Path, heard: socket.socket, environ: dict[str, str]) -> None:
    heard.bind(str(tmp_path / "notify"))
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), **environ})
    notifier.alive(1e9)
    assert messages(heard) == []


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "/nowhere/at/all"}])
def test_where_nobody_listens_nothing_happens(environ: dict[str, str]) -> None:
    notifier = Notifier(environ)
    notifier.ready()
    notifier.status("fine")


TAKER = """
import os, sys
from deora.supervisor.systemd import passed_sockets
os.environ["LISTEN_PID"] = str(os.getpid()) if sys.argv[1] == "ours" else "1"
sockets = passed_sockets()
print([sock.getsockname() for sock in sockets], [sock.get_inheritable() for sock in sockets],
      [name for name in os.environ if name.startswith("LISTEN")], passed_sockets())
"""


@pytest.mark.parametrize("whose", ["ours", "another's"])
def test_sockets_are_taken_once_and_not_handed_on(whose: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        # As the service manager does it: the descriptors from 3 on.
        shell = f"exec 3<&{listener.fileno()}; exec {sys.executable} -c '{TAKER}' {whose[:4]}"
        ended = subprocess.run(
            ["bash", "-c", shell],
            pass_fds=[listener.fileno()],
            env={**os.environ, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "web"},
            capture_output=True,
            text=True,
            check=True,
        )
    expected = f"[{address!r}] [False] [] []" if whose == "ours" else "[] [] [] []"
    assert ended.stdout.strip() == expected


@pytest.mark.parametrize("environ", [{}, {"LISTEN_PID": "1", "LISTEN_FDS": "1"}, {"LISTEN_PID": "", "LISTEN_FDS": "x"}])
def test_without_systemd_there_are_none(environ: dict[str, str]) -> None:
    assert passed_sockets(environ) == []
    assert environ == {}
