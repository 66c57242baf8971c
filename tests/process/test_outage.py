"""An outage as an operator sees it: upstream is paused, the venue goes on, and all arrives in order afterwards."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.instance import Instance
from tests.fakes.clients import Clients, expected_counters, upstream_counters

DOCUMENTS = 20
WRITES = 200


def held_upstream(file: Path) -> dict[str, Any]:
    """Path -> data of every document."""
    db = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)
    try:
        return {path: json.loads(data) for path, data in db.execute("SELECT path, data FROM deora_documents")}
    finally:
        db.close()


def entries(one: Instance, query: str) -> list[Any]:
    """All entries that a query finds, page after page."""
    found: list[Any] = []
    cursor = ""
    while True:
        page = one.get(f"/v1/queue/entries?limit=33{query}{cursor}")
        found += page["entries"]
        if page["cursor"] is None:
            return found
        cursor = f"&cursor={page['cursor']}"


def test_two_hundred_writes_wait_and_then_arrive_in_order(instance: Callable[..., Instance]) -> None:
    one = instance()
    one.request("PUT", "/v1/documents/orders/o0", json={}, headers={"Prefer": "wait=10"})
    assert one.post("/v1/queue:pause")["paused"] is True
    for number in range(WRITES):
        changes = {"log": {"$arrayUnion": [number]}, "count": {"$increment": 1}}
        path = f"/v1/documents/orders/o{number % DOCUMENTS}?upsert=true"
        answer = one.request("PATCH", path, json=changes, headers={"X-Deora-Priority": str(number % 10)})
        assert (answer.status, answer.json["replication"]) == (200, "pending")

    queue = one.get("/v1/queue")
    assert (queue["pending"], queue["inflight"], queue["dead"], queue["paused"]) == (WRITES, 0, 0, True)
    assert sum(queue["by_priority"].values()) == WRITES
    assert one.status()["upstreams"][0]["state"] == "paused"
    waiting = entries(one, "")
    assert [entry["state"] for entry in waiting] == ["pending"] * WRITES
    assert [entry["id"] for entry in waiting] == sorted(entry["id"] for entry in waiting)
    of_one = entries(one, "&path=orders/o7&state=pending&upstream=primary")
    logged = [entry["writes"][0]["update"]["data"]["log"]["$arrayUnion"] for entry in of_one]
    assert logged == [[number] for number in range(7, WRITES, DOCUMENTS)]
    assert entries(one, "&state=dead") == entries(one, "&state=inflight") == []
    assert one.request("GET", "/v1/documents/orders/o7").json["pending"] is True
    assert held_upstream(one.data / "upstream.db") == {"orders/o0": {}}

    assert one.post("/v1/queue:resume")["paused"] is False
    one.wait_until_drained(20)
    assert held_upstream(one.data / "upstream.db") == {
        f"orders/o{first}": {"count": WRITES // DOCUMENTS, "log": list(range(first, WRITES, DOCUMENTS))}
        for first in range(DOCUMENTS)
    }
    assert entries(one, "") == []
    deadline_s = time.monotonic() + 5
    while one.request("GET", "/v1/documents/orders/o7").json["pending"]:
        assert time.monotonic() < deadline_s, "a document stays pending though all has arrived"
        time.sleep(0.02)
    assert one.get("/v1/queue/entries/5")["state"] == "done"


@pytest.mark.parametrize("address", ["/v1/queue:{}", "/admin/upstreams/primary:{}"])
def test_pausing_and_resuming_under_load_loses_nothing(instance: Callable[..., Instance], address: str) -> None:
    one = instance()
    with Clients(one.url, 8) as clients:
        for _ in range(5):
            one.post(address.format("pause"))
            before = clients.acknowledged
            deadline_s = time.monotonic() + 10
            while clients.acknowledged < before + 20:
                assert time.monotonic() < deadline_s
                time.sleep(0.01)
            one.post(address.format("resume"))
    one.wait_until_drained(30)
    assert clients.failed == clients.stale == []
    assert upstream_counters(one.data / "upstream.db") == expected_counters(clients)


def test_a_pause_outlives_every_process(instance: Callable[..., Instance]) -> None:
    one = instance()
    one.post("/v1/queue:pause")
    one.request("PUT", "/v1/documents/a/b", json={"n": 1})
    one.terminate()
    again = instance(on=one)
    assert again.get("/v1/queue")["paused"] is True
    assert again.request("GET", "/v1/documents/a/b").json["data"] == {"n": 1}
    again.post("/v1/queue:resume")
    again.wait_until_drained(10)
    assert held_upstream(again.data / "upstream.db") == {"a/b": {"n": 1}}
