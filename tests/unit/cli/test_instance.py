"""The running instance: who started it, and its end, with real processes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deora.cli.client import ControlClient
from deora.cli.instance import ended, refuse_under_systemd, stop_instance
from deora.errors import DeoraError, NotRunningError

Start = Callable[..., subprocess.Popen[str]]
ROOT = Path(__file__).parents[3]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a stand-in of an instance on `tmp_path`, ready; what still runs at the end is killed."""
    processes: list[subprocess.Popen[str]] = []

    def run(behaviour: str = "") -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.fakes.instance", "start", "--data", str(tmp_path)],
            env={**os.environ, "PYTHONPATH": str(ROOT), "FAKE": behaviour},
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield run
    for process in processes:
        process.kill()
        process.communicate()


def test_stop_returns_once_the_process_has_ended(tmp_path: Path, start: Start) -> None:
    process = start()
    assert stop_instance(ControlClient(tmp_path)) == process.pid
    assert process.poll() == 0


def test_stop_gives_up_and_names_the_process(tmp_path: Path, start: Start) -> None:
    process = start("stubborn")
    with pytest.raises(DeoraError, match=rf"pid {process.pid} has not ended 0\.05 s after SIGTERM") as caught:
        stop_instance(ControlClient(tmp_path), timeout_s=0.05)
    assert f"kill -9 {process.pid}" in str(caught.value.hint)
    assert process.poll() is None


def test_stop_where_none_runs(tmp_path: Path) -> None:
    with pytest.raises(NotRunningError):
        stop_instance(ControlClient(tmp_path))


def test_a_stale_lock_file_signals_nobody(tmp_path: Path) -> None:
    (tmp_path / "deora.lock").write_text(json.dumps({"pid": os.getpid(), "argv": []}))
    with pytest.raises(NotRunningError):
        stop_instance(ControlClient(tmp_path))


def test_a_process_id_that_changed_hands_is_not_signalled(
    tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = start()
    pids = iter([process.pid, process.pid + 1])
    monkeypatch.setattr(ControlClient, "peer_pid", lambda _: next(pids))
    with pytest.raises(DeoraError, match="started anew"):
        stop_instance(ControlClient(tmp_path))
    assert process.poll() is None


def test_a_process_that_ends_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(_pid: int) -> int:
        raise ProcessLookupError

    monkeypatch.setattr(ControlClient, "peer_pid", lambda _: 1)
    monkeypatch.setattr(os, "pidfd_open", gone)
    with pytest.raises(NotRunningError, match="has just ended"):
        stop_instance(ControlClient(tmp_path))


def test_no_permission_to_signal(tmp_path: Path, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_pidfd: int, _signal: int) -> None:
        raise PermissionError

    start()
    monkeypatch.setattr(signal, "pidfd_send_signal", refuse)
    with pytest.raises(DeoraError, match="this user may not signal pid"):
        stop_instance(ControlClient(tmp_path))


def test_ended(start: Start) -> None:
    process = start()
    pidfd = os.pidfd_open(process.pid)
    try:
        assert not ended(pidfd, 0)
        process.kill()
        assert ended(pidfd, 10)
    finally:
        os.close(pidfd)


def test_no_lock_file(tmp_path: Path) -> None:
    refuse_under_systemd(tmp_path, "stop")


def test_what_systemd_runs_is_systemd_s(tmp_path: Path) -> None:
    (tmp_path / "deora.lock").write_text('{"pid": 5, "argv": [], "systemd": true}')
    with pytest.raises(DeoraError, match="systemd runs the instance") as caught:
        refuse_under_systemd(tmp_path, "restart")
    assert caught.value.hint == "use `systemctl restart deora-backend`"
