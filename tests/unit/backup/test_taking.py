"""A backup gets its name once it is whole, and replaces nothing but a backup."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from deora.backup import taking
from deora.backup.taking import Facts, check_place, embedded_places, embedded_upstreams, take, verify
from deora.config.schema import Config
from deora.errors import DeoraError, StoreError
from tests.fakes.store import StoreFile, set_


def silent(_phase: str, _done: int, _total: int) -> None:
    pass


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StoreFile]:
    """A store with two documents, of which one waits."""
    (tmp_path / "data").mkdir()
    made = StoreFile(tmp_path / "data" / "store.db")
    made.commit(set_("a/1", {"a": 1}))
    made.deliver()
    made.commit(set_("a/2", {"a": 2}))
    yield made
    made.close()


def taken(store: StoreFile, folder: Path, name: str = "b.db", tell: Any = silent) -> Facts:
    return take(store.path.parent, {}, folder, name, lambda _: name, tell)


def test_it_says_what_it_holds_and_is_nobody_elses(store: StoreFile, tmp_path: Path) -> None:
    phases: list[str] = []
    facts = taken(store, tmp_path, tell=lambda phase, _done, _total: phases.append(phase))
    node, epoch = store.service.identity
    size = (tmp_path / "b.db").stat().st_size
    assert facts == Facts(node, epoch, 2, 8, 2, 1, 0, size, "b.db", {})
    assert list(dict.fromkeys(phases)) == ["copying", "verifying"]
    assert (tmp_path / "b.db").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b.db", "data"]


def test_an_upstream_in_the_data_directory_comes_along(store: StoreFile, tmp_path: Path) -> None:
    data = store.path.parent
    database = {"primary": {"type": "sqlite", "file": "up.db"}, "secondary": {"type": "sqlite", "file": "/far/x.db"}}
    config = Config.from_wire({"database": database})
    assert embedded_upstreams(config, data) == {}
    with closing(sqlite3.connect(data / "up.db")) as db, db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE t (x)")
        db.execute("INSERT INTO t VALUES (7)")
    assert embedded_places(config, data) == embedded_upstreams(config, data) == {"primary": data / "up.db"}
    (tmp_path / "b.db.upstream-secondary").write_bytes(b"of an older backup")
    facts = take(data, embedded_upstreams(config, data), tmp_path, "b", lambda _: "b.db", silent)
    assert facts.upstreams == {"primary": "b.db.upstream-primary"}
    with closing(sqlite3.connect(tmp_path / "b.db.upstream-primary")) as db:
        assert db.execute("SELECT x FROM t").fetchall() == [(7,)]
    assert sorted(path.name for path in tmp_path.glob("b*")) == ["b.db", "b.db.upstream-primary"]
    assert (tmp_path / "b.db.upstream-primary").stat().st_mode & 0o777 == 0o600


def test_whatever_ends_it_leaves_nothing_behind(store: StoreFile, tmp_path: Path) -> None:
    for at in range(4):

        def end(_phase: str, _done: int, _total: int, turns: list[int] = [at]) -> None:  # noqa: B006
            turns[0] -= 1
            if turns[0] < 0:
                raise KeyboardInterrupt

        with pytest.raises((KeyboardInterrupt, StoreError)):
            taken(store, tmp_path, tell=end)
        assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_one_that_was_killed_is_begun_anew_and_two_at_once_are_one(store: StoreFile, tmp_path: Path) -> None:
    part = tmp_path / ".b.db.part"
    part.write_bytes(b"half of it" * 10_000)
    part.chmod(0o644)
    taken(store, tmp_path)
    assert (tmp_path / "b.db").stat().st_mode & 0o777 == 0o600
    with open(part, "wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DeoraError, match="another backup is being written"):
            taken(store, tmp_path)


@pytest.mark.parametrize(
    ("number", "said"),
    [(errno.ENOSPC, "make room"), (errno.EROFS, "ReadWritePaths"), (errno.EIO, "Input/output error")],
)
def test_a_disk_that_refuses(
    store: StoreFile, tmp_path: Path, number: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("deora.backup.copying.os.pwrite", refuse)
    with pytest.raises(DeoraError) as caught:
        taken(store, tmp_path)
    assert said in caught.value.told
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_folder_that_is_not_there(store: StoreFile, tmp_path: Path) -> None:
    with pytest.raises(DeoraError) as caught:
        taken(store, tmp_path / "stick")
    assert "No such file" in caught.value.message
    assert "mount its disk" in str(caught.value.hint)


def test_without_a_store(tmp_path: Path) -> None:
    with pytest.raises(DeoraError, match="there is no store"):
        take(tmp_path, {}, tmp_path, "b", lambda _: "b", silent)


def test_the_stores_disk_is_never_filled(store: StoreFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = 2**60
    monkeypatch.setattr(taking, "LEFT_FREE_BYTES", kept)
    disk = os.statvfs(tmp_path)
    free = disk.f_bavail * disk.f_frsize

    class Full:
        f_blocks, f_frsize, f_bavail = 4 * kept, 1, free

    monkeypatch.setattr("deora.backup.taking.os.statvfs", lambda _: Full)
    with pytest.raises(DeoraError, match=f"{kept} of which stay free for the store"):
        taken(store, tmp_path)


def test_only_a_backup_is_replaced(store: StoreFile, tmp_path: Path) -> None:
    data = store.path.parent
    check_place(tmp_path / "new.db", data, force=False)
    taken(store, tmp_path)
    with pytest.raises(DeoraError, match="is there already"):
        check_place(tmp_path / "b.db", data, force=False)
    check_place(tmp_path / "b.db", data, force=True)
    (tmp_path / "letter.txt").write_text("Dear")
    with pytest.raises(DeoraError, match="is no backup"):
        check_place(tmp_path / "letter.txt", data, force=True)
    for name in ("store.db", "store.db-wal"):
        with pytest.raises(DeoraError, match="is the store's own"):
            check_place(data / name, data, force=True)


def test_what_is_no_whole_backup(store: StoreFile, tmp_path: Path) -> None:
    def look(path: Path) -> Facts:
        return verify(path, lambda _done, _total: None)

    taken(store, tmp_path)
    whole = (tmp_path / "b.db").read_bytes()
    assert look(tmp_path / "b.db").documents == 2
    bad = tmp_path / "bad.db"
    # A page that none of the counts needs.
    [(page,)] = store.rows("SELECT rootpage FROM sqlite_master WHERE name = 'documents_gone'")
    bad.write_bytes(whole[: (page - 1) * 4096] + bytes(4096) + whole[page * 4096 :])
    with pytest.raises(StoreError, match="no whole backup"):
        look(bad)
    for content, said in ((b"text", "no backup of a store"), (whole[: len(whole) // 2], "no whole backup")):
        bad.write_bytes(content)
        with pytest.raises(StoreError, match=said):
            look(bad)
    bad.unlink()
    with pytest.raises(StoreError, match="cannot be read: No such file"):
        look(bad)
    with closing(sqlite3.connect(bad)) as db:
        db.execute("CREATE TABLE t (x)")
    with pytest.raises(StoreError, match="no such table: identity"):
        look(bad)
