"""Frames in, frames out: groups, their order, claims that wait, and what operators do to the queue."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from deora.documents.writes import decode_writes
from deora.store.database import migrate
from deora.store.service import Service, Settings
from deora.wire.frames import Decoder, Frame, Kind, encode
from tests.fakes.clock import ManualClock
from tests.fakes.store import (
    MIB,
    StoreFile,
    create,
    decode_group,
    encode_call,
    encode_commit,
    encode_operation,
    set_,
    settings_with,
    update,
)

MakeStore = Callable[[Settings], StoreFile]


def kinds(store: StoreFile, *frames: bytes) -> list[Kind]:
    """The kinds of frames that come back, in their order."""
    return [Kind(frame[0]) for frame in store.handle(*frames).frames]


# -- groups


def test_a_group_is_one_transaction(store: StoreFile) -> None:
    store.connection.statements.clear()
    group = store.handle(*(encode_commit(ident, [set_(f"a/{ident}", {})]) for ident in range(1, 40)))
    assert [answer.status for answer in group.answers.values()] == [201] * 39
    assert [text for text in store.connection.statements if text in ("BEGIN IMMEDIATE", "COMMIT")] == [
        "BEGIN IMMEDIATE",
        "COMMIT",
    ]


def test_a_group_costs_few_statements(store: StoreFile) -> None:
    """What makes group commit fast: the statements do not grow with the group."""
    counts = []
    for size in (1, 16):
        store.connection.statements.clear()
        store.handle(*(encode_commit(100 * size + number, [set_(f"b/{number}", {})]) for number in range(size)))
        counts.append(len(store.connection.statements))
    assert counts[1] <= counts[0] + 2


def test_later_requests_of_a_group_see_what_earlier_ones_did(store: StoreFile) -> None:
    group = store.handle(
        encode_commit(1, [create("a/1", {"n": 1})]),
        encode_commit(2, [create("a/1", {"n": 2})]),
        encode_commit(3, [update("a/1", {"n": {"$increment": 5}})]),
    )
    assert [group.answers[ident].status for ident in (1, 2, 3)] == [201, 409, 200]
    assert store.view("a/1") == {"n": 6}


def test_the_notice_of_what_changed_leaves_before_the_answers(store: StoreFile) -> None:
    """So a worker has forgotten the document before the client that wrote it can ask again (P4)."""
    frames = [encode_commit(1, [set_("a/1", {}), set_("a/2", {})]), encode_commit(2, [set_("a/1", {})])]
    assert kinds(store, *frames) == [Kind.NOTICE, Kind.EVENT, Kind.RESULT, Kind.RESULT]
    group = store.handle(encode_commit(3, [set_("a/3", {})]), encode_commit(4, [create("a/1", {})]))
    assert group.notices() == ["a/3"]
    batch = store.claim()
    assert batch is not None
    settled = store.settle(batch)
    assert sorted(settled.notices()) == ["a/1", "a/2", "a/3"]
    assert [Kind(frame[0]) for frame in settled.frames] == [Kind.NOTICE, Kind.EVENT, Kind.REPLY]


def test_a_refused_request_and_an_empty_group_say_nothing_to_workers(store: StoreFile) -> None:
    store.handle()
    group = store.handle(encode_commit(1, [update("a/1", {"n": 1})]))
    assert [Kind(frame[0]) for frame in group.frames] == [Kind.RESULT]
    assert store.handle().frames == []


def test_a_ping_is_answered_with_its_generation_and_the_disk(store: StoreFile) -> None:
    group = store.handle(encode(Kind.PING, 77, generation=3))
    [pong] = [frame for frame in group.frames if frame[0] == Kind.PONG]
    assert (pong[3], pong[4]) == (3, 77)
    assert group.events("queue"), "a ping brings fresh figures"


def test_a_commit_that_fails_in_mid_transaction_is_not_there_afterwards(store: StoreFile) -> None:
    store.commit(set_("a/1", {}))
    store.connection.arm(3)
    with pytest.raises(sqlite3.OperationalError):
        store.handle(encode_commit(50, [set_("a/2", {})]))
    store.reopen()
    assert store.view("a/2") is None
    assert store.commit(set_("a/2", {}), ident=50, resent=True).status == 201


def test_a_commit_whose_end_is_unknown_is_found_again(store: StoreFile) -> None:
    store.connection.arm_commit()
    write = update("a/1", {"n": {"$increment": 1}}, upsert=True)
    with pytest.raises(sqlite3.OperationalError):
        store.handle(encode_commit(50, [write]))
    store.reopen()
    assert store.commit(write, ident=50, resent=True).commit == 1
    assert store.view("a/1") == {"n": 1}


# -- who the store is


def test_a_store_keeps_its_name_and_its_counters(store: StoreFile) -> None:
    node, epoch = store.service.identity
    assert (len(node), len(epoch)) == (10, 8)
    store.commit(set_("a/1", {}))
    store.clock.advance(100)
    store.commit(set_("a/1", {"n": 1}))
    store.reopen()
    assert store.service.identity == (node, epoch)
    progress = store.service.progress
    assert (progress.epoch, progress.commit_no, progress.entry_id, progress.running_s) == (epoch, 2, 2, 100)


def test_two_stores_have_two_names(make_store: MakeStore) -> None:
    first, second = make_store(settings_with()), make_store(settings_with())
    assert first.service.identity[0] != second.service.identity[0]
    assert first.service.identity[1] != second.service.identity[1]


def test_running_time_counts_while_the_store_runs(store: StoreFile) -> None:
    store.clock.advance(9.9)
    store.commit(set_("a/1", {}))
    assert store.service.progress.running_s == 9
    store.clock.advance(1000)
    store.service.housekeep()
    store.reopen()
    assert store.service.progress.running_s == 1009
    store.clock.advance(5)
    store.service.housekeep()
    store.reopen()
    assert store.service.progress.running_s in range(1004, 1015)


# -- claims


def test_a_claim_that_finds_nothing_is_answered_by_the_next_group(store: StoreFile) -> None:
    assert store.handle(encode_call(9, "next", "primary", 10, MIB, 0.8)).answers == {}
    assert store.handle().answers == {}
    group = store.handle(encode_commit(10, [set_("a/1", {"n": 1})]))
    assert list(group.answers) == [10, 9]
    batch_id, attempts, seq, cursor_id, entries = group.answers[9].value
    assert (batch_id, attempts, seq, cursor_id) == ("b1", 0, 0, "")
    [[number, payload]] = entries
    assert (number, decode_writes(payload)) == (1, [set_("a/1", {"n": 1})])


def test_a_second_claim_takes_the_place_of_the_first(store: StoreFile) -> None:
    """The first one's replayer has gone."""
    store.handle(encode_call(9, "next", "primary", 10, MIB, 0.8))
    store.handle(encode_call(10, "next", "primary", 10, MIB, 0.8))
    assert list(store.handle(encode_commit(11, [set_("a/1", {})])).answers) == [11, 10]


