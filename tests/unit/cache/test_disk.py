"""The disk tier: what it holds, what it refuses, and what it does with a file that somebody has been at."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import stat
import threading
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import diskcache
import pytest

from deora.cache import disk
from deora.cache.disk import REMAKE_PAUSE_S, BytesDisk, DiskTier, NotBytes
from tests.fakes.clock import ManualClock

MIB = 1024 * 1024


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    """A coroutine to its end."""

    async def whole() -> None:
        await scenario()

    asyncio.run(whole())


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """However busy the machine is, nobody takes its disk for one that hangs."""
    monkeypatch.setattr(disk, "PATIENCE_S", 60.0)
    monkeypatch.setattr(disk, "BUSY_S", 60.0)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where the tier's file is."""
    return tmp_path / "cache"


def execute(directory: Path, sql: str, *parameters: Any) -> list[Any]:
    """One statement by somebody else who can write to the file."""
    with closing(sqlite3.connect(directory / "cache.db")) as db, db:
        return db.execute(sql, parameters).fetchall()


def pickled(marker: Path) -> bytes:
    """A pickle that makes a file when it is loaded: `os.mkdir(marker)`, in protocol 0."""
    return b"cos\nmkdir\n(V" + str(marker).encode() + b"\ntR."


def test_the_pickle_of_these_tests_does_run_code_where_it_is_loaded(tmp_path: Path) -> None:
    """Without this the tests below would prove nothing: diskcache's own Disk falls for it."""
    with closing(diskcache.Cache(str(tmp_path / "naive"))) as cache:
        cache.set("a", b"x")
        execute(tmp_path / "naive", "UPDATE Cache SET mode = 4, value = ?", pickled(tmp_path / "ran"))
        cache.get("a")
    assert (tmp_path / "ran").exists()


def test_what_is_put_is_found_by_other_tiers_of_the_file(directory: Path) -> None:
    async def scenario() -> None:
        one, other = DiskTier(directory, MIB, 60), DiskTier(directory, MIB, 60)
        assert await one.get("a/1") is None
        await one.put("a/1", b"\0\xff" * 100)
        await other.put("a/2", b"")
        assert await other.get("a/1") == b"\0\xff" * 100
        assert await one.get("a/2") == b""
        await one.put("a/1", b"new")
        assert await other.get("a/1") == b"new"
        await other.drop(["a/1", "a/9"])
        assert await one.get("a/1") is None
        await one.close()
        await other.close()

    run(scenario)


def test_only_the_owner_may_look_into_the_directory(directory: Path) -> None:
    directory.mkdir(mode=0o755)

    async def scenario() -> None:
        tier = DiskTier(directory, MIB, 60)
        await tier.put("a/1", b"x")
        await tier.close()

    run(scenario)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {path.name for path in directory.iterdir()} <= {"cache.db", "cache.db-wal", "cache.db-shm"}


def test_a_large_value_stays_in_the_database(directory: Path) -> None:
    async def scenario() -> None:
        tier = DiskTier(directory, 8 * MIB, 60)
        await tier.put("a/1", b"x" * MIB)
        assert await tier.get("a/1") == b"x" * MIB
        await tier.close()

    run(scenario)
    assert [path for path in directory.iterdir() if path.is_dir()] == []


def test_the_oldest_go_where_there_are_too_many_bytes(directory: Path) -> None:
    async def scenario() -> None:
        tier = DiskTier(directory, MIB, 60)
        for number in range(200):
            await tier.put(f"a/{number}", b"x" * 20_000)
        kept = [number for number in range(200) if await tier.get(f"a/{number}") is not None]
        assert kept
        assert kept == list(range(kept[0], 200))
        assert kept[0] > 100
        await tier.close()

    run(scenario)
    assert sum(path.stat().st_size for path in directory.glob("cache.db")) < 2 * MIB


def test_a_copy_that_is_too_old_is_not_given(directory: Path) -> None:
    async def scenario() -> None:
        tier = DiskTier(directory, MIB, 60)
        await tier.put("a/1", b"x")
        execute(directory, "UPDATE Cache SET expire_time = 1")
        assert await tier.get("a/1") is None
        await tier.close()

    run(scenario)


