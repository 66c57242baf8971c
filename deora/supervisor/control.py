"""What the supervisor answers itself, so that it answers while every worker is down: health, status, metrics, the
queue's figures, and the administration of upstreams and workers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from functools import partial
from typing import Any, Final

import orjson

from deora.errors import Problem
from deora.gateway.access import Scope, require
from deora.gateway.incoming import Incoming
from deora.observe import health, prometheus
from deora.observe.metrics import Metrics
from deora.supervisor.backups import Backups
from deora.supervisor.orders import Done, Orders
from deora.supervisor.snapshot import Gauges
from deora.wire.answers import JSON
from deora.wire.frames import pack

Reply = tuple[int, bytes, bytes]

UPSTREAMS: Final = b"/admin/upstreams/"
WORKERS: Final = b"/admin/workers/"
BACKUP: Final = b"/admin/backup"
_DOCUMENTS: Final = b"/v1/documents"
# An action on an upstream -> the store's operation, and what it takes beside the upstream's name.
_ON_UPSTREAMS: Final[dict[bytes, tuple[Any, ...]]] = {
    b"pause": ("pause", True),
    b"resume": ("pause", False),
    b"acceptLoss": ("acceptLoss",),
}


class Control:
    """The routes of the supervisor. `answer` is the `Local` of the dispatch."""

    def __init__(
        self,
        gauges: Gauges,
        metrics: Metrics,
        now_s: Callable[[], float],
        is_ready: Callable[[], bool],
        orders: Orders,
        changes: Mapping[bytes, Callable[[], Coroutine[Any, Any, Done]]],
        backups: Backups,
    ) -> None:
        self._backups = backups
        self._gauges = gauges
        self._metrics = metrics
        self._now_s = now_s
        self._is_ready = is_ready
        self._routes: dict[bytes, tuple[Scope, Callable[[], Reply]]] = {
            b"/health": (Scope.NONE, self._health),
            b"/health/live": (Scope.NONE, self._live),
            b"/health/ready": (Scope.NONE, self._ready),
            b"/health/detailed": (Scope.NONE, self._detailed),
            b"/api/health": (Scope.NONE, self._api_health),
            b"/status": (Scope.READ, self._status),
            b"/metrics": (Scope.READ, self._metrics_page),
            b"/v1/queue": (Scope.READ, self._queue),
        }
        self._orders: dict[bytes, Callable[[], Coroutine[Any, Any, Done]]] = {
            b"/admin/failover": orders.failover,
            b"/admin/recover": orders.recover,
            **changes,
        }
        self._worker_orders: dict[bytes, Callable[[str], Coroutine[Any, Any, Done]]] = {
            b"drain": orders.drain,
            b"ready": orders.ready,
            b"maint": orders.maint,
            b"restart": orders.restart,
        }

    def answer(self, request: Incoming) -> Reply | asyncio.Future[Reply] | bytes | None:
        """See `gateway.dispatch.Local`. Raises Problem."""
        if request.method == b"OPTIONS":
            return 200, JSON, b""
        if request.target.startswith(_DOCUMENTS):
            return None
        path = request.target.partition(b"?")[0]
        route = self._routes.get(path)
        if route is not None:
            scope, handler = route
            if request.method != b"GET":
                raise _only(request, "GET")
            require(request.scope, scope)
            return handler()
        if path.startswith(UPSTREAMS):
            return self._upstream(request, path[len(UPSTREAMS) :])
        if path == BACKUP:
            return self._backup(request)
        order = self._orders.get(path)
        if order is not None:
            return _ordered(request, order)
        if path.startswith(WORKERS):
            return self._worker(request, path[len(WORKERS) :])
        return None

    def _upstream(self, request: Incoming, rest: bytes) -> bytes | None:
        name, _, action = rest.partition(b":")
        operation = _ON_UPSTREAMS.get(action)
        if operation is None:
            return None
        if request.method != b"POST":
            raise _only(request, "POST")
        require(request.scope, Scope.ADMIN)
        return pack([operation[0], name.decode("latin-1"), *operation[1:]])

    def _worker(self, request: Incoming, rest: bytes) -> asyncio.Future[Reply] | None:
        slot, _, action = rest.partition(b":")
        order = self._worker_orders.get(action)
        return _ordered(request, partial(order, slot.decode("latin-1"))) if order is not None else None

    def _backup(self, request: Incoming) -> Reply | asyncio.Future[Reply]:
        if request.method == b"GET":
            require(request.scope, Scope.ADMIN)
            return _json(200, self._backups.show())
        return _ordered(request, partial(self._backups.order, request.content))

    def _health(self) -> Reply:
        return _json(*health.health(self._gauges.snapshot(self._now_s())))

    def _live(self) -> Reply:
        return _json(200, {"status": "live"})

    def _ready(self) -> Reply:
        ready = self._is_ready()
        return _json(200 if ready else 503, {"status": "ready" if ready else "not ready"})

    def _detailed(self) -> Reply:
        return _json(*health.detailed(self._gauges.snapshot(self._now_s())))

    def _api_health(self) -> Reply:
        return _json(*health.api_health(self._gauges.snapshot(self._now_s())))

    def _status(self) -> Reply:
        return _json(200, health.status_document(self._gauges.snapshot(self._now_s())))

    def _metrics_page(self) -> Reply:
        page = prometheus.render(self._gauges.snapshot(self._now_s()), self._metrics)
        return 200, prometheus.CONTENT_TYPE, page

    def _queue(self) -> Reply:
        return _json(200, self._gauges.queue(self._now_s()))


def _ordered(request: Incoming, order: Callable[[], Coroutine[Any, Any, Done]]) -> asyncio.Future[Reply]:
    """Has an order followed, if the request may give it; the answer comes once it is in force. Raises Problem."""
    if request.method != b"POST":
        raise _only(request, "POST")
    require(request.scope, Scope.ADMIN)

    async def follow() -> Reply:
        return _json(200, await order())

    return asyncio.ensure_future(follow())


def _json(status: int, members: dict[str, Any]) -> Reply:
    return status, JSON, orjson.dumps(members)


def _only(request: Incoming, method: str) -> Problem:
    return Problem(
        "method-not-allowed",
        f"{request.method.decode('latin-1')} is not allowed here; allowed: {method}",
        fields={"allow": method},
    )