def test_claims_of_two_upstreams_wait_for_themselves(make_store: MakeStore) -> None:
    store = make_store(settings_with(("primary", "secondary")))
    for ident, name in ((8, "primary"), (9, "secondary")):
        store.handle(encode_call(ident, "next", name, 10, MIB, 0.8))
    group = store.handle(encode_commit(10, [set_("a/1", {})]))
    assert sorted(group.answers) == [8, 9, 10]
    assert [group.answers[ident].value[4][0][0] for ident in (8, 9)] == [1, 1]


def test_a_claim_carries_the_cursor_where_upstream_stands(store: StoreFile) -> None:
    store.commit(set_("a/1", {}))
    first = store.claim()
    assert first is not None
    store.settle(first)
    opened = store.call("open", "primary")
    assert opened is not None
    assert opened.value == [*store.service.identity, 1, "b1"]
    store.commit(set_("a/1", {"n": 1}))
    second = store.claim()
    assert second is not None
    assert (second.seq, second.cursor_id) == (1, "b1")
    store.reopen()
    assert store.claim() == second


def test_a_late_settlement_does_not_move_the_cursor_back(store: StoreFile) -> None:
    for number in range(2):
        store.commit(set_(f"a/{number}", {}))
    first, _ = store.claim(max_writes=1), None
    assert first is not None
    store.settle(first)
    second = store.claim()
    assert second is not None
    store.settle(second)
    store.settle(first)
    opened = store.call("open", "primary")
    assert opened is not None
    assert opened.value[2:] == [2, second.id]


