"""F6: the disk is full, or files may not grow; F7: a reader that does not end keeps the WAL from being emptied."""

from __future__ import annotations

import itertools
import os
import random
import resource
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bench.instance import Answer, Instance
from deora.store.reserve import BALLAST_BYTES, MIB, reserve_for
from tests.fakes.checker import Findings, Outcome, check, logs_of
from tests.fakes.forked_store import StoreProcess, StoreServer
from tests.fakes.tills import Tills, embedded_documents, queued_tokens
from tests.fakes.venue_of_one import VenueOfOne

Start = Callable[..., Instance]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MiB."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small file system to fill up")
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "deora-test", str(folder)], check=False, capture_output=True
    )
    if made.returncode != 0:
        pytest.skip(f"no small file system can be mounted here: {made.stderr.decode().strip()} (needs CAP_SYS_ADMIN)")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, leaving: int = 0) -> Path:
    """Takes all but so many bytes of a file system."""
    filler = folder / "filler"
    space = os.statvfs(folder)
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        for _ in range((space.f_bavail * space.f_frsize - leaving) // 65536):
            file.write(bytes(65536))
        while leaving == 0:
            file.write(bytes(512))
    return filler


def await_that(is_so: Callable[[], bool], what: str, timeout_s: float = 30.0) -> float:
    """Waits until something is so; the seconds that it took."""
    began_s = time.monotonic()
    while not is_so():
        assert time.monotonic() - began_s < timeout_s, f"{what}: not within {timeout_s:g} s"
        time.sleep(0.02)
    return time.monotonic() - began_s


def put(one: Instance, name: str = "probe", size: int = 1) -> Answer:
    return one.request("PUT", f"/v1/documents/probes/{name}", json={"text": "x" * size})


def judge(one: Instance, upstream: Path, *tills: Tills) -> Findings:
    documents = {path: data for path, data in embedded_documents(upstream).items() if path.startswith("tills/")}
    return check([sent for some in tills for sent in some.history], logs_of(documents), queued_tokens(one))


def disk_check(one: Instance) -> Any:
    checks = one.request("GET", "/health/detailed").json["checks"]
    [check] = [check for check in checks if check["name"] == "disk"]
    return check


def survive(one: Instance, upstream: Path, take: Callable[[], None], give: Callable[[], None], seed: int) -> None:
    """No room is left while tills write and much waits; the queue drains all the same, and then there is room again."""
    print(f"seed {seed}")
    with Tills(one.url, 4, seed=seed, rate=200, prefix="a") as before:
        await_that(lambda: before.count(Outcome.OK) > 50, "writes")
        one.post("/v1/queue:pause")
        await_that(lambda: one.waiting() > 100, "a backlog")
    with Tills(one.url, 4, seed=seed + 1, rate=200, reads=2, prefix="b", patience_s=60) as during:
        await_that(lambda: during.count(Outcome.OK) > 20, "writes")
        take()
        while (answer := put(one)).status != 507:
            time.sleep(0.02)
        refused_from = len(during.writes)
        assert int(answer.headers["Retry-After"]) > 0
        assert "accepted" in answer.json["hint"]
        waiting = one.waiting()
        one.post("/v1/queue:resume")
        drained_s = await_that(lambda: one.waiting() == 0, "a drain on a full disk", 60)
        await_that(lambda: len(during.writes) > refused_from + 50, "writes during the drain and behind it")
        give()
        accepted_s = await_that(lambda: put(one).status in (200, 201), "writes are taken again")
    one.wait_until_drained(60)
    findings = judge(one, upstream, before, during)
    reads = {timed.status for timed in during.reads}
    print(
        f"{waiting} drained in {drained_s:.1f} s, {during.count(Outcome.FAIL)} of {len(during.history)} writes "
        f"refused, reads {reads}, accepted {accepted_s:.2f} s after there was room: {findings}"
    )
    assert not findings
    # What was refused from the first may be a document that nobody has written.
    assert reads <= {200, 404}
    assert not during.stale
    assert accepted_s < 5


def test_a_full_disk_refuses_writes_and_goes_on(instance: Start, tmp_path: Path, small_disk: Path) -> None:
    upstream = tmp_path / "elsewhere.db"
    (tmp_path / "instance-1").mkdir()
    (tmp_path / "instance-1" / "data").symlink_to(small_disk)
    one = instance(database={"primary": {"type": "sqlite", "file": str(upstream)}})
    filler = small_disk / "filler"

    def take() -> None:
        fill(small_disk)
        await_that(lambda: "refused" in disk_check(one)["detail"], "what health says of it")
        assert one.request("GET", "/health").json["reasons"]["disk"].startswith("new writes are refused")

    survive(one, upstream, take, filler.unlink, random.randrange(1 << 32))
    await_that(lambda: "refused" not in disk_check(one)["detail"], "what health says of it")


def test_files_that_may_not_grow_refuse_writes_and_go_on(instance: Start, tmp_path: Path) -> None:
    """`ulimit -f`: SQLite calls it an I/O error, and nobody can tell from that what became of the write.

    Writes may be taken again before the limit is lifted: what was drained has left room inside the file.
    """
    upstream = tmp_path / "elsewhere.db"
    one = instance(database={"primary": {"type": "sqlite", "file": str(upstream)}})

    def limit(size_bytes: int) -> None:
        for process in one.tree():
            with suppress(ProcessLookupError):
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))

    def stop_growth() -> None:
        # What drains meanwhile would make room for what fills.
        one.post("/v1/queue:pause")
        largest = max(file.stat().st_size for file in one.data.glob("store.db*"))
        limit(largest + 500 * 1024)
        for number in itertools.count():
            if put(one, f"filler-{number}", size=50_000).status == 507:
                break
        one.post("/v1/queue:resume")

    survive(
        one,
        upstream,
        stop_growth,
        lambda: limit(resource.RLIM_INFINITY),
        random.randrange(1 << 32),
    )


