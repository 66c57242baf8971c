"""What is noted of commits without an entry, and how far back the order reaches."""

from __future__ import annotations

import sqlite3

import pytest

from deora.store.changes import ChangeLog
from deora.store.database import add_functions, migrations, statements_of
from tests.fakes.store import StoreFile, set_, settings_with


@pytest.fixture
def log(store: StoreFile) -> ChangeLog:
    return ChangeLog(store.connection)  # type: ignore[arg-type]


def noted(store: StoreFile) -> list[tuple[int, int, str]]:
    return store.rows("SELECT commit_no, place, path FROM changes ORDER BY commit_no, place")


def pruned(store: StoreFile) -> int:
    [(commit,)] = store.rows("SELECT pruned_commit FROM progress")
    return int(commit)


def test_documents_of_one_commit_have_their_places(store: StoreFile, log: ChangeLog) -> None:
    log.note(4, ["a/1", "a/2"], 10)
    log.note(5, ["a/1"], 10)
    log.note(4, ["a/3"], 10)
    assert noted(store) == []
    log.flush()
    assert noted(store) == [(4, 1, "a/1"), (4, 2, "a/2"), (4, 3, "a/3"), (5, 1, "a/1")]


def test_what_is_old_goes_and_is_said_to_be_gone(store: StoreFile, log: ChangeLog) -> None:
    for commit_no, running_s in ((3, 10), (4, 10), (5, 20), (6, 30)):
        log.note(commit_no, ["a/1"], running_s)
    log.flush()
    assert log.prune(2, 20) == 2
    assert (pruned(store), [row[0] for row in noted(store)]) == (4, [5, 6])
    assert log.prune(10, 20) == 1
    assert log.prune(10, 20) == 0
    assert (pruned(store), [row[0] for row in noted(store)]) == (5, [6])
    # Entries of later commits have gone: what was noted before them is of no use.
    log.pruned(8)
    log.pruned(7)
    assert log.prune(10, 0) == 1
    assert (pruned(store), noted(store)) == (8, [])


def test_an_adopted_copy_is_a_change(store: StoreFile) -> None:
    store.call("adopt", "primary", 0, [["a/1", b'{"n":1}'], ["a/2", b"{}"], ["a/3", None]])
    assert noted(store) == [(1, 1, "a/1"), (1, 2, "a/2")]
    store.call("adopt", "primary", 0, [["a/1", b'{"n":1}'], ["a/2", b'{"n":2}']])
    assert noted(store)[2:] == [(2, 1, "a/2")]
    assert store.commit(set_("a/1", {})).commit == 3
    assert len(noted(store)) == 3


def test_a_dropped_entry_leaves_its_commit_told(store: StoreFile) -> None:
    store.commit(set_("a/1", {}), set_("a/2", {}), set_("a/1", {"n": 1}))
    ident = store.kill()
    store.operate("drop", ident)
    # The commit of the entry, and the one that works the views out again without it.
    assert noted(store) == [(1, 1, "a/1"), (1, 2, "a/2"), (2, 1, "a/1"), (2, 2, "a/2")]


def test_pruned_entries_are_said_to_be_gone(store: StoreFile) -> None:
    for number in range(3):
        store.commit(set_("a/1", {"n": number}))
    store.deliver()
    store.commit(set_("a/1", {"n": 3}))
    store.clock.advance(25 * 3600)
    while store.service.housekeep()[1]:
        pass
    assert pruned(store) == 3
    assert list(store.states()) == [4]


def test_of_a_second_upstream_nothing_is_told(store: StoreFile) -> None:
    store.reopen(settings_with(("primary", "secondary")))
    store.commit(set_("a/1", {}))
    store.deliver("secondary")
    store.clock.advance(25 * 3600)
    while store.service.housekeep()[1]:
        pass
    assert (pruned(store), len(store.states())) == (0, 1)


def test_an_older_file_begins_where_it_is() -> None:
    db = sqlite3.connect(":memory:", isolation_level=None)
    add_functions(db)
    for number, sql in migrations():
        if number == 7:
            db.execute("UPDATE progress SET commit_no = 12")
        for statement in statements_of(sql):
            db.execute(statement)
    assert db.execute("SELECT pruned_commit FROM progress").fetchone() == (12,)
    db.close()