def test_the_limits_of_a_claim_are_the_replayer_s(store: StoreFile) -> None:
    for number in range(5):
        store.commit(set_(f"a/{number}", {}))
    batch = store.claim(max_writes=3)
    assert batch is not None
    assert batch.numbers == [1, 2, 3]


def test_an_attempt_is_noted_and_tells_of_a_pause(store: StoreFile) -> None:
    store.commit(set_("a/1", {}))
    batch = store.claim()
    assert batch is not None
    answer = store.call("attempted", "primary", batch.id, "no route")
    assert answer is not None
    assert answer.value is False
    store.operate("pause", None, True)
    for call in (("attempted", "primary", batch.id, "no route"), ("paused", "primary")):
        answer = store.call(*call)
        assert answer is not None
        assert answer.value is True
    assert store.rows("SELECT attempts, error FROM entries") == [(2, "no route")]


def test_a_claim_that_can_find_nothing_does_not_keep_the_store_awake(make_store: MakeStore) -> None:
    """All that waits is held by a dead entry: only a frame can change that."""
    store = make_store(settings_with(dead_holds=True))
    store.commit(set_("a/1", {}))
    store.kill()
    store.commit(set_("a/1", {}))
    store.clock.advance(60)
    store.handle(encode_call(70, "next", "primary", 10, MIB, 0.8))
    assert store.service.wait_s(1.0) == 1.0
    store.operate("pause", None, True)
    assert store.service.wait_s(1.0) == 1.0


def test_a_claim_that_is_put_off_under_load_is_answered_in_time(store: StoreFile) -> None:
    """Whatever the pace is: after `wait_s` an empty group brings the batch."""
    store.commit(set_("a/1", {}))
    batch = store.claim()
    assert batch is not None
    store.clock.advance(0.01)
    store.settle(batch)
    store.handle(*(encode_commit(200 + number, [set_(f"b/{number}", {})]) for number in range(100)))
    group = store.handle(encode_call(70, "next", "primary", 500, MIB, 0.8))
    waited_s = 0.0
    while 70 not in group.answers:
        wait_s = store.service.wait_s(10)
        assert 0 < wait_s <= 1
        waited_s += wait_s
        store.clock.advance(wait_s)
        group = store.handle()
    assert 0 < waited_s <= 1
    assert len(group.answers[70].value[4]) == 100


@pytest.mark.parametrize("call", [("next", "tertiary", 1, 1, 0.8), ("open", "tertiary"), ("dance", "primary")])
def test_a_call_that_means_nothing_is_refused(store: StoreFile, call: tuple[Any, ...]) -> None:
    answer = store.call(*call)
    assert answer is not None
    assert answer.problem is not None
    assert answer.problem.kind in ("not-found", "bad-request")


# -- waiting for upstream


def test_a_client_that_waits_is_told_when_upstream_has_its_commit(make_store: MakeStore) -> None:
    store = make_store(settings_with(("primary", "secondary")))
    store.commit(set_("a/1", {}), wait_s=10)
    store.commit(set_("a/2", {}))
    second = store.claim("secondary")
    assert second is not None
    assert store.settle(second, upstream="secondary").events("replicated") == []
    batch = store.claim()
    assert batch is not None
    assert store.settle(batch).events("replicated") == [[[1, True]]]
    assert store.settle(batch).events("replicated") == []


