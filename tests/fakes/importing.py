"""An import without processes: the worker's handler, the replayer's takeover, the store's import, one after the other,
with a crash wherever a test wants one (`Points`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import orjson

from deora.cache.memory import MemoryCache
from deora.outbox import exchange, listing
from deora.replay.adoptions import Adoptions
from deora.replay.breaker import Breaker
from deora.replay.reads import Reads, Source
from deora.replay.takeover import Takeovers
from deora.wire.frames import Kind, encode
from deora.worker.context import Commit, Context
from deora.worker.handlers.exchange import import_page
from tests.fakes.calls import StoreWithCalls
from tests.fakes.lane import LaneBench, PointedUpstream, Points
from tests.fakes.worker import request


def sender_of(store: StoreWithCalls) -> dict[str, Any]:
    """What the first line of an export says of the box that wrote it."""
    [(node, epoch)] = store.rows(exchange.IDENTITY)
    return {"node": node, "epoch": epoch, "upstreams": exchange.cursors_json(store.rows(exchange.CURSORS))}


def exported(store: StoreWithCalls) -> list[dict[str, Any]]:
    """The entries of an export, through JSON and back as a file takes them."""
    [(node, epoch)] = store.rows(exchange.IDENTITY)
    inflight = listing.members(store.rows(listing.BATCHES))
    rows = store.rows(f"SELECT {listing.COLUMNS} WHERE e.state <> 1 ORDER BY e.id")
    lines: list[dict[str, Any]] = [
        orjson.loads(orjson.dumps(exchange.entry_line(row, inflight, node, epoch))) for row in rows
    ]
    return lines


class Importer:
    """Imports into one box. `ask` stands in for the worker's calls to the replayer."""

    def __init__(self, bench: LaneBench, points: Points | None = None) -> None:
        self._bench = bench
        self._points = points or Points()
        self._upstream = PointedUpstream(bench.upstream, self._points)
        sources = [Source("primary", self._upstream, Breaker(5, 60.0), lambda _: None)]
        self._takeovers = Takeovers(sources, bench.store.calls, bench.clock)
        memory = MemoryCache[Any](1024, 1)
        self._reads = Reads(sources, bench.store.calls, Adoptions(bench.store.calls), bench.clock)
        self._context = Context(cast("Any", self), memory, cast("Any", self), {}, bench.clock.monotonic_s)

    async def ask(self, operation: str, *rest: Any, limit_s: float) -> Any:
        """See `ReadThrough.ask`."""
        assert limit_s > 0
        if operation == "takeOver":
            return await self._takeovers.take(*rest)
        assert operation == "adoptReadable"
        return await self._reads.serve(operation, *rest)

    async def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """See `Reader.rows`."""
        return self._bench.store.rows(sql, parameters)

    async def run(self, sender: dict[str, Any], lines: Sequence[dict[str, Any]], page: int = 3) -> dict[str, int]:
        """Brings all lines in, a few at a time. Raises Problem."""
        counts: dict[str, int] = {}
        for start in range(0, max(1, len(lines)), page):
            body = {"from": sender, "entries": list(lines[start : start + page])}
            asked = request("POST", "/v1/queue:import", orjson.dumps(body))
            commit = await import_page(self._context, asked, b"")
            assert isinstance(commit, Commit)
            for name, count in (await self._commit(commit.body)).items():
                counts[name] = counts.get(name, 0) + count
        return counts

    async def _commit(self, body: bytes) -> dict[str, int]:
        store = self._bench.store
        ident = next(store.ids)
        await self._points.reach("page sent")
        answer = store.handle(encode(Kind.COMMIT, ident, body)).answers[ident]
        await self._points.reach("page answered")
        if answer.problem is not None:
            raise answer.problem
        counts: dict[str, int] = answer.value
        return counts


async def until_crashed(
    importer: Importer, points: Points, sender: dict[str, Any], lines: list[dict[str, Any]]
) -> bool:
    """Imports until the crash; whether there was one."""
    task = asyncio.ensure_future(importer.run(sender, lines))
    while not task.done() and not points.crashed:
        await asyncio.sleep(0.01)
    if points.crashed:
        task.cancel()
        await asyncio.wait({task})
        return True
    task.result()
    return False
