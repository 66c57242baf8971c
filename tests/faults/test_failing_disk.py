"""F4: syncs that fail, F5: syncs that take long. Real instances on a disk that is made to fail."""

from __future__ import annotations

import errno
import itertools
import random
import shutil
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bench.instance import Instance
from deora.store.main import EXIT_UNKNOWN_COMMIT
from tests.fakes.checker import Outcome
from tests.fakes.failing_disk import Action, FailingDisk, Kind
from tests.fakes.forked_store import StoreGone, StoreServer
from tests.fakes.tills import Tills, audit, p99_ms
from tests.fakes.venue_of_one import VenueOfOne

SYNCS = (Kind.FDATASYNC, Kind.FSYNC)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[FailingDisk]:
    disk = FailingDisk(tmp_path)
    yield disk
    disk.close()


def store_row(one: Instance) -> Any:
    [row] = [row for row in one.status()["processes"] if row["name"] == "store"]
    return row


def await_more(tills: Tills, count: int, timeout_s: float = 30.0) -> None:
    """Waits until so many more writes have been acknowledged."""
    wanted = tills.count(Outcome.OK) + count
    deadline_s = time.monotonic() + timeout_s
    while tills.count(Outcome.OK) < wanted:
        assert time.monotonic() < deadline_s, f"no {count} writes within {timeout_s:g} s: {tills.errors[-3:]}"
        time.sleep(0.02)


def longest_gap_s(tills: Tills, since_s: float) -> float:
    """The longest time in which no write was acknowledged."""
    times = sorted(one.began_s + one.took_s for one in tills.writes if one.status in (200, 201))
    times = [since_s, *(moment for moment in times if moment > since_s)]
    return max(later - earlier for earlier, later in itertools.pairwise(times))


def fail_syncs(one: Instance, disk: FailingDisk, restarts: int, seed: int) -> None:
    """Every third sync of the store's files fails, until the store was started again so often."""
    print(f"seed {seed}")
    disk.watch(one.data / "store.db")
    with Tills(one.url, 8, seed=seed, reads=1, rate=400) as tills:
        await_more(tills, 20)
        began_s = time.monotonic()
        for kind in SYNCS:
            disk.plan(kind, Action.FAIL, at=3, every=3, value=errno.EIO)
        deadline_s = began_s + 5 * restarts + 60
        while store_row(one)["restarts"] < restarts and time.monotonic() < deadline_s:
            time.sleep(0.05)
        disk.heal()
        healed_s = time.monotonic()
        await_more(tills, 20)
        recovered_s = time.monotonic() - healed_s
    gap_s = longest_gap_s(tills, began_s)
    one.wait_until_drained(60)
    findings = audit(one, tills)
    print(
        f"{store_row(one)['restarts']} restarts in {healed_s - began_s:.1f} s, {tills.count(Outcome.OK)} writes, "
        f"longest gap {gap_s:.2f} s, 20 writes {recovered_s:.2f} s after the disk was well again: {findings}"
    )
    assert not findings
    assert not tills.stale
    assert store_row(one)["restarts"] >= restarts
    assert gap_s < 5


def test_failing_syncs_give_no_false_ok(instance: Callable[..., Instance], disk: FailingDisk) -> None:
    one = instance(before=disk.before())
    fail_syncs(one, disk, 15, random.randrange(1 << 32))


@pytest.mark.torture
def test_failing_syncs_for_long(instance: Callable[..., Instance], disk: FailingDisk) -> None:
    one = instance(before=disk.before())
    fail_syncs(one, disk, 300, random.randrange(1 << 32))


def test_failing_syncs_as_the_kernel_gives_them(tmp_path: Path) -> None:
    """The same with strace, which gives the error at the system call itself, to each store at every third commit."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("no strace: the error cannot be given at the system call (Debian: apt-get install strace)")
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    data = tmp_path / "data"
    data.mkdir()
    log = tmp_path / "strace"
    tracer = [strace, "-f", "--seccomp-bpf", "-qq", "-o", str(log), "-P", str(data / "store.db-wal")]
    tracer += ["-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=3+3"]
    venue = VenueOfOne(seed)
    codes = []
    with StoreServer(tmp_path, {}, before=tracer) as server:
        for _ in range(5):
            store = server.serve(data)
            with suppress(StoreGone):
                for _ in range(5):
                    venue.write(store)
                    venue.deliver(store, 1)
            codes.append(store.end())
    assert codes == [EXIT_UNKNOWN_COMMIT] * 5
    assert log.read_text().count("(INJECTED)") >= 5
    with StoreServer(tmp_path, {}) as server:
        store = server.serve(data)
        venue.write(store)
        venue.deliver(store)
        assert store.stop() == 0
    findings = venue.judge()
    print(f"{len(venue.history)} writes through 5 stores whose third commit failed: {findings}")
    assert not findings


def slow_syncs(one: Instance, disk: FailingDisk, tills: Tills, writes: int) -> tuple[float, float]:
    """p99 of reads and of writes, in ms, while each sync of any file of the instance takes 200 ms."""
    disk.watch(one.data)
    for kind in SYNCS:
        disk.plan(kind, Action.DELAY, at=1, every=1, value=200_000)
    with tills:
        await_more(tills, writes, 60)
    assert disk.count(Kind.FDATASYNC) > 0
    disk.heal()
    one.wait_until_drained(60)
    assert not audit(one, tills)
    assert not tills.errors
    assert not tills.stale
    figures = p99_ms(tills.reads), p99_ms(tills.writes)
    print(f"{len(tills.writes)} writes, p99 of reads {figures[0]:.0f} ms, of writes {figures[1]:.0f} ms")
    return figures


def test_a_slow_disk_slows_writes_and_no_reads(instance: Callable[..., Instance], disk: FailingDisk) -> None:
    """The median tells on a loaded machine, too: reads that waited for a sync would take 100 ms on average."""
    one = instance(before=disk.before())
    tills = Tills(one.url, 30, seed=1, rate=80, reads=1)
    slow_syncs(one, disk, tills, 150)
    assert statistics.median(timed.took_s for timed in tills.reads) < 0.08
    assert statistics.median(timed.took_s for timed in tills.writes) > 0.1


@pytest.mark.torture
def test_a_slow_disk_at_two_hundred_writes_a_second(instance: Callable[..., Instance], disk: FailingDisk) -> None:
    one = instance(before=disk.before())
    reads_ms, writes_ms = slow_syncs(one, disk, Tills(one.url, 100, seed=1, rate=200, reads=1), 6000)
    assert reads_ms < 50
    assert writes_ms < 1000