def test_a_client_that_waits_is_told_of_a_refusal(store: StoreFile) -> None:
    store.commit(set_("a/1", {}), wait_s=10)
    batch = store.claim()
    assert batch is not None
    assert store.settle(batch, "no").events("replicated") == [[[1, False]]]


@pytest.mark.parametrize("error", [None, "no"])
@pytest.mark.parametrize("way", ["key", "resent"])
def test_a_repeated_request_is_told_at_once_what_upstream_has_said_already(
    store: StoreFile, error: str | None, way: str
) -> None:
    """A client whose first attempt timed out repeats it with its key and waits again: nothing is left to wait for."""
    options: dict[str, Any] = {"key": b"key", "fingerprint": b"f"} if way == "key" else {}
    for number in range(5):
        store.commit(set_(f"a/{number}", {}))
    store.commit(set_("b/1", {}), ident=500, wait_s=1, **options)
    for number in range(5):
        store.commit(set_(f"c/{number}", {}))
    while (batch := store.claim(max_writes=1)) is not None:
        store.settle(batch, error if batch.numbers == [6] else None)
    store.reopen()
    frame = encode_commit(500, [set_("b/1", {})], wait_s=1, resent=True, **options)
    group = store.handle(frame)
    assert group.events("replicated") == [[[6, error is None]]]
    order = [Kind(found[0]) for found in group.frames]
    assert order.index(Kind.RESULT) < len(order) - 1 - order[::-1].index(Kind.EVENT), "the wait begins with the result"


@pytest.mark.parametrize("settled", [True, False])
def test_the_next_store_is_asked_about_a_commit_that_is_waited_for(store: StoreFile, settled: bool) -> None:
    for number in range(5):
        store.commit(set_(f"a/{number}", {}))
    if settled:
        while (batch := store.claim()) is not None:
            store.settle(batch)
    store.reopen()
    group = store.handle(encode_operation(500, "await", 5, resent=True), encode_operation(501, "await", 3))
    assert [answer.value for answer in group.answers.values()] == [[200, 5], [200, 3]]
    decided = [decision for event in group.events("replicated") for decision in event]
    assert decided == ([[5, True], [3, True]] if settled else [])
    if not settled:
        batch = store.claim()
        assert batch is not None
        [event] = store.settle(batch).events("replicated")
        assert sorted(event) == [[3, True], [5, True]]


def test_a_repeated_request_waits_on_for_what_is_not_yet_settled(store: StoreFile) -> None:
    for ident in (1, 2):
        group = store.handle(encode_commit(ident, [set_("a/1", {})], wait_s=9, key=b"key", fingerprint=b"f"))
        assert group.events("replicated") == []
    batch = store.claim()
    assert batch is not None
    assert store.settle(batch).events("replicated") == [[[1, True]]]


# -- pauses


def test_pause_holds_back_claims_and_resume_lets_them_go(make_store: MakeStore) -> None:
    store = make_store(settings_with(("primary", "secondary")))
    assert store.operate("pause", "primary", True).value == {"paused": True, "upstreams": ["primary"]}
    store.commit(set_("a/1", {}))
    store.handle(encode_call(70, "next", "primary", 10, MIB, 0.8))
    assert store.claim("secondary") is not None
    store.reopen()
    assert store.service.figures()["upstreams"]["primary"]["paused"] is True
    store.handle(encode_call(70, "next", "primary", 10, MIB, 0.8))
    assert store.handle().answers == {}
    group = store.handle(encode_operation(71, "pause", None, False))
    assert group.answers[71].value == {"paused": False, "upstreams": ["primary", "secondary"]}
    assert 70 in group.answers


def test_a_paused_upstream_keeps_its_claimed_batch(store: StoreFile) -> None:
    store.commit(set_("a/1", {}))
    batch = store.claim()
    store.operate("pause", None, True)
    assert store.claim() is None
    store.operate("pause", None, False)
    assert store.claim() == batch


# -- operations that are sent again


