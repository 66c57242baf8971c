"""Workers, and everything, are stopped by SIGSTOP under load: no request fails, zeros."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import psutil
import pytest

from bench.instance import Instance
from tests.fakes.killer import children
from tests.fakes.tills import judge
from tests.faults.test_workers import load

HANG_S = 2.0


def stop_one(instance: Callable[..., Instance], rounds: int) -> list[float]:
    """One worker after the other is stopped; the seconds until each was out."""
    one = instance()
    out_s = []
    with load(one) as tills:
        for number in range(rounds):
            one.wait_until_whole()
            slot = ("primary", "secondary")[number % 2]
            pid = children(one)[slot]
            os.kill(pid, signal.SIGSTOP)
            stopped_s = time.monotonic()
            one.wait_until(lambda: children(one).get(slot) != pid)  # noqa: B023 - called at once
            out_s.append(time.monotonic() - stopped_s)
        # The other one went on meanwhile.
        one.wait_until_whole()
    judge(one, tills)
    print(f"stopped by SIGSTOP: out after {', '.join(f'{one_s:.2f}' for one_s in out_s)} s")
    return out_s


def test_a_stopped_worker_is_taken_out(instance: Callable[..., Instance]) -> None:
    assert max(stop_one(instance, 1)) < HANG_S + 5


@pytest.mark.torture
def test_stopped_workers_are_taken_out_in_time(instance: Callable[..., Instance]) -> None:
    assert max(stop_one(instance, 20)) < HANG_S + 0.5


def test_a_suspended_machine_costs_no_worker(instance: Callable[..., Instance]) -> None:
    """Everything stops for longer than a worker may hang, and goes on."""
    one = instance()
    before = children(one)
    with load(one) as tills:
        one.wait_until(lambda: len(tills.writes) > 20)
        supervisor = psutil.Process(one.pid)
        # The supervisor is the last that stops and the first that goes on: everybody owes it an answer.
        children_of_it = supervisor.children(recursive=True)
        for process in children_of_it:
            process.suspend()
        time.sleep(HANG_S / 4)
        supervisor.suspend()
        time.sleep(HANG_S + 1.0)
        for process in (supervisor, *children_of_it):
            process.resume()
        written = len(tills.writes)
        one.wait_until(lambda: len(tills.writes) > written + 50)
    judge(one, tills)
    assert children(one) == before


def test_one_in_maintenance_may_be_stopped(instance: Callable[..., Instance]) -> None:
    one = instance()
    pid = children(one)["secondary"]
    assert one.post("/admin/workers/secondary:maint")["pid"] == pid
    os.kill(pid, signal.SIGSTOP)
    with load(one) as tills:
        began_s = time.monotonic()
        one.wait_until(lambda: time.monotonic() > began_s + HANG_S + 1.0)
    judge(one, tills)
    assert children(one)["secondary"] == pid
    os.kill(pid, signal.SIGCONT)
    assert one.post("/admin/workers/secondary:ready")["state"] == "up"
    one.wait_until_whole()
