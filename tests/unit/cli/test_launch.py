"""A detached start, with real processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deora.cli import launch
from deora.errors import StartError
from tests.fakes.control import control_server

ROOT = Path(__file__).parents[3]


class _Clock:
    """Each look at it is a second later."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic_s(self) -> float:
        self.now_s += 1
        return self.now_s

    def wall_us(self) -> int:
        return 0


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory to be; what is launched is the stand-in of an instance."""
    monkeypatch.setattr(launch, "program", lambda: [sys.executable, "-m", "tests.fakes.instance"])
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path / "data"


@pytest.fixture
def launched(data: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A stand-in that was launched on `data`, killed at the end."""
    process = launch.launch(["--data", str(data)], data)
    yield process
    process.kill()
    process.wait()


def test_a_launched_instance_is_a_session_of_its_own_and_serves(data: Path, launched: subprocess.Popen[bytes]) -> None:
    launch.wait_ready(launched, data)
    assert os.getsid(launched.pid) == launched.pid
    assert os.readlink(f"/proc/{launched.pid}/fd/0") == "/dev/null"
    assert launch.start_log(data).read_text() == "ready\n"
    assert [(data / name).stat().st_mode & 0o777 for name in ("", "logs", "logs/start.log")] == [0o700, 0o700, 0o600]


def test_a_detached_instance_is_not_systemd_s(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("INVOCATION_ID", "SYSTEMD_EXEC_PID", "NOTIFY_SOCKET"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setattr(launch, "program", lambda: ["/bin/sh", "-c", "echo ${INVOCATION_ID-}${NOTIFY_SOCKET-}$HOME"])
    monkeypatch.setenv("HOME", "home")
    process = launch.launch([], data)
    process.wait()
    assert launch.start_log(data).read_text() == "home\n"


def test_the_log_of_the_start_before_is_kept(data: Path, launched: subprocess.Popen[bytes]) -> None:
    launch.wait_ready(launched, data)
    launched.send_signal(signal.SIGTERM)
    launched.wait()
    again = launch.launch(["--data", str(data)], data)
    launch.wait_ready(again, data)
    again.kill()
    again.wait()
    assert (data / "logs/start.log").read_text() == "ready\n"
    assert (data / "logs/start.log.1").read_text() == "ready\n"


def test_an_instance_that_ends_early(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE", "refuse")
    process = launch.launch(["--data", str(data)], data)
    with pytest.raises(launch.EndedEarlyError, match=r"ended before it was ready \(exit code 1\)") as caught:
        launch.wait_ready(process, data)
    assert caught.value.output == "error: port 3000 is in use"


def test_an_instance_that_is_killed_early(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "program", lambda: ["/bin/sh", "-c", "kill -9 $$"])
    process = launch.launch([], data)
    with pytest.raises(launch.EndedEarlyError, match=r"\(signal 9\)") as caught:
        launch.wait_ready(process, data)
    assert caught.value.output == ""


def test_an_instance_that_is_not_ready_in_time(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE", "unready")
    process = launch.launch(["--data", str(data)], data)
    try:
        with pytest.raises(StartError, match="runs but is not ready after 3 s"):
            launch.wait_ready(process, data, clock=_Clock(), timeout_s=3)
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def test_another_instance_that_serves_is_not_taken_for_the_launched_one(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE", "refuse")
    with control_server(data, {"GET /health/ready": (200, {})}):
        process = launch.launch(["--data", str(data)], data)
        with pytest.raises(launch.EndedEarlyError):
            launch.wait_ready(process, data)


def test_a_second_instance_is_refused(data: Path) -> None:
    launch.refuse_second(data)
    with control_server(data, {}), pytest.raises(StartError, match=f"already, as pid {os.getpid()}"):
        launch.refuse_second(data)


def test_a_data_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StartError, match="cannot be made: Not a directory"):
        launch.launch([], tmp_path / "file" / "data")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "logs").touch()
    with pytest.raises(StartError, match="cannot be written"):
        launch.launch([], tmp_path / "data")


@pytest.mark.parametrize(
    ("host", "port", "url"),
    [
        ("127.0.0.1", 3000, "http://127.0.0.1:3000"),
        ("0.0.0.0", 80, "http://127.0.0.1:80"),
        ("::", 80, "http://127.0.0.1:80"),
        ("::1", 80, "http://[::1]:80"),
        ("till.example", 80, "http://till.example:80"),
    ],
)
def test_url(host: str, port: int, url: str) -> None:
    assert launch.url(host, port) == url


def test_listening_port() -> None:
    program = "import socket; s = socket.create_server(('127.0.0.1', 0)); print(s.getsockname()[1], flush=1); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        port = int(other.stdout.readline())
        assert launch.listening_port(other.pid) == port
        other.communicate(b"\n")
    assert launch.listening_port(other.pid) == 0


def test_working_directory(tmp_path: Path) -> None:
    assert launch.working_directory(os.getpid()) == tmp_path
    assert launch.working_directory(2**22 + 1) is None
