"""A whole instance with a real PostgreSQL: what clients were told is there, whatever the server goes through."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from typing import Any

from bench.instance import Instance
from tests.fakes.postgres import Server, documents, execute, fetch, new_database, running

DOCUMENTS = 20
WRITES = 200


def write(one: Instance, first: int, last: int) -> None:
    """Increments and lists, one of each for every number."""
    for number in range(first, last):
        changes = {"log": {"$arrayUnion": [number]}, "count": {"$increment": 1}}
        path = f"/v1/documents/orders/o{number % DOCUMENTS}?upsert=true"
        assert one.request("PATCH", path, json=changes).status == 200


def expected(writes: int) -> dict[str, Any]:
    return {
        f"orders/o{first}": {"count": writes // DOCUMENTS, "log": list(range(first, writes, DOCUMENTS))}
        for first in range(DOCUMENTS)
    }


def with_postgres(url: str, **database: Any) -> dict[str, Any]:
    return {"primary": {"type": "postgres", "url": url}, "breaker": {"timeout_s": 0.5}} | database


def test_two_hundred_writes_arrive_through_a_killed_server(instance: Callable[..., Instance]) -> None:
    with running() as server:
        one = instance(database=with_postgres(server.url()))
        write(one, 0, WRITES // 4)
        answer = one.request("PUT", "/v1/documents/bills/b1", json={"total": 3.0}, headers={"Prefer": "wait=10"})
        assert answer.json["replication"] == "done"
        connections = one.get("/api/health")["database"]
        assert connections["totalConnections"] == connections["idleConnections"] + connections["activeConnections"] >= 1
        write(one, WRITES // 4, WRITES // 2)
        server.stop()
        write(one, WRITES // 2, WRITES)
        one.wait_until(lambda: one.status()["upstreams"][0]["state"] == "down")
        assert "PostgreSQL at 127.0.0.1" in one.status()["upstreams"][0]["last_error"]
        server.start()
        one.wait_until_drained(30)
        assert documents(server.url()) == {**expected(WRITES), "bills/b1": {"total": 3.0}}
        assert one.get("/v1/queue")["dead"] == 0
        assert one.status()["upstreams"][0]["type"] == "postgres"


def test_every_process_killed_counts_exactly(instance: Callable[..., Instance], postgres_server: Server) -> None:
    url = asyncio.run(new_database(postgres_server))
    one = instance(database=with_postgres(url))
    for round_ in range(4):
        write(one, round_ * WRITES // 4, (round_ + 1) * WRITES // 4)
        pid = next(process["pid"] for process in one.status()["processes"] if process["name"] == "replayer")
        os.kill(pid, signal.SIGKILL)
        one.wait_until_whole()
    one.wait_until_drained(30)
    assert documents(url) == expected(WRITES)


def test_a_row_that_is_refused_is_dead_with_postgresqls_words(
    instance: Callable[..., Instance], postgres_server: Server
) -> None:
    url = asyncio.run(new_database(postgres_server))
    total = "total numeric(10,2) CONSTRAINT positive CHECK (total >= 0)"
    asyncio.run(execute(url, f"CREATE TABLE bills (id text PRIMARY KEY, {total})"))
    primary = {"type": "postgres", "url": url, "tables": {"bills": {"table": "bills"}}}
    one = instance(database=with_postgres(url, primary=primary))
    one.post("/v1/queue:pause")
    for number in range(40):
        bill = {"total": -1 if number == 17 else number + 0.25}
        assert one.request("PUT", f"/v1/documents/bills/b{number}", json=bill).status == 201
    one.post("/v1/queue:resume")
    one.wait_until_drained(30)
    (dead,) = one.get("/v1/queue/entries?state=dead")["entries"]
    assert dead["writes"][0]["set"]["path"] == "bills/b17"
    assert 'violates check constraint "positive"' in dead["error"]
    rows = asyncio.run(fetch(url, "SELECT count(*), sum(total) FROM bills"))
    assert [tuple(map(float, row)) for row in rows] == [(39, sum(n + 0.25 for n in range(40) if n != 17))]
