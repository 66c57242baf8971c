"""Copies from upstream in the store: put under what waits, never over what is newer, and nothing counted twice."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deora.documents.versions import copy_version
from deora.outbox import storage
from deora.store.database import migrations, statements_of
from deora.wire.frames import FLAG_READ_THROUGH, HEADER_BYTES, UNHELD, Decoder, Kind, unpack
from tests.fakes.clock import ManualClock
from tests.fakes.store import Group, StoreFile, create, delete, encode_call, encode_commit, set_, settings_with, update

FRESH_US = 60_000_000
INCREMENT = {"n": {"$increment": 1}}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StoreFile]:
    """A store that reads through."""
    settings = replace(settings_with(), fresh_us=FRESH_US, replicate=("menu",))
    one = StoreFile(tmp_path / "store.db", settings, ManualClock())
    yield one
    one.close()


def adopt(store: StoreFile, seq: int, *copies: tuple[str, bytes | None], upstream: str = "primary") -> Group:
    """The replayer's call; the group that answers it."""
    return store.handle(encode_call(next(store.ids), "adopt", upstream, seq, copies))


def again(group: Group) -> list[str]:
    """The paths that the answer wants read again."""
    [answer] = group.answers.values()
    assert answer.problem is None
    return list(answer.value)


def version_of(store: StoreFile, path: str) -> str:
    """A document's version."""
    return str(store.column(path, "version"))


