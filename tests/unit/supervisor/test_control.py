"""The routes that the supervisor answers itself."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from deora.errors import Problem
from deora.gateway.access import Scope
from deora.observe import prometheus
from deora.supervisor.backups import Backups
from deora.supervisor.control import Control
from deora.supervisor.orders import Orders
from deora.wire.answers import JSON
from deora.wire.frames import unpack
from tests.fakes.gauges import GaugesBench, upstream_figures
from tests.fakes.star import incoming


class Bench(GaugesBench):
    """A control over an instance's figures."""

    def __init__(self) -> None:
        super().__init__()
        self.is_ready = False
        orders = Orders(self.arbiter, self.dispatch)
        self.control = Control(
            self.gauges,
            self.metrics,
            self.clock.monotonic_s,
            lambda: self.is_ready,
            orders,
            {b"/admin/reload": self.reload},
            Backups(self.config, "/data", self.arbiter),
        )
        self.reloads = 0

    async def reload(self) -> dict[str, Any]:
        self.reloads += 1
        return {"reloaded": ["store"]}

    def ask(self, target: str, method: str = "GET", scope: Scope = Scope.ADMIN) -> tuple[int, Any]:
        """Status and JSON of what the supervisor answers itself."""
        reply = self.control.answer(incoming(method, target, scope=scope))
        assert isinstance(reply, tuple)
        status, content_type, content = reply
        assert content_type == JSON
        return status, json.loads(content)


@pytest.fixture
def bench() -> Bench:
    return Bench()


@pytest.mark.parametrize(
    "target",
    ["/v1/documents/a/b", "/v1/documents:commit", "/v1/queue/entries", "/v1/queue:pause", "/nothing", "/", "/admin/x"],
)
def test_what_a_worker_is_to_take(bench: Bench, target: str) -> None:
    assert bench.control.answer(incoming("GET", target)) is None


def test_health(bench: Bench) -> None:
    status, found = bench.ask("/health")
    assert (status, found["status"]) == (503, "down")
    assert set(found) == {"status", "timestamp", "serverId", "uptime", "services", "batchWriterLeader"}
    bench.up("primary")
    assert bench.ask("/health")[0] == 200
    assert bench.ask("/health")[1]["status"] == "degraded"
    bench.up()
    bench.queue(primary=upstream_figures())
    bench.arbiter.upstreams["primary"] = {"state": "up", "breaker": "CLOSED"}
    status, found = bench.ask("/health")
    assert (status, found["status"], found["batchWriterLeader"]) == (200, "healthy", True)
    assert found["services"] == {"primary": True, "secondary": True, "store": True, "replayer": True, "sqlite": True}


def test_health_gives_reasons(bench: Bench) -> None:
    bench.arbiter.children["store"].member.reason = "the file is of a newer version"
    assert bench.ask("/health")[1]["reasons"] == {"store": "the file is of a newer version"}


def test_probes(bench: Bench) -> None:
    assert bench.ask("/health/live") == (200, {"status": "live"})
    assert bench.ask("/health/ready") == (503, {"status": "not ready"})
    bench.is_ready = True
    assert bench.ask("/health/ready") == (200, {"status": "ready"})


def test_detailed(bench: Bench) -> None:
    status, found = bench.ask("/health/detailed")
    assert status == 503
    names = {check["name"] for check in found["checks"]}
    assert {"primary", "secondary", "store", "replayer", "zygote", "upstream-primary", "memory", "clock"} <= names


def test_api_health(bench: Bench) -> None:
    bench.up()
    status, found = bench.ask("/api/health")
    assert status == 200
    assert set(found) == {"ok", "status", "database", "circuitBreaker", "uptime"}


def test_status_and_queue(bench: Bench) -> None:
    bench.queue(primary=upstream_figures(pending=3, by_priority={5: 3}, accepted=3))
    status, found = bench.ask("/status?x=1")
    assert (status, found["queue"]["pending"]) == (200, 3)
    status, found = bench.ask("/v1/queue")
    assert (status, found["pending"], found["by_priority"]) == (200, 3, {"5": 3})


def test_metrics(bench: Bench) -> None:
    reply = bench.control.answer(incoming("GET", "/metrics"))
    assert isinstance(reply, tuple)
    status, content_type, page = reply
    assert (status, content_type) == (200, prometheus.CONTENT_TYPE)
    names = [line.split("{")[0].split(" ")[0] for line in page.decode().splitlines() if not line.startswith("#")]
    assert names
    assert all(name.startswith("deora_") for name in names)


# -- scopes and methods

OPEN = ["/health", "/health/live", "/health/ready", "/health/detailed", "/api/health"]
READABLE = ["/status", "/metrics", "/v1/queue"]


