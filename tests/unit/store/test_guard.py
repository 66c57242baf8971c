"""The guard of a file: sums follow every checkpoint, the mark every transaction, and what changes beside is seen."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deora.store import guard as guarding
from deora.store.database import open_writer
from deora.store.guard import Damaged, Guard, Unkept
from deora.store.sums import load_mark, load_sums, mismatches
from deora.store.wal import read_wal
from tests.fakes.connection import FaultyConnection


class Bench:
    """A file, its writer and its guard."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.db = open_writer(path)
        self.guard = Guard(path, load_sums(path))
        self.guard.identity = ("node", "epoch")
        self.guard.follow()
        self.count = 0

    def write(self, transactions: int = 1) -> None:
        """Transactions, each noted."""
        for _ in range(transactions):
            self.count += 1
            self.db.execute("INSERT INTO requests VALUES (?, 0, 0, 0, ?)", (self.count, os.urandom(3000)))
            self.guard.note(self.count, 2 * self.count)

    def checkpoint(self, mode: str = "PASSIVE") -> None:
        """A checkpoint, not noted yet."""
        self.db.execute(f"PRAGMA wal_checkpoint({mode})").fetchall()

    def wrong(self) -> list[int]:
        """The pages that are neither as their sums say nor in the WAL."""
        sums = load_sums(self.path)
        assert sums is not None
        spared = set(read_wal(self.path.with_name("store.db-wal")).pages)
        descriptor = os.open(self.path, os.O_RDONLY)
        found = mismatches(sums, descriptor, spared, 0, len(sums.crcs))
        # Not closed here: the locks of this process's connections would go with it.
        self.guard._descriptors.append(descriptor)
        return found

    def close(self) -> None:
        """As after an error."""
        self.db.close()
        self.guard.close()


def failing(number: int, times: int) -> Callable[[int], None]:
    """A fsync that fails so often."""
    errors = iter([OSError(number, os.strerror(number))] * times)

    def fsync(_: int) -> None:
        for error in errors:
            raise error

    return fsync


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path / "store.db")
    yield bench
    bench.close()


def test_sums_follow_each_checkpoint(bench: Bench) -> None:
    for _ in range(5):
        bench.write(7)
        assert bench.wrong() == []
        before = load_sums(bench.path)
        bench.checkpoint()
        bench.guard.note(bench.count, bench.count)
        after = load_sums(bench.path)
        assert before is not None
        assert after is not None
        assert after.number > before.number
        assert bench.wrong() == []
    bench.write(3)
    assert bench.wrong() == []


def test_sums_are_there_before_the_wal_is_reused(bench: Bench) -> None:
    """Killed right after a checkpoint, what it copied is in the WAL still."""
    bench.write(7)
    bench.checkpoint()
    assert bench.wrong() == []


@pytest.mark.parametrize("mode", ["TRUNCATE", "RESTART"])
def test_a_wal_that_begins_anew_when_the_sums_have_followed(bench: Bench, mode: str) -> None:
    bench.write(7)
    bench.checkpoint("FULL")
    bench.guard.follow()
    followed = load_sums(bench.path)
    bench.checkpoint(mode)
    assert bench.wrong() == []
    bench.db.execute("INSERT INTO requests VALUES (1000, 0, 0, 0, x'')")
    assert bench.wrong() == []
    bench.write(5)
    assert load_sums(bench.path) == followed
    assert bench.wrong() == []


def test_a_wal_that_was_emptied_unseen_has_all_sums_taken_anew(bench: Bench) -> None:
    bench.write(7)
    bench.checkpoint("TRUNCATE")
    bench.write()
    assert bench.wrong() == []
    bench.write(5)
    assert bench.wrong() == []