# -- pickles


def plant_value(directory: Path, marker: Path) -> None:
    """Marks the value of a/1 as pickled."""
    execute(directory, "UPDATE Cache SET mode = 4, value = ?", pickled(marker))


def plant_value_file(directory: Path, marker: Path) -> None:
    """The same, with the pickle in a file beside the database."""
    (directory / "evil.val").write_bytes(pickled(marker))
    execute(directory, "UPDATE Cache SET mode = 4, value = NULL, filename = 'evil.val'")


def plant_setting(directory: Path, marker: Path) -> None:
    """Another way to write, by the settings that diskcache reads from its file."""
    plant_value(directory, marker)
    execute(directory, "INSERT OR REPLACE INTO Settings VALUES ('disk_min_file_size', 1), ('disk_pickle_protocol', 2)")


@pytest.mark.parametrize("plant", [plant_value, plant_value_file, plant_setting])
@pytest.mark.parametrize("reopened", [False, True])
def test_a_planted_pickle_is_not_loaded(
    directory: Path, tmp_path: Path, plant: Callable[[Path, Path], None], reopened: bool
) -> None:
    marker = tmp_path / "ran"

    async def scenario() -> None:
        tier = DiskTier(directory, MIB, 60)
        await tier.put("a/1", b"x")
        if reopened:
            await tier.close()
            tier = DiskTier(directory, MIB, 60)
        plant(directory, marker)
        assert await tier.get("a/1") is None
        await tier.put("a/1", b"y")
        assert await tier.get("a/1") == b"y"
        await tier.close()

    run(scenario)
    assert not marker.exists()