@pytest.mark.parametrize("target", OPEN)
def test_health_needs_no_token(bench: Bench, target: str) -> None:
    assert bench.control.answer(incoming("GET", target, scope=Scope.NONE)) is not None


@pytest.mark.parametrize("target", READABLE)
def test_figures_need_read(bench: Bench, target: str) -> None:
    with pytest.raises(Problem) as refused:
        bench.control.answer(incoming("GET", target, scope=Scope.NONE))
    assert refused.value.status == 401
    assert bench.control.answer(incoming("GET", target, scope=Scope.READ)) is not None


@pytest.mark.parametrize("target", OPEN + READABLE)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_they_are_read_only(bench: Bench, method: str, target: str) -> None:
    with pytest.raises(Problem) as refused:
        bench.control.answer(incoming(method, target))
    assert (refused.value.status, refused.value.fields) == (405, {"allow": "GET"})


@pytest.mark.parametrize(
    ("action", "operation"),
    [
        ("pause", ["pause", "secondary", True]),
        ("resume", ["pause", "secondary", False]),
        ("acceptLoss", ["acceptLoss", "secondary"]),
    ],
)
def test_upstreams_are_steered_by_the_store(bench: Bench, action: str, operation: list[Any]) -> None:
    target = f"/admin/upstreams/secondary:{action}"
    reply = bench.control.answer(incoming("POST", target))
    assert isinstance(reply, bytes)
    assert unpack(reply) == operation
    for scope, status in ((Scope.NONE, 401), (Scope.READ, 403), (Scope.WRITE, 403)):
        with pytest.raises(Problem) as refused:
            bench.control.answer(incoming("POST", target, scope=scope))
        assert refused.value.status == status
    with pytest.raises(Problem) as refused:
        bench.control.answer(incoming("GET", target))
    assert (refused.value.status, refused.value.fields) == (405, {"allow": "POST"})
    # Anything else there is for a worker to say no to.
    assert bench.control.answer(incoming("POST", "/admin/upstreams/secondary:drop")) is None


# -- orders


def order(bench: Bench, target: str, scope: Scope = Scope.ADMIN) -> tuple[int, Any]:
    """Status and JSON of an order that is followed."""

    async def follow() -> tuple[int, Any]:
        reply = bench.control.answer(incoming("POST", target, scope=scope))
        assert isinstance(reply, asyncio.Future)
        status, _, content = await reply
        return status, json.loads(content)

    return asyncio.run(follow())


def test_orders_are_followed(bench: Bench) -> None:
    bench.up()
    assert order(bench, "/admin/workers/primary:drain") == (
        200,
        {"slot": "primary", "state": "drain", "pid": None, "redispatched": 0},
    )
    assert bench.ask("/status")[1]["workers"][0]["state"] == "drain"
    assert order(bench, "/admin/workers/primary:maint")[1]["state"] == "maint"
    assert order(bench, "/admin/workers/primary:ready")[1]["state"] == "up"
    assert order(bench, "/admin/failover") == (200, {"failover": True, "redispatched": 0})
    _, found = bench.ask("/health")
    assert (found["status"], found["services"]["primary"]) == ("degraded", False)
    [alert] = [alert for alert in bench.ask("/status")[1]["alerts"] if alert["name"] == "failed-over"]
    assert alert["hint"] == "deora recover"
    with pytest.raises(Problem, match="no worker but secondary is up"):
        order(bench, "/admin/workers/secondary:drain")
    assert order(bench, "/admin/recover") == (200, {"failover": False})
    assert bench.ask("/health")[1]["services"]["primary"]


ORDERS = ["/admin/failover", "/admin/recover", *(f"/admin/workers/primary:{verb}" for verb in ("drain", "ready"))]


@pytest.mark.parametrize("target", [*ORDERS, "/admin/workers/primary:maint", "/admin/workers/primary:restart"])
def test_orders_need_the_admin_scope_and_a_post(bench: Bench, target: str) -> None:
    bench.up()
    with pytest.raises(Problem) as caught:
        bench.control.answer(incoming("POST", target, scope=Scope.WRITE))
    assert caught.value.kind == "forbidden"
    with pytest.raises(Problem) as caught:
        bench.control.answer(incoming("GET", target))
    assert caught.value.kind == "method-not-allowed"
    assert bench.ask("/health")[1]["services"]["primary"]


@pytest.mark.parametrize("target", ["/admin/workers/primary:jump", "/admin/workers/primary", "/admin/failovers"])
def test_no_such_order(bench: Bench, target: str) -> None:
    assert bench.control.answer(incoming("POST", target)) is None