def test_a_copy_under_a_long_tail_waits_until_it_is_shorter(store: StoreFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """To look through it would hold up every client; the copy is read again when less waits."""
    monkeypatch.setattr(storage, "JOINED_AT_ONCE", 2)
    for _ in range(3):
        store.commit(update("a/1", INCREMENT, upsert=True))
    assert again(adopt(store, 0, ("a/1", b'{"n":5}'), ("a/2", b"{}"))) == ["a/1"]
    batch = store.claim(max_writes=1)
    assert batch is not None
    store.settle(batch)
    assert again(adopt(store, 1, ("a/1", b'{"n":6}'))) == []
    assert store.view("a/1") == {"n": 8}


# -- what a copy does


def test_a_new_document_is_shown_with_the_version_of_the_copy(store: StoreFile) -> None:
    group = adopt(store, 0, ("a/1", b'{"n":1}'), ("a/2", None))
    assert again(group) == []
    assert group.notices() == ["a/1"]
    assert store.view("a/1") == {"n": 1}
    assert version_of(store, "a/1") == copy_version(b'{"n":1}')
    assert store.rows("SELECT count(*) FROM documents") == [(1,)]
    assert store.commit(set_("a/1", {}, if_version=copy_version(b'{"n":1}'))).problem is None


def test_a_copy_that_tells_nothing_new_writes_nothing(store: StoreFile) -> None:
    store.commit(set_("a/1", {"n": 1}))
    store.deliver()
    before = store.rows("SELECT * FROM documents")
    [written] = store.db.execute("SELECT total_changes()")
    group = adopt(store, 1, ("a/1", b'{"n":1}'))
    assert (again(group), group.notices()) == ([], [])
    assert store.rows("SELECT * FROM documents") == before
    assert store.db.execute("SELECT total_changes()").fetchall() == [written]


def test_a_change_upstream_changes_view_version_and_tells_the_workers(store: StoreFile) -> None:
    first = store.commit(set_("a/1", {"n": 1}))
    store.deliver()
    created = store.column("a/1", "created_us")
    store.clock.advance(5)
    group = adopt(store, 1, ("a/1", b'{"n":2}'))
    assert (again(group), group.notices()) == ([], ["a/1"])
    assert store.view("a/1") == {"n": 2}
    assert version_of(store, "a/1") not in (first.version, copy_version(b'{"n":2}'))
    assert store.column("a/1", "created_us") == created
    assert store.column("a/1", "updated_us") == store.clock.wall_us()


def test_what_was_deleted_upstream_is_gone_here(store: StoreFile) -> None:
    store.commit(set_("a/1", {"n": 1}))
    store.deliver()
    assert adopt(store, 1, ("a/1", None)).notices() == ["a/1"]
    assert store.view("a/1") is None
    assert adopt(store, 1, ("a/1", b"{}")).notices() == ["a/1"]
    assert store.view("a/1") == {}


def test_what_waits_stays_on_top(store: StoreFile) -> None:
    store.commit(set_("a/1", {"n": 1, "by": "us"}))
    store.deliver()
    store.commit(update("a/1", INCREMENT))
    store.commit(update("a/1", INCREMENT))
    adopt(store, 1, ("a/1", b'{"by":"them","n":10}'))
    assert store.view("a/1") == {"n": 12, "by": "them"}
    store.deliver()
    assert store.view("a/1") == {"n": 12, "by": "them"}
    assert (store.column("a/1", "base_state"), store.column("a/1", "base")) == (1, None)


def test_a_change_that_the_waiting_writes_cover_changes_no_version(store: StoreFile) -> None:
    store.commit(set_("a/1", {"n": 1}))
    store.deliver()
    waiting = store.commit(set_("a/1", {"n": 5}))
    assert adopt(store, 1, ("a/1", b'{"n":9}')).notices() == []
    assert version_of(store, "a/1") == waiting.version
    # But the base is known: a dropped write would uncover it.
    assert store.column("a/1", "base") == '{"n":9}'


def test_a_pull_between_applied_and_settled_counts_nothing_twice(store: StoreFile) -> None:
    store.commit(set_("a/1", {"n": 0}))
    store.deliver()
    store.commit(update("a/1", INCREMENT))
    batch = store.claim()
    assert batch is not None
    assert again(adopt(store, 2, ("a/1", b'{"n":1}'))) == ["a/1"]
    assert store.view("a/1") == {"n": 1}
    store.settle(batch)
    assert again(adopt(store, 2, ("a/1", b'{"n":1}'))) == []
    assert store.view("a/1") == {"n": 1}


def test_a_copy_from_before_a_settlement_does_not_take_it_back(store: StoreFile) -> None:
    store.commit(set_("a/1", {"n": 1}))
    store.deliver()
    store.commit(set_("a/1", {"n": 2}), ident=10**6)
    store.deliver()
    assert again(adopt(store, 1, ("a/1", b'{"n":1}'))) == ["a/1"]
    assert store.view("a/1") == {"n": 2}


def test_a_copy_from_before_a_delete_does_not_bring_it_back(store: StoreFile) -> None:
    store.commit(set_("a/1", {"n": 1}))
    store.deliver()
    store.commit(delete("a/1"))
    store.deliver()
    assert again(adopt(store, 1, ("a/1", b'{"n":1}'))) == ["a/1"]
    assert store.view("a/1") is None


def test_a_create_that_upstream_holds_already_gives_way(store: StoreFile) -> None:
    store.commit(create("a/1", {"by": "us"}))
    adopt(store, 0, ("a/1", b'{"by":"them"}'))
    assert store.view("a/1") == {"by": "them"}


def test_a_dead_write_stays_until_it_is_dropped(store: StoreFile) -> None:
    store.commit(set_("a/1", {"n": 1}))
    store.deliver()
    store.commit(update("a/1", INCREMENT))
    ident = store.kill()
    adopt(store, 2, ("a/1", b'{"n":10}'))
    assert store.view("a/1") == {"n": 11}
    store.operate("drop", ident)
    assert store.view("a/1") == {"n": 10}


def test_the_secondarys_copies_stand_in_only_for_what_is_not_known(tmp_path: Path) -> None:
    store = StoreFile(tmp_path / "store.db", settings_with(("primary", "secondary")))
    store.commit(set_("a/1", {"n": 1}))
    store.deliver()
    group = adopt(store, 9, ("a/1", b'{"n":2}'), ("a/2", b'{"n":3}'), upstream="secondary")
    assert (again(group), group.notices()) == ([], ["a/2"])
    assert (store.view("a/1"), store.view("a/2")) == ({"n": 1}, {"n": 3})
    assert again(adopt(store, 0, ("a/2", b'{"n":4}'))) == []
    assert store.view("a/2") == {"n": 4}
    store.close()


@pytest.mark.parametrize("seed", range(12))
def test_nothing_counts_twice_whenever_copies_come(tmp_path: Path, seed: int) -> None:
    """Increments on their way, batches landing, being refused and settled, and snapshots that arrive in any order: the
    view shows each acknowledged increment once, after every single step."""
    print("seed", seed)
    dice = random.Random(seed)
    store = StoreFile(tmp_path / "store.db", settings_with(max_entries=10_000))
    store.db.execute("PRAGMA synchronous = OFF")
    store.commit(set_("a/1", {"n": 0}))
    store.deliver()
    upstream, acknowledged, seq = 0, 0, 1
    batch: Any = None
    landed = refused = False
    snapshots: list[tuple[int, int]] = []
    for _ in range(250):
        step = dice.choice(["write", "write", "claim", "land", "refuse", "settle", "look", "look", "adopt", "adopt"])
        if step == "write":
            store.commit(update("a/1", INCREMENT), set_("b/1", {}))
            acknowledged += 1
        elif step == "claim" and batch is None:
            batch, landed, refused = store.claim(max_writes=2 * dice.randint(1, 3)), False, False
        elif step == "land" and batch is not None and not (landed or refused):
            upstream, seq, landed = upstream + len(batch.entries), seq + 1, True
        elif step == "refuse" and batch is not None and len(batch.entries) == 1 and not (landed or refused):
            seq, refused = seq + 1, True
        elif step == "settle" and (landed or refused):
            store.settle(batch, "no" if refused else None)
            batch, landed, refused = None, False, False
        elif step == "look":
            snapshots.append((seq, upstream))
        elif step == "adopt" and snapshots:
            at, count = snapshots.pop(dice.randrange(len(snapshots)))
            adopt(store, at, ("a/1", b'{"n":%d}' % count))
        assert store.view("a/1") == {"n": acknowledged}, step
    store.close()


# -- writes that are judged by what is not here


def unheld(store: StoreFile, *writes: Any, flags: int = 0) -> list[str] | None:
    """The documents that the store wants read before it judges; None where it has judged."""
    ident = next(store.ids)
    body = encode_commit(ident, writes)[HEADER_BYTES:]
    group = store.service.handle([(Kind.COMMIT, flags, 0, 0, ident, body)])
    [result] = [frame for frame in Decoder().feed(group) if frame[0] == Kind.RESULT]
    return unpack(result[5]) if result[2] == UNHELD else None


def test_only_what_is_judged_by_a_document_needs_it(store: StoreFile) -> None:
    patch = update("a/1", {"n": 1})
    assert unheld(store, patch) == ["a/1"]
    assert unheld(store, patch, flags=FLAG_READ_THROUGH) is None
    assert unheld(store, set_("a/1", {}, if_version="*"), delete("a/2", if_version="~x")) == ["a/1", "a/2"]
    assert store.rows("SELECT count(*) FROM documents") == [(0,)]
    assert unheld(store, create("a/3", {}), update("a/3", {"n": 1}), delete("a/4")) is None
    assert unheld(store, update("a/5", {"n": 1}, upsert=True), set_("a/6", {}, if_absent=True)) is None
    assert unheld(store, update("a/3", {"n": 2}), update("a/7", {"n": 2})) == ["a/7"]


def test_what_is_known_to_be_gone_is_held_for_a_while(store: StoreFile) -> None:
    patch = update("a/1", {"n": 1})
    store.commit(set_("a/1", {}))
    store.commit(delete("a/1"))
    assert unheld(store, patch) is None, "the delete waits"
    store.deliver()
    assert unheld(store, patch) is None
    store.clock.advance(FRESH_US / 1e6 + 1)
    assert unheld(store, patch) == ["a/1"]


@pytest.mark.parametrize("jump_us", [-2 * FRESH_US, 2 * FRESH_US])
def test_what_was_known_before_the_wall_clock_jumped_is_not_believed(store: StoreFile, jump_us: int) -> None:
    store.commit(delete("a/1"))
    store.deliver()
    store.clock.wall_now_us += jump_us
    assert unheld(store, update("a/1", {"n": 1})) == ["a/1"]


def test_what_a_whole_collection_lacks_is_not_there(store: StoreFile) -> None:
    patch = update("menu/tea", {"n": 1})
    assert unheld(store, patch) == ["menu/tea"]
    store.call("synced", "primary", "menu", "sqlite:1", "000")
    assert unheld(store, patch) is None


def test_a_repeated_request_gets_its_answer_whatever_is_held(store: StoreFile) -> None:
    adopt(store, 0, ("a/1", b"{}"))
    first = store.commit(update("a/1", {"n": 1}), key=b"k")
    store.db.execute("DELETE FROM documents")
    store.reopen()
    assert store.commit(update("a/1", {"n": 1}), key=b"k").value == first.value


# -- collections that are kept whole


def test_a_pull_goes_on_where_the_last_one_ended_also_after_a_restart(store: StoreFile) -> None:
    def replica(source: str = "sqlite:1") -> Any:
        answer = store.call("replica", "primary", "menu", source)
        assert answer is not None
        return answer.value

    assert replica() is None
    store.call("synced", "primary", "menu", "sqlite:1", "0007")
    assert replica() == "0007"
    assert replica("sqlite:2") is None, "of another upstream"
    store.reopen()
    assert replica() == "0007"
    [(synced_us,)] = store.rows("SELECT synced_us FROM replicas")
    assert synced_us == store.clock.wall_us()
    store.reopen(settings_with())
    assert store.rows("SELECT * FROM replicas") == []


def test_the_documents_that_upstream_should_hold_are_listed(store: StoreFile) -> None:
    for name in ("a", "b", "c", "d", "e"):
        store.commit(set_(f"menu/{name}", {}))
    store.commit(set_("menu/b/sizes/x", {}), set_("other/a", {}))
    store.deliver()
    store.commit(set_("menu/new", {}))  # not there yet
    store.commit(delete("menu/c"))  # still there
    store.commit(delete("menu/d"))
    store.commit(update("menu/e", {"n": 1}))
    adopt(store, 7, ("menu/a", None))

    def held(after: str, limit: int) -> Any:
        answer = store.call("held", "primary", "menu", after, limit)
        assert answer is not None
        return answer.value

    assert held("", 10) == ["menu/b", "menu/c", "menu/d", "menu/e"]
    assert held("b", 2) == ["menu/c", "menu/d"]


def test_an_older_store_keeps_its_documents(tmp_path: Path) -> None:
    """A file of schema 1, with a settled document, one that waits and one that is gone."""
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path)) as db, db:
        for statement in statements_of(migrations()[0][1]):
            db.execute(statement)
        db.execute("PRAGMA user_version = 1")
        db.execute("INSERT INTO identity VALUES ('n', 'e')")
        db.execute("INSERT INTO upstreams (id, name, seq, batch_id) VALUES (1, 'primary', 5, 'b5')")
        row = "INSERT INTO documents VALUES (?, 'a', ?, ?, ?, 10, 20, 0, 0, 1, ?, NULL)"
        db.execute(row, (1, "1", "e-1", 1, '{"n":1}'))
        db.execute(row, (2, "2", "e-2", 2, None))
    store = StoreFile(path)
    assert store.view("a/1") == {"n": 1}
    assert (store.column("a/1", "base_seq"), store.column("a/1", "checked_us")) == (5, 20)
    assert again(adopt(store, 4, ("a/1", b"{}"))) == ["a/1"]
    assert store.commit(update("a/1", INCREMENT)).problem is None
    store.close()
