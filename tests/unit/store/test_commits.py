"""Commits as the store judges them: keys first, then room, then preconditions, then operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from deora.documents.writes import Write
from deora.errors import Problem
from deora.store.answers import KEPT_ANSWERS_S
from deora.store.service import Settings
from tests.fakes.store import (
    Answer,
    StoreFile,
    create,
    delete,
    encode_commit,
    encode_operation,
    set_,
    settings_with,
    update,
)

MakeStore = Callable[[Settings], StoreFile]

KEY = b"a key"


def refusal(answer: Answer) -> Problem:
    """The problem of an answer that refuses."""
    assert answer.problem is not None
    assert answer.status == answer.problem.status
    return answer.problem


def nothing_changed(store: StoreFile, before: list[list[tuple[Any, ...]]]) -> bool:
    """Whether the file holds what it held."""
    return everything(store) == before


def everything(store: StoreFile) -> list[list[tuple[Any, ...]]]:
    """All rows of all tables but the store's clock."""
    tables = [
        "documents",
        "entries",
        "heads",
        "followers",
        "answers",
        "requests",
        "dead_letters",
        "upstreams",
        "batches",
    ]
    return [store.rows(f"SELECT * FROM {table}") for table in tables] + [
        store.rows("SELECT commit_no, entry_id FROM progress")
    ]


# -- answers


def test_a_set_answers_201_for_a_new_document_and_200_for_another_time(store: StoreFile) -> None:
    first = store.commit(set_("orders/o1", {"total": 1}))
    epoch = store.service.identity[1]
    assert (first.status, first.commit) == (201, 1)
    assert first.json == {"path": "orders/o1", "version": f"{epoch}-1", "commit": 1, "replication": "pending"}
    assert first.value[:4] == [201, 1, f"{epoch}-1", "orders/o1"]
    assert store.commit(set_("orders/o1", {"total": 2})).status == 200
    assert store.view("orders/o1") == {"total": 2}


@pytest.mark.parametrize(
    ("write", "status"),
    [
        (create("orders/o2", {}), 201),
        (update("orders/o2", {"a": 1}, upsert=True), 200),
        (update("orders/o1", {"a": 1}), 200),
        (delete("orders/o1"), 200),
        (delete("orders/o9"), 200),
    ],
)
def test_the_status_of_a_write(store: StoreFile, write: Write, status: int) -> None:
    store.commit(set_("orders/o1", {}))
    assert store.commit(write).status == status


def test_that_a_document_is_gone_has_a_version_though_it_never_was_here(store: StoreFile) -> None:
    answer = store.commit(delete("orders/o9"))
    assert answer.version == f"{store.service.identity[1]}-1"
    assert store.commit(delete("orders/o9")).version == answer.version, "nothing changed"


def test_a_list_of_writes_answers_for_each(store: StoreFile) -> None:
    answer = store.commit(set_("a/1", {}), delete("a/2"), update("a/1", {"n": 1}), single=False)
    epoch = store.service.identity[1]
    assert answer.value[:4] == [200, 1, None, None]
    assert answer.json == {
        "commit": 1,
        "replication": "pending",
        "writes": [
            {"path": "a/1", "version": f"{epoch}-1"},
            {"path": "a/2", "version": f"{epoch}-1"},
            {"path": "a/1", "version": f"{epoch}-1"},
        ],
    }
    assert store.view("a/1") == {"n": 1}
    assert len(store.states()) == 1


def test_a_representation_is_the_document_as_a_read_shows_it(store: StoreFile) -> None:
    store.commit(set_("orders/o1", {"total": 1}))
    store.clock.advance(5)
    answer = store.commit(update("orders/o1", {"total": {"$increment": 2}}), representation=True)
    assert answer.json["document"] == {
        "path": "orders/o1",
        "version": answer.version,
        "createTime": "2026-01-31T12:00:00.000000Z",
        "updateTime": "2026-01-31T12:00:05.000000Z",
        "pending": True,
        "data": {"total": 3},
    }
    assert "document" not in store.commit(delete("orders/o1"), representation=True).json


