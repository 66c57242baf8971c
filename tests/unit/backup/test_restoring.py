"""A backup becomes a store where there is none."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from deora.backup.restoring import restore
from deora.backup.taking import take
from deora.errors import DeoraError
from tests.fakes.store import StoreFile, set_


def silent(_phase: str, _done: int, _total: int) -> None:
    pass


@pytest.fixture
def backup(tmp_path: Path) -> Iterator[Path]:
    """A backup of a store with one document, and of its upstream's file."""
    (tmp_path / "old").mkdir()
    store = StoreFile(tmp_path / "old" / "store.db")
    store.commit(set_("a/1", {"a": 1}))
    with closing(sqlite3.connect(tmp_path / "old" / "up.db")) as db:
        db.execute("CREATE TABLE t (x)")
    files = {"primary": tmp_path / "old" / "up.db"}
    take(tmp_path / "old", files, tmp_path, "b", lambda _: "b.db", silent)
    yield tmp_path / "b.db"
    store.close()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The data directory of a fresh box."""
    made = tmp_path / "data"
    made.mkdir()
    return made


def test_a_new_life_begins(backup: Path, data: Path) -> None:
    # What is left of a store that was moved away speaks of other pages.
    (data / "store.db-sums").write_bytes(b"of another store")
    before = backup.read_bytes()
    done = restore(backup, data, {"primary": data / "up.db"}, silent)
    assert done.facts.pending == 1
    assert done.life.former == done.facts.epoch != done.life.epoch
    assert done.upstreams == ["primary"]
    assert backup.read_bytes() == before
    assert sorted(path.name for path in data.iterdir()) == ["store.db", "up.db"]
    assert {path.stat().st_mode & 0o777 for path in data.iterdir()} == {0o600}
    store = StoreFile(data / "store.db")
    try:
        assert store.service.identity == (done.life.node, done.life.epoch)
        assert store.view("a/1") == {"a": 1}
    finally:
        store.close()


def test_an_upstream_that_is_there_stays(backup: Path, data: Path) -> None:
    (data / "up.db").write_bytes(b"younger than the backup")
    assert restore(backup, data, {"primary": data / "up.db"}, silent).upstreams == []
    assert (data / "up.db").read_bytes() == b"younger than the backup"


@pytest.mark.parametrize("name", ["store.db", "store.db-wal"])
def test_nothing_is_overwritten(backup: Path, data: Path, name: str) -> None:
    (data / name).write_bytes(b"here")
    with pytest.raises(DeoraError, match=f"{name} is there already"):
        restore(backup, data, {}, silent)
    assert [path.name for path in data.iterdir()] == [name]


def test_one_that_ends_early_has_changed_nothing_and_is_run_again(backup: Path, data: Path) -> None:
    (data / "store.db.restoring").write_bytes(b"of one that was killed")

    def end(phase: str, _done: int, _total: int) -> None:
        if phase == "copying":
            raise OSError(28, "No space left on device")

    with pytest.raises(DeoraError, match=r"could not be restored .* No space left"):
        restore(backup, data, {}, end)
    assert list(data.iterdir()) == []
    restore(backup, data, {}, silent)
    assert [path.name for path in data.iterdir()] == ["store.db"]
