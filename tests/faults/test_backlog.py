"""F8: a backlog of 1,000,000 entries. Memory stays flat while it grows, the disk holds little more than the payload,
and with all of it waiting an instance starts, answers, claims and drains as with 1,000.

The store's own process is filled through its socket, 500 requests at a time. It is killed with the last answer, so that
what starts then finds a long log, and a tail that stands in no queue yet.
"""

from __future__ import annotations

import sqlite3
import statistics
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from bench.claim import claim, fill
from bench.instance import Instance
from deora.documents.writes import Write
from tests.fakes.footprint import MIB, memory_table, sample
from tests.fakes.store_process import StoreProcess

AT_ONCE = 500
DOCUMENTS = 500
PAYLOAD_BYTES = 300
DISK_FACTOR = 2.5
STORE_BYTES = 100 * MIB
TREE_BYTES = 250 * MIB
CLAIMS = 11
UPSTREAM = "primary"


def write(number: int) -> Write:
    """A set whose payload, as an entry keeps it, is just below PAYLOAD_BYTES."""
    return Write("set", f"bench/d{number * 7919 % DOCUMENTS}", b'{"n":%d,"text":"%s"}' % (number, b"x" * 230))


def grow(data: Path, count: int, samples: int = 10) -> list[tuple[int, int]]:
    """Fills a store with `count` entries, each tenth of them urgent; (entries, USS of the store) on the way."""
    found = []
    with StoreProcess(data, max_entries=2 * count, max_bytes=1 << 40) as store:
        store.pause(UPSTREAM)
        for first in range(0, count, AT_ONCE):
            numbers = range(first, first + AT_ONCE)
            store.commit([write(number) for number in numbers], [9 if number % 10 == 0 else 5 for number in numbers])
            if (first + AT_ONCE) % (count // samples) == 0:
                found.append((first + AT_ONCE, store.process.memory_full_info().uss))
    return found


def rows(one: Instance, sql: str) -> list[tuple[Any, ...]]:
    """What the store's file says."""
    with closing(sqlite3.connect(f"{(one.data / 'store.db').as_uri()}?mode=ro", uri=True)) as db:
        return db.execute(sql).fetchall()


def tail(one: Instance) -> int:
    """How many entries stand in no queue yet."""
    [(found,)] = rows(one, "SELECT count(*) FROM entries WHERE state = 0 AND id > (SELECT joined FROM upstreams)")
    return int(found)


def wait_until_joined(one: Instance) -> None:
    """Returns once the tail has joined. It looks seldom: while somebody reads, the log cannot start anew."""
    deadline_s = time.monotonic() + 120
    while tail(one):
        assert time.monotonic() < deadline_s, "the tail does not join its queues"
        time.sleep(0.5)


def median_ms(one: Instance, path: str, times: int = 5) -> float:
    """The median time to the answer of a GET, on a connection of its own each; the first is not like the others."""
    took = []
    for _ in range(times):
        began_s = time.perf_counter()
        assert one.request("GET", path).status == 200
        took.append((time.perf_counter() - began_s) * 1000)
    return statistics.median(took)


@contextmanager
def started(directory: Path, count: int, slack: float) -> Iterator[Instance]:
    """An instance on the backlog, which must be ready soon and end as it should."""
    with Instance(directory, {"queue": {"max_entries": 3 * count, "max_bytes": "8GiB"}}) as one:
        ready_s = one.wait_until_ready()
        print(f"ready in {ready_s:.2f} s, {tail(one):,} in the tail")
        one.wait_until_whole()
        yield one
        assert one.terminate() == 0
    assert ready_s < 3.0 * slack


def check_answers(one: Instance, count: int, slack: float, *more: str) -> None:
    """What an operator sees of the backlog; `slack` is how much longer than the bar it may take."""
    for path in ("/v1/queue", "/v1/queue/entries", "/status", "/metrics", *more):
        took_ms = median_ms(one, path)
        print(f"GET {path}: {took_ms:.1f} ms")
        assert took_ms < 100 * slack
    assert one.waiting() == count


def check_disk(one: Instance, count: int, slack_bytes: int) -> None:
    """The store's files against the payload of the backlog."""
    [(payload, longest)] = rows(one, "SELECT sum(length(payload)), max(length(payload)) FROM entries WHERE state = 0")
    assert longest <= PAYLOAD_BYTES
    files = {file.name: file.stat().st_size for file in one.data.glob("store.db*")}
    factor = sum(files.values()) / payload
    each = files["store.db"] / count
    print(f"disk: {files}, {factor:.2f} times the payload; {each:.0f} bytes an entry of {payload / count:.0f}")
    assert sum(files.values()) <= DISK_FACTOR * payload + slack_bytes


def check_memory(one: Instance, when: str) -> None:
    """The whole tree by PSS: what the processes share, which is much, counts once."""
    taken = sample(one)
    print(f"{when}:\n{memory_table(taken)}")
    assert sum(row.pss for row in taken) < TREE_BYTES


def check_claim(large: Path, small: Path, slack: float) -> None:
    """A claim of 500 from the backlog takes as long as one from 1,000 entries. Nothing has the files open."""
    many, few = (statistics.median(claim(file, CLAIMS)) for file in (large, small))
    print(f"claim of 500: {many:.2f} ms, with 1,000 waiting {few:.2f} ms")
    assert many < 2 * slack * max(few, 2.0)


def small_backlog(directory: Path) -> Path:
    """A store with 1,000 entries, all of which stand in their queues."""
    directory.mkdir()
    fill(directory / "store.db", 1000)
    return directory / "store.db"


def survive(directory: Path, count: int, *, slack: float, log_bytes: int, drain: int) -> list[int]:
    """Grows a backlog of `count`, and looks at it in every way; at the end `drain` entries of it are sent.

    `log_bytes`: how much the WAL may take on top while the store runs. Returns the store's USS at each tenth.
    """
    large = directory / "large"
    grown = grow(large / "data", count)
    print("store, USS MiB: " + ", ".join(f"{entries:,}: {uss / MIB:.1f}" for entries, uss in grown))
    assert max(uss for _, uss in grown) < STORE_BYTES
    with started(large, count, slack) as one:
        check_answers(one, count, slack)
        check_disk(one, count, log_bytes)
        wait_until_joined(one)
        check_memory(one, "all have joined their queues")
    check_claim(large / "data" / "store.db", small_backlog(directory / "small"), slack)
    with started(large, count, slack) as one:
        check_disk(one, count, 0)
        check_answers(one, count, slack, "/v1/queue/entries?path=bench/d7&limit=10")
        began_s = time.monotonic()
        one.post("/v1/queue:resume")
        one.wait_until(lambda: one.waiting() <= count - drain, 3600)
        took_s = time.monotonic() - began_s
        print(f"{drain:,} sent in {took_s:.1f} s, {drain / took_s:,.0f}/s")
        check_memory(one, "after that")
    return [uss for _, uss in grown]


def test_twenty_thousand_wait(tmp_path: Path) -> None:
    survive(tmp_path, 20_000, slack=5.0, log_bytes=128 * MIB, drain=1000)


@pytest.mark.torture
def test_a_million_wait(tmp_path: Path) -> None:
    used = survive(tmp_path, 1_000_000, slack=1.0, log_bytes=0, drain=1_000_000)
    # Flat from the second tenth on, when SQLite's cache is full.
    assert max(used[1:]) - min(used[1:]) < 16 * MIB, used
