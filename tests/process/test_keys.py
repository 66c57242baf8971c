"""Idempotency keys across the death of whoever was to remember them."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from bench.instance import Answer, Instance

PATH = "/v1/documents/counters/n?upsert=true"
INCREMENT = {"n": {"$increment": 1}}


def kill(one: Instance, name: str) -> None:
    """Kills a child, unless it is on its way back from an earlier death."""
    rows = [row for part in ("workers", "processes") for row in one.status()[part]]
    [pid] = [row["pid"] for row in rows if (row.get("slot") or row["name"]) == name]
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def increment(one: Instance, key: str | None) -> Answer:
    """An increment, under a key or without one, which must be acknowledged."""
    headers = {"Idempotency-Key": key} if key is not None else {}
    answer = one.request("PATCH", PATH, json=INCREMENT, headers=headers, timeout_s=15)
    assert answer.status == 200, answer.text
    return answer


@pytest.mark.parametrize("name", ["store", "primary"])
def test_a_key_counts_once_whoever_is_killed(instance: Callable[..., Instance], name: str) -> None:
    one = instance()
    rounds, clients = 6, 8
    firsts: dict[str, Answer] = {}

    def client(number: int) -> None:
        key = f"{number}"
        first = increment(one, key)
        # Again, as a client does that has lost the answer.
        if increment(one, key).json == first.json:
            firsts[key] = first

    for turn in range(rounds):
        threads = [threading.Thread(target=client, args=(turn * clients + number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        kill(one, name)
        for thread in threads:
            thread.join(30)
    assert len(firsts) == rounds * clients
    assert one.request("GET", "/v1/documents/counters/n").json["data"] == {"n": rounds * clients}
    assert len({answer.json["commit"] for answer in firsts.values()}) == rounds * clients


def test_without_a_key_a_request_counts_once_as_well(instance: Callable[..., Instance]) -> None:
    one = instance()
    acknowledged: list[Answer] = []
    ended = threading.Event()

    def client() -> None:
        while not ended.is_set():
            acknowledged.append(increment(one, None))

    threads = [threading.Thread(target=client) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(6):
        kill(one, "store")
        before = len(acknowledged)
        deadline_s = time.monotonic() + 10
        while len(acknowledged) < before + 20:
            assert time.monotonic() < deadline_s
            time.sleep(0.005)
    ended.set()
    for thread in threads:
        thread.join(30)
    assert one.request("GET", "/v1/documents/counters/n").json["data"] == {"n": len(acknowledged)}
    assert len({answer.json["commit"] for answer in acknowledged}) == len(acknowledged)


def test_a_key_is_known_to_the_next_instance(instance: Callable[..., Instance]) -> None:
    one = instance()
    first = increment(one, "a key")
    for process in one.tree():
        process.kill()
    one.wait_for_end()
    again = instance(on=one)
    assert increment(again, "a key").json == first.json
    assert again.request("GET", "/v1/documents/counters/n").json["data"] == {"n": 1}
    other = again.request("PATCH", PATH, json={"n": {"$increment": 2}}, headers={"Idempotency-Key": "a key"})
    assert other.status == 422


def test_at_one_moment_a_key_counts_once(instance: Callable[..., Instance]) -> None:
    one = instance()
    answers: list[Answer] = []
    threads = [threading.Thread(target=lambda: answers.append(increment(one, "same"))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(answers) == 20
    assert len({answer.content for answer in answers}) == 1
    assert one.request("GET", "/v1/documents/counters/n").json["data"] == {"n": 1}
