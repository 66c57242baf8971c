"""What a start makes of the file that it finds: believed, mended, salvaged, or refused. All damage: tests/faults."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from deora.errors import StoreError
from deora.store import damage
from deora.store.damage import examine, prepare, suspect
from deora.store.replacing import reports
from deora.store.sums import load_mark, load_sums, sums_path
from tests.fakes.damaged import NOW, GuardedStore
from tests.fakes.store import set_


@pytest.fixture
def store(tmp_path: Path) -> Iterator[GuardedStore]:
    """A store of forty commits that was stopped."""
    store = GuardedStore(tmp_path / "store.db")
    for number in range(40):
        store.commit(set_(f"bills/{number}", {"n": number}))
    store.stop()
    yield store
    store.close()


def texts(store: GuardedStore) -> str:
    return " ".join(report.text() for report in store.reports())


def raising(error: Exception) -> Callable[[int], None]:
    def fail(_: int) -> None:
        raise error

    return fail


def spoil(path: Path, at: int, content: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(at)
        file.write(content)


def test_a_file_as_it_was_left_is_believed_at_once(store: GuardedStore) -> None:
    before = load_sums(store.path)
    assert prepare(store.path, ["primary"], NOW) == before
    assert before is not None


def test_nothing_to_open_is_nothing_to_mend(tmp_path: Path) -> None:
    assert prepare(tmp_path / "store.db", ["primary"], NOW) is None
    (tmp_path / "store.db").touch()
    assert prepare(tmp_path / "store.db", ["primary"], NOW) is None


def test_a_first_start_that_was_killed_is_no_damage(tmp_path: Path) -> None:
    """Before the file has a WAL, with a journal that is to be rolled back; and before it has a table."""
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA user_version = 0")
        db.execute("PRAGMA cache_size = 1")
        db.execute("BEGIN")
        db.execute("CREATE TABLE t (text TEXT)")
        db.executemany("INSERT INTO t VALUES (?)", [("x" * 3000,)] * 20)
        for ending in ("", "-journal"):
            shutil.copy(f"{path}{ending}", f"{path}{ending}.kept")
        db.execute("ROLLBACK")
    for ending in ("", "-journal"):
        os.replace(f"{path}{ending}.kept", f"{path}{ending}")
    assert prepare(path, ["primary"], NOW) is None
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode = WAL")
    assert prepare(path, ["primary"], NOW) is None
    assert not reports(path)


@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR_SHMOPEN, sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY_RECOVERY])
def test_a_disk_that_fails_is_no_damage(store: GuardedStore, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    error = sqlite3.OperationalError("not now")
    error.sqlite_errorcode = code
    monkeypatch.setattr(damage, "read_index", raising(error))
    before = store.path.read_bytes()
    with pytest.raises(StoreError, match="not now") as caught:
        prepare(store.path, ["primary"], NOW)
    assert caught.value.hint
    assert store.path.read_bytes() == before
    assert load_sums(store.path) is not None


def test_what_is_not_ours_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_text("a shopping list")
    with pytest.raises(StoreError, match="not a SQLite file") as caught:
        prepare(path, ["primary"], NOW)
    assert caught.value.hint
    assert path.read_text() == "a shopping list"
    path.unlink()
    path.mkdir()
    with pytest.raises(StoreError, match="directory"):
        prepare(path, ["primary"], NOW)


def test_a_newer_version_is_refused_and_left_alone(store: GuardedStore) -> None:
    with closing(sqlite3.connect(store.path)) as db:
        db.execute("PRAGMA user_version = 99")
    before = store.path.read_bytes()
    with pytest.raises(StoreError, match="schema 99"):
        prepare(store.path, ["primary"], NOW)
    assert store.path.read_bytes() == before
    assert not list(store.path.parent.glob("*damaged*"))


def test_a_version_that_one_wrong_bit_made_newer_is_put_right(store: GuardedStore) -> None:
    spoil(store.path, 60, b"\x80")
    store.open()
    assert "one wrong bit was put right" in texts(store)
    assert store.view("bills/7") == {"n": 7}


def test_another_copy_of_the_store_is_used_as_it_is_and_that_is_said(store: GuardedStore) -> None:
    """Somebody has put a backup in its place, and left what stands beside the file."""
    shutil.copy(store.path, store.path.with_name("backup"))
    store.open()
    last = 0
    for number in range(400):
        last = store.commit(set_(f"bills/{number % 40}", {"n": number, "text": "x" * 300})).commit
    store.stop()
    shutil.copy(store.path.with_name("backup"), store.path)
    store.open()
    assert "replaced" in texts(store)
    assert store.view("bills/7") == {"n": 7}
    assert store.commit(set_("bills/7", {})).commit > last, "a version would be given twice"


def test_without_sums_a_small_file_is_looked_through(store: GuardedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    sums_path(store.path).unlink()
    with closing(sqlite3.connect(store.path)) as db:
        [(root,)] = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'entries_live'").fetchall()
    spoil(store.path, (root - 1) * 4096, bytes(4096))
    assert examine(store.path).reasons
    monkeypatch.setattr(damage, "LOOKED_THROUGH_BYTES", 0)
    assert not examine(store.path).reasons


def test_what_was_suspected_is_looked_through_and_forgotten_where_all_is_well(store: GuardedStore) -> None:
    suspect(store.path, ValueError("a document is not JSON"))
    store.open()
    assert not store.reports()
    assert not store.path.with_name("store.db-suspect").exists()
    store.db.execute("UPDATE entries SET payload = x'c1' WHERE id = 5")
    store.guarded.handle([])
    store.stop()
    suspect(store.path, ValueError("an entry cannot be read"))
    store.open()
    assert "1 rows of entries whose values are damaged" in texts(store)


def test_a_stale_index_is_built_anew(store: GuardedStore, tmp_path: Path) -> None:
    """As another process makes it that opens the file after somebody has deleted the index."""
    store.open()
    store.commit(set_("bills/1", {"n": "early"}))
    stale = store.path.with_name("store.db-shm").read_bytes()
    store.commit(set_("bills/1", {"n": "late"}))
    other = tmp_path / "other"
    other.mkdir()
    for name in ("store.db", "store.db-wal", "store.db-sums", "store.db-mark"):
        shutil.copy(tmp_path / name, other / name)
    (other / "store.db-shm").write_bytes(stale)
    # Held open, the index is taken as it is.
    held = sqlite3.connect(f"{(other / 'store.db').as_uri()}?mode=ro", uri=True)
    held.execute("SELECT count(*) FROM documents").fetchall()
    spoil(other / "store.db-shm", 0, stale[:136])
    again = GuardedStore(other / "store.db")
    assert again.view("bills/1") == {"n": "late"}
    assert not again.reports()
    again.close()
    held.close()


def test_a_disk_that_damages_the_file_again_and_again_is_given_up(store: GuardedStore) -> None:
    for number in range(damage.REPORTS_AT_MOST):
        spoil(store.path, 4096 * 3, os.urandom(4096))
        prepare(store.path, ["primary"], f"{NOW}-{number}")
    assert len(reports(store.path)) == damage.REPORTS_AT_MOST
    spoil(store.path, 4096 * 3, os.urandom(4096))
    with pytest.raises(StoreError, match="damaged again"):
        prepare(store.path, ["primary"], "once-more")


def test_the_mark_is_of_this_store(store: GuardedStore) -> None:
    mark = load_mark(store.path)
    assert mark is not None
    assert (mark.node, mark.epoch) == store.guarded.identity
    assert mark.commit_no == 40
