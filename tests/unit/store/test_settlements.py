"""What upstream said and what operators decide, in documents and outbox together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from deora.documents.writes import Write
from deora.store.service import Settings
from deora.store.view import Base
from tests.fakes.store import (
    Claimed,
    StoreFile,
    create,
    delete,
    encode_call,
    encode_commit,
    encode_operation,
    set_,
    settings_with,
    update,
)

MakeStore = Callable[[Settings], StoreFile]


def base_of(store: StoreFile, path: str) -> Any:
    """The text that the store believes upstream to hold."""
    state = store.column(path, "base_state")
    return store.column(path, "view" if state == Base.SAME else "base")


def claimed(batch: Claimed | None) -> Claimed:
    """A batch that must be there."""
    assert batch is not None
    return batch


# -- applied


def test_a_document_is_pending_until_its_last_entry_is_applied(store: StoreFile) -> None:
    store.commit(set_("a/1", {"n": 1}))
    store.commit(update("a/1", {"n": 2}))
    assert (store.column("a/1", "pending"), base_of(store, "a/1")) == (2, None)
    version = store.column("a/1", "version")
    store.settle(claimed(store.claim(max_writes=1)))
    assert (store.column("a/1", "pending"), base_of(store, "a/1")) == (1, '{"n":1}')
    store.settle(claimed(store.claim()))
    assert (store.column("a/1", "pending"), base_of(store, "a/1")) == (0, '{"n":2}')
    assert store.column("a/1", "base_state") == Base.SAME
    # Nothing that a client reads has changed but the flag.
    assert (store.column("a/1", "version"), store.view("a/1")) == (version, {"n": 2})


def test_the_base_is_kept_when_the_view_moves_on(store: StoreFile) -> None:
    store.commit(set_("a/1", {"n": 1}))
    store.deliver()
    store.commit(update("a/1", {"n": {"$increment": 1}}))
    store.commit(update("a/1", {"n": {"$increment": 1}}))
    assert (store.view("a/1"), base_of(store, "a/1")) == ({"n": 3}, '{"n":1}')


def test_a_document_that_is_written_in_the_group_of_its_settlement(store: StoreFile) -> None:
    """In either order, and with the document's row in hand or not."""
    store.commit(set_("a/1", {"n": 1}))
    for number in range(2, 6):
        batch = claimed(store.claim())
        settle = encode_call(900 + number, "settle", "primary", batch.id, None, batch.seq + 1, batch.id)
        write = encode_commit(800 + number, [set_("a/1", {"n": number})])
        store.handle(*((settle, write) if number % 2 else (write, settle)))
        assert (store.column("a/1", "pending"), base_of(store, "a/1")) == (1, f'{{"n":{number - 1}}}')
        assert store.view("a/1") == {"n": number}


def test_a_settlement_that_is_repeated_changes_nothing(store: StoreFile) -> None:
    store.commit(update("a/1", {"n": {"$increment": 1}}, upsert=True))
    store.commit(update("a/1", {"n": {"$increment": 1}}))
    batch = claimed(store.claim(max_writes=1))
    store.settle(batch)
    store.settle(batch)
    store.settle(batch, "no")
    assert (store.column("a/1", "pending"), base_of(store, "a/1")) == (1, '{"n":1}')
    assert store.states() == {1: 1, 2: 0}


def test_only_the_primary_upstream_moves_base_and_pending(make_store: MakeStore) -> None:
    store = make_store(settings_with(("primary", "secondary")))
    store.commit(set_("a/1", {"n": 1}))
    secondary = claimed(store.claim("secondary"))
    assert store.settle(secondary, upstream="secondary").notices() == []
    assert (store.column("a/1", "pending"), store.column("a/1", "base_state")) == (1, Base.NONE)
    store.commit(set_("a/2", {}))
    store.kill(upstream="secondary")
    assert (store.column("a/2", "dead"), store.column("a/2", "pending")) == (0, 1)
    store.deliver()
    assert (store.column("a/1", "pending"), store.column("a/2", "base_state")) == (0, Base.SAME)


