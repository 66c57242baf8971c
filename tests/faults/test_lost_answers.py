"""30 % of upstream's answers are lost after it has applied (F18): nothing lost, nothing doubled, counters exact.

Each write of a till is an update with an increment and a list's element, so a write that came twice shows in both.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from bench.instance import Instance
from deora.replay.terms import LaneSettings
from tests.fakes.firestore_view import FirestoreView
from tests.fakes.lane import LaneBench
from tests.fakes.loop import run
from tests.fakes.postgres import Server, documents, new_database
from tests.fakes.proxy import COMMIT, HTTP_COMMIT, LostAnswers, Proxy
from tests.fakes.tills import Tills, audit
from tests.fakes.upstream import Fault

SHARE = 0.3
SEED = 18
BATCH = 10
PATIENT = {
    "breaker": {"threshold": 5, "timeout_s": 0.2},
    "retry": {"attempts": 3, "base_s": 0.01},
    "batch": {"max_writes": BATCH},
}
LENGTHS = [500, pytest.param(10_000, marks=pytest.mark.torture)]


def write(one: Instance, count: int) -> Tills:
    """Lets tills write, each document many times, until so many writes are acknowledged."""
    with Tills(one.url, 4, seed=SEED, documents=20) as tills:
        one.wait_until(lambda: len(tills.history) >= count, timeout_s=300)
    one.wait_until_drained(600)
    assert one.get("/v1/queue")["dead"] == 0
    return tills


def enough(answers: LostAnswers, count: int) -> bool:
    """Whether the fault was there: about three answers of ten, of many."""
    return answers.losses > count / BATCH / 10 and 0.15 < answers.losses / answers.requests < 0.45


@pytest.mark.parametrize("count", LENGTHS)
def test_of_postgresql(instance: Callable[..., Instance], postgres_server: Server, count: int) -> None:
    url = asyncio.run(new_database(postgres_server))
    with Proxy(postgres_server.port) as proxy:
        answers = proxy.answers = LostAnswers(COMMIT, SHARE, SEED)
        through = url.replace(str(postgres_server.port), str(proxy.port))
        one = instance(database={**PATIENT, "primary": {"type": "postgres", "url": through}})
        tills = write(one, count)
        found = audit(one, tills, documents=documents(url))
        assert not found, f"seed {SEED}: {found}"
        one.terminate()
    print(f"{len(tills.history)} writes, {answers.losses} of {answers.requests} answers lost: {found}")
    assert enough(answers, count), vars(answers)


def through_firestore(instance: Callable[..., Instance], host: str, count: int) -> None:
    project = f"deora-{uuid.uuid4().hex[:12]}"
    with Proxy(int(host.rpartition(":")[2])) as proxy:
        answers = proxy.answers = LostAnswers(HTTP_COMMIT, SHARE, SEED)
        primary = {"type": "firestore", "project": project, "emulator_host": f"127.0.0.1:{proxy.port}"}
        one = instance(database={**PATIENT, "primary": primary})
        tills = write(one, count)
        held = {path: json.loads(data) for path, data in FirestoreView(host, project).documents().items()}
        found = audit(one, tills, documents=held)
        assert not found, f"seed {SEED}: {found}"
        one.terminate()
    print(f"{len(tills.history)} writes, {answers.losses} of {answers.requests} answers lost: {found}")
    assert enough(answers, count), vars(answers)


def test_of_firestore(instance: Callable[..., Instance], firestore_fake: str) -> None:
    through_firestore(instance, firestore_fake, 500)


@pytest.mark.torture
def test_of_googles_emulator(instance: Callable[..., Instance], firestore_emulator: str) -> None:
    through_firestore(instance, firestore_emulator, 10_000)


@pytest.mark.parametrize("count", LENGTHS)
def test_of_an_upstream_in_memory(tmp_path: Path, count: int) -> None:
    bench = LaneBench(tmp_path, seed=SEED, settings=LaneSettings(max_writes=BATCH))
    bench.write_numbered(count, documents=200)
    bench.upstream.faults = lambda _: Fault.UNANSWERED if bench.dice.random() < SHARE else None
    run(bench.drain(within_s=24 * 3600), bench.clock)
    found = bench.findings()
    assert not found, f"seed {SEED}: {found}"
    batches = {batch_id for batch_id, _ in bench.upstream.applied}
    assert bench.upstream.count("apply") == len(batches), "what has landed was sent again"
    bench.store.close()
