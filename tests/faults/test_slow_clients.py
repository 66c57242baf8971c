"""Clients that hold connections by being slow (slow heads, bodies, readers): nobody else waits for them."""

from __future__ import annotations

import http.client
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import psutil
import pytest

from bench.instance import Instance
from tests.fakes.slow_clients import KINDS, LARGE, slow_clients
from tests.fakes.tills import Timed, p99_ms

Start = Callable[..., Instance]
CONNECTIONS = 200
MIB = 1024 * 1024


def normal_client(one: Instance, count: int) -> float:
    """The p99, in milliseconds, of a client that reads and writes by turns."""
    address = urlsplit(one.url)
    timed = []
    with closing(http.client.HTTPConnection(address.hostname or "", address.port, timeout=20)) as connection:
        for number in range(count):
            method, body = ("PUT", b'{"n":1}') if number % 2 else ("GET", None)
            began_s = time.monotonic()
            connection.request(method, "/v1/documents/normal/one", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
            assert answer.status in (200, 201)
            timed.append(Timed(began_s, time.monotonic() - began_s, answer.status))
    return p99_ms(timed)


@contextmanager
def beside(one: Instance, kind: str, directory: Path) -> Iterator[None]:
    """Slow clients; at the end all of them are still there."""
    with slow_clients(one.url, kind, CONNECTIONS, directory) as slow:
        one.wait_until(lambda: held(one) >= CONNECTIONS)
        yield
        assert slow.ended() is None, slow.printed()
        one.wait_until(lambda: held(one) >= CONNECTIONS)


def held(one: Instance) -> int:
    """The connections of clients that the supervisor has."""
    port = urlsplit(one.url).port
    connections = psutil.Process(one.pid).net_connections("tcp")
    return sum(each.status == psutil.CONN_ESTABLISHED and each.laddr.port == port for each in connections)


@pytest.fixture
def one(instance: Start) -> Instance:
    """With the documents that are asked for."""
    started = instance()
    for path, data in ((LARGE, {"text": "x" * 500_000}), ("normal/one", {"n": 0})):
        assert started.request("PUT", f"/v1/documents/{path}", data).status == 201
    return started


def test_nobody_waits_for_the_slow(one: Instance, tmp_path: Path) -> None:
    alone_ms = normal_client(one, 120)
    pids = [worker["pid"] for worker in one.status()["workers"]]
    for kind in KINDS:
        with beside(one, kind, tmp_path):
            beside_ms = normal_client(one, 120)
        print(f"p99 {alone_ms:.1f} ms, beside {CONNECTIONS} slow {kind} {beside_ms:.1f} ms")
        # A busy machine may add as much by itself; one that waits for a slow client waits for seconds.
        assert beside_ms < 2 * alone_ms + 500
    assert [worker["pid"] for worker in one.status()["workers"]] == pids


@pytest.mark.torture
@pytest.mark.parametrize("kind", KINDS)
def test_the_slow_do_not_double_the_p99_of_others(one: Instance, tmp_path: Path, kind: str) -> None:
    normal_client(one, 500)
    memory = psutil.Process(one.pid).memory_info().rss
    ratios = []
    for _ in range(5):
        alone_ms = normal_client(one, 1000)
        with beside(one, kind, tmp_path):
            beside_ms = normal_client(one, 1000)
            used = psutil.Process(one.pid).memory_info().rss - memory
        ratios.append(beside_ms / alone_ms)
        print(f"p99 {alone_ms:.2f} ms, beside {CONNECTIONS} slow {kind} {beside_ms:.2f} ms, {used / MIB:.0f} MiB more")
    # The machine's own pauses come and go; the median of pairs is what the slow ones do.
    assert statistics.median(ratios) < 2
