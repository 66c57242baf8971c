"""Reading on a real instance: what another program does to the upstream's file is seen, and an outage hides nothing."""

from __future__ import annotations

import http.client
import os
import sqlite3
import stat
import time
from collections.abc import Callable
from contextlib import closing
from json import loads
from pathlib import Path
from typing import Any

import pytest

from bench.instance import Answer, Instance
from deora.upstream.sqlite_file import SqliteFile

INSERT = "INSERT OR REPLACE INTO deora_documents VALUES (?, ?, ?, ?, 0, '')"


def execute(one: Instance, sql: str, *parameters: Any, file: str = "upstream.db") -> list[Any]:
    """One statement of another program that has the upstream's file open."""
    made = SqliteFile(one.data / file, 10.0)
    made.open()  # whoever is first makes the tables
    made.close()
    with closing(sqlite3.connect(one.data / file, timeout=10)) as db, db:
        return db.execute(sql, parameters).fetchall()


def put(one: Instance, path: str, data: str) -> None:
    """Another program writes a document."""
    collection, _, name = path.rpartition("/")
    execute(one, INSERT, path, collection, name, data)


def get(one: Instance, path: str) -> Answer:
    """A GET of a document."""
    return one.request("GET", f"/v1/documents/{path}")


def until(holds: Callable[[], bool], within_s: float = 15.0) -> None:
    """Waits until something holds."""
    deadline_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline_s, "not within the time"
        time.sleep(0.05)


def take_upstream_away(one: Instance) -> Path:
    """The disk with the upstream's file is gone, and something else is in its place. Returns where the file is now."""
    away = one.data / "away"
    away.mkdir()
    for file in one.data.glob("upstream.db*"):
        file.rename(away / file.name)
    (one.data / "upstream.db").mkdir()
    return away


def bring_upstream_back(one: Instance, away: Path) -> None:
    """It is there again."""
    (one.data / "upstream.db").rmdir()
    for file in away.iterdir():
        file.rename(one.data / file.name)


def breaker(one: Instance) -> str:
    """The primary's breaker."""
    return str(one.status()["upstreams"][0]["breaker"])


OUTAGE = {"database": {"breaker": {"threshold": 2, "timeout_s": 0.5}, "health_check_interval_s": 0.2}}


def test_a_document_that_only_upstream_holds_is_found(instance: Callable[..., Instance]) -> None:
    one = instance()
    assert get(one, "menu/espresso").status == 404
    put(one, "menu/espresso", '{"price": 2, "name": "Espresso"}')
    first = get(one, "menu/espresso")
    assert (first.status, first.json["data"]) == (200, {"price": 2, "name": "Espresso"})
    assert first.headers["X-Deora-Source"] == "upstream"
    assert first.json["pending"] is False
    tag = {"If-None-Match": first.headers["ETag"]}
    assert one.request("GET", "/v1/documents/menu/espresso", headers=tag).status == 304
    folder = one.data / "cache"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    until(lambda: get(one, "menu/espresso").status == 200 and one.status()["cache"]["memory"]["hits"] > 0)
    assert set(one.status()["cache"]) == {"memory", "disk"}
    metrics = one.request("GET", "/metrics").text
    assert 'deora_cache_hits_total{tier="disk"}' in metrics
    batch = one.request("POST", "/v1/documents:batchGet", json={"paths": ["menu/espresso", "menu/none"]}).json
    assert [each["path"] for each in batch["documents"]] == ["menu/espresso"]
    assert batch["missing"] == ["menu/none"]


def test_an_update_and_a_guard_read_through_first(instance: Callable[..., Instance]) -> None:
    one = instance()
    put(one, "stock/milk", '{"n": 10, "unit": "l"}')
    tag = get(one, "stock/milk").headers["ETag"]
    answer = one.request("PATCH", "/v1/documents/stock/milk", json={"n": {"$increment": -1}}, headers={"If-Match": tag})
    assert answer.status == 200
    assert get(one, "stock/milk").json["data"] == {"n": 9, "unit": "l"}
    assert one.request("PATCH", "/v1/documents/stock/none", json={"n": 1}).status == 404
    put(one, "stock/tea", '{"n": 1}')
    stale = one.request("PUT", "/v1/documents/stock/tea", json={}, headers={"If-Match": '"~wrong"'})
    assert (stale.status, stale.json["version"][0]) == (412, "~")
    put(one, "stock/a", "{}")
    put(one, "stock/b", "{}")
    writes = [{"update": {"path": f"stock/{name}", "data": {"n": 1}}} for name in ("a", "b")]
    assert one.request("POST", "/v1/documents:commit", json={"writes": writes}).status == 200
    one.wait_until_drained(10)
    rows = execute(one, "SELECT path, data FROM deora_documents WHERE path IN ('stock/milk', 'stock/a') ORDER BY path")
    assert rows == [("stock/a", '{"n":1}'), ("stock/milk", '{"n":9,"unit":"l"}')]