@pytest.mark.parametrize("operation", [("retry", 1, False), ("drop", 1), ("retryDead", None), ("pause", None, True)])
def test_an_operation_that_is_sent_again_has_its_first_answer(store: StoreFile, operation: tuple[Any, ...]) -> None:
    """The store that did it died with the answer; the next one must neither do it twice nor deny that it was done."""
    store.commit(set_("a/1", {}))
    store.kill()
    first = store.operate(*operation, ident=900)
    assert first.problem is None
    figures = store.service.figures()
    store.reopen()
    assert store.operate(*operation, ident=900, resent=True) == first
    assert store.service.figures() == figures


def test_an_operation_that_was_refused_is_judged_again(store: StoreFile) -> None:
    store.commit(set_("a/1", {}))
    assert store.handle(encode_operation(900, "drop", 1)).answers[900].status == 409
    store.kill()
    assert store.handle(encode_operation(900, "drop", 1, resent=True)).answers[900].status == 200


# -- figures


def test_figures_tell_what_waits(make_store: MakeStore) -> None:
    store = make_store(settings_with(("primary", "secondary")))
    store.clock.advance(7)
    store.commit(set_("a/1", {}), priority=9)
    store.clock.advance(3)
    store.commit(set_("a/2", {}))
    assert store.claim(max_writes=1) is not None
    [figures] = store.handle(encode(Kind.PING, 1)).events("queue")
    node, epoch = store.service.identity
    assert (figures["node"], figures["epoch"], figures["commit"], figures["running_s"]) == (node, epoch, 2, 10)
    assert figures["upstreams"]["primary"] == {
        "pending": 1,
        "inflight": 1,
        "dead": 0,
        "done": 0,
        "paused": False,
        "by_priority": {5: 1, 9: 1},
        "oldest_since_s": 7,
        "accepted": 2,
    }
    assert figures["bytes"] == store.service.outbox.live_bytes()


def test_the_oldest_entry_is_told_anew_when_it_leaves(store: StoreFile) -> None:
    store.commit(set_("a/1", {}))
    store.clock.advance(20)
    group = store.handle(encode_commit(50, [set_("a/2", {})]))
    assert group.events("queue")[-1]["upstreams"]["primary"]["oldest_since_s"] == 0
    batch = store.claim(max_writes=1)
    assert batch is not None
    [figures] = store.settle(batch).events("queue")
    assert figures["upstreams"]["primary"]["oldest_since_s"] == 20
    store.deliver()
    assert store.service.figures()["upstreams"]["primary"]["oldest_since_s"] is None


# -- a full disk


def test_a_group_that_finds_the_disk_full_is_refused_and_forgotten(store: StoreFile) -> None:
    store.commit(set_("a/1", {}))
    store.handle(encode_call(70, "next", "primary", 10, MIB, 0.8))
    [(pages,)] = store.db.execute("PRAGMA page_count").fetchall()
    store.db.execute(f"PRAGMA max_page_count = {pages}")
    frames = [
        encode_commit(71, [set_("a/2", {"text": "x" * 100_000})]),
        encode_call(72, "open", "primary"),
        encode(Kind.PING, 73),
    ]
    decoded = Decoder().feed(b"".join(frames))
    with pytest.raises(sqlite3.OperationalError) as caught:
        store.service.handle(decoded)
    assert caught.value.sqlite_errorcode == sqlite3.SQLITE_FULL
    group = decode_group(store.service.refuse_full(decoded))
    problem = group.answers[71].problem
    assert problem is not None
    assert (problem.status, problem.kind) == (507, "disk-full")
    assert group.answers[72].problem is not None
    assert group.pongs == [73]
    store.db.execute("PRAGMA max_page_count = 100000")
    store.clock.advance(2)
    assert store.commit(set_("a/2", {"n": 1})).commit == 2
    assert store.view("a/2") == {"n": 1}
    assert list(store.states().values()) == [0, 0]


def full_at(store: StoreFile, *frames: bytes) -> list[Frame]:
    """A group for which SQLite finds no room."""
    [(pages,)] = store.db.execute("PRAGMA page_count").fetchall()
    store.db.execute(f"PRAGMA max_page_count = {pages}")
    decoded = Decoder().feed(b"".join(frames))
    with pytest.raises(sqlite3.OperationalError) as caught:
        store.service.handle(decoded)
    assert caught.value.sqlite_errorcode == sqlite3.SQLITE_FULL
    return decoded


