"""A copy of a store that is written to meanwhile is the store as it was at one commit."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from deora.backup import copying
from deora.backup.copying import Copier
from deora.errors import StoreError
from deora.store.guard import Guard
from deora.store.sums import drop_sums, load_sums
from deora.store.wal import page_numbers, read_index
from tests.fakes.store import StoreFile, set_, update
from tests.fakes.store_process import StoreProcess

PAD = "x" * 3000


class Guarded(StoreFile):
    """A store whose pages' sums are kept, as its process does."""

    def open(self) -> None:
        super().open()
        self.guard = Guard(self.path, load_sums(self.path))
        self.service.space.copied = self.guard.follow
        self.guard.follow()

    def fill(self, first: int, count: int) -> None:
        """Documents, each in a commit of its own."""
        for number in range(first, first + count):
            self.commit(set_(f"d/{number}", {"pad": PAD, "number": number}))

    def checkpoint(self) -> None:
        """The WAL goes into the file, its sums are taken, and the WAL begins anew."""
        self.db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        self.guard.follow()
        self.commit(set_("d/after", {"pad": PAD}))

    def close(self) -> None:
        super().close()
        self.guard.close()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Guarded]:
    """An empty store."""
    made = Guarded(tmp_path / "store.db")
    yield made
    made.close()


@contextmanager
def copying_of(path: Path, target: Path, progress: Any = lambda _done, _total: None) -> Iterator[Copier]:
    descriptor = os.open(target, os.O_RDWR | os.O_CREAT, 0o600)
    copier = Copier(path, descriptor, progress)
    try:
        yield copier
    finally:
        copier.close()
        os.close(descriptor)


def rows(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """Of a copy, which stands alone."""
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert db.execute("PRAGMA journal_mode").fetchall() == [("delete",)]
        return db.execute(sql).fetchall()


def copied(store: StoreFile, target: Path) -> list[tuple[Any, ...]]:
    with copying_of(store.path, target) as copier:
        copier.run()
    return rows(target, "SELECT name, view FROM documents ORDER BY id")


def held(store: StoreFile) -> list[tuple[Any, ...]]:
    return store.rows("SELECT name, view FROM documents ORDER BY id")


def test_what_is_in_the_wal_and_what_is_in_the_file(store: Guarded, tmp_path: Path) -> None:
    for step in range(4):
        store.fill(5 * step, 5)
        if step % 2:
            store.checkpoint()
        assert copied(store, tmp_path / f"copy{step}") == held(store)
    assert not list(tmp_path.glob("copy*-*"))


def test_writes_and_checkpoints_between_the_steps(
    store: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages that were copied change, the file grows, the WAL begins anew."""
    monkeypatch.setattr(copying, "PAGES_AT_ONCE", 8)
    store.fill(0, 30)
    store.checkpoint()
    seen: list[tuple[int, int]] = []
    states: list[list[tuple[Any, ...]]] = []

    def disturb(done: int, total: int) -> None:
        states.append(held(store))
        seen.append((done, total))
        if len(seen) < 12:
            store.fill(len(seen), 3)
            store.fill(100 * len(seen), 3)
            store.checkpoint()
            store.fill(2, 1)

    with copying_of(store.path, tmp_path / "copy", disturb) as copier:
        copier.run()
    # It is told last when all is read.
    assert rows(tmp_path / "copy", "SELECT name, view FROM documents ORDER BY id") == states[-1]
    assert len(states[-1]) > 60
    assert seen[-1][0] == seen[-1][1] == (tmp_path / "copy").stat().st_size


def test_a_file_without_sums_is_looked_through(store: Guarded, tmp_path: Path) -> None:
    store.fill(0, 30)
    store.checkpoint()
    drop_sums(store.path)
    store.fill(7, 3)
    assert copied(store, tmp_path / "copy") == held(store)


def test_a_page_that_the_disk_has_changed_is_no_backup(store: Guarded, tmp_path: Path) -> None:
    store.fill(0, 30)
    store.checkpoint()
    sums, index = load_sums(store.path), read_index(store.guard._shm)
    assert sums is not None
    assert index is not None
    page = max(set(range(1, len(sums.crcs) + 1)) - page_numbers(store.guard._shm, 0, index.frames))
    with open(store.path, "r+b") as file:
        file.seek((page - 1) * 4096 + 2000)
        [byte] = file.read(1)
        file.seek((page - 1) * 4096 + 2000)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(StoreError, match=f"1 pages of store.db are not as they were written, the first one is {page}"):
        copied(store, tmp_path / "copy")


def test_a_file_that_outruns_the_copy_is_given_up(
    store: Guarded, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "LATE_AT_MOST", 2)
    numbers = iter(range(1, 10_000, 10))

    def disturb(_done: int, _total: int) -> None:
        store.fill(next(numbers), 4)
        store.checkpoint()

    store.fill(0, 5)
    with copying_of(store.path, tmp_path / "copy", disturb) as copier:
        monkeypatch.setattr(copying, "ROUNDS", 2)
        monkeypatch.setattr(copying, "TRIES", 3)
        with pytest.raises(StoreError, match="changes faster"):
            copier.run()


def test_the_store_writes_at_full_speed(tmp_path: Path) -> None:
    """Another process commits and checkpoints all the time; each copy is of one commit."""
    data, stop = tmp_path / "data", threading.Event()
    with StoreProcess(data, max_entries=10**6, max_bytes=2**30) as store:
        store.pause("primary")

        def write() -> None:
            turn = 0
            while not stop.is_set():
                paths = [f"d/{(turn * 7 + number) % 40}" for number in range(20)]
                fields = {"n": {"$increment": 1}, "pad": PAD}
                store.commit([update(path, fields, upsert=True) for path in paths], [5] * 20)
                turn += 1

        thread = threading.Thread(target=write)
        thread.start()
        try:
            commits = [0]
            for number in range(5):
                target = tmp_path / f"copy{number}"
                with copying_of(data / "store.db", target) as copier:
                    copier.run()
                [(commit, entries)] = rows(target, "SELECT commit_no, (SELECT count(*) FROM entries) FROM progress")
                [(total,)] = rows(target, "SELECT coalesce(sum(json_extract(view, '$.n')), 0) FROM documents")
                assert commit == entries == total
                commits.append(commit)
                target.unlink()
        finally:
            stop.set()
            thread.join()
    assert commits == sorted(commits)
    assert commits[-1] > commits[1]