def test_with_upstream_out_copies_are_shown_with_their_age_and_the_rest_says_when_to_come_again(
    instance: Callable[..., Instance],
) -> None:
    one = instance(database=OUTAGE["database"] | {"sync_interval_s": 1})
    one.request("PUT", "/v1/documents/ours/1", json={"n": 1}, headers={"Prefer": "wait=10"})
    put(one, "menu/1", '{"n": 1}')
    put(one, "menu/2", '{"n": 2}')
    assert get(one, "menu/1").status == 200
    away = take_upstream_away(one)
    until(lambda: breaker(one) == "OPEN")
    until(lambda: int(get(one, "menu/1").headers.get("Age", 0)) >= 2)
    copy = get(one, "menu/1")
    assert (copy.status, copy.json["data"], copy.headers["X-Deora-Source"]) == (200, {"n": 1}, "cache")
    until(lambda: get(one, "ours/1").headers.get("X-Deora-Source") == "store")
    assert int(get(one, "ours/1").headers["Age"]) >= 1

    unknown = get(one, "menu/2")
    assert unknown.status == 503
    assert int(unknown.headers["Retry-After"]) >= 1
    assert {"type", "title", "status", "detail", "hint", "error", "message", "retryAfter"} <= set(unknown.json)
    refused = one.request("PATCH", "/v1/documents/menu/2", json={"n": 3})
    assert refused.status == 503
    assert "upsert=true" in refused.json["hint"]
    assert one.request("PATCH", "/v1/documents/menu/2?upsert=true", json={"m": 3}).status == 200
    assert one.request("PUT", "/v1/documents/menu/3", json={}).status == 201
    assert one.request("POST", "/v1/documents/menu?id=4", json={}).status == 201
    assert one.request("DELETE", "/v1/documents/menu/1").status == 200
    assert get(one, "menu/1").status == 404
    assert one.get("/health")["status"] == "degraded"

    bring_upstream_back(one, away)
    one.wait_until_drained(20)
    assert loads(execute(one, "SELECT data FROM deora_documents WHERE path = 'menu/2'")[0][0]) == {"m": 3, "n": 2}
    until(lambda: get(one, "menu/2").json["data"] == {"m": 3, "n": 2})
    until(lambda: "Age" not in get(one, "ours/1").headers)


def test_a_thousand_cached_documents_are_served_while_upstream_is_out(instance: Callable[..., Instance]) -> None:
    one = instance(database=OUTAGE["database"] | {"sync_interval_s": 0.1}, cache={"memory": {"max_size": 0}})
    put(one, "other/1", "{}")
    with closing(sqlite3.connect(one.data / "upstream.db", timeout=10)) as db, db:
        rows = [(f"menu/{number}", "menu", str(number), f'{{"n": {number}}}') for number in range(1000)]
        db.executemany(INSERT, rows)
    connection = http.client.HTTPConnection("127.0.0.1", int(one.url.rpartition(":")[2]), timeout=20)

    def read_all() -> list[tuple[int, str | None, int]]:
        found = []
        for number in range(1000):
            connection.request("GET", f"/v1/documents/menu/{number}")
            response = connection.getresponse()
            data = loads(response.read()).get("data", {})
            found.append((response.status, response.headers["X-Deora-Source"], data.get("n")))
        return found

    assert read_all() == [(200, "upstream", number) for number in range(1000)]
    take_upstream_away(one)
    until(lambda: breaker(one) == "OPEN")
    assert read_all() == [(200, "cache", number) for number in range(1000)]
    # A worker's end takes its memory, not the copies.
    workers = [each["pid"] for each in one.status()["workers"]]
    for pid in workers:
        os.kill(pid, 9)
    until(lambda: {each["state"] for each in one.status()["workers"]} == {"up"} and not set(workers) & pids(one))
    assert read_all() == [(200, "cache", number) for number in range(1000)]
    connection.close()


def pids(one: Instance) -> set[int]:
    """The workers that run now."""
    return {each["pid"] for each in one.status()["workers"]}