def test_without_room_for_the_sums_none_are_kept_until_there_is(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.write(7)
    bench.checkpoint()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", failing(errno.ENOSPC, times=1))
        bench.guard.note(bench.count, bench.count)
    assert load_sums(bench.path) is None
    assert not bench.path.with_name("store.db-sums.next").exists()
    bench.write(7)
    assert load_sums(bench.path) is None
    bench.guard.scrub()
    assert bench.wrong() == []


def test_a_disk_that_keeps_neither_sums_nor_their_end_ends_the_store(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.write(7)
    bench.checkpoint()
    monkeypatch.setattr(os, "fsync", failing(errno.EIO, times=2))
    with pytest.raises(Unkept, match="sums"):
        bench.guard.note(bench.count, bench.count)


def test_the_mark_says_how_far_the_wal_had_come(bench: Bench) -> None:
    bench.write(4)
    mark, wal = load_mark(bench.path), read_wal(bench.path.with_name("store.db-wal"))
    assert mark is not None
    assert (mark.salts, mark.frames) == (wal.salts, wal.frames)
    assert (mark.commit_no, mark.entry_id, mark.node, mark.epoch) == (4, 8, "node", "epoch")


def test_closing_after_an_error_copies_nothing(bench: Bench) -> None:
    bench.write(4)
    before = bench.path.read_bytes()
    bench.db.close()
    bench.guard.close()
    assert bench.path.read_bytes() == before
    assert read_wal(bench.path.with_name("store.db-wal")).frames


def test_closing_in_peace_leaves_no_wal_and_the_sums_of_all(bench: Bench) -> None:
    bench.write(4)
    bench.guard.finish(bench.db)
    bench.db.close()
    assert not bench.path.with_name("store.db-wal").exists()
    assert bench.wrong() == []


def test_closing_in_peace_beside_a_reader_leaves_the_wal_with_its_frames(bench: Bench) -> None:
    """What the reader kept from being copied may not be copied when it has gone, since no sums would follow."""
    bench.write(4)
    reader = sqlite3.connect(f"{bench.path.as_uri()}?mode=ro", uri=True, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM requests").fetchall()
    bench.write(3)
    bench.guard.finish(bench.db)
    reader.close()
    bench.db.close()
    assert read_wal(bench.path.with_name("store.db-wal")).frames
    assert bench.wrong() == []


def test_closing_in_peace_on_a_disk_that_fails_leaves_the_wal(bench: Bench) -> None:
    bench.write(4)
    connection = FaultyConnection(bench.db)
    connection.arm(0)
    bench.guard.finish(connection.as_connection())
    bench.db.close()
    assert read_wal(bench.path.with_name("store.db-wal")).frames
    assert bench.wrong() == []


def test_a_scrub_sees_a_wrong_bit_and_spares_what_the_wal_has(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarding, "SCRUBBED_AT_ONCE", 4)
    bench.write(40)
    bench.checkpoint()
    bench.write(2)
    sums = load_sums(bench.path)
    assert sums is not None
    warm = set(read_wal(bench.path.with_name("store.db-wal")).pages)
    cold = max(set(range(1, len(sums.crcs) + 1)) - warm)
    turns = len(sums.crcs) // 4 + 1
    for page, seen in ((min(warm), False), (cold, True)):
        with open(bench.path, "r+b", buffering=0) as file:
            # Left open for the rest of the test, as `wrong` says.
            descriptor = os.dup(file.fileno())
            bench.guard._descriptors.append(descriptor)
            byte = os.pread(descriptor, 1, page * 4096 - 7)[0]
            os.pwrite(descriptor, bytes([byte ^ 1]), page * 4096 - 7)
        if not seen:
            scrub_all(bench.guard, turns)
            continue
        with pytest.raises(Damaged, match=f"page {page} "):
            scrub_all(bench.guard, turns)


def scrub_all(guard: Guard, turns: int) -> None:
    """Looks at every page."""
    for _ in range(turns):
        guard.scrub()


def test_an_index_that_was_taken_away_is_seen(bench: Bench) -> None:
    bench.write()
    bench.guard.scrub()
    shm = bench.path.with_name("store.db-shm")
    shm.rename(bench.path.with_name("elsewhere"))
    with pytest.raises(Damaged, match=r"store\.db-shm"):
        bench.guard.scrub()
    reader = sqlite3.connect(f"{bench.path.as_uri()}?mode=ro", uri=True)
    reader.execute("SELECT count(*) FROM requests").fetchall()
    with pytest.raises(Damaged, match=r"store\.db-shm"):
        bench.guard.scrub()
    reader.close()
