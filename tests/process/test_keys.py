"""Idempotency keys across the death of whoever was to remember them."""

from __future__ import annotations

import http.client
import os
import signal
import threading
import time
from collections.abc import Callable

import pytest

from bench.instance import Answer, Instance

PATH = "/v1/documents/counters/n?upsert=true"
INCREMENT = {"n": {"$increment": 1}}


def pid_of(one: Instance, name: str) -> int | None:
    rows = {
        row.get("slot") or row["name"]: row["pid"] for part in ("workers", "processes") for row in one.status()[part]
    }
    pid: int | None = rows[name]
    return pid


def until_answered(one: Instance, key: str) -> Answer:
    """An increment, sent again with the same key until it is acknowledged."""
    deadline_s = time.monotonic() + 20
    while True:
        assert time.monotonic() < deadline_s
        try:
            answer = one.request("PATCH", PATH, json=INCREMENT, headers={"Idempotency-Key": key}, timeout_s=5)
        except (OSError, http.client.HTTPException):
            continue
        if answer.status == 200:
            return answer
        assert answer.status >= 500, answer.text


@pytest.mark.parametrize("name", ["store", "primary"])
def test_a_key_counts_once_whoever_is_killed(instance: Callable[..., Instance], name: str) -> None:
    one = instance()
    rounds, clients = 6, 8
    firsts: dict[str, Answer] = {}

    def client(number: int) -> None:
        key = f"{number}"
        firsts[key] = until_answered(one, key)
        assert until_answered(one, key).json == firsts[key].json

    for turn in range(rounds):
        threads = [threading.Thread(target=client, args=(turn * clients + number,)) for number in range(clients)]
        for thread in threads:
            thread.start()
        pid = pid_of(one, name)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        for thread in threads:
            thread.join(30)
    assert len(firsts) == rounds * clients
    assert one.request("GET", "/v1/documents/counters/n").json["data"] == {"n": rounds * clients}
    assert len({answer.json["commit"] for answer in firsts.values()}) == rounds * clients


def test_a_key_is_known_to_the_next_instance(instance: Callable[..., Instance]) -> None:
    one = instance()
    first = until_answered(one, "a key")
    for process in one.tree():
        process.kill()
    one.wait_for_end()
    again = instance(on=one)
    assert until_answered(again, "a key").json == first.json
    assert again.request("GET", "/v1/documents/counters/n").json["data"] == {"n": 1}
    other = again.request("PATCH", PATH, json={"n": {"$increment": 2}}, headers={"Idempotency-Key": "a key"})
    assert other.status == 422


def test_at_one_moment_a_key_counts_once(instance: Callable[..., Instance]) -> None:
    one = instance()
    answers: list[Answer] = []
    threads = [threading.Thread(target=lambda: answers.append(until_answered(one, "same"))) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(answers) == 20
    assert len({answer.content for answer in answers}) == 1
    assert one.request("GET", "/v1/documents/counters/n").json["data"] == {"n": 1}