def test_what_this_box_wrote_follows_upstream_when_it_is_read(instance: Callable[..., Instance]) -> None:
    one = instance(database={"sync_interval_s": 0.3})
    one.request("PUT", "/v1/documents/orders/1", json={"n": 1}, headers={"Prefer": "wait=10"})
    put(one, "orders/1", '{"n": 2}')
    until(lambda: get(one, "orders/1").json["data"] == {"n": 2})
    execute(one, "DELETE FROM deora_documents")
    until(lambda: get(one, "orders/1").status == 404)


@pytest.mark.parametrize("upstream", ["second.db", "upstream.db"])
def test_a_replicated_collection_follows_upstream(instance: Callable[..., Instance], upstream: str) -> None:
    database = {"sync_interval_s": 0.1, "replicate": ["menu"], "primary": {"type": "sqlite", "file": "upstream.db"}}
    if upstream == "second.db":
        database["secondary"] = {"type": "sqlite", "file": "second.db"}
    one = instance(database=database)
    for number in range(250):
        put(one, f"menu/{number}", f'{{"n": {number}}}')

    def listed() -> dict[str, Any]:
        found: dict[str, Any] = {}
        cursor = ""
        while True:
            page = one.get(f"/v1/documents/menu?limit=1000{cursor}")
            found.update({each["path"]: each["data"]["n"] for each in page["documents"]})
            if page["cursor"] is None:
                return found
            cursor = f"&cursor={page['cursor']}"

    until(lambda: listed() == {f"menu/{number}": number for number in range(250)})
    put(one, "menu/7", '{"n": 70}')
    execute(one, "DELETE FROM deora_documents WHERE path = 'menu/8'")
    until(lambda: get(one, "menu/7").json["data"] == {"n": 70})
    until(lambda: get(one, "menu/8").status == 404)
    assert "Age" not in get(one, "menu/9").headers

    assert one.post("/v1/queue:pause")["paused"] is True
    one.request("PATCH", "/v1/documents/menu/9", json={"n": {"$increment": 1}})
    put(one, "menu/9", '{"n": 100}')
    until(lambda: get(one, "menu/9").json["data"] == {"n": 101})
    one.post("/v1/queue:resume")
    one.wait_until_drained(10)
    until(lambda: get(one, "menu/9").json == get(one, "menu/9").json | {"data": {"n": 101}, "pending": False})
    assert execute(one, "SELECT data FROM deora_documents WHERE path = 'menu/9'") == [('{"n":101}',)]


def test_counters_are_never_off_while_pulls_and_writes_meet(instance: Callable[..., Instance]) -> None:
    """A thousand increments at full speed in a collection that is pulled all the time: each read shows each once."""
    one = instance(database={"sync_interval_s": 0.1, "replicate": ["counters"]})
    written = one.request("PUT", "/v1/documents/counters/a", json={"n": 0}, headers={"Prefer": "wait=10"})
    assert written.json["replication"] == "done"
    connection = http.client.HTTPConnection("127.0.0.1", int(one.url.rpartition(":")[2]), timeout=20)
    for number in range(1, 1001):
        headers = {"Content-Type": "application/json"}
        connection.request("PATCH", "/v1/documents/counters/a", '{"n": {"$increment": 1}}', headers)
        assert connection.getresponse().read()
        connection.request("GET", "/v1/documents/counters/a")
        assert loads(connection.getresponse().read())["data"] == {"n": number}
    connection.close()
    one.wait_until_drained(20)
    assert execute(one, "SELECT data FROM deora_documents") == [('{"n":1000}',)]
    time.sleep(0.3)
    assert get(one, "counters/a").json["data"] == {"n": 1000}


def test_with_the_primary_out_reads_fall_back_to_the_secondary(instance: Callable[..., Instance]) -> None:
    upstreams = {"secondary": {"type": "sqlite", "file": "second.db"}}
    one = instance(database=OUTAGE["database"] | upstreams)
    execute(one, INSERT, "menu/1", "menu", "1", '{"n": 1}', file="second.db")
    assert get(one, "menu/1").status == 404
    take_upstream_away(one)
    until(lambda: breaker(one) == "OPEN")
    found = get(one, "menu/1")
    assert (found.status, found.headers["X-Deora-Source"]) == (200, "upstream")
    assert one.request("PATCH", "/v1/documents/menu/1", json={"m": 2}).status == 200
    assert get(one, "menu/1").json["data"] == {"n": 1, "m": 2}
