"""A worker that cannot boot: it backs off, says why, costs nothing, and comes back by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from bench.instance import Instance
from tests.fakes.killer import children, kill
from tests.fakes.tills import judge
from tests.faults.test_workers import load

# What the zygote itself needs to fork, and too few for a worker, which needs a loop and a file.
TOO_FEW_FILES = 9


def cannot_boot(instance: Callable[..., Instance], seconds: float) -> tuple[int, float]:
    """How often the primary was started within some seconds, and the supervisor's share of a processor."""
    one = instance()
    zygote, supervisor = psutil.Process(children(one)["zygote"]), psutil.Process(one.pid)
    usual = zygote.rlimit(psutil.RLIMIT_NOFILE)
    # What it forks from now on has no descriptors to start with; the secondary runs on.
    zygote.rlimit(psutil.RLIMIT_NOFILE, (TOO_FEW_FILES, usual[1]))
    with load(one) as tills:
        kill(children(one)["primary"])
        killed_s = time.monotonic()
        one.wait_until(lambda: primary(one)["state"] == "delayed")
        answers = [one.request("GET", "/v1/documents/a/b") for _ in range(20)]
    # What it costs is what an idle instance uses.
    began_s, used = time.monotonic(), supervisor.cpu_times()
    time.sleep(max(1.0, killed_s + seconds - began_s))
    spent = supervisor.cpu_times()
    share = (spent.user + spent.system - used.user - used.system) / (time.monotonic() - began_s)
    starts, health = int(primary(one)["restarts"]), one.request("GET", "/health")
    judge(one, tills)
    assert {answer.headers["X-Deora-Server"] for answer in answers} == {"secondary"}
    assert (health.status, health.json["status"]) == (200, "degraded")
    assert health.json["services"]["primary"] is False
    print(f"{starts} starts in {seconds:.0f} s, the supervisor at {share:.1%}: {health.json['reasons']['primary']}")
    assert health.json["reasons"]["primary"]
    assert [alert for alert in one.status()["alerts"] if "primary is" in alert["detail"]]
    # Mended, it comes back without a hand; a hand only spares the pause.
    zygote.rlimit(psutil.RLIMIT_NOFILE, usual)
    # A start that is under way may still fail for want of them.
    one.wait_until(lambda: one.request("POST", "/admin/workers/primary:restart").status == 200)
    one.wait_until_whole()
    return starts, share


def primary(one: Instance) -> dict[str, Any]:
    [row] = [row for row in one.status()["workers"] if row["slot"] == "primary"]
    return dict(row)


def test_a_worker_that_cannot_boot(instance: Callable[..., Instance]) -> None:
    starts, _ = cannot_boot(instance, 4)
    assert 1 <= starts <= 5


@pytest.mark.torture
def test_a_worker_that_cannot_boot_for_a_minute(instance: Callable[..., Instance]) -> None:
    starts, share = cannot_boot(instance, 60)
    assert starts <= 10
    assert share < 0.05
