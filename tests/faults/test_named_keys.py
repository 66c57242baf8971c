"""A write without a key whose end is unclear: the 503 names a key, and repeated under it the write counts once.

The store is stopped, killed while it syncs, or given an EIO; the whole tree is killed before the client repeats.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.instance import Answer, Instance
from deora.store.answers import KEPT_GROUPS
from tests.fakes.tills import embedded_documents

PATH = "/v1/documents/counters/n?upsert=true"
INCREMENT = {"n": {"$increment": 1}}
SYNCS = "fdatasync,fsync"
NEEDS_STRACE = pytest.mark.skipif(
    shutil.which("strace") is None or os.getuid() != 0, reason="needs root and strace (Debian: apt-get install strace)"
)


def pid_of(one: Instance, name: str) -> int:
    [pid] = [row["pid"] for row in one.status()["processes"] if row["name"] == name]
    return int(pid)


def increment(one: Instance, **headers: str) -> Answer:
    return one.request("PATCH", PATH, json=INCREMENT, headers=headers)


def told_key(one: Instance) -> str:
    """An increment without a key, which ends as a 503; the key that it names."""
    answer = increment(one)
    assert answer.status == 503, answer.text
    key: str = answer.json["idempotencyKey"]
    assert f"Idempotency-Key: {key}" in answer.json["hint"]
    return key


def kill_tree(one: Instance) -> None:
    for process in one.tree():
        process.kill()
    one.wait_for_end()


def write_others(one: Instance) -> None:
    """More groups than a store keeps of its own."""
    for number in range(KEPT_GROUPS + 10):
        assert one.request("PUT", "/v1/documents/others/d", json={"n": number}).status in (200, 201)


def settle(one: Instance, key: str) -> None:
    """Repeats the request, as often as its client likes: it counts once, here and upstream."""
    first = increment(one, **{"Idempotency-Key": key})
    assert first.status == 200, first.text
    assert increment(one, **{"Idempotency-Key": key}).json == first.json
    assert one.request("PATCH", PATH, json={"n": {"$increment": 2}}, headers={"Idempotency-Key": key}).status == 422
    assert one.get("/v1/documents/counters/n")["data"] == {"n": 1}
    one.wait_until_drained(30)
    assert embedded_documents(one.data / "upstream.db")["counters/n"] == {"n": 1}


@contextmanager
def traced(one: Instance, pid: int, fault: str, calls: str = SYNCS) -> Iterator[None]:
    """These calls of a process have a fault: `error=EIO`, `signal=KILL`. Ends with the process."""
    argv = ["strace", "-f", "-qq", "-o", "/dev/null", "-p", str(pid), "-e", f"trace={calls}"]
    tracer = subprocess.Popen([*argv, "-e", f"inject={calls}:{fault}"])
    try:
        one.wait_until(lambda: "TracerPid:\t0\n" not in Path(f"/proc/{pid}/status").read_text())
        yield
        tracer.wait(10)
    finally:
        tracer.kill()
        tracer.wait()


@pytest.fixture
def one(instance: Callable[..., Instance]) -> Instance:
    config: dict[str, Any] = {
        "servers": {"request_timeout_s": 1.0},
        "loadbalancer": {"health_check": {"hang_timeout_s": 0.9}},
    }
    return instance(**config)


def test_a_store_that_goes_on_after_all(one: Instance) -> None:
    store = pid_of(one, "store")
    os.kill(store, signal.SIGSTOP)
    try:
        key = told_key(one)
    finally:
        os.kill(store, signal.SIGCONT)
    # What it has committed by now, nobody was told.
    one.wait_until(lambda: one.request("GET", "/v1/documents/counters/n").status == 200)
    write_others(one)
    settle(one, key)


def test_the_tree_is_killed_before_the_store_has_seen_the_write(
    one: Instance, instance: Callable[..., Instance]
) -> None:
    os.kill(pid_of(one, "store"), signal.SIGSTOP)
    key = told_key(one)
    kill_tree(one)
    settle(instance(on=one), key)


@NEEDS_STRACE
@pytest.mark.parametrize("calls", [SYNCS, "sendto"])
def test_a_store_that_is_killed_while_it_syncs_or_answers(instance: Callable[..., Instance], calls: str) -> None:
    one = instance()
    with traced(one, pid_of(one, "store"), "signal=KILL", calls):
        answer = increment(one)
    # The next store was given the same writes, and has judged whether they had landed. The client has noticed nothing.
    assert answer.status == 200, answer.text
    assert one.get("/v1/documents/counters/n")["data"] == {"n": 1}
    one.wait_until_drained(30)
    assert embedded_documents(one.data / "upstream.db")["counters/n"] == {"n": 1}


@NEEDS_STRACE
@pytest.mark.parametrize("fault", ["signal=KILL", "error=EIO"])
def test_a_store_that_ends_with_its_commit_unknown(
    one: Instance, instance: Callable[..., Instance], fault: str
) -> None:
    store, zygote = pid_of(one, "store"), pid_of(one, "zygote")
    os.kill(zygote, signal.SIGSTOP)  # so that no other store comes up in time
    with traced(one, store, fault):
        key = told_key(one)
    if fault == "error=EIO":
        os.kill(zygote, signal.SIGCONT)
        one.wait_until_whole()
        settle(one, key)
    else:
        kill_tree(one)
        again = instance(on=one)
        # The rows of a writer that was killed while it synced are there.
        assert again.get("/v1/documents/counters/n")["data"] == {"n": 1}
        write_others(again)
        settle(again, key)