def test_a_server_timestamp_is_this_box_s_time_and_is_sent_as_a_value(store: StoreFile) -> None:
    store.commit(update("orders/o1", {"at": {"$serverTimestamp": True}}, upsert=True))
    assert store.view("orders/o1") == {"at": {"$timestamp": "2026-01-31T12:00:00.000000Z"}}
    [(payload,)] = store.rows("SELECT payload FROM entries")
    assert b"2026-01-31T12:00:00.000000Z" in payload
    assert b"serverTimestamp" not in payload


# -- versions


def test_a_version_changes_only_when_the_data_does(store: StoreFile) -> None:
    first = store.commit(set_("orders/o1", {"total": 1}))
    store.clock.advance(5)
    same = store.commit(set_("orders/o1", {"total": 1}))
    assert (same.version, same.commit) == (first.version, 2)
    assert store.commit(update("orders/o1", {"total": 1})).version == first.version
    assert store.column("orders/o1", "updated_us") == store.column("orders/o1", "created_us")
    other = store.commit(update("orders/o1", {"total": 2}))
    assert other.version != first.version
    assert other.version.endswith("-4")


def test_a_document_that_comes_back_is_a_new_one(store: StoreFile) -> None:
    first = store.commit(set_("orders/o1", {}))
    store.commit(delete("orders/o1"))
    assert store.view("orders/o1") is None
    store.clock.advance(5)
    again = store.commit(set_("orders/o1", {}))
    assert (again.status, again.version == first.version) == (201, False)
    assert store.column("orders/o1", "created_us") == store.clock.wall_us()


# -- preconditions


@pytest.mark.parametrize("guard", ["current", "*"])
def test_a_guard_that_holds(store: StoreFile, guard: str) -> None:
    version = store.commit(set_("orders/o1", {})).version
    if_version = version if guard == "current" else guard
    assert store.commit(set_("orders/o1", {"a": 1}, if_version=if_version)).status == 200


@pytest.mark.parametrize("write", [set_("a/1", {"x": 1}, if_version="old"), delete("a/1", if_version="old")])
def test_a_guard_that_does_not_hold_is_a_412_with_the_version(store: StoreFile, write: Write) -> None:
    version = store.commit(set_("a/1", {})).version
    before = everything(store)
    problem = refusal(store.commit(write))
    assert (problem.status, problem.fields) == (412, {"version": version})
    assert "old" in problem.detail
    assert version in problem.detail
    assert nothing_changed(store, before)


@pytest.mark.parametrize("guard", ["*", "e-1"])
def test_a_guard_on_what_does_not_exist_is_a_412_without_a_version(store: StoreFile, guard: str) -> None:
    for _ in range(2):
        problem = refusal(store.commit(set_("a/1", {}, if_version=guard)))
        assert (problem.status, problem.fields) == (412, {"version": None})
        assert "does not exist" in problem.detail
        store.commit(set_("a/1", {}))
        store.commit(delete("a/1"))


def test_create_only_refuses_what_exists(store: StoreFile) -> None:
    version = store.commit(set_("a/1", {}, if_absent=True)).version
    problem = refusal(store.commit(create("a/1", {}, if_absent=True)))
    assert (problem.status, problem.fields) == (412, {"version": version})
    assert refusal(store.commit(create("a/1", {}))).status == 409


def test_a_deleted_document_can_be_created(store: StoreFile) -> None:
    store.commit(create("a/1", {}))
    store.commit(delete("a/1"))
    assert store.commit(create("a/1", {"n": 2}, if_absent=True)).status == 201


def test_an_update_of_what_does_not_exist_is_a_404(store: StoreFile) -> None:
    problem = refusal(store.commit(update("a/1", {"n": 1})))
    assert (problem.status, problem.kind) == (404, "document-not-found")


# -- all or nothing


@pytest.mark.parametrize(
    ("last", "status"),
    [
        (create("a/1", {}), 409),
        (update("a/9", {"n": 1}), 404),
        (set_("a/2", {}, if_version="e-0"), 412),
        (set_("a/1", {}, if_version="e-0"), 412),
        (update("a/1", {"n": {"$increment": 1.7e308}}), 400),
    ],
)
def test_a_refused_commit_leaves_nothing_behind(store: StoreFile, last: Write, status: int) -> None:
    store.commit(set_("a/1", {"n": 1.7e308}))
    before = everything(store)
    problem = refusal(
        store.commit(set_("a/3", {}), update("a/1", {"x": 1}), delete("a/1"), set_("a/1", {"n": 1.7e308}), last)
    )
    assert (problem.status, problem.fields["write"]) == (status, 4)
    assert nothing_changed(store, before)
    # Nor in memory, for the next one of the same group.
    group = store.handle(
        encode_commit(91, [set_("a/3", {}), last]),
        encode_commit(92, [create("a/3", {})]),
    )
    assert (group.answers[91].status, group.answers[92].status) == (status, 201)
    assert store.column("a/3", "pending") == 1