def test_an_entry_of_several_documents_counts_in_each(store: StoreFile) -> None:
    store.commit(set_("a/1", {}), set_("a/2", {}), update("a/1", {"n": 1}))
    assert (store.column("a/1", "pending"), store.column("a/2", "pending")) == (1, 1)
    store.deliver()
    assert (base_of(store, "a/1"), base_of(store, "a/2")) == ('{"n":1}', "{}")


# -- refused


def test_a_refused_write_stays_in_the_view_until_it_is_dropped(store: StoreFile) -> None:
    store.commit(set_("a/1", {"n": 1}))
    store.deliver()
    store.commit(update("a/1", {"n": {"$increment": 10}}))
    dead = store.kill("no such index")
    assert (store.column("a/1", "pending"), store.column("a/1", "dead")) == (0, 1)
    assert (store.view("a/1"), base_of(store, "a/1")) == ({"n": 11}, '{"n":1}')
    assert store.rows("SELECT error, attempts FROM entries WHERE id = ?", (dead,)) == [("no such index", 1)]
    version = store.column("a/1", "version")
    store.clock.advance(5)
    group_notices = store.handle(encode_operation(50, "drop", dead)).notices()
    assert group_notices == ["a/1"]
    assert store.view("a/1") == {"n": 1}
    assert (store.column("a/1", "dead"), store.column("a/1", "base_state")) == (0, Base.SAME)
    assert store.column("a/1", "version") != version
    assert store.column("a/1", "updated_us") == store.clock.wall_us()


def test_later_writes_go_on_past_a_dead_one(store: StoreFile) -> None:
    store.commit(set_("a/1", {"n": 1}))
    store.deliver()
    store.commit(update("a/1", {"n": {"$increment": 10}}))
    dead = store.kill()
    store.commit(update("a/1", {"n": {"$increment": 100}}))
    store.deliver()
    assert (store.view("a/1"), base_of(store, "a/1")) == ({"n": 111}, '{"n":101}')
    assert (store.column("a/1", "pending"), store.column("a/1", "dead")) == (0, 1)
    store.operate("drop", dead)
    assert store.view("a/1") == {"n": 101}


def test_a_view_without_the_dropped_write_is_worked_out_from_what_is_left(store: StoreFile) -> None:
    store.commit(set_("a/1", {"n": 1}))
    dead = store.kill()
    store.commit(update("a/1", {"n": {"$increment": 1}}))
    store.commit(set_("a/1", {"n": 5}))
    store.commit(update("a/1", {"n": {"$increment": 1}}))
    store.operate("drop", dead)
    # The update of what is not there now changes nothing, as upstream will refuse it.
    assert store.view("a/1") == {"n": 6}
    assert store.column("a/1", "pending") == 3


@pytest.mark.parametrize("operation", [("drop", 2), ("retry", 2, False)])
def test_what_else_is_dead_stays_in_the_view(store: StoreFile, operation: tuple[Any, ...]) -> None:
    store.commit(update("a/1", {"n": {"$increment": 1}}, upsert=True))
    store.kill()
    store.commit(update("a/1", {"n": {"$increment": 10}}, upsert=True))
    store.kill()
    assert store.operate(*operation).status == 200
    assert store.view("a/1") == {"n": 1 if operation[0] == "drop" else 11}
    assert store.column("a/1", "dead") == 1


def test_a_dropped_create_leaves_no_document(store: StoreFile) -> None:
    store.commit(create("a/1", {}))
    dead = store.kill()
    assert store.view("a/1") == {}
    store.operate("drop", dead)
    assert store.view("a/1") is None
    assert store.commit(create("a/1", {"n": 2})).status == 201


def test_a_dropped_delete_brings_the_document_back(store: StoreFile) -> None:
    store.commit(set_("a/1", {"n": 1}))
    store.deliver()
    store.commit(delete("a/1"))
    dead = store.kill()
    assert store.view("a/1") is None
    store.operate("drop", dead)
    assert store.view("a/1") == {"n": 1}


