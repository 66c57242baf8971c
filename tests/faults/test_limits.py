"""Descriptors and memory run out: the surplus is told so, nothing spins, nobody else's request fails."""

from __future__ import annotations

import os
import resource
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from bench.instance import Instance
from tests.fakes.checker import Outcome
from tests.fakes.tills import Tills, audit

DESCRIPTORS = 64
FLOOD = 200
MIB = 1024 * 1024


@pytest.fixture
def few(tmp_path: Path) -> Iterator[Instance]:
    """An instance whose processes may have 64 descriptors each."""
    with Instance(tmp_path, before=("prlimit", f"--nofile={DESCRIPTORS}")) as one:
        one.wait_until_ready()
        one.wait_until_whole()
        yield one


class Flood:
    """Connections that stay open. One of the instance's own says what state it is in."""

    def __init__(self, one: Instance, stack: ExitStack) -> None:
        address = ("127.0.0.1", int(one.url.rpartition(":")[2]))
        self.sockets = [stack.enter_context(socket.create_connection(address, timeout=10)) for _ in range(FLOOD)]

    def statuses(self) -> Counter[bytes]:
        """What each connection is answered with; empty where it was closed without a word."""
        return Counter(self._ask(one) for one in self.sockets)

    def _ask(self, one: socket.socket) -> bytes:
        try:
            one.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return one.recv(65536)[9:12]
        except ConnectionError:
            return b""


def primary_of(one: Instance) -> tuple[int | None, str]:
    [row] = [row for row in one.status()["workers"] if row["slot"] == "primary"]
    return row["pid"], row["state"]


def cpu_s(pid: int) -> float:
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def test_more_connections_than_descriptors(few: Instance) -> None:
    with ExitStack() as stack:
        flood = Flood(few, stack)
        before_s = cpu_s(few.pid)
        time.sleep(1.0)
        used_s = cpu_s(few.pid) - before_s
        open_files = len(os.listdir(f"/proc/{few.pid}/fd"))
        found = flood.statuses()
        print(f"{dict(found)}, {open_files} open files, {used_s * 100:.1f} % of a processor while they wait")
        assert set(found) == {b"200", b"503"}
        assert found[b"200"] >= 8
        assert open_files < DESCRIPTORS
        assert used_s < 0.1
    freed_s = time.monotonic()
    few.wait_until(lambda: few.request("PUT", "/v1/documents/a/b", json={}).status in (200, 201))
    print(f"served again after {(time.monotonic() - freed_s) * 1000:.0f} ms")
    assert few.terminate() == 0


def test_a_worker_is_replaced_while_clients_hold_all_descriptors(few: Instance) -> None:
    killed = primary_of(few)[0]
    assert killed is not None
    with Tills(few.url, 6, rate=60, patience_s=30) as tills, ExitStack() as stack:
        few.wait_until(lambda: tills.count(Outcome.OK) > 20)
        flood = Flood(few, stack)
        os.kill(killed, signal.SIGKILL)
        # Behind the flood there is no way in but over a connection that was there before.
        acknowledged = tills.count(Outcome.OK)
        few.wait_until(lambda: tills.count(Outcome.OK) > acknowledged + 60)
        assert b"" not in flood.statuses()
        for held in flood.sockets:
            held.close()
        # The instance has to notice that they have gone.
        few.wait_until(lambda: few.request("GET", "/health/live").status == 200)
        few.wait_until(lambda: (now := primary_of(few))[0] != killed and now[1] == "up")
    few.wait_until_drained(30)
    findings = audit(few, tills)
    assert not findings, str(findings)
    assert all(sent.outcome is Outcome.OK for sent in tills.history)
    assert few.terminate() == 0


def test_a_limit_that_is_too_low_is_said_at_the_start(tmp_path: Path) -> None:
    with Instance(tmp_path, before=("prlimit", "--nofile=50")) as one:
        one.wait_for_end()
        assert one.ended() == 1
        assert "limit of open files" in one.printed()
        assert "LimitNOFILE" in one.printed()
        assert "Traceback" not in one.printed()


def test_a_worker_without_memory_fails_nobody(instance: Callable[..., Instance]) -> None:
    one = instance(loadbalancer={"mode": "failover"})
    pid, _ = primary_of(one)
    assert pid is not None
    most = psutil.Process(pid).memory_info().vms + 4 * MIB
    resource.prlimit(pid, resource.RLIMIT_AS, (most, most))
    large = {"writes": [{"set": {"path": f"large/{n}", "data": {"text": "x" * 900_000}}} for n in range(4)]}
    with Tills(one.url, 4, rate=60, patience_s=0) as tills:
        one.wait_until(lambda: tills.count(Outcome.OK) > 10)
        for _ in range(3):
            assert one.request("POST", "/v1/documents:commit", json=large).status == 200
        one.wait_until(lambda: (now := primary_of(one))[0] != pid and now[1] == "up")
    assert tills.errors == []
    # The large ones stand beside the tills' documents; they are no part of their history.
    for n in range(4):
        one.request("DELETE", f"/v1/documents/large/{n}")
    one.wait_until_drained(30)
    findings = audit(one, tills)
    assert not findings, str(findings)