def test_a_planted_key_is_not_loaded(directory: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    async def scenario() -> None:
        tier = DiskTier(directory, MIB, 60)
        await tier.put("a/1", b"x")
        execute(directory, "UPDATE Cache SET raw = 0, key = ?", pickled(marker))
        with closing(diskcache.Cache(str(directory), disk=BytesDisk)) as cache, pytest.raises(NotBytes):
            list(cache)
        assert await tier.get("a/1") is None
        await tier.close()

    run(scenario)
    assert not marker.exists()


@pytest.mark.parametrize("key", [b"a", 1, 1.5, None, ("a", 1), True])
def test_no_other_key_goes_in(tmp_path: Path, key: Any) -> None:
    with closing(diskcache.Cache(str(tmp_path), disk=BytesDisk)) as cache, pytest.raises(NotBytes):
        cache.set(key, b"x")


@pytest.mark.parametrize("value", ["a", 1, 1.5, None, {"a": 1}, bytearray(b"x")])
def test_no_other_value_goes_in(tmp_path: Path, value: Any) -> None:
    with closing(diskcache.Cache(str(tmp_path), disk=BytesDisk)) as cache:
        with pytest.raises(NotBytes):
            cache.set("a/1", value)
        assert len(cache) == 0


def test_a_file_that_the_table_names_is_not_removed(directory: Path, tmp_path: Path) -> None:
    victim = tmp_path / "store.db"
    victim.write_bytes(b"dear")

    async def scenario() -> None:
        tier = DiskTier(directory, MIB, 60)
        await tier.put("a/1", b"x")
        execute(directory, "UPDATE Cache SET filename = '../store.db'")
        await tier.drop(["a/1"])
        await tier.put("a/1", b"x")
        execute(directory, "UPDATE Cache SET filename = '../store.db'")
        await tier.put("a/1", b"y")
        await tier.close()

    run(scenario)
    assert victim.read_bytes() == b"dear"


# -- damage


def overwrite(directory: Path) -> None:
    """Garbage in place of the database, in place, so that an open connection may see it too."""
    for path in directory.iterdir():
        if path.name != "cache.db-shm":
            path.write_bytes(b"garbage" * 10_000)


def truncate(directory: Path) -> None:
    """Half of a page."""
    with (directory / "cache.db").open("r+b") as file:
        file.truncate(2000)
    (directory / "cache.db-wal").unlink(missing_ok=True)


def empty(directory: Path) -> None:
    """Tables gone."""
    execute(directory, "DROP TABLE Cache")


async def reopen(tier: DiskTier) -> None:
    """Makes the next call open the file."""
    await tier._run(lambda _: tier._close())


# SQLite may not notice what is done to a file behind its back while it is open, and makes a missing table anew.
@pytest.mark.parametrize(
    ("damage", "is_open", "noticed"),
    [
        (overwrite, False, [1]),
        (truncate, False, [1]),
        (empty, True, [1]),
        (empty, False, [0]),
        (overwrite, True, [0, 1]),
        (truncate, True, [0, 1]),
    ],
)
def test_a_damaged_file_is_begun_anew_and_said_so_once(
    directory: Path,
    damage: Callable[[Path], None],
    is_open: bool,
    noticed: list[int],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def scenario() -> None:
        tier = DiskTier(directory, MIB, 60)
        for number in range(50):
            await tier.put(f"a/{number}", b"x" * 1000)
        if not is_open:
            await reopen(tier)
        damage(directory)
        for number in range(50):
            await tier.get(f"a/{number}")
            await tier.put(f"b/{number}", b"y")
        assert await tier.get("b/49") == b"y"
        await tier.close()

    with caplog.at_level(logging.WARNING, "deora.cache"):
        run(scenario)
    assert len([record for record in caplog.records if "begun anew" in record.getMessage()]) in noticed
    assert [path.name for path in directory.parent.iterdir()] == [directory.name]


def test_of_two_workers_one_throws_away_and_both_go_on(directory: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        one, other = DiskTier(directory, MIB, 60), DiskTier(directory, MIB, 60)
        await one.put("a/1", b"x")
        assert await other.get("a/1") == b"x"
        empty(directory)
        assert await one.get("a/1") is None
        await one.put("a/2", b"y")
        assert await other.get("a/2") == b"y"
        await one.close()
        await other.close()

    with caplog.at_level(logging.WARNING, "deora.cache"):
        run(scenario)
    assert len(caplog.records) == 1


def test_a_disk_that_damages_everything_is_left_alone_for_a_while(
    directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()

    async def scenario() -> None:
        tier = DiskTier(directory, MIB, 60, clock.monotonic_s)
        await tier.put("a/1", b"x")
        for _ in range(5):
            await reopen(tier)
            overwrite(directory)
            assert await tier.get("a/1") is None
            if len(caplog.records) == 1:
                await tier.put("a/1", b"x")
        clock.advance(REMAKE_PAUSE_S)
        assert await tier.get("a/1") is None
        await tier.put("a/1", b"x")
        assert await tier.get("a/1") == b"x"
        await tier.close()

    with caplog.at_level(logging.WARNING, "deora.cache"):
        run(scenario)
    assert len(caplog.records) == 2


def test_a_directory_that_cannot_be_made_is_a_miss(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"a file in its place")

    async def scenario() -> None:
        tier = DiskTier(tmp_path / "cache", MIB, 60)
        await tier.put("a/1", b"x")
        assert await tier.get("a/1") is None
        await tier.close()

    run(scenario)
    assert (tmp_path / "cache").read_bytes() == b"a file in its place"


def test_a_disk_that_hangs_is_waited_for_once(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hangs, ends = threading.Event(), threading.Event()

    async def scenario() -> None:
        tier = DiskTier(directory, MIB, 60)
        await tier.put("a/1", b"x")
        plain = tier._attempt

        def hang(operation: Callable[[Any], Any]) -> Any:
            hangs.set()
            ends.wait()
            return plain(operation)

        tier._attempt = hang  # type: ignore[method-assign]
        monkeypatch.setattr(disk, "PATIENCE_S", 0.02)
        assert await tier.get("a/1") is None
        assert hangs.wait(60)
        stuck = tier._stuck
        assert stuck is not None
        for _ in range(3):
            assert await tier.get("a/1") is None
        assert tier._stuck is stuck, "a second call waits behind the first"
        tier._attempt = plain  # type: ignore[method-assign]
        ends.set()
        await stuck
        monkeypatch.setattr(disk, "PATIENCE_S", 60.0)
        assert await tier.get("a/1") == b"x"
        await tier.close()

    run(scenario)