def test_a_drop_that_changes_nothing_keeps_the_version(store: StoreFile) -> None:
    store.commit(set_("a/1", {"n": 1}))
    dead = store.kill()
    version = store.commit(set_("a/1", {"n": 2})).version
    store.operate("drop", dead)
    assert store.column("a/1", "version") == version


def test_a_dead_entry_of_the_secondary_is_dropped_without_a_trace_in_the_view(make_store: MakeStore) -> None:
    store = make_store(settings_with(("primary", "secondary")))
    store.commit(set_("a/1", {"n": 1}))
    dead = store.kill(upstream="secondary")
    version = store.column("a/1", "version")
    group = store.handle(encode_operation(50, "drop", dead))
    assert group.notices() == []
    assert (store.view("a/1"), store.column("a/1", "version")) == ({"n": 1}, version)
    assert list(store.states().values()) == [0]


# -- retry


def test_a_retried_entry_is_sent_once_more_under_a_new_number(store: StoreFile) -> None:
    store.commit(update("a/1", {"n": {"$increment": 1}}, upsert=True))
    dead = store.kill()
    store.operate("retry", dead, False)
    assert (store.column("a/1", "pending"), store.column("a/1", "dead")) == (1, 0)
    assert store.rows("SELECT attempts, error FROM entries") == [(0, None)]
    assert store.deliver() == [2]
    assert (store.view("a/1"), base_of(store, "a/1")) == ({"n": 1}, '{"n":1}')


def test_a_retry_of_what_was_overtaken_needs_force(store: StoreFile) -> None:
    store.commit(set_("a/1", {"n": 1}), set_("a/2", {}))
    dead = store.kill()
    store.commit(set_("a/1", {"n": 2}))
    answer = store.operate("retry", dead, False)
    assert answer.problem is not None
    assert (answer.status, answer.problem.fields) == (409, {"documents": ["a/1"]})
    assert "force" in str(answer.problem.hint)
    assert store.states()[dead] == 2
    assert store.operate("retry", dead, True).status == 200
    assert store.deliver() == [3, 2]
    assert store.view("a/1") == {"n": 2}


def test_a_retry_after_later_writes_were_applied_wins(store: StoreFile) -> None:
    store.commit(set_("a/1", {"n": 1}))
    dead = store.kill()
    store.commit(set_("a/1", {"n": 2}))
    store.deliver()
    assert store.view("a/1") == {"n": 2}
    store.operate("retry", dead, True)
    assert store.view("a/1") == {"n": 1}
    store.deliver()
    assert (store.view("a/1"), base_of(store, "a/1")) == ({"n": 1}, '{"n":1}')


def test_a_retry_while_a_later_write_is_in_flight_comes_after_it(store: StoreFile) -> None:
    """The batch is fixed, so upstream gets 2, then 1, then 3; the view must end as upstream does."""
    store.commit(set_("a/1", {"by": [1], "n": 1}))
    dead = store.kill()
    store.commit(set_("a/1", {"by": [2], "n": 2}))
    batch = claimed(store.claim())
    store.commit(update("a/1", {"by": {"$arrayUnion": [3]}}))
    store.operate("retry", dead, True)
    assert store.view("a/1") == {"by": [1, 3], "n": 1}
    store.settle(batch)
    assert base_of(store, "a/1") == '{"by":[2],"n":2}'
    assert store.view("a/1") == {"by": [1, 3], "n": 1}
    assert store.deliver() == [4, 3]
    assert base_of(store, "a/1") == '{"by":[1,3],"n":1}'


