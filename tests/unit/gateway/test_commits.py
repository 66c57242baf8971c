"""Requests at the store, before it and behind it, through whatever dies there."""

from __future__ import annotations

import pytest

from deora.errors import Problem
from deora.wire.frames import (
    FLAG_READ_THROUGH,
    FLAG_RESENT,
    UNHELD,
    Frame,
    Kind,
    pack,
)
from tests.fakes.dispatch import TIMEOUT_S, Bench, only, waiting
from tests.fakes.star import KeptLink, received


@pytest.fixture
def bench() -> Bench:
    return Bench()


# -- to the store and back


def test_a_write_goes_to_the_store_and_its_result_to_the_client(bench: Bench) -> None:
    store = bench.store()
    bench.up("primary")
    request = bench.accept("POST", "/v1/documents/a")
    [frame] = bench.asked("primary")
    bench.commit("primary", frame, body=b"the writes")
    assert bench.dispatch.inflight("primary") == 0
    [(_, flags, wait_s, _, ident, body)] = store.take(Kind.COMMIT)
    assert (flags, wait_s, ident, body) == (0, 0, frame[4], b"the writes")
    bench.result(frame, 201, path="a/ä b")
    answered = only(request)
    assert answered.status == 201
    assert answered.json == {"commit": 7, "replication": "pending"}
    assert answered.headers["etag"] == '"e-7"'
    assert answered.headers["location"] == "/v1/documents/a/%C3%A4%20b"
    assert answered.headers["x-deora-server"] == "primary"
    assert bench.dispatch.open_requests() == 0


def test_the_location_of_a_put_is_its_own_target(bench: Bench) -> None:
    bench.store()
    bench.up("primary")
    request = bench.accept("PUT", "/v1/documents/a/x%41")
    [frame] = bench.asked("primary")
    bench.commit("primary", frame)
    bench.result(frame, 201, path="a/xA")
    assert only(request).headers["location"] == "/v1/documents/a/x%41"


def test_a_list_of_writes_has_neither_etag_nor_location(bench: Bench) -> None:
    bench.store()
    bench.up("primary")
    request = bench.accept("POST", "/v1/documents:commit")
    [frame] = bench.asked("primary")
    bench.commit("primary", frame)
    bench.result(frame, 200, path=None)
    assert not {"etag", "location"} & set(only(request).headers)


def test_the_stores_refusal_is_a_problem(bench: Bench) -> None:
    bench.store()
    bench.up("secondary")
    request = bench.accept("PUT", close=True)
    [frame] = bench.asked("secondary")
    bench.commit("secondary", frame)
    refusal = Problem("queue-full", "too much waits", hint="wait", retry_after_s=5)
    bench.dispatch.commits.on_result((Kind.RESULT, 0, 507, 0, frame[4], pack(refusal.to_wire())))
    answered = only(request)
    assert answered.status == 507
    assert (answered.json["detail"], answered.json["hint"]) == ("too much waits", "wait")
    assert answered.headers["retry-after"] == "5"
    assert answered.headers["x-deora-server"] == "secondary"
    assert answered.closes


def test_a_result_that_nobody_waits_for_is_ignored(bench: Bench) -> None:
    bench.store()
    bench.result((Kind.COMMIT, 0, 0, 0, 12345, b""))
    assert bench.dispatch.open_requests() == 0


def test_a_commit_is_sent_again_to_the_next_store_and_never_back_to_a_worker(bench: Bench) -> None:
    first = bench.store()
    bench.up("primary", "secondary")
    requests = [bench.accept("PUT", f"/v1/documents/a/{number}") for number in range(4)]
    frames = {slot: bench.asked(slot) for slot in bench.workers}
    for slot, asked in frames.items():
        for frame in asked:
            bench.commit(slot, frame, wait_s=3, body=b"%d" % frame[4])
    sent = first.take(Kind.COMMIT)
    assert all(not frame[1] & FLAG_RESENT for frame in sent)
    bench.result(sent[0])

    bench.dispatch.commits.store_lost()
    assert not bench.dispatch.commits.has_store
    bench.down("primary")
    bench.up("primary")
    second = bench.store()
    assert not first.frames
    again = second.take(Kind.COMMIT)
    # The first one was committed and waits for upstream: the new store does not know that.
    expected = [*((frame[4], frame[5], 3) for frame in sent[1:]), (sent[0][4], pack(["await", 7]), 3)]
    assert [(frame[4], frame[5], frame[2]) for frame in again] == expected
    assert all(frame[1] & FLAG_RESENT for frame in again)
    assert not any(bench.asked(slot) for slot in bench.workers)
    for frame in again:
        bench.result(frame)
    bench.dispatch.commits.on_replicated([(7, True)])
    assert [only(request).status for request in requests] == [200] * 4


def test_while_no_store_is_up_commits_wait(bench: Bench) -> None:
    bench.up("primary")
    request = bench.accept("PUT")
    [frame] = bench.asked("primary")
    bench.commit("primary", frame)
    assert bench.dispatch.open_requests() == 1
    store = bench.store()
    [again] = store.take(Kind.COMMIT)
    bench.result(again)
    assert only(request).status == 200


# -- Prefer: wait


def test_the_answer_waits_for_upstream(bench: Bench) -> None:
    request = waiting(bench)
    bench.pass_time(4)
    bench.dispatch.commits.on_replicated([(6, True), (8, True)])
    assert not received(request)
    assert bench.dispatch.open_requests() == 1
    bench.dispatch.commits.on_replicated([(7, True)])
    assert (only(request).status, only(request).json["replication"]) == (201, "done")
    assert bench.dispatch.open_requests() == 0


