"""A request that ends every worker that takes it: it ends as a 502 that names it, and nobody else notices.

Each worker gets a limit of processor time from the kernel, as an operator may set one, and the request is a list that
needs more: many conditions on long arrays.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

import psutil

from bench.instance import Instance
from tests.fakes.killer import children
from tests.fakes.tills import judge
from tests.faults.test_workers import load

LIMIT_S = 1
ITEMS = 100_000
DOCUMENTS = 8
CONDITIONS = 19


class Limits:
    """Gives each worker, however often it is started, its limit of processor time."""

    def __init__(self, one: Instance) -> None:
        self._one = one
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.limited: set[int] = set()

    def __enter__(self) -> Limits:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._stop.wait(0.05):
            found = children(self._one)
            for pid in {found[slot] for slot in ("primary", "secondary") if slot in found} - self.limited:
                with suppress(psutil.NoSuchProcess):
                    psutil.Process(pid).rlimit(psutil.RLIMIT_CPU, (LIMIT_S, LIMIT_S))
                    self.limited.add(pid)


def test_a_request_that_kills_its_workers(instance: Callable[..., Instance]) -> None:
    one = instance(servers={"request_timeout_s": 150}, loadbalancer={"health_check": {"hang_timeout_s": 20}})
    large = {"items": list(range(ITEMS))}
    for number in range(DOCUMENTS):
        assert one.request("PUT", f"/v1/documents/large/{number}", large).status in (200, 201)
    # What comes last is looked for through all the others.
    killing = "&".join(f"where=items:contains:{ITEMS - number}" for number in range(1, CONDITIONS + 1))
    with load(one) as tills, Limits(one) as limits:
        one.wait_until(lambda: len(limits.limited) >= 2)
        answer = one.request("GET", f"/v1/documents/large?{killing}", timeout_s=160)
    assert (answer.status, answer.json["type"]) == (502, "urn:deora:problem:worker-lost"), answer.text
    assert "GET /v1/documents/large" in answer.json["detail"]
    assert answer.json["requestId"] == answer.headers["X-Request-Id"]
    restarts = sum(row["restarts"] for row in one.status()["workers"])
    print(f"{restarts} workers ended, {len(tills.writes) + len(tills.reads)} other requests")
    assert restarts >= 3
    for number in range(DOCUMENTS):
        assert one.request("DELETE", f"/v1/documents/large/{number}").status == 200
    judge(one, tills)