def test_writes_of_one_commit_see_each_other(store: StoreFile) -> None:
    store.commit(set_("a/1", {"n": 1}))
    answer = store.commit(delete("a/1"), create("a/1", {"n": 5}), update("a/1", {"n": {"$increment": 1}}), single=False)
    assert answer.status == 200
    assert store.view("a/1") == {"n": 6}
    assert store.column("a/1", "pending") == 2


def test_a_version_guards_what_was_there_before_the_commit(store: StoreFile) -> None:
    """A later write of the same commit finds another state, which no client can have read."""
    version = store.commit(set_("a/1", {"n": 1})).version
    problem = refusal(store.commit(set_("a/1", {"n": 2}), set_("a/1", {"n": 3}, if_version=version)))
    assert problem.status == 412
    assert store.commit(set_("a/1", {"n": 3}, if_version=version), delete("a/1"), single=False).status == 200


# -- keys


def test_a_key_replays_the_first_answer(store: StoreFile) -> None:
    write = update("a/1", {"n": {"$increment": 1}}, upsert=True)
    first = store.commit(write, key=KEY, fingerprint=b"f", representation=True)
    store.commit(write)
    before = everything(store)
    assert store.commit(write, key=KEY, fingerprint=b"f", representation=True) == first
    assert nothing_changed(store, before)
    store.reopen()
    assert store.commit(write, key=KEY, fingerprint=b"f") == first
    assert store.view("a/1") == {"n": 2}


def test_a_key_replays_before_room_and_preconditions_are_looked_at(make_store: MakeStore) -> None:
    store = make_store(settings_with(max_entries=1))
    first = store.commit(create("a/1", {}), key=KEY, fingerprint=b"f")
    assert store.commit(create("a/1", {}), key=KEY, fingerprint=b"f") == first
    assert refusal(store.commit(create("a/1", {}), key=b"other", fingerprint=b"f")).status == 507


def test_two_requests_with_one_key_in_one_group(store: StoreFile) -> None:
    write = update("a/1", {"n": {"$increment": 1}}, upsert=True)
    frames = [encode_commit(ident, [write], key=KEY, fingerprint=b"f") for ident in (1, 2)]
    group = store.handle(*frames, encode_commit(3, [write], key=KEY, fingerprint=b"g"))
    assert group.answers[1] == group.answers[2]
    assert group.answers[3].status == 422
    assert store.view("a/1") == {"n": 1}


def test_a_key_with_another_body_is_a_422(store: StoreFile) -> None:
    store.commit(set_("a/1", {}), key=KEY, fingerprint=b"f")
    problem = refusal(store.commit(set_("a/1", {"b": 1}), key=KEY, fingerprint=b"g"))
    assert (problem.status, problem.kind) == (422, "key-reused")
    assert store.view("a/1") == {}


def test_a_refusal_is_not_kept_under_its_key(store: StoreFile) -> None:
    write = update("a/1", {"n": 1})
    assert refusal(store.commit(write, key=KEY, fingerprint=b"f")).status == 404
    store.commit(set_("a/1", {}))
    assert store.commit(write, key=KEY, fingerprint=b"f").status == 200


def test_a_key_is_known_for_24_hours_of_running_time(store: StoreFile) -> None:
    write = update("a/1", {"n": {"$increment": 1}}, upsert=True)
    first = store.commit(write, key=KEY, fingerprint=b"f")
    store.clock.advance(KEPT_ANSWERS_S - 1)
    assert store.commit(write, key=KEY, fingerprint=b"f") == first
    # The wall clock has no say.
    store.clock.wall_now_us += 10 * KEPT_ANSWERS_S * 1_000_000
    assert store.commit(write, key=KEY, fingerprint=b"f") == first
    store.clock.advance(1)
    assert store.commit(write, key=KEY, fingerprint=b"g").commit == 2
    assert store.view("a/1") == {"n": 2}