def test_on_a_full_disk_what_was_accepted_goes_on_without_what_is_new(store: StoreFile) -> None:
    """The claim that the failed group served waits again, and is served by the next one."""
    store.handle(encode_call(70, "next", "primary", 10, MIB, 0.8))
    frames = full_at(
        store,
        encode_commit(71, [set_("a/1", {"n": 1})], key=b"k", fingerprint=b"f"),
        encode_commit(72, [set_("a/2", {"text": "x" * 100_000})]),
    )
    store.service.make_room()
    group = decode_group(store.service.handle(frames))
    assert [group.answers[ident].status for ident in (71, 72)] == [507, 507]
    store.db.execute("PRAGMA max_page_count = 100000")
    store.clock.advance(2)
    group = store.handle(encode_commit(73, [set_("a/1", {"n": 1})]))
    assert group.answers[70].value[4], "the batch of the claim that waited"


def test_what_has_taken_effect_is_never_told_to_have_failed(store: StoreFile) -> None:
    first = store.commit(set_("a/1", {}), key=b"k", fingerprint=b"f").value
    assert store.commit(set_("a/2", {}), ident=50).status == 201
    frames = full_at(
        store,
        encode_commit(71, [set_("a/3", {"text": "x" * 100_000})]),
        encode_commit(72, [set_("a/1", {})], key=b"k", fingerprint=b"f"),
        encode_commit(50, [set_("a/2", {})], resent=True),
        encode_operation(74, "pause", None, True),
        encode_call(75, "next", "primary", 10, MIB, 0.8),
    )
    answers = decode_group(store.service.refuse_full(frames)).answers
    assert answers[72].value == first
    assert [answers[ident].status for ident in (71, 72, 50, 74)] == [507, 201, 201, 507]
    assert answers[75].problem is not None
    assert not store.db.in_transaction


def test_below_the_watermark_only_what_is_new_is_refused(store: StoreFile, monkeypatch: pytest.MonkeyPatch) -> None:
    store.commit(set_("a/1", {}), key=b"k", fingerprint=b"f")
    monkeypatch.setattr(store.service.space, "look", lambda: None)
    store.service.space.refusal = "no room"
    assert store.commit(set_("a/2", {})).status == 507
    assert store.commit(set_("a/1", {}), key=b"k", fingerprint=b"f").status == 201
    adopted = store.call("adopt", "primary", 0, [("a/9", b"{}")])
    assert adopted is not None
    assert adopted.problem is not None
    assert store.deliver() == [1]


def test_where_the_log_is_at_its_limit_nothing_is_written(store: StoreFile, monkeypatch: pytest.MonkeyPatch) -> None:
    store.commit(set_("a/1", {}))
    space = store.service.space
    monkeypatch.setattr(space, "look", lambda: None)
    monkeypatch.setattr(space, "tend", lambda: None)
    space.refusal, space.is_stalled = "the log is too long", True
    before = store.rows("SELECT * FROM progress")
    assert store.commit(set_("a/2", {})).status == 507
    assert store.operate("pause", None, True).status == 507
    claim = store.call("next", "primary", 10, MIB, 0.8)
    assert claim is not None
    assert claim.problem is not None
    store.clock.advance(60)
    assert store.service.housekeep() == (b"", False)
    assert store.rows("SELECT * FROM progress") == before
    space.refusal, space.is_stalled = None, False
    assert store.deliver() == [1]


def test_a_service_lives_without_a_folder() -> None:
    """An in-memory store has no disk of its own to speak of."""
    db = sqlite3.connect(":memory:", isolation_level=None)
    migrate(db)
    service = Service(db, settings_with(), ManualClock())
    assert decode_group(service.handle(Decoder().feed(encode(Kind.PING, 1)))).pongs == [1]
    db.close()
