"""Workers are drained, started anew, failed over and back under load, and killed meanwhile: no request fails, zeros."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from bench.instance import Instance
from tests.fakes.killer import children, kill
from tests.fakes.tills import judge
from tests.faults.test_workers import load

ORDERS = [
    "workers/primary:drain",
    "workers/primary:ready",
    "workers/primary:restart",
    "workers/secondary:restart",
    "failover",
    "workers/primary:restart",
    "recover",
    "workers/secondary:maint",
    "workers/secondary:restart",
    "workers/secondary:ready",
]


def order(one: Instance, path: str) -> bool:
    """Gives an order; whether it was followed. It is refused where it would leave no worker."""
    answer = one.request("POST", f"/admin/{path}")
    assert answer.status in (200, 409), answer.text
    return answer.status == 200


def state_of(one: Instance, slot: str) -> str:
    [row] = [row for row in one.status()["workers"] if row["slot"] == slot]
    return str(row["state"])


def test_orders_under_load(instance: Callable[..., Instance]) -> None:
    one = instance()
    with load(one) as tills:
        for path in ORDERS:
            served = len(tills.writes)
            assert order(one, path)
            one.wait_until(lambda: len(tills.writes) > served + 20)  # noqa: B023 - called at once
        one.wait_until_whole()
    judge(one, tills)
    workers = {row["slot"]: row["restarts"] for row in one.status()["workers"]}
    assert workers == {"primary": 2, "secondary": 2}


def test_the_only_worker_of_those_that_serve_is_started_anew(instance: Callable[..., Instance]) -> None:
    one = instance()
    with load(one) as tills:
        assert order(one, "failover")
        for _ in range(3):
            served = len(tills.writes)
            assert order(one, "workers/secondary:restart")
            one.wait_until(lambda: len(tills.writes) > served + 20)  # noqa: B023 - called at once
        assert state_of(one, "primary") == "drain"
    judge(one, tills)


def orders_and_kills(instance: Callable[..., Instance], rounds: int) -> None:
    """At random: orders, and a worker killed or not."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    one = instance()
    orders, kills = 0, 0
    with load(one) as tills:
        for _ in range(rounds):
            orders += order(one, dice.choice(ORDERS))
            pids = [pid for slot, pid in children(one).items() if slot in ("primary", "secondary")]
            if pids and dice.random() < 0.5:
                kills += kill(dice.choice(pids))
            served = len(tills.writes)
            one.wait_until(lambda: len(tills.writes) > served + 10)  # noqa: B023 - called at once
    for path in ("recover", "workers/primary:ready", "workers/secondary:ready"):
        assert order(one, path)
    one.wait_until(lambda: one.request("GET", "/health").json["status"] == "healthy")
    judge(one, tills)
    print(f"{orders} of {rounds} orders were followed, {kills} kills")


def test_orders_and_kills(instance: Callable[..., Instance]) -> None:
    orders_and_kills(instance, 12)


@pytest.mark.torture
def test_orders_and_kills_for_long(instance: Callable[..., Instance]) -> None:
    orders_and_kills(instance, 300)


def test_an_order_survives_the_process(instance: Callable[..., Instance]) -> None:
    one = instance()
    assert order(one, "failover")
    pid = children(one)["primary"]
    kill(pid)
    one.wait_until(lambda: children(one).get("primary") not in (pid, None))
    one.wait_until(lambda: state_of(one, "primary") == "drain")
    answers = [one.request("GET", "/v1/documents/a/b") for _ in range(10)]
    assert {answer.headers["X-Deora-Server"] for answer in answers} == {"secondary"}
    health = one.request("GET", "/health")
    assert (health.status, health.json["status"], health.json["services"]["primary"]) == (200, "degraded", False)
    assert order(one, "recover")
    one.wait_until_whole()


@pytest.mark.torture
def test_memory_over_the_limit_costs_no_request(instance: Callable[..., Instance]) -> None:
    """Documents are read until a worker's cache makes it too large."""
    one = instance(servers={"max_memory": 64 * 1024 * 1024}, cache={"memory": {"max_size": "60MiB"}})
    text = "x" * 900_000
    for number in range(60):
        assert one.request("PUT", f"/v1/documents/large/{number}", {"text": text}).status in (200, 201)
    with load(one) as tills:

        def is_replaced() -> bool:
            for number in range(60):
                assert one.request("GET", f"/v1/documents/large/{number}").status == 200
            return any(row["restarts"] for row in one.status()["workers"])

        one.wait_until(is_replaced, 60)
        one.wait_until_whole()
    for number in range(60):
        assert one.request("DELETE", f"/v1/documents/large/{number}").status == 200
    judge(one, tills)