def test_a_store_starts_on_a_full_disk(instance: Start, tmp_path: Path, small_disk: Path) -> None:
    """Not a page is left, not even for the index of the WAL: the ballast makes the start."""
    (tmp_path / "instance-1").mkdir()
    (tmp_path / "instance-1" / "data").symlink_to(small_disk)
    one = instance()
    assert put(one).status == 201
    one.terminate()
    fill(small_disk)
    again = Instance(one.directory)
    try:
        again.wait_until_ready()
        assert again.get("/v1/documents/probes/probe")["data"] == {"text": "x"}
        assert put(again).status == 507
        (small_disk / "filler").unlink()
        await_that(lambda: put(again).status == 200, "writes are taken again")
    finally:
        again.stop()


# -- a reader that does not end


def held(file: Path) -> sqlite3.Connection:
    """A reader in the middle of a transaction."""
    reader = sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM progress").fetchall()
    return reader


def sizes(data: Path) -> dict[str, int]:
    return {file.name: file.stat().st_blocks * 512 for file in data.iterdir() if file.is_file()}


def grow_against(store: StoreProcess, data: Path, venue: VenueOfOne, most: int, hold_s: float) -> int:
    """Writes and delivers while a reader is held, until writes are refused and for `hold_s` more; the WAL's size."""
    reader = held(data / "store.db")
    try:
        longest = 0
        for _ in range(most):
            venue.write(store, writes=4)
            venue.deliver(store, 1)
            longest = max(longest, (data / "store.db-wal").stat().st_size)
            if venue.refused:
                break
        assert venue.refused, "the WAL has grown without a refusal"
        until_s = time.monotonic() + hold_s
        while time.monotonic() < until_s:
            venue.write(store, writes=4)
            longest = max(longest, (data / "store.db-wal").stat().st_size)
            time.sleep(0.1)
    finally:
        reader.close()
    return longest


def hold_reader(tmp_path: Path, hold_s: float) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    data = tmp_path / "data"
    data.mkdir()
    venue = VenueOfOne(seed, documents=20, padding="x" * 200_000)
    with StoreServer(tmp_path, {}) as server:
        store = server.serve(data, {"queue": {"max_entries": 100_000, "max_bytes": 8 * MIB}})
        wal_bytes = grow_against(store, data, venue, 200, hold_s)
        problem = venue.refused[0].problem
        assert problem is not None
        print(f"WAL {wal_bytes / MIB:.1f} MiB at most, then: {problem.status} {problem.detail}")
        assert wal_bytes <= 64 * MIB
        assert problem.status == 507
        assert problem.retry_after_s
        found = sizes(data)
        documents = 20 * 2 * 200_000
        allowed = 8 * MIB + documents + 64 * MIB + BALLAST_BYTES
        print(f"{sum(found.values()) / MIB:.1f} MiB on the disk, of {allowed * 1.1 / MIB:.1f} allowed")
        assert sum(found.values()) <= allowed * 1.1
        refused = len(venue.refused)

        def is_taken() -> bool:
            before = len(venue.refused)
            venue.write(store, writes=1)
            return len(venue.refused) == before

        accepted_s = await_that(is_taken, "writes are taken again")
        venue.deliver(store)
        assert not venue.judge()
        assert (data / "store.db-wal").stat().st_size < 48 * MIB
        print(f"{refused} refused; accepted {accepted_s:.2f} s after the reader had ended")
        assert accepted_s < 5
        assert store.stop() == 0


def test_a_reader_that_is_held_bounds_the_wal(tmp_path: Path) -> None:
    hold_reader(tmp_path, 0.5)


@pytest.mark.torture
def test_a_reader_that_is_held_for_ten_minutes_bounds_the_wal(tmp_path: Path) -> None:
    hold_reader(tmp_path, 600)


def test_the_reserve_of_the_small_disk_leaves_most_of_it() -> None:
    reserve = reserve_for(64 * MIB)
    assert reserve.watermark_bytes + reserve.ballast_bytes + reserve.wal_kept_bytes < 16 * MIB
