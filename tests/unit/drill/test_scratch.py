"""What a scratch instance is given, and that nothing of it stays."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from deora.drill import scratch as module
from deora.drill.scratch import Broken, Scratch, environment, lasting_port, limit_files

SLEEPER = "import subprocess, sys, time; subprocess.Popen(['sleep', '1000']); print('up', flush=True); time.sleep(1000)"


class Told(Scratch):
    """One whose answers are told beforehand, by path."""

    def __init__(self, folder: Path, answers: dict[str, tuple[int, Any]]) -> None:
        super().__init__(folder, {})
        self.answers = answers

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        assert (method, body) == ("GET", None)
        if path not in self.answers:
            raise ConnectionRefusedError(path)
        return self.answers[path]


def status(store: str = "up", pid: int | None = 12) -> dict[str, tuple[int, Any]]:
    workers = [{"slot": "primary", "state": "up", "pid": 11}]
    return {"/status": (200, {"workers": workers, "processes": [{"name": "store", "state": store, "pid": pid}]})}


@pytest.fixture
def sleeping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scratch]:
    """A program with a child that serves nothing in place of DEORA."""
    monkeypatch.setattr(module, "program", lambda: [sys.executable, "-c", SLEEPER])
    with Scratch(tmp_path / "x", {}) as one:
        yield one


def test_nothing_of_the_callers_environment_configures_it(monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = ("DEORA_DATA", "DEORA_SERVERS__PORT", "FIRESTORE_EMULATOR_HOST", "RUNTIME_DIRECTORY", "NOTIFY_SOCKET")
    for name in foreign:
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("PATH", "/bin")
    assert environment()["PATH"] == "/bin"
    assert not environment().keys() & set(foreign)


def test_its_configuration_is_its_own(tmp_path: Path) -> None:
    one = Scratch(tmp_path / "x", {"queue": {"max_entries": 10}})
    assert json.loads((tmp_path / "x" / "config" / "queue.json").read_text()) == {"max_entries": 10}
    assert one.url.startswith("http://127.0.0.1:")
    assert lasting_port() < int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])


def test_who_is_up(tmp_path: Path) -> None:
    one = Told(tmp_path / "x", status())
    assert one.is_whole()
    assert one.children() == {"primary": 11, "store": 12}
    assert one.has_new("store", 10)
    assert not one.has_new("store", 12)
    one.answers = status("starting", None)
    assert not one.is_whole()
    assert one.children() == {"primary": 11}
    one.answers = {}
    assert not one.is_whole()


def test_what_must_be_answered(tmp_path: Path) -> None:
    one = Told(tmp_path / "x", {"/v1/queue": (200, {"pending": 2, "inflight": 3}), "/no": (503, {"title": "no"})})
    assert one.waiting() == 5
    with pytest.raises(Broken, match="answered with 503"):
        one.must("GET", "/no")
    with pytest.raises(Broken, match="has no answer"):
        one.must("GET", "/nobody")


def test_what_the_queue_holds(tmp_path: Path) -> None:
    def entry(number: int, token: str) -> dict[str, Any]:
        update = {"path": "tills/d1", "data": {"log": {"$arrayUnion": [token]}}}
        return {"id": str(number), "writes": [{"update": update}, {"set": {"path": "fillers/1"}}]}

    pages = {
        "/v1/queue/entries?upstream=primary&limit=1000": (200, {"entries": [entry(10, "b")], "cursor": "c"}),
        "/v1/queue/entries?upstream=primary&limit=1000&cursor=c": (200, {"entries": [entry(9, "a")], "cursor": None}),
    }
    assert Told(tmp_path / "x", pages).queued() == {"tills/d1": ["a", "b"]}


def test_waiting(tmp_path: Path) -> None:
    one = Scratch(tmp_path / "x", {})
    assert one.wait_until(lambda: True, "it", 0) < 1
    with pytest.raises(Broken, match="not within 0 s: it"):
        one.wait_until(lambda: False, "it", 0)


def test_one_that_does_not_start_says_what_it_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "program", lambda: [sys.executable, "-c", "import sys; print('no disk'); sys.exit(3)"])
    with Scratch(tmp_path / "x", {}) as one, pytest.raises(Broken, match=r"ended with 3; it printed: no disk"):
        one.start()


def test_one_that_is_left_leaves_nothing(sleeping: Scratch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "START_TIMEOUT_S", 0)
    with sleeping:
        with pytest.raises(Broken):
            sleeping.start()
        sleeping.wait_until(lambda: "up" in sleeping.printed(), "its child", 30)
        tree = sleeping._tree()
        assert len(tree) == 2
    assert psutil.wait_procs(tree, timeout=30)[1] == []
    assert sleeping._tree() == []


def test_a_stop_that_is_not_clean_is_a_broken_promise(sleeping: Scratch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "START_TIMEOUT_S", 0)
    with pytest.raises(Broken):
        sleeping.start()
    sleeping.wait_until(lambda: "up" in sleeping.printed(), "its child", 30)
    with pytest.raises(Broken, match="ended with -15"):
        sleeping.stop()


def test_one_that_never_ran_is_stopped_at_once(tmp_path: Path) -> None:
    one = Scratch(tmp_path / "x", {})
    one.stop()
    one.kill()


def test_files_are_limited_and_freed() -> None:
    process = subprocess.Popen(["sleep", "1000"])
    try:
        hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)[1]
        limit_files([process.pid, 2**22 + 1], 4096)
        assert resource.prlimit(process.pid, resource.RLIMIT_FSIZE) == (4096, hard)
        limit_files([process.pid], None)
        assert resource.prlimit(process.pid, resource.RLIMIT_FSIZE) == (hard, hard)
    finally:
        process.kill()
        process.wait()
