"""Processes are killed with -9 while clients write and read: nothing lost, nothing doubled, nothing stale."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from bench.instance import Instance
from tests.fakes.clients import Clients, expected_counters, upstream_counters
from tests.process.conftest import is_running

CLIENTS = 20


def child(one: Instance, name: str) -> Any:
    """A row of status: a worker by its slot, another process by its name."""
    status = one.status()
    for row in (*status["workers"], *status["processes"]):
        if name in (row.get("slot"), row.get("name")):
            return row
    raise AssertionError(f"status has no {name}")


def wait_for(condition: Callable[[], bool], what: str, timeout_s: float = 10.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s, f"{what} did not happen within {timeout_s:g} s"
        time.sleep(0.02)


def kill(one: Instance, name: str) -> int:
    """Kills a child and waits until another is up in its place; returns the old pid."""
    wait_for(lambda: child(one, name)["state"] == "up", f"{name} up")
    pid: int = child(one, name)["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_for(lambda: (row := child(one, name))["state"] == "up" and row["pid"] not in (pid, None), f"{name} up again")
    return pid


def audit(one: Instance, clients: Clients) -> None:
    one.wait_until_drained(30)
    assert clients.acknowledged > 0
    assert upstream_counters(one.data / "upstream.db") == expected_counters(clients)
    assert clients.stale == []


@pytest.mark.parametrize("name", ["primary", "secondary", "store", "replayer", "zygote"])
def test_a_killed_child_fails_no_request(instance: Callable[..., Instance], name: str) -> None:
    one = instance()
    with Clients(one.url, CLIENTS) as clients:
        for _ in range(3):
            before = clients.acknowledged
            kill(one, name)
            wait_for(lambda before=before: clients.acknowledged > before + 50, "more writes")  # type: ignore[misc]
    assert clients.failed == []
    assert child(one, name)["restarts"] == 3
    audit(one, clients)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_everything_within_ten_seconds(instance: Callable[..., Instance], number: int) -> None:
    one = instance()
    with Clients(one.url, CLIENTS, patience_s=0.5):
        time.sleep(0.5)
        tree = one.tree()
        asked_s = time.monotonic()
        os.kill(one.pid, number)
        wait_for(lambda: one.ended() is not None, "the end", 10.0)
        assert time.monotonic() - asked_s < 10.0
    assert one.ended() == 0
    assert not any(map(is_running, tree))
