"""The supervisor is killed with -9, two start at once, a lock file names a stranger."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from bench.instance import PROJECT, Instance
from bench.processes import free_port
from tests.fakes.checker import Outcome
from tests.fakes.command import deora
from tests.fakes.tills import Tills, audit
from tests.process.conftest import is_running

ORPHANS_S = 1.0
PATIENCE_S = 10.0


def kill_the_supervisor(instance: Callable[..., Instance]) -> float:
    """Kills it under load, and looks what became of the writes; the seconds until the last child had ended."""
    one = instance()
    one.post("/v1/queue:pause")
    with Tills(one.url, 8, patience_s=0) as tills:
        one.wait_until(lambda: tills.count(Outcome.OK) > 100)
        children = [process for process in one.tree() if process.pid != one.pid]
        assert len(children) == 5
        os.kill(one.pid, signal.SIGKILL)
        killed_s = time.monotonic()
        while any(map(is_running, children)):
            assert time.monotonic() - killed_s < PATIENCE_S, "a process has outlived its supervisor"
            time.sleep(0.005)
        took_s = time.monotonic() - killed_s
    print(f"{len(children)} children ended {took_s * 1000:.0f} ms after their supervisor")
    one.wait_for_end()
    again = instance(on=one)
    again.post("/v1/queue:resume")
    again.wait_until_drained(30)
    findings = audit(again, tills)
    assert not findings, str(findings)
    return took_s


def test_nothing_outlives_its_supervisor(instance: Callable[..., Instance]) -> None:
    kill_the_supervisor(instance)


@pytest.mark.torture
def test_nothing_outlives_its_supervisor_for_a_second(instance: Callable[..., Instance]) -> None:
    assert max(kill_the_supervisor(instance) for _ in range(20)) < ORPHANS_S


# -- two starters


def race(data: Path) -> None:
    """Two instances start on one data directory: one serves, the other ends and says who holds it."""
    command = [sys.executable, "-m", "deora", "start", "--data", str(data)]
    starters = [
        subprocess.Popen(
            [*command, "--port", str(free_port())],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        for _ in range(2)
    ]
    try:
        deadline_s = time.monotonic() + 30
        while all(starter.poll() is None for starter in starters):
            assert time.monotonic() < deadline_s, "two instances run on the same data"
            time.sleep(0.01)
        [loser] = [starter for starter in starters if starter.poll() is not None]
        [winner] = [starter for starter in starters if starter is not loser]
        _, errors = loser.communicate()
        assert loser.returncode == 1
        assert f"another instance runs on {data} (pid {winner.pid})" in errors
        assert "Traceback" not in errors
        assert json.loads((data / "deora.lock").read_text())["pid"] == winner.pid
        winner.send_signal(signal.SIGTERM)
        winner.communicate(timeout=15)
    finally:
        for starter in starters:
            starter.kill()
            starter.wait()


def test_of_two_starters_one_serves_and_the_other_names_it(tmp_path: Path) -> None:
    for number in range(3):
        race(tmp_path / str(number))


@pytest.mark.torture
def test_a_hundred_races_of_two_starters(tmp_path: Path) -> None:
    for _ in range(100):
        race(tmp_path / "data")


# -- a lock file that names a stranger


@pytest.fixture
def stranger() -> Iterator[psutil.Process]:
    """A process that has nothing to do with DEORA."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        yield psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()


def test_a_stale_lock_file_hurts_nobody(instance: Callable[..., Instance], stranger: psutil.Process) -> None:
    one = instance()
    one.request("PUT", "/v1/documents/a/b", json={"n": 1})
    for process in one.tree():
        process.kill()
    one.wait_for_end()
    assert (one.data / "control.sock").exists()
    named = json.dumps({"pid": stranger.pid, "argv": [], "systemd": False})
    (one.data / "deora.lock").write_text(named)
    # No command takes the stranger for the instance.
    for command in ("status", "stop"):
        assert deora(command, on=one).returncode == 3
    again = instance(on=one)
    assert again.request("GET", "/v1/documents/a/b").json["data"] == {"n": 1}
    assert json.loads((again.data / "deora.lock").read_text())["pid"] == again.pid
    assert deora("stop", on=again).returncode == 0
    assert again.ended() == 0
    assert is_running(stranger)


@pytest.mark.parametrize("content", ["", "{", '{"pid": "1"}', '{"pid": -1}', '{"pid": 99999999999}', "\0" * 4096])
def test_a_lock_file_may_hold_anything(tmp_path: Path, content: str) -> None:
    (tmp_path / "deora.lock").write_text(content)
    assert deora("stop", "--data", str(tmp_path)).returncode == 3
    assert (tmp_path / "deora.lock").read_text() == content
