"""F28: for hours, with outages and kills now and then, memory does not grow, and no descriptor and no thread is left.

`DEORA_SOAK_MINUTES` says how long the long one runs; 30 where it says nothing. The first quarter is not counted.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Callable

import pytest

from bench.instance import Instance
from tests.fakes.footprint import MIB, Sample, sample, slope_per_h
from tests.fakes.tills import Tills, audit
from tests.process.test_kills import child, kill, wait_for

MINUTES = float(os.environ.get("DEORA_SOAK_MINUTES", "30"))
WRITES_PER_S = 60.0
SAMPLE_S = 2.0
# Not killed but before the warm-up: their memory must be that of one process all along.
FOLLOWED = ("deora", "deora:zygote", "deora:primary", "deora:store", "deora:replayer")
SLOPE_MIB_PER_H = 1.0
# The warm-up ends when the store's pages fill their 40 MiB: 2,000 writes of 40 kB add less than this.
STILL_BYTES = MIB // 4
MOST_ROUNDS = 20


def everybody(one: Instance) -> dict[str, tuple[int, int]]:
    """Descriptors and threads of every process."""
    return {row.name: (row.descriptors, row.threads) for row in sample(one)}


def kill_and_pause(one: Instance, tills: Tills, kills: int, pauses: int) -> None:
    """So often, one after the other: each child but the first worker is killed; an outage in which tills write."""
    for _ in range(kills):
        for name in ("secondary", "replayer", "store"):
            kill(one, name)
    for _ in range(pauses):
        one.post("/v1/queue:pause")
        written = len(tills.history)
        wait_for(lambda written=written: len(tills.history) > written + 2, "writes")  # type: ignore[misc]
        one.post("/v1/queue:resume")


def test_kills_and_pauses_leave_no_descriptor_and_no_thread(instance: Callable[..., Instance]) -> None:
    one = instance()
    with Tills(one.url, 4, seed=1, rate=80, reads=1) as first:
        kill_and_pause(one, first, 2, 2)
    wait_for(lambda: one.waiting() == 0, "the drain", 30.0)
    before = everybody(one)
    with Tills(one.url, 4, seed=2, rate=80, reads=1, prefix="more-") as more:
        kill_and_pause(one, more, 15, 20)
    # A connection of a moment ago is closed in a moment; what is left over stays.
    wait_for(lambda: everybody(one) == before, f"what there was before, {before}", 20.0)
    one.wait_until_drained(30)
    assert child(one, "store")["restarts"] == 17
    found = audit(one, first, more)
    assert not found, str(found)


def warm_up(one: Instance) -> None:
    """Kills each child, and then fills every cache: large documents are written and read by way of both workers, until
    the store has as many pages in memory as it may have."""
    for name in ("primary", "secondary", "replayer", "store", "zygote"):
        kill(one, name)
    one.wait_until_whole()
    large = {"log": [], "n": 0, "text": "x" * 40_000}
    held, grown = store_bytes(one), MIB
    rounds = 0
    while grown > STILL_BYTES:
        for number in range(2000):
            path = f"/v1/documents/large/d{number}"
            assert one.request("PUT", path, json=large).status in (200, 201)
            assert one.request("GET", f"/v1/documents/large/d{number * 7 % 2000}").status in (200, 404)
        grown, held = store_bytes(one) - held, store_bytes(one)
        rounds += 1
        assert rounds <= MOST_ROUNDS, f"the store has grown by {grown} bytes in the last 2,000 writes"
    one.wait_until_drained(300)


def store_bytes(one: Instance) -> int:
    """What the store has in memory for itself."""
    [held] = [row.uss for row in sample(one) if row.name == "deora:store"]
    return held


def disturb(one: Instance, turn: int) -> None:
    """What happens now and then: an outage, or the death of a worker."""
    if turn % 2:
        kill(one, "secondary")
    else:
        one.post("/v1/queue:pause")
        time.sleep(12)
        one.post("/v1/queue:resume")


def soak(one: Instance, seed: int, minutes: float) -> tuple[Tills, list[Sample]]:
    """Tills for `minutes`, with disturbances; samples of every process all the while."""
    samples: list[Sample] = []
    started_s = time.monotonic()
    with Tills(one.url, 8, seed=seed, rate=WRITES_PER_S, reads=2) as tills:
        turn, next_turn_s = 0, 20.0
        while (elapsed_s := time.monotonic() - started_s) < minutes * 60:
            samples += sample(one, elapsed_s)
            if elapsed_s >= next_turn_s:
                disturb(one, turn)
                turn, next_turn_s = turn + 1, elapsed_s + 30
            time.sleep(SAMPLE_S)
    return tills, samples


def report(samples: list[Sample]) -> tuple[str, list[str]]:
    """A table of what each process did, and what is wrong with it."""
    lines = [f"{'':<16}{'uss MiB':>16}{'rss MiB':>16}{'MiB/h uss':>11}{'rss':>7}{'fds':>10}{'threads':>9}"]
    wrong = []
    for name in sorted({row.name for row in samples}):
        rows = [row for row in samples if row.name == name]
        first, last = rows[: len(rows) // 3], rows[-len(rows) // 3 :]
        slopes = [slope_per_h((row.at_s, getattr(row, kind) / MIB) for row in rows) for kind in ("uss", "rss")]
        spans = [
            f"{getattr(rows[0], kind) / MIB:.1f} .. {getattr(rows[-1], kind) / MIB:.1f}" for kind in ("uss", "rss")
        ]
        # The fewest: a request that is under way takes one more, and what is left over is always there.
        least = [
            [min(getattr(row, kind) for row in part) for part in (first, last)] for kind in ("descriptors", "threads")
        ]
        lines.append(
            f"{name:<16}{spans[0]:>16}{spans[1]:>16}{slopes[0]:>11.2f}{slopes[1]:>7.2f}"
            f"{least[0][0]:>5}..{least[0][1]:<3}{least[1][0]:>5}..{least[1][1]:<3}"
        )
        if name in FOLLOWED:
            if len({row.pid for row in rows}) > 1:
                wrong.append(f"{name} was started again")
            if slopes[0] > SLOPE_MIB_PER_H:
                wrong.append(f"{name} grows by {slopes[0]:.2f} MiB/h")
        if least[0][1] > least[0][0]:
            wrong.append(f"{name} has more descriptors at the end: {least[0]}")
        if least[1][1] > least[1][0]:
            wrong.append(f"{name} has more threads at the end: {least[1]}")
    return "\n".join(lines), wrong


@pytest.mark.torture
def test_memory_descriptors_and_threads_stay_as_they_are(instance: Callable[..., Instance]) -> None:
    seed = secrets.randbelow(1_000_000)
    print(f"seed {seed}, {MINUTES:g} minutes")
    # Small caches are full after the warm-up; one that fills for hours would look like a leak.
    one = instance(cache={"memory": {"max_size": "1MiB"}, "disk": {"max_size": "1MiB"}})
    warm_up(one)
    tills, samples = soak(one, seed, MINUTES)
    table, wrong = report([row for row in samples if row.at_s > MINUTES * 15])
    print(table)
    one.wait_until_drained(300)
    found = audit(one, tills)
    print(f"{len(tills.history)} writes: {found}; {child(one, 'secondary')['restarts']} kills, {len(samples)} samples")
    assert not found, str(found)
    assert tills.stale == []
    assert not wrong, "\n".join(wrong)