def test_upstream_too_late_is_a_202(bench: Bench) -> None:
    request = waiting(bench)
    bench.pass_time(5)
    answered = only(request)
    assert (answered.status, answered.json["replication"]) == (202, "pending")
    assert answered.headers["etag"] == '"e-7"'
    bench.dispatch.commits.on_replicated([(7, True)])
    assert only(request)


def test_refused_by_upstream_is_a_202_at_once(bench: Bench) -> None:
    request = waiting(bench)
    bench.dispatch.commits.on_replicated([(7, False)])
    assert (only(request).status, only(request).json["replication"]) == (202, "pending")


def test_a_wait_outlives_the_store_and_the_worker(bench: Bench) -> None:
    request = waiting(bench)
    bench.down("primary")
    bench.dispatch.commits.store_lost()
    store = bench.store()
    assert [frame[1] & FLAG_RESENT for frame in store.take(Kind.COMMIT)] == [FLAG_RESENT]
    assert not received(request)
    bench.pass_time(5)
    assert only(request).status == 202


def test_asking_the_next_store_again_gains_no_time(bench: Bench) -> None:
    request = waiting(bench)
    bench.pass_time(3)
    bench.dispatch.commits.store_lost()
    [again] = bench.store().take(Kind.COMMIT)
    bench.result(again)
    bench.pass_time(1.9)
    assert not received(request)
    bench.pass_time(0.1)
    assert (only(request).status, only(request).json["replication"]) == (202, "pending")


def test_the_next_store_may_know_that_upstream_has_it(bench: Bench) -> None:
    request = waiting(bench)
    bench.dispatch.commits.store_lost()
    [again] = bench.store().take(Kind.COMMIT)
    bench.result(again)
    bench.dispatch.commits.on_replicated([(7, True)])
    assert only(request).json["replication"] == "done"
    assert bench.dispatch.open_requests() == 0


def test_a_wait_ends_in_time_though_no_store_comes(bench: Bench) -> None:
    request = waiting(bench)
    bench.dispatch.commits.store_lost()
    store = bench.store()
    bench.dispatch.commits.store_lost()
    bench.pass_time(5)
    # Its write is durable: a late store makes no 503 of it.
    assert only(request).status == 202
    bench.result(store.take(Kind.COMMIT)[0])
    assert only(request)


def test_a_wait_may_be_longer_than_a_request_may_take(bench: Bench) -> None:
    request = waiting(bench, wait_s=30)
    bench.pass_time(TIMEOUT_S - 0.5)
    assert not received(request)
    bench.dispatch.commits.on_replicated([(7, True)])
    assert only(request).json["replication"] == "done"


# -- what the store lacks


def unheld(bench: Bench, store: KeptLink, request_frame: Frame) -> None:
    """The store says that it lacks a document by which it must judge."""
    bench.commit("primary", request_frame)
    [sent] = store.take(Kind.COMMIT)
    assert not sent[1] & FLAG_READ_THROUGH
    bench.dispatch.commits.on_result((Kind.RESULT, 0, UNHELD, 0, sent[4], pack(["a/b"])))


def test_a_write_waits_for_what_it_is_judged_by_and_is_asked_once_more(bench: Bench) -> None:
    store = bench.store()
    bench.up("primary")
    asked: list[tuple[int, list[str]]] = []
    bench.dispatch.commits.read_through = lambda ident, paths: asked.append((ident, paths))
    request = bench.accept("PATCH")
    unheld(bench, store, bench.asked("primary")[0])
    [(ident, paths)] = asked
    assert paths == ["a/b"]
    assert received(request) == []
    assert store.take(Kind.COMMIT) == []
    assert bench.dispatch.open_requests() == 1
    bench.dispatch.commits.on_read_through(ident, None)
    bench.dispatch.commits.on_read_through(ident, None)
    [again] = store.take(Kind.COMMIT)
    assert (again[4], again[5]) == (ident, b"writes")
    assert again[1] & FLAG_READ_THROUGH
    # The store dies with it: the next one is told the same.
    bench.dispatch.commits.store_lost()
    [last] = bench.store().take(Kind.COMMIT)
    assert last[1] == FLAG_READ_THROUGH | FLAG_RESENT
    bench.result(last)
    assert only(request).status == 200


def test_a_write_that_cannot_be_judged_is_refused_with_a_hint(bench: Bench) -> None:
    store = bench.store()
    bench.up("primary")
    idents: list[int] = []
    bench.dispatch.commits.read_through = lambda ident, _: idents.append(ident)
    request = bench.accept("PATCH")
    unheld(bench, store, bench.asked("primary")[0])
    problem = Problem("unavailable", "upstream is out", retry_after_s=60)
    bench.dispatch.commits.on_read_through(idents[0], problem)
    answered = only(request)
    assert (answered.status, answered.headers["retry-after"], answered.json["retryAfter"]) == (503, "60", 60)
    assert "upsert=true" in answered.json["hint"]
    assert bench.dispatch.open_requests() == 0


def test_a_read_through_that_does_not_end_is_not_waited_for_for_ever(bench: Bench) -> None:
    store = bench.store()
    bench.up("primary")
    bench.dispatch.commits.read_through = lambda *_: None
    request = bench.accept("PATCH")
    unheld(bench, store, bench.asked("primary")[0])
    bench.pass_time(TIMEOUT_S + 1)
    assert only(request).status == 503
    assert "upstream" in only(request).json["detail"]
    assert bench.dispatch.open_requests() == 0
