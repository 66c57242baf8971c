"""Starts that meet a directory that is not theirs, or a signal on their way."""

from __future__ import annotations

import http.client
import json
import os
import pwd
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from bench.instance import DEORA, PROJECT, Instance
from bench.processes import free_port, listens
from tests.fakes.command import deora
from tests.process.conftest import is_running

# `deora start` as another user: everything is imported before, since that user may not read this checkout.
AS_USER = """
import os, sys
import deora.supervisor.main, deora.cli.lifecycle
from deora.cli.main import main
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[1]))
sys.argv = ["deora", *sys.argv[3:]]
main()
"""


def launch(data: Path, *more: str) -> subprocess.Popen[str]:
    """`deora start` in a session of its own, which makes it a process group, too."""
    return subprocess.Popen(
        [*DEORA, "start", "--data", str(data), "--port", str(free_port()), *more],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that runs the tests in the background has SIGINT ignored, and so would all that it starts.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def instances_on(data: Path) -> list[psutil.Process]:
    """Processes that have something of a data directory open."""
    found = []
    for process in psutil.process_iter():
        try:
            files = process.open_files()
        except psutil.Error:
            continue
        if any(file.path.startswith(f"{data}/") for file in files):
            found.append(process)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_at_any_moment_of_the_start_leaves_nothing_behind(tmp_path: Path, number: int) -> None:
    codes = []
    steps = 9
    for step in range(steps + 1):
        data = tmp_path / str(step)
        starter = launch(data)
        deadline_s = time.monotonic() + (0.15 + 0.04 * step if step < steps else 20)
        while time.monotonic() < deadline_s and not (step == steps and (data / "store.db").exists()):
            time.sleep(0.005)
        tree = [starter_process(starter), *starter_process(starter).children(recursive=True)]
        os.killpg(starter.pid, number)  # as a terminal does it
        asked_s = time.monotonic()
        try:
            _, errors = starter.communicate(timeout=15)
        finally:
            starter.kill()
        assert time.monotonic() - asked_s < 10
        # Before its handlers stand a signal has its usual effect; from then on the end is a clean one.
        assert starter.returncode in (0, 1, -number), errors
        assert "BrokenPipe" not in errors
        codes.append(starter.returncode)
        deadline_s = time.monotonic() + 1
        while any(map(is_running, tree)) or instances_on(data):
            assert time.monotonic() < deadline_s, "a process is left"
            time.sleep(0.01)
    print(codes)
    # The store's file is there: the supervisor listens to signals, and waits for its first child.
    assert codes[-1] == 0


def starter_process(starter: subprocess.Popen[str]) -> psutil.Process:
    return psutil.Process(starter.pid)


def test_ctrl_c_goes_to_the_whole_group_and_ends_it_cleanly(tmp_path: Path) -> None:
    one = Instance(tmp_path)
    try:
        one.wait_until_ready()
        one.request("PUT", "/v1/documents/a/b", json={"n": 1})
        tree = one.tree()
        os.killpg(one.pid, signal.SIGINT)
        one.wait_for_end(10)
        assert one.ended() == 0
        assert not any(map(is_running, tree))
        assert "Traceback" not in one.printed()
        assert "KeyboardInterrupt" not in one.printed()
        assert not (one.data / "control.sock").exists()
    finally:
        one.stop()


def test_a_second_signal_changes_nothing(instance: Callable[..., Instance]) -> None:
    one = instance()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        os.kill(one.pid, number)
    one.wait_for_end(10)
    assert one.ended() == 0


def test_who_comes_while_it_stops_is_refused(instance: Callable[..., Instance]) -> None:
    """He may go elsewhere, or come again: nothing was done. A queue that nobody looks at would take his request."""
    one = instance()
    workers = [worker["pid"] for worker in one.status()["workers"]]
    for pid in workers:
        os.kill(pid, signal.SIGSTOP)
    address = urlsplit(one.url)
    waiting = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
    waiting.request("GET", "/v1/documents/a/b")
    one.wait_until(lambda: any(worker["inflight"] for worker in one.status()["workers"]))
    os.kill(one.pid, signal.SIGTERM)
    one.wait_until(lambda: not listens(int(address.port or 0)))
    # The stop takes its time: it waits for the request that is at work, and the client for its answer.
    assert one.ended() is None
    for pid in workers:
        os.kill(pid, signal.SIGCONT)
    assert waiting.getresponse().status == 404
    waiting.close()
    one.wait_for_end()
    assert one.ended() == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_data_directory_of_another_user() -> None:
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        data.mkdir()
        Path(folder).chmod(0o755)
        arguments = [str(nobody.pw_uid), str(nobody.pw_gid), "start", "--data", str(data), "--port", str(free_port())]
        ended = subprocess.run(
            [sys.executable, "-c", AS_USER, *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
            timeout=30,
        )
        assert ended.returncode == 1, ended.stderr
        assert f"the data directory {data} cannot be written to by this user" in ended.stderr
        assert f"uid {nobody.pw_uid}" in ended.stderr
        assert "hint: " in ended.stderr
        assert "Traceback" not in ended.stderr
        assert list(data.iterdir()) == []


def test_a_data_directory_as_deep_as_you_like(tmp_path: Path) -> None:
    # A Unix socket's path has 107 bytes at most.
    one = Instance(tmp_path.joinpath(*["a-folder-with-a-long-name"] * 6))
    try:
        one.wait_until_ready()
        assert one.request("PUT", "/v1/documents/a/b", json={}).status == 201
        shown = deora("status", "--json", on=one)
        assert json.loads(shown.stdout)["supervisor"]["pid"] == one.pid
    finally:
        one.stop()
