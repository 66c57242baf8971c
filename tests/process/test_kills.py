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


def test_both_workers_at_once(instance: Callable[..., Instance]) -> None:
    one = instance()
    with Clients(one.url, CLIENTS) as clients:
        wait_for(lambda: clients.acknowledged > 50, "writes")
        pids = [child(one, name)["pid"] for name in ("primary", "secondary")]
        killed_s = time.monotonic()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        before = clients.acknowledged
        wait_for(lambda: clients.acknowledged > before + CLIENTS, "served again", 5.0)
        assert time.monotonic() - killed_s < 5.0
    assert clients.failed == []
    audit(one, clients)


def test_children_end_with_the_supervisor_and_the_next_one_serves_all(instance: Callable[..., Instance]) -> None:
    one = instance()
    one.post("/v1/queue:pause")
    with Clients(one.url, CLIENTS, patience_s=1.0) as clients:
        wait_for(lambda: clients.acknowledged > 100, "writes")
        children = [process for process in one.tree() if process.pid != one.pid]
        assert len(children) == 5
        os.kill(one.pid, signal.SIGKILL)
        wait_for(lambda: not any(map(is_running, children)), "the end of the children", 1.0)
    acknowledged = {number: history.acknowledged for number, history in enumerate(clients.histories)}
    again = instance_on_the_same_data(instance, one)
    for number, count in acknowledged.items():
        answer = again.request("GET", f"/v1/documents/counters/own-{number}")
        # The last one may have been committed with its answer lost; more than one it cannot be.
        assert answer.json["data"]["n"] - count in (0, 1)
    again.post("/v1/queue:resume")
    again.wait_until_drained(30)
    held = upstream_counters(again.data / "upstream.db")
    total = 0
    for number in acknowledged:
        shown = again.request("GET", f"/v1/documents/counters/own-{number}").json["data"]["n"]
        assert held[f"counters/own-{number}"] == shown
        total += shown
    assert held["counters/shared"] == total


def instance_on_the_same_data(instance: Callable[..., Instance], old: Instance) -> Instance:
    """Another instance on the data directory of one that has ended."""
    assert old.ended() is not None
    return instance(on=old)


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


def cycles(instance: Callable[..., Instance], count: int) -> None:
    """`count` times: everything is killed while clients write, and started again on the same data."""
    one = instance()
    lower: dict[int, int] = {}
    for _ in range(count):
        with Clients(one.url, 8, patience_s=0.3) as clients:
            wait_for(lambda: clients.acknowledged > 40, "writes", 20.0)
            tree = one.tree()
            for process in tree:
                process.kill()
            wait_for(lambda: not any(map(is_running, tree)), "the end")  # noqa: B023 - called at once
        for number, history in enumerate(clients.histories):
            lower[number] = lower.get(number, 0) + history.acknowledged
        one = instance_on_the_same_data(instance, one)
        shown = {n: one.request("GET", f"/v1/documents/counters/own-{n}").json["data"]["n"] for n in lower}
        for number, count_shown in shown.items():
            assert 0 <= count_shown - lower[number] <= 1, "lost or doubled"
        lower = shown
    one.wait_until_drained(30)
    held = upstream_counters(one.data / "upstream.db")
    assert held == {
        **{f"counters/own-{n}": shown for n, shown in lower.items()},
        "counters/shared": sum(lower.values()),
    }


def test_the_whole_tree_is_killed_again_and_again(instance: Callable[..., Instance]) -> None:
    cycles(instance, 8)


@pytest.mark.torture
def test_the_whole_tree_is_killed_five_hundred_times(instance: Callable[..., Instance]) -> None:
    cycles(instance, 500)
