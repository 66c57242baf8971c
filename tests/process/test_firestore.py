"""A whole instance whose primary upstream is Firestore: its outage, and what it refuses."""

from __future__ import annotations

import http.client
import json
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from bench.instance import Instance
from tests.fakes.firestore import FakeFirestore
from tests.fakes.firestore_data import ApiFault
from tests.fakes.firestore_view import FirestoreView

COUNTERS = 20
PATIENT = {"breaker": {"threshold": 5, "timeout_s": 0.2}, "retry": {"attempts": 3, "base_s": 0.01}}


def database(host: str, project: str, **settings: Any) -> dict[str, Any]:
    """database.json with a short patience."""
    return {**PATIENT, **settings, "primary": {"type": "firestore", "project": project, "emulator_host": host}}


def send(connection: http.client.HTTPConnection, method: str, path: str, data: Any) -> None:
    """One write that must be acknowledged."""
    body = json.dumps(data)
    connection.request(method, f"/v1/documents/{path}", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    content = response.read()
    assert response.status in (200, 201), content


def write_and_count(one: Instance, writes: int) -> None:
    """Half of the writes are increments of a few counters, half are documents of their own."""
    address = urlsplit(one.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)
    for number in range(writes // 2):
        send(connection, "PATCH", f"counters/c{number % COUNTERS}?upsert=true", {"n": {"$increment": 1}, "by": number})
        send(connection, "PUT", f"orders/o{number}", {"number": number, "total": number / 4})
    connection.close()


def expected(writes: int) -> dict[str, Any]:
    half = writes // 2
    orders = {f"orders/o{number}": {"number": number, "total": number / 4} for number in range(half)}
    times = Counter(number % COUNTERS for number in range(half))
    last = {number % COUNTERS: number for number in range(half)}
    return {**orders, **{f"counters/c{key}": {"n": times[key], "by": last[key]} for key in times}}


def held(view: FirestoreView) -> dict[str, Any]:
    return {path: json.loads(data) for path, data in view.documents().items()}


def test_an_outage_is_bridged(instance: Callable[..., Instance]) -> None:
    project = "deora-outage"
    with FakeFirestore() as fake:
        view = FirestoreView(fake.host, project)
        one = instance(database=database(fake.host, project))
        write_and_count(one, 100)
        one.wait_until_drained(30)
        assert held(view) == expected(100)
        fake.stop()
        answer = one.request("PATCH", "/v1/documents/counters/c0", json={"n": {"$increment": 10}})
        assert answer.json["replication"] == "pending"
        one.request("PUT", "/v1/documents/orders/o0", json={"number": 0, "paid": True})
        one.wait_until(lambda: one.status()["upstreams"][0]["state"] == "down")
        assert one.waiting() == 2
        assert one.request("GET", "/v1/documents/counters/c0").json["data"] == {"n": 13, "by": 40}
        assert one.request("GET", "/health").status == 200
        fake.start()
        one.wait_until_drained(30)
        after = expected(100)
        after["counters/c0"]["n"] += 10
        after["orders/o0"] = {"number": 0, "paid": True}
        assert held(view) == after
        [shown] = one.status()["upstreams"]
        assert (shown["type"], shown["state"], shown["pending"]) == ("firestore", "up", 0)


def test_what_firestore_would_refuse_is_refused_at_the_door(instance: Callable[..., Instance]) -> None:
    with FakeFirestore() as fake:
        one = instance(database=database(fake.host, "deora-door"))
        nested = one.request("PUT", "/v1/documents/a/b", json={"rows": [[1]]})
        assert (nested.status, nested.json["type"]) == (400, "urn:deora:problem:invalid-document")
        own = one.request("DELETE", "/v1/documents/_deora/x")
        assert (own.status, own.json["type"]) == (400, "urn:deora:problem:invalid-path")
        huge = one.request("PUT", "/v1/documents/a/b", json={"text": "x" * 1_048_500})
        assert huge.status == 413
        assert one.waiting() == 0


def test_a_write_that_upstream_refuses_is_a_dead_letter_and_delays_none(instance: Callable[..., Instance]) -> None:
    project = "deora-dead"
    with FakeFirestore() as fake:
        view = FirestoreView(fake.host, project)
        name = f"{view.root}/orders/o1"
        view.call("commit", {"writes": [{"update": {"name": name, "fields": {"n": {"integerValue": "1"}}}}]})
        one = instance(database=database(fake.host, project))
        one.post("/v1/queue:pause")
        for number in range(5):
            one.request("POST", f"/v1/documents/orders?id=o{number}", json={"n": number + 10})
        one.post("/v1/queue:resume")
        one.wait_until_drained(30)
        [dead] = one.get("/v1/queue/entries?state=dead")["entries"]
        assert dead["writes"][0]["create"]["path"] == "orders/o1"
        assert "exists already" in dead["error"]
        assert held(view) == {f"orders/o{number}": {"n": number + 10 if number != 1 else 1} for number in range(5)}


def test_a_transaction_that_is_too_big_is_halved_until_it_is_not(instance: Callable[..., Instance]) -> None:
    project = "deora-big"

    def refuse_big_ones(method: str, body: Any) -> None:
        if method == "commit" and len(body["writes"]) > 6:
            raise ApiFault("INVALID_ARGUMENT", "Transaction too big. Decrease transaction size.")

    with FakeFirestore() as fake:
        one = instance(database=database(fake.host, project))
        one.post("/v1/queue:pause")
        write_and_count(one, 40)
        fake.faults = refuse_big_ones
        one.post("/v1/queue:resume")
        one.wait_until_drained(60)
        assert one.get("/v1/queue")["dead"] == 0
        assert held(FirestoreView(fake.host, project)) == expected(40)
        assert any(len(body["writes"]) > 6 for method, body in fake.calls if method == "commit")


def test_credentials_that_are_missing_pause_and_keep_everything(instance: Callable[..., Instance]) -> None:
    one = instance(database={**PATIENT, "primary": {"type": "firestore", "project": "p", "credentials": "key.json"}})
    assert one.request("PUT", "/v1/documents/a/b", json={"n": 1}).json["replication"] == "pending"
    one.wait_until(lambda: one.status()["upstreams"][0]["state"] == "unauthorised")
    [shown] = one.status()["upstreams"]
    assert shown["last_error"] == "the key file key.json cannot be read: No such file or directory"
    assert one.waiting() == 1
    assert one.request("GET", "/v1/documents/a/b").json["data"] == {"n": 1}
