"""Figure (c): a claim of 500 must not cost more as the backlog grows, and a start neither.

The claim is measured on the outbox's own code, inside a transaction, as the store runs it. It is rolled back after
each round, so that every round claims the same entries.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any, Final

from bench.get import SIZE_BYTES, document
from bench.instance import Instance
from bench.measure import Bar, Row
from bench.measure import Settings as BenchSettings
from bench.processes import BenchError
from deora.clock import SystemClock
from deora.documents.writes import Write
from deora.outbox.selection import Limits
from deora.outbox.storage import Outbox
from deora.store.commits import QueueLimits
from deora.store.database import open_writer
from deora.store.service import Service, Settings
from deora.wire.frames import Frame, Kind, pack

TITLE: Final = "claim of 500 entries"
SIZES: Final = (1_000, 100_000, 1_000_000)
CLAIM_BAR: Final = Bar(10.0, at_most=True)
GROWTH_BAR: Final = Bar(2.0, at_most=True)
READY_BAR: Final = Bar(3.0, at_most=True)
WRITES_A_DOCUMENT: Final = 5
URGENT_EVERY: Final = 10  # every tenth entry is a payment
CLAIMS_A_ROUND: Final = 21
UPSTREAM: Final = "primary"


def measure(settings: BenchSettings) -> list[Row]:
    """The claim at each size, how it grew from the second to the third, and the start at the largest."""
    rounds: dict[int, list[float]] = {}
    files: dict[int, Path] = {}
    for size in SIZES:
        data = settings.directory / "claim" / str(size) / "data"
        data.mkdir(parents=True)
        files[size] = data / "store.db"
        settings.say(f"{TITLE}: writing {size:,} entries, about {size // 10_000} s")
        started = time.monotonic()
        fill(files[size], size)
        size_mb = files[size].stat().st_size / 1e6
        settings.say(f"{TITLE}: {size:,} entries written in {time.monotonic() - started:.0f} s, {size_mb:,.0f} MB")
    # In turns, so that a disturbance of the machine meets all sizes alike.
    for _ in range(settings.pairs):
        for size in SIZES:
            rounds.setdefault(size, []).append(statistics.median(claim(files[size], CLAIMS_A_ROUND)))
    middle, largest = SIZES[1:]
    rows = [
        Row(f"{TITLE}, {size:,} waiting", "ms", CLAIM_BAR if size == largest else None, rounds[size]) for size in SIZES
    ]
    growth = f"the claim at {largest:,} against {middle:,}"
    rows.append(Row(growth, "ms", GROWTH_BAR, rounds[largest], rounds[middle], f"DEORA itself with {middle:,} waiting"))
    ready = [start_to_ready(files[largest]) for _ in range(settings.pairs)]
    rows.append(Row(f"start to ready, {largest:,} waiting", "s", READY_BAR, ready))
    return rows


def fill(path: Path, count: int) -> None:
    """Make a store's file in which `count` entries wait for a paused upstream; the store itself writes all of it."""
    db = open_writer(path)
    db.execute("PRAGMA synchronous = OFF")  # of the filling only; what is measured opens the file anew
    limits = QueueLimits(max_entries=2 * count, max_bytes=1 << 40)
    service = Service(db, Settings([UPSTREAM], limits, retention_s=0, dead_holds=False), SystemClock())
    documents = max(1, count // WRITES_A_DOCUMENT)
    service.handle([commit(0, "pause", UPSTREAM, True)])
    for first in range(1, count + 1, 500):
        service.handle([put(ident, documents) for ident in range(first, min(first + 500, count + 1))])
    while service.housekeep()[1]:
        pass
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    if service.outbox.live_entries() != count:
        raise BenchError(f"the store took {service.outbox.live_entries()} of {count} entries")


def put(ident: int, documents: int) -> Frame:
    """The frame of a PUT by client `ident`, in an order that spreads over the documents and repeats none too soon."""
    data = document(SIZE_BYTES)
    write = Write("set", f"bench/d{ident * 7919 % documents}", data)
    priority = 9 if ident % URGENT_EVERY == 0 else 5
    return commit(ident, "write", None, b"", priority, pack([write.to_wire()]), True, False)


def commit(ident: int, *parts: Any) -> Frame:
    """A COMMIT frame as a worker sends it."""
    return (Kind.COMMIT, 0, 0, 0, ident, pack(list(parts)))


def claim(path: Path, times: int) -> list[float]:
    """Claim 500 entries `times` times from the file at `path`, which is as it was afterwards; milliseconds of each."""
    db = open_writer(path)
    took_ms = []
    for _ in range(times):
        outbox = Outbox(db, [UPSTREAM], new_batch_id)
        upstream = outbox.upstreams[UPSTREAM]
        upstream.paused = False
        db.execute("BEGIN IMMEDIATE")
        started = time.perf_counter()
        batch = outbox.next_batch(upstream, Limits())
        took_ms.append((time.perf_counter() - started) * 1000)
        db.execute("ROLLBACK")
        if batch is None or len(batch.entries) != Limits().max_writes:
            raise BenchError(f"a claim took {batch and len(batch.entries)} entries")
    db.close()
    return took_ms


def start_to_ready(path: Path) -> float:
    """Seconds from starting an instance on the data directory of `path` until it is ready."""
    with Instance(path.parent.parent) as instance:
        return instance.wait_until_ready()


def new_batch_id() -> str:
    """A batch's id; a claim that is rolled back needs no better one."""
    return "bench"
