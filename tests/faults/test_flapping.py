"""A link that comes and goes, 500 times (F21): zeros, and at most 3 attempts an entry on average.

An attempt is a batch that was sent, whether or not it arrived.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.instance import Instance
from deora.replay.terms import LaneSettings
from deora.upstream.base import Unclear
from tests.fakes.lane import LaneBench
from tests.fakes.loop import run
from tests.fakes.postgres import Server, applied, documents, keep_log, new_database
from tests.fakes.proxy import LostAnswers, Proxy
from tests.fakes.tills import Tills, audit
from tests.fakes.upstream import Fault

SEED = 21
ATTEMPTS = 3.0


LONG = pytest.mark.torture
DOWN = [Unclear("unreachable"), *(pytest.param(f, marks=LONG) for f in (Fault.LOST, Fault.UNANSWERED, Fault.SILENT))]


@pytest.mark.parametrize("down", DOWN)
@pytest.mark.parametrize("patience_s", [2.0, pytest.param(60.0, marks=LONG)])
def test_five_hundred_times(tmp_path: Path, down: Unclear | Fault, patience_s: float) -> None:
    """Up for 2 s, down for 2 s, on a manual clock; `patience_s` is the breaker's."""
    flaps = 500
    bench = LaneBench(tmp_path, seed=SEED, settings=LaneSettings(max_writes=50))
    bench.timeout_s = patience_s
    bench.upstream.delay_s = 0.05
    bench.upstream.faults = lambda _: down if bench.clock.monotonic_s() % 4 < 2 else None

    async def scenario() -> None:
        task = asyncio.ensure_future(bench.new_lane().run())
        for _ in range(flaps):
            bench.write_numbered(4, documents=200)
            await asyncio.sleep(4)
        await bench.watch(task, lambda: bench.store.waiting() == 0)
        task.cancel()

    run(scenario(), bench.clock)
    found = bench.findings()
    assert not found, f"seed {SEED}: {found}"
    assert bench.store.entries("dead") == []
    sent = sum(len(call.delivery.payloads) for call in bench.upstream.calls if call.delivery is not None)
    noted = [entry["attempts"] for entry in bench.store.entries()]
    print(f"{down}: {sent / len(noted):.2f} attempts an entry, {sum(noted) / len(noted):.2f} noted as failed")
    assert sent / len(noted) <= ATTEMPTS
    assert sum(noted) / len(noted) <= ATTEMPTS
    bench.store.close()


@pytest.mark.parametrize(("flaps", "period_s"), [(10, 0.4), pytest.param(500, 1.0, marks=pytest.mark.torture)])
def test_a_real_link(instance: Callable[..., Instance], postgres_server: Server, flaps: int, period_s: float) -> None:
    """Half of each period all connections are reset and none is taken, or, every other time, nothing passes."""
    url = asyncio.run(new_database(postgres_server))
    with Proxy(postgres_server.port) as proxy:
        begun = proxy.answers = LostAnswers(b"BEGIN ISOLATION", 0.0, SEED)
        through = url.replace(str(postgres_server.port), str(proxy.port))
        one = instance(database={"primary": {"type": "postgres", "url": through}, "breaker": {"timeout_s": 1}})
        assert one.request("PUT", "/v1/documents/warm/up", json={}, headers={"Prefer": "wait=20"}).status == 201
        keep_log(url)
        before = begun.requests
        with Tills(one.url, 4, seed=SEED, rate=100) as tills:
            for number in range(flaps):
                (proxy.swallow if number % 2 else proxy.refuse)()
                time.sleep(period_s / 2)
                proxy.mend()
                time.sleep(period_s / 2)
        one.wait_until_drained(60)
        sent = begun.requests - before
        found = audit(one, tills, documents=documents(url, "tills"))
        assert one.get("/v1/queue")["dead"] == 0
        one.terminate()
    arrived = len({some.batch for some in applied(url)})
    print(
        f"{flaps} times: {len(tills.history)} writes in {arrived} batches, {sent / arrived:.2f} attempts each; {found}"
    )
    assert not found, f"seed {SEED}: {found}"
    assert sent / arrived <= ATTEMPTS
