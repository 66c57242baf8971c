"""Two that say they are one box: an old replayer that is still alive beside the new one, and a copied data directory
started beside the original. Nothing is applied twice, and the one that comes too late stops and says what to do.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.instance import Instance
from deora.clock import SystemClock
from deora.config.database import Pool, PostgresUpstream
from deora.replay.breaker import Breaker
from deora.replay.lane import Lane
from deora.replay.terms import LaneSettings, Status
from deora.upstream.base import Delivery, Moved, Outcome
from deora.upstream.postgres.client import PostgresUpstream as Client
from tests.fakes.checker import check, logs_of
from tests.fakes.lane import LaneBench
from tests.fakes.postgres import Server, documents, new_database
from tests.fakes.proxy import COMMIT, LostAnswers, Proxy
from tests.fakes.tills import Tills, audit, embedded_documents, queued_tokens

SEED = 22
QUICK: Mapping[str, Any] = {"breaker": {"threshold": 5, "timeout_s": 0.2}, "retry": {"base_s": 0.01}}


class Remembering(Client):
    """Keeps what it was given, so that a late copy of it can be sent."""

    sent: list[Delivery]

    async def apply(self, delivery: Delivery) -> Outcome:
        self.sent.append(delivery)
        return await super().apply(delivery)


# -- two replayers


def test_two_replayers_and_late_copies(tmp_path: Path, postgres_server: Server) -> None:
    """Two lanes of one store deliver to one PostgreSQL, answers get lost, and in the end each batch is sent again."""
    url = asyncio.run(new_database(postgres_server))
    bench = LaneBench(tmp_path, seed=SEED)
    bench.write_numbered(400, documents=20)
    shown: list[Status] = []

    async def scenario(port: int) -> list[Outcome]:
        settings = PostgresUpstream(type="postgres", url=url.replace(str(postgres_server.port), str(port)), pool=Pool())
        clients = [Remembering(settings) for _ in range(2)]
        for client in clients:
            client.sent = []
        lanes = [
            Lane(
                "primary",
                client,
                bench.store.calls,
                LaneSettings(max_writes=10),
                Breaker(5, 0.2),
                SystemClock(),
                sleep=lambda pause_s: asyncio.sleep(min(pause_s, 0.05)),
                random=random.Random(SEED).random,
                report=lambda _, status: shown.append(status),
            )
            for client in clients
        ]
        tasks = [asyncio.ensure_future(lane.run()) for lane in lanes]
        async with asyncio.timeout(60):
            while bench.store.waiting():
                await asyncio.sleep(0.01)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        late = [await clients[1].apply(delivery) for delivery in [*clients[0].sent, *clients[1].sent]]
        for client in clients:
            await client.close()
        return late

    with Proxy(postgres_server.port) as proxy:
        answers = proxy.answers = LostAnswers(COMMIT, 0.1, SEED)
        # A late copy commits nothing, so of its answers none is lost.
        late = asyncio.run(scenario(proxy.port))
    logs = logs_of({path: data | {"log": [str(n) for n in data["log"]]} for path, data in documents(url, "d").items()})
    found = check(bench.history, logs)
    print(f"{len(late)} late copies, {answers.losses} answers lost: {found}")
    assert not found, f"seed {SEED}: {found}"
    assert len(late) > 40
    assert {type(outcome) for outcome in late} == {Moved}
    assert bench.store.entries("dead") == []
    bench.store.close()


# -- a cloned box


class Upstream:
    """Where both boxes deliver: a PostgreSQL, or one SQLite file. `out` takes it away for a while."""

    def __init__(self, kind: str, proxy: Proxy, url: str, file: Path) -> None:
        self._proxy = proxy
        self._url = url
        self._file = file
        self.is_file = kind == "sqlite"
        through = url.replace(url.rpartition(":")[2].partition("/")[0], str(proxy.port))
        self.settings = {"type": "sqlite", "file": str(file)} if self.is_file else {"type": "postgres", "url": through}

    def held(self) -> dict[str, Any]:
        """What tills wrote of its documents."""
        found = embedded_documents(self._file) if self.is_file else documents(self._url)
        return {path: data for path, data in found.items() if path.startswith("tills/")}

    @contextmanager
    def out(self) -> Iterator[None]:
        """Nothing is applied within: its connections are swallowed, or its file is locked."""
        if self.is_file:
            with closing(sqlite3.connect(self._file, isolation_level=None)) as db:
                db.execute("BEGIN IMMEDIATE")
                yield
        else:
            self._proxy.swallow()
            yield
            self._proxy.mend()


def state(one: Instance) -> str:
    """The primary upstream's state."""
    return str(one.status()["upstreams"][0]["state"])


def copied_under_way(instance: Callable[..., Instance], upstream: Upstream, twin: Path) -> tuple[list[Instance], Tills]:
    """Two boxes of one data directory, copied in an outage with a batch under way; and the load of before."""
    one = instance(database={"primary": upstream.settings, **QUICK})
    assert one.request("PUT", "/v1/documents/warm/up", json={}, headers={"Prefer": "wait=20"}).status == 201
    with Tills(one.url, 2, seed=SEED, rate=100, prefix="before-") as before, upstream.out():
        one.wait_until(lambda: len(before.history) > 100 and one.get("/v1/queue")["inflight"] > 0)
        before.stop()
        # The pause is in the copy too, so that both begin at the same time.
        one.post("/v1/queue:pause")
        one.terminate()
    shutil.copytree(one.directory, twin)
    boxes = [instance(on=one), instance(on=twin)]
    for box in boxes:
        assert box.get("/v1/queue")["inflight"] > 0
        box.post("/v1/queue:resume")
    return boxes, before


@pytest.mark.parametrize("kind", ["postgres", pytest.param("sqlite", marks=pytest.mark.torture)])
def test_a_copied_data_directory(
    instance: Callable[..., Instance], postgres_server: Server, tmp_path: Path, kind: str
) -> None:
    """Both know the batch that was under way, and it is applied once; then one goes on, and the other one stops."""
    url = asyncio.run(new_database(postgres_server))
    with Proxy(postgres_server.port) as proxy:
        upstream = Upstream(kind, proxy, url, tmp_path / "shared.db")
        boxes, before = copied_under_way(instance, upstream, tmp_path / "twin")
        loads = [Tills(box.url, 2, seed=SEED, rate=50, prefix=f"{place}-") for place, box in enumerate(boxes)]
        with loads[0], loads[1]:
            boxes[0].wait_until(lambda: "stopped" in map(state, boxes), 60)
            boxes[0].wait_until(lambda: all(len(load.history) > 30 for load in loads), 60)
        lost = [state(box) for box in boxes].index("stopped")
        loser, winner = boxes[lost], boxes[1 - lost]
        winner.wait_until_drained(60)
        assert state(winner) == "up"
        found = audit(winner, before, loads[1 - lost], documents=upstream.held())
        assert not found, f"seed {SEED}: {found}"
        # Nothing of what the loser accepted was sent: all of it is in its queue.
        kept = {token for tokens in queued_tokens(loser).values() for token in tokens}
        assert {sent.token for sent in loads[lost].history} <= kept
        assert [box.get("/v1/queue")["dead"] for box in boxes] == [0, 0]
        said = loser.status()["upstreams"][0]["last_error"]
        for box in boxes:
            box.terminate()
    print(f"{kind}: {len(kept)} writes wait on the one that says: {said}")
    assert "moved by another box" in said
    assert "Nothing is sent until one of the two is stopped" in said
