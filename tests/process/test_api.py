"""The API's promises on a real instance: keys, waits, priorities, the queue as operators see it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from bench.instance import Instance


def upstream(one: Instance, sql: str) -> list[Any]:
    db = sqlite3.connect(f"{(one.data / 'upstream.db').as_uri()}?mode=ro", uri=True)
    try:
        return db.execute(sql).fetchall()
    finally:
        db.close()


def test_a_key_gives_the_first_answer_and_refuses_another_body(instance: Callable[..., Instance]) -> None:
    one = instance()
    key = {"Idempotency-Key": "order-17"}
    first = one.request("PATCH", "/v1/documents/c/n?upsert=true", json={"n": {"$increment": 1}}, headers=key)
    again = one.request("PATCH", "/v1/documents/c/n?upsert=true", json={"n": {"$increment": 1}}, headers=key)
    other = one.request("PATCH", "/v1/documents/c/n?upsert=true", json={"n": {"$increment": 2}}, headers=key)
    assert (first.status, again.status, other.status) == (200, 200, 422)
    assert first.json["commit"] == again.json["commit"]
    assert one.request("GET", "/v1/documents/c/n").json["data"] == {"n": 1}
    created = [one.request("POST", "/v1/documents/c", json={}, headers=key).json["path"] for _ in range(2)]
    assert created[0] == created[1], "a repeated create made a second document"


def test_waiting_for_upstream(instance: Callable[..., Instance]) -> None:
    one = instance()
    done = one.request("PUT", "/v1/documents/a/b", json={"n": 1}, headers={"Prefer": "wait=10"})
    assert (done.status, done.json["replication"]) == (201, "done")
    assert upstream(one, "SELECT path, data FROM deora_documents") == [("a/b", '{"n":1}')]
    one.post("/admin/upstreams/primary:pause")
    late = one.request("PUT", "/v1/documents/a/b", json={"n": 2}, headers={"Prefer": "wait=1"})
    assert (late.status, late.json["replication"]) == (202, "pending")
    assert one.request("GET", "/v1/documents/a/b").json["pending"] is True


def test_versions_and_preconditions(instance: Callable[..., Instance]) -> None:
    one = instance()
    first = one.request("PUT", "/v1/documents/a/b", json={"n": 1}, headers={"If-None-Match": "*"})
    assert first.status == 201
    assert one.request("PUT", "/v1/documents/a/b", json={"n": 2}, headers={"If-None-Match": "*"}).status == 412
    tag = first.headers["ETag"]
    assert one.request("GET", "/v1/documents/a/b", headers={"If-None-Match": tag}).status == 304
    assert one.request("PUT", "/v1/documents/a/b", json={"n": 2}, headers={"If-Match": tag}).status == 200
    stale = one.request("PUT", "/v1/documents/a/b", json={"n": 3}, headers={"If-Match": tag})
    assert stale.status == 412
    assert f'"{stale.json["version"]}"' == one.request("GET", "/v1/documents/a/b").headers["ETag"]
    same = one.request("PUT", "/v1/documents/a/b", json={"n": 2})
    assert same.json["version"] == stale.json["version"], "the version changed without the data"
    shown = one.request(
        "PATCH", "/v1/documents/a/b", json={"n": {"$max": 7}}, headers={"Prefer": "return=representation"}
    )
    assert shown.json["document"]["data"] == {"n": 7}


def test_urgent_entries_go_first_and_each_document_in_order(instance: Callable[..., Instance]) -> None:
    one = instance(database={"batch": {"max_writes": 5}}, queue={"priorities": {"payments": 9}})
    one.post("/v1/queue:pause")
    for number in range(40):
        one.request("PUT", f"/v1/documents/orders/o{number}", json={"n": number})
    for number in range(3):
        one.request("PUT", f"/v1/documents/payments/p{number}", json={})
    for number in range(3):
        one.request("PATCH", "/v1/documents/orders/o39", json={f"step{number}": {"$serverTimestamp": True}})
    queue = one.get("/v1/queue")
    assert (queue["pending"], queue["by_priority"]) == (46, {"9": 3, "5": 43})
    page = one.get("/v1/queue/entries?path=orders/o39")["entries"]
    assert [next(iter(entry["writes"][0])) for entry in page] == ["set", "update", "update", "update"]
    one.post("/v1/queue:resume")
    one.wait_until_drained(20)
    versions = dict(upstream(one, "SELECT path, version FROM deora_documents"))
    assert max(versions[f"payments/p{number}"] for number in range(3)) < versions["orders/o20"]
    assert upstream(one, "SELECT data FROM deora_documents WHERE path = 'orders/o39'")[0][0].count("step") == 3


@pytest.mark.parametrize("force", [False, True])
def test_a_refused_entry_is_dead_until_somebody_decides(instance: Callable[..., Instance], *, force: bool) -> None:
    one = instance()
    one.request("PUT", "/v1/documents/warm/up", json={}, headers={"Prefer": "wait=10"})
    db = sqlite3.connect(one.data / "upstream.db", timeout=10)
    with db:
        db.execute("INSERT INTO deora_documents VALUES ('a/b', 'a', 'b', '{\"theirs\":1}', 99, '')")
    assert one.request("POST", "/v1/documents/a?id=b", json={"ours": 1}, headers={"Prefer": "wait=10"}).status == 202
    assert one.request("PUT", "/v1/documents/a/other", json={}, headers={"Prefer": "wait=10"}).status == 201
    [entry] = one.get("/v1/queue/entries?state=dead")["entries"]
    assert "exists" in entry["error"]
    assert one.status()["alerts"][0]["name"] == "dead-letters"
    if force:
        with db:
            db.execute("DELETE FROM deora_documents WHERE path = 'a/b'")
        assert one.request("POST", f"/v1/queue/entries/{entry['id']}:retry").json["state"] == "pending"
        one.wait_until_drained(10)
        assert upstream(one, "SELECT data FROM deora_documents WHERE path = 'a/b'") == [('{"ours":1}',)]
    else:
        assert one.request("GET", "/v1/documents/a/b").json["data"] == {"ours": 1}
        assert one.request("DELETE", f"/v1/queue/entries/{entry['id']}").status == 200
        # This box holds nothing of it any more, and shows what upstream holds.
        assert one.request("GET", "/v1/documents/a/b").json["data"] == {"theirs": 1}
    db.close()
    assert one.get("/v1/queue")["dead"] == 0


def test_every_page_of_health(instance: Callable[..., Instance]) -> None:
    one = instance()
    one.request("PUT", "/v1/documents/a/b", json={}, headers={"Prefer": "wait=10"})
    health = one.get("/health")
    assert health["status"] == "healthy"
    assert health["services"] == dict.fromkeys(["primary", "secondary", "store", "replayer", "sqlite"], True)
    assert one.get("/health/live")["status"] == "live"
    assert one.get("/health/ready")["status"] == "ready"
    assert {check["name"] for check in one.get("/health/detailed")["checks"]} >= {"primary", "store", "disk", "clock"}
    assert one.get("/api/health")["database"]["connected"] is True
    page = one.request("GET", "/metrics").text
    assert 'deora_requests_total{slot="' in page
    assert one.request("GET", "/health").headers["X-Deora-Server"] == "supervisor"


def test_what_upstream_applied_stays_when_a_dead_entry_is_dropped(instance: Callable[..., Instance]) -> None:
    one = instance()
    one.request("PUT", "/v1/documents/warm/up", json={}, headers={"Prefer": "wait=10"})
    db = sqlite3.connect(one.data / "upstream.db", timeout=10)
    with db:
        db.execute("INSERT INTO deora_documents VALUES ('a/b', 'a', 'b', '{\"theirs\":1}', 99, '')")
    db.close()
    key = {"Idempotency-Key": "k1", "Prefer": "wait=10"}
    assert one.request("POST", "/v1/documents/a?id=b", json={"ours": 1}, headers=key).status == 202
    changed = one.request("PATCH", "/v1/documents/a/b", json={"later": 2}, headers={"Prefer": "wait=10"})
    assert changed.json["replication"] == "done"
    [entry] = one.get("/v1/queue/entries?state=dead")["entries"]
    assert one.request("DELETE", f"/v1/queue/entries/{entry['id']}").status == 200
    assert one.request("GET", "/v1/documents/a/b").json["data"] == {"later": 2}
    again = one.request("POST", "/v1/documents/a?id=b", json={"ours": 1}, headers=key)
    assert (again.status, again.json["replication"]) == (202, "pending"), "upstream never had it"


def test_a_stop_answers_those_who_wait(instance: Callable[..., Instance]) -> None:
    one = instance()
    one.post("/v1/queue:pause")
    with ThreadPoolExecutor(1) as pool:
        wait = {"Prefer": "wait=25"}
        waiting = pool.submit(one.request, "PUT", "/v1/documents/a/b", json={"n": 1}, headers=wait)
        deadline_s = time.monotonic() + 10
        while one.get("/v1/queue")["pending"] == 0:
            assert time.monotonic() < deadline_s
        assert one.terminate() == 0
        answer = waiting.result(timeout=1)
    assert (answer.status, answer.json["replication"]) == (202, "pending")
    assert answer.headers["Connection"] == "close"