def test_a_retry_in_the_group_of_a_new_write(store: StoreFile) -> None:
    """The new entry's row is not in the file yet when the retried one looks for its place."""
    store.commit(set_("a/1", {"n": 1}))
    dead = store.kill()
    group = store.handle(encode_commit(50, [set_("a/1", {"n": 2})]), encode_operation(51, "retry", dead, True))
    assert [group.answers[ident].status for ident in (50, 51)] == [200, 200]
    assert store.deliver() == [3, 2]
    assert (store.view("a/1"), base_of(store, "a/1")) == ({"n": 2}, '{"n":2}')


def test_a_retry_of_an_entry_of_several_documents(store: StoreFile) -> None:
    store.commit(set_("a/1", {}), set_("a/2", {}))
    dead = store.kill()
    assert store.operate("retry", dead, False).status == 200
    assert store.deliver() == [2]


def test_with_hold_a_retry_reorders_nothing_and_needs_no_force(make_store: MakeStore) -> None:
    store = make_store(settings_with(dead_holds=True))
    store.commit(set_("a/1", {"n": 1}))
    dead = store.kill()
    store.commit(update("a/1", {"n": {"$increment": 1}}))
    assert store.claim() is None
    assert store.operate("retry", dead, False).status == 200
    assert store.deliver() == [3, 2]
    assert (store.view("a/1"), base_of(store, "a/1")) == ({"n": 2}, '{"n":2}')


def test_with_hold_a_drop_lets_the_others_go(make_store: MakeStore) -> None:
    store = make_store(settings_with(dead_holds=True))
    store.commit(set_("a/1", {"n": 1}))
    dead = store.kill()
    store.commit(set_("a/1", {"n": 2}))
    store.operate("drop", dead)
    assert store.deliver() == [2]


def test_with_hold_what_was_claimed_behind_a_refused_entry_is_given_back(make_store: MakeStore) -> None:
    store = make_store(settings_with(dead_holds=True))
    for number in (1, 2):
        store.commit(set_("a/1", {"n": number}))
    store.split(claimed(store.claim()), [1])
    store.settle(claimed(store.claim()), "no")
    assert store.claim() is None
    assert store.service.figures()["upstreams"]["primary"]["inflight"] == 0
    assert store.operate("retry", 1, False).status == 200
    assert store.deliver() == [3, 2]


# -- what cannot be retried or dropped


@pytest.mark.parametrize("operation", ["retry", "drop"])
def test_only_a_dead_entry_can_be_retried_or_dropped(store: StoreFile, operation: str) -> None:
    rest = (False,) if operation == "retry" else ()
    for path in ("a/1", "a/2", "a/3"):
        store.commit(set_(path, {}))
    store.settle(claimed(store.claim(max_writes=1)))
    claimed(store.claim(max_writes=1))
    for ident, state in ((1, "done"), (2, "inflight"), (3, "pending")):
        answer = store.operate(operation, ident, *rest)
        assert answer.problem is not None
        assert (answer.status, state in answer.problem.detail) == (409, True)
    answer = store.operate(operation, 99, *rest)
    assert answer.problem is not None
    assert (answer.status, answer.problem.kind) == (404, "entry-not-found")


def test_an_entry_of_an_upstream_that_is_no_longer_configured_stays(make_store: MakeStore) -> None:
    store = make_store(settings_with(("primary", "secondary")))
    store.commit(set_("a/1", {}))
    dead = store.kill(upstream="secondary")
    store.reopen(settings_with(("primary",)))
    answer = store.operate("drop", dead)
    assert answer.problem is not None
    assert (answer.status, "database.json" in answer.problem.detail) == (409, True)
    store.reopen(settings_with(("primary", "secondary")))
    assert store.operate("drop", dead).status == 200


@pytest.mark.parametrize("write", [set_("a/1", {"n": 2}), delete("a/1")])
def test_every_kind_of_write_is_replayed_on_the_base(store: StoreFile, write: Write) -> None:
    store.commit(set_("a/1", {"n": 1}))
    dead = store.kill()
    store.commit(write)
    store.deliver()
    store.operate("drop", dead)
    assert store.column("a/1", "base_state") == Base.SAME
    assert store.view("a/1") == (None if write.op == "delete" else {"n": 2})