def test_time_in_which_the_store_did_not_run_does_not_count(store: StoreFile) -> None:
    write = update("a/1", {"n": {"$increment": 1}}, upsert=True)
    first = store.commit(write, key=KEY, fingerprint=b"f")
    store.close()
    store.clock.advance(10 * KEPT_ANSWERS_S)
    store.open()
    assert store.commit(write, key=KEY, fingerprint=b"f") == first


def test_a_request_without_a_key_that_is_sent_again_has_its_first_answer(store: StoreFile) -> None:
    write = update("a/1", {"n": {"$increment": 1}}, upsert=True)
    first = store.commit(write, ident=7)
    store.reopen()
    assert store.commit(write, ident=7, resent=True) == first
    assert store.commit(write, ident=8, resent=True).commit == 2
    # Within one group, too.
    group = store.handle(encode_commit(9, [write]))
    again = store.handle(encode_commit(9, [write], resent=True))
    assert group.answers[9] == again.answers[9]
    assert store.view("a/1") == {"n": 3}


# -- room


def test_a_full_queue_refuses_with_507_and_keeps_what_it_has(make_store: MakeStore) -> None:
    store = make_store(settings_with(("primary", "secondary"), max_entries=5))
    for _ in range(2):
        store.commit(set_("a/1", {}))
    problem = refusal(store.commit(set_("a/2", {})))
    assert (problem.status, problem.kind, problem.retry_after_s) == (507, "queue-full", 5)
    assert "max_entries 5" in problem.detail
    assert len(store.states()) == 4
    # Dead entries take room, done ones do not; each upstream's entries count.
    store.kill()
    assert refusal(store.commit(set_("a/2", {}))).status == 507
    store.deliver("primary")
    assert store.commit(set_("a/2", {})).status == 201


def test_a_queue_over_its_bytes_refuses_with_507(make_store: MakeStore) -> None:
    store = make_store(settings_with(max_bytes=3000))
    assert store.commit(set_("a/1", {"text": "x" * 3000})).status == 201
    problem = refusal(store.commit(set_("a/2", {})))
    assert (problem.status, problem.kind) == (507, "queue-full")
    assert "max_bytes 3000" in problem.detail
    assert store.view("a/2") is None
    store.deliver()
    assert store.commit(set_("a/2", {})).status == 201


def test_a_full_queue_has_room_again_after_a_restart_only_if_it_was_drained(make_store: MakeStore) -> None:
    store = make_store(settings_with(max_entries=1))
    store.commit(set_("a/1", {}))
    store.reopen()
    assert refusal(store.commit(set_("a/2", {}))).status == 507
    store.reopen(settings_with(max_entries=2))
    assert store.commit(set_("a/2", {})).status == 201


# -- entries


def test_each_upstream_gets_each_commit_once(make_store: MakeStore) -> None:
    store = make_store(settings_with(("primary", "secondary")))
    store.commit(set_("a/1", {}), set_("a/2", {}), priority=8)
    store.commit(set_("a/1", {"n": 1}))
    rows = store.rows("SELECT id, upstream, number, state, priority, commit_no, writes FROM entries ORDER BY id")
    assert rows == [(1, 0, 1, 0, 8, 1, 2), (2, 1, 1, 0, 8, 1, 2), (3, 0, 2, 0, 5, 2, 1), (4, 1, 2, 0, 5, 2, 1)]
    assert store.rows("SELECT DISTINCT payload FROM entries WHERE commit_no = 1") == store.rows(
        "SELECT payload FROM entries WHERE id = 1"
    )


def test_a_new_document_in_a_group_with_changes_of_the_queue(store: StoreFile) -> None:
    """A drop writes the queues in the middle of the group; the new document's queue is then no longer unknown."""
    store.commit(set_("a/1", {}))
    dead = store.kill()
    group = store.handle(
        encode_commit(91, [set_("a/2", {"n": 1})]),
        encode_operation(92, "drop", dead),
        encode_commit(93, [set_("a/2", {"n": 2})]),
    )
    assert [group.answers[ident].status for ident in (91, 92, 93)] == [201, 200, 200]
    assert store.deliver() == [2, 3]
