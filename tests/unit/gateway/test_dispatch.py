"""One request through whatever dies on its way: workers and stores are links by hand."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from deora.errors import Problem
from deora.gateway.access import Scope
from deora.gateway.balancer import Failover, RoundRobin, Weighted
from deora.gateway.dispatch import RUN_SHIFT
from deora.gateway.incoming import Incoming
from deora.gateway.requests import Patience
from deora.wire.answers import answer
from deora.wire.frames import (
    FLAG_CLOSE,
    FLAG_HEAD,
    FLAG_SCOPE_MASK,
    Kind,
    pack,
    unpack,
)
from deora.wire.keys import fingerprint, identity, request_of, scoped_key
from tests.fakes.dispatch import RETRIES, SERVERS, TIMEOUT_S, Bench, only, waiting
from tests.fakes.star import KeptConnection, Received, incoming, received


@pytest.fixture
def bench() -> Bench:
    return Bench()


# -- to a worker and back


def test_a_worker_gets_the_request_as_it_came(bench: Bench) -> None:
    bench.up("primary")
    headers = {"prefer": "wait=1", "x-request-id": "r-1"}
    bench.accept("PUT", "/v1/documents/a/b?x=1", content=b'{"a": 1}', headers=headers, scope=Scope.WRITE, close=True)
    [(_, flags, head_bytes, generation, _, body)] = bench.asked("primary")
    assert body[:head_bytes] == b"PUT /v1/documents/a/b?x=1\nprefer:wait=1\nx-request-id:r-1"
    assert body[head_bytes:] == b'{"a": 1}'
    assert flags & FLAG_SCOPE_MASK == Scope.WRITE
    assert flags & FLAG_CLOSE
    assert not flags & FLAG_HEAD
    assert generation == bench.workers["primary"].generation


def test_its_answer_goes_to_the_client_byte_for_byte(bench: Bench) -> None:
    bench.up("primary")
    request = bench.accept(close=True)
    [frame] = bench.asked("primary")
    bench.answer("primary", frame, b"exactly this")
    assert only(request).content == b"exactly this"
    assert only(request).closes
    assert bench.dispatch.open_requests() == 0


def test_each_request_has_an_id_of_its_own_and_makes_one_up_where_the_client_sent_none(bench: Bench) -> None:
    bench.up("primary")
    for _ in range(3):
        bench.accept()
    bench.accept(headers={"x-request-id": "till-1"})
    frames = bench.asked("primary")
    assert len({frame[4] for frame in frames}) == 4
    # The run is in it: what a store remembers of an earlier supervisor must never be taken for this one's.
    assert {frame[4] >> RUN_SHIFT for frame in frames} == {bench.dispatch.run}
    names = [frame[5].split(b"x-request-id:")[1] for frame in frames]
    assert len(set(names)) == 4
    assert names[3] == b"till-1"
    assert bench.dispatch.next_request_id() not in names


def test_the_run_of_another_supervisor_is_another() -> None:
    runs = {Bench().dispatch.run for _ in range(20)}
    assert len(runs) == 20
    assert all(0 <= run < 2**31 for run in runs)  # the store keeps run and number in a signed 64-bit integer


def test_requests_are_spread_by_the_balancer() -> None:
    bench = Bench(Weighted)
    bench.up("primary", "secondary")
    for _ in range(100):
        bench.accept()
    assert (len(bench.asked("primary")), len(bench.asked("secondary"))) == (70, 30)
    assert (bench.dispatch.inflight("primary"), bench.dispatch.inflight("nobody")) == (70, 0)


def test_a_refused_request_reaches_nobody(bench: Bench) -> None:
    bench.up("primary")
    request = incoming("GET", "/x", close=True)
    request.problem = Problem("unauthorized", "no such token")
    bench.dispatch.accept(request)
    assert not bench.asked("primary")
    assert only(request).status == 401
    assert only(request).closes
    assert only(request).headers["www-authenticate"] == "Bearer"
    assert only(request).headers["x-deora-server"] == "supervisor"
    assert only(request).headers["x-request-id"]


# -- the supervisor's own answers


def test_the_supervisor_answers_while_nobody_is_up(bench: Bench) -> None:
    bench.local = lambda _: (503, b"application/json", b'{"status":"down"}')
    request = bench.accept("GET", "/health")
    assert (only(request).status, only(request).json) == (503, {"status": "down"})
    assert only(request).headers["x-deora-server"] == "supervisor"
    assert only(request).headers["cache-control"] == "no-store"


def test_its_answer_to_head_has_no_content(bench: Bench) -> None:
    bench.local = lambda _: (200, b"text/plain", b"12345")
    answered = only(bench.accept("GET", "/metrics", head=True))
    assert (answered.headers["content-length"], answered.content) == ("5", b"")


def test_its_refusal_is_a_problem(bench: Bench) -> None:
    def refuse(_: Incoming) -> None:
        raise Problem("method-not-allowed", "only GET", fields={"allow": "GET"})

    bench.local = refuse
    answered = only(bench.accept("POST", "/health"))
    assert answered.status == 405
    assert answered.headers["allow"] == "GET"
    assert answered.headers["content-type"] == "application/problem+json"


def test_a_fault_of_its_own_is_a_500_and_hurts_nobody_else(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    def fail(_: Incoming) -> None:
        raise RuntimeError("broken")

    bench.local = fail
    answered = only(bench.accept("GET", "/status", headers={"x-request-id": "r-9"}))
    assert answered.status == 500
    assert answered.json["requestId"] == "r-9"
    assert b"broken" not in answered.content
    assert "broken" in caplog.text


def test_an_operators_change_goes_straight_to_the_store(bench: Bench) -> None:
    bench.up("primary")
    store = bench.store()
    bench.local = lambda _: b"pause"
    request = bench.accept("POST", "/admin/upstreams/primary:pause")
    assert not bench.asked("primary")
    [frame] = store.take(Kind.COMMIT)
    assert frame[5] == b"pause"
    bench.dispatch.commits.on_result((Kind.RESULT, 0, 200, 0, frame[4], pack({"paused": True})))
    assert only(request).json == {"paused": True}


# -- a worker dies


def test_what_a_dead_worker_held_goes_to_another(bench: Bench) -> None:
    bench.up("primary", "secondary")
    requests = [bench.accept(target=f"/v1/documents/a/{number}") for number in range(10)]
    before = {frame[4]: frame[5] for frame in bench.asked("primary")}
    assert len(before) == 5
    others = bench.asked("secondary")
    bench.down("primary")
    for frame in others:
        bench.answer("secondary", frame)
    # Each with its id, since generated ids and the store's memory hang on it.
    assert {frame[4]: frame[5] for frame in bench.answer_all("secondary")} == before
    assert [len(received(request)) for request in requests] == [1] * 10


def test_what_it_had_answered_does_not(bench: Bench) -> None:
    bench.up("primary")
    answered, unanswered = bench.accept(), bench.accept()
    first, second = bench.asked("primary")
    bench.answer("primary", first)
    bench.up("secondary")
    bench.down("primary")
    [frame] = bench.asked("secondary")
    assert frame[4] == second[4]
    bench.answer("secondary", frame)
    assert only(answered)
    assert only(unanswered)


def test_while_no_worker_is_up_requests_wait(bench: Bench) -> None:
    requests = [bench.accept() for _ in range(3)]
    assert bench.dispatch.open_requests() == 3
    assert not bench.dispatch.has_workers
    bench.pass_time(TIMEOUT_S - 1)
    bench.up("secondary")
    frames = bench.asked("secondary")
    assert len(frames) == 3
    for frame in frames:
        bench.answer("secondary", frame)
    assert [only(request).status for request in requests] == [200] * 3


def test_both_workers_die_at_once(bench: Bench) -> None:
    bench.up("primary", "secondary")
    requests = [bench.accept() for _ in range(4)]
    bench.down("primary")
    bench.down("secondary")
    assert not any(received(request) for request in requests)
    bench.up("primary")
    assert len(bench.answer_all("primary")) == 4
    assert [only(request).status for request in requests] == [200] * 4


def test_the_third_death_is_a_502_that_names_the_request(bench: Bench) -> None:
    bench.up("primary", "secondary")
    killer = bench.accept("PATCH", "/v1/documents/a/killer", headers={"x-request-id": "r-7"})
    for death in range(RETRIES + 1):
        assert not received(killer)
        [slot] = [slot for slot in bench.workers if bench.asked(slot)]
        bench.down(slot)
        if death < RETRIES:
            bench.up(slot)
    answered = only(killer)
    assert answered.status == 502
    assert "PATCH /v1/documents/a/killer" in answered.json["detail"]
    assert answered.json["requestId"] == "r-7"
    assert "hint" in answered.json
    assert bench.dispatch.open_requests() == 0
    # The service stays up: the next request is served.
    bench.up("primary")
    request = bench.accept()
    [slot] = [slot for slot in bench.workers if bench.dispatch.inflight(slot)]
    [frame] = bench.asked(slot)
    bench.answer(slot, frame)
    assert only(request).status == 200


def test_the_dead_worker_is_avoided_until_it_is_back(bench: Bench) -> None:
    bench.up("primary", "secondary")
    bench.down("primary")
    for _ in range(4):
        bench.accept()
    assert len(bench.asked("secondary")) == 4
    bench.up("primary")
    for _ in range(4):
        bench.accept()
    assert len(bench.asked("primary")) == 2


def test_a_death_that_is_told_of_twice_counts_once(bench: Bench) -> None:
    bench.up("primary")
    bench.accept()
    worker = bench.workers["primary"]
    bench.down("primary")
    bench.dispatch.worker_lost(worker, [])
    bench.up("secondary")
    assert len(bench.asked("secondary")) == 1


# -- answers of an earlier life


def test_a_late_answer_of_an_earlier_generation_is_ignored(bench: Bench) -> None:
    bench.up("primary")
    request = bench.accept()
    [old] = bench.asked("primary")
    generation = bench.workers["primary"].generation
    bench.down("primary")
    bench.up("primary")
    [frame] = bench.asked("primary")
    assert frame[4] == old[4]
    bench.answer("primary", old, b"late", generation)
    assert not received(request)
    bench.answer("primary", frame, b"in time")
    assert only(request).content == b"in time"


def test_a_late_commit_of_an_earlier_generation_is_ignored(bench: Bench) -> None:
    store = bench.store()
    bench.up("primary")
    request = bench.accept("PUT")
    [old] = bench.asked("primary")
    generation = bench.workers["primary"].generation
    bench.down("primary")
    bench.up("primary")
    [frame] = bench.asked("primary")
    bench.dispatch.on_commit(bench.workers["primary"], (Kind.COMMIT, 0, 0, generation, old[4], b"late"))
    assert not store.take(Kind.COMMIT)
    bench.commit("primary", frame)
    assert [each[5] for each in store.take(Kind.COMMIT)] == [b"writes"]
    assert not received(request)


def test_a_second_answer_is_ignored(bench: Bench) -> None:
    bench.up("primary")
    request = bench.accept()
    [frame] = bench.asked("primary")
    bench.answer("primary", frame)
    bench.answer("primary", frame)
    bench.commit("primary", frame)
    assert only(request)


# -- time


def late(request: Incoming) -> Received:
    """The 503 of a request that took too long."""
    answered = only(request)
    assert answered.status == 503
    assert int(answered.headers["retry-after"]) > 0
    assert "repeat" in answered.json["hint"]
    assert f"{TIMEOUT_S} s" in answered.json["detail"]
    return answered


def test_nobody_comes_up(bench: Bench) -> None:
    request = bench.accept()
    bench.pass_time(TIMEOUT_S)
    assert not received(request)
    bench.pass_time(0.1)
    assert "no worker" in late(request).json["detail"]
    bench.up("primary")
    assert not bench.asked("primary")


def test_the_store_does_not_confirm(bench: Bench) -> None:
    bench.up("primary")
    store = bench.store()
    request = bench.accept("PUT")
    [frame] = bench.asked("primary")
    bench.commit("primary", frame)
    bench.pass_time(TIMEOUT_S + 1)
    assert "store" in late(request).json["detail"]
    bench.result(store.take(Kind.COMMIT)[0])
    assert only(request)


def test_the_worker_does_not_answer(bench: Bench) -> None:
    bench.up("primary")
    request = bench.accept()
    [frame] = bench.asked("primary")
    bench.pass_time(TIMEOUT_S + 1)
    assert "worker" in late(request).json["detail"]
    bench.answer("primary", frame)
    assert only(request)
    assert bench.dispatch.inflight("primary") == 0


def test_those_that_are_not_late_go_on(bench: Bench) -> None:
    bench.up("primary")
    early = bench.accept()
    bench.pass_time(TIMEOUT_S - 1)
    request = bench.accept()
    bench.pass_time(2)
    assert late(early)
    assert not received(request)
    assert bench.dispatch.inflight("primary") == 1


def at_store(bench: Bench, **more: Any) -> Incoming:
    """A write that the store has and does not confirm."""
    request = bench.accept("PUT", **more)
    [frame] = bench.asked("primary")
    bench.commit("primary", frame)
    return request


def test_a_write_that_is_given_up_is_told_the_key_to_repeat_it_with(bench: Bench) -> None:
    bench.up("primary")
    store = bench.store()
    request = at_store(bench, content=b"{}")
    [commit] = store.take(Kind.COMMIT)
    bench.pass_time(TIMEOUT_S + 1)
    key = late(request).json["idempotencyKey"]
    assert f"Idempotency-Key: {key}" in late(request).json["hint"]
    assert request_of(key.encode()) == commit[4]
    # It is the supervisor who gives up, not the worker that had done its part.
    assert late(request).headers["x-deora-server"] == "supervisor"
    # The store keeps its answer, which it may still give, under that key.
    [held] = store.take(Kind.COMMIT)
    assert held[4] != commit[4]
    path = b"/v1/documents/a/b"
    assert unpack(held[5]) == [
        "hold",
        commit[4],
        identity({}, b"PUT", path, b"", b"{}"),
        scoped_key({}, b"PUT", path, b"", key.encode()),
        fingerprint({}, b"{}"),
    ]
    bench.result(commit)
    assert only(request)


def test_a_client_with_a_key_of_its_own_keeps_it(bench: Bench) -> None:
    bench.up("primary")
    store = bench.store()
    request = at_store(bench, headers={"idempotency-key": "k"})
    store.take(Kind.COMMIT)
    bench.pass_time(TIMEOUT_S + 1)
    assert late(request).json["idempotencyKey"] == "k"
    assert not store.take(Kind.COMMIT)


def test_without_a_store_nothing_is_held(bench: Bench) -> None:
    bench.up("primary")
    request = at_store(bench)
    bench.pass_time(TIMEOUT_S + 1)
    assert "idempotencyKey" in late(request).json
    assert not bench.store().take(Kind.COMMIT)


@pytest.mark.parametrize(
    ("method", "target", "advice"),
    [
        ("GET", "/v1/documents/a/b", "nothing was changed"),
        ("POST", "/v1/documents:batchGet", "nothing was changed"),
        ("POST", "/v1/queue:retryDead", "look at the queue"),
    ],
)
def test_what_is_no_write_has_no_key(bench: Bench, method: str, target: str, advice: str) -> None:
    bench.up("primary")
    store = bench.store()
    request = bench.accept(method, target)
    if "queue" in target:
        [frame] = bench.asked("primary")
        bench.commit("primary", frame)
        store.take(Kind.COMMIT)
    bench.pass_time(TIMEOUT_S + 1)
    assert advice in late(request).json["hint"]
    assert "idempotencyKey" not in late(request).json
    assert not store.take(Kind.COMMIT)


# -- the end


def test_a_stop_makes_every_answer_the_last_of_its_connection(bench: Bench) -> None:
    waits = waiting(bench)
    stored = bench.accept("PUT")
    [frame] = bench.asked("primary")
    bench.commit("primary", frame)
    bench.down("primary")
    waits_for_a_worker = bench.accept()
    bench.dispatch.stop()
    # Nobody waits for upstream any longer: the write is durable, and that is said.
    assert (only(waits).status, only(waits).closes) == (202, True)
    assert only(waits).headers["connection"] == "close"
    bench.result(frame)
    assert (only(stored).status, only(stored).closes) == (200, True)
    bench.up("primary")
    late_comer = bench.accept()
    frames = bench.asked("primary")
    assert all(frame[1] & FLAG_CLOSE for frame in frames)
    for frame in frames:
        bench.answer("primary", frame)
    assert only(waits_for_a_worker).closes
    assert only(late_comer).closes
    assert bench.dispatch.open_requests() == 0


def test_the_end_leaves_nobody_without_an_answer(bench: Bench) -> None:
    bench.up("primary")
    store = bench.store()
    requests = [at_store(bench), bench.accept()]
    bench.pass_time(1)
    bench.dispatch.stop()
    bench.dispatch.give_up()
    assert [only(request).status for request in requests] == [503, 503]
    assert "ended" in only(requests[0]).json["detail"]
    assert "idempotencyKey" in only(requests[0]).json
    assert [unpack(frame[5])[0] for frame in store.take(Kind.COMMIT)[1:]] == ["hold"]
    assert bench.dispatch.open_requests() == 0


# -- connections hand on their next request as soon as they have an answer


@pytest.mark.parametrize("mode", [RoundRobin, Weighted])
def test_the_next_request_of_a_connection_may_come_from_within(mode: type[Weighted]) -> None:
    bench = Bench(mode)
    bench.up("primary", "secondary")
    requests = [bench.accept() for _ in range(6)]
    followers = [incoming("GET", "/v1/documents/a/next") for _ in requests]
    for request, follower in zip(requests, followers, strict=True):
        assert isinstance(request.connection, KeptConnection)
        request.connection.following.append(partial(bench.dispatch.accept, follower))
    bench.pass_time(TIMEOUT_S + 1)
    assert [only(request).status for request in requests] == [503] * 6
    bench.down("primary")
    assert not any(received(follower) for follower in followers)
    assert bench.dispatch.open_requests() == 6
    bench.answer_all("secondary")
    assert [only(follower).status for follower in followers] == [200] * 6


# -- figures


def test_every_answer_is_counted_for_who_made_it(bench: Bench) -> None:
    bench.up("primary")
    bench.accept()
    [frame] = bench.asked("primary")
    bench.clock.advance(0.25)
    bench.answer("primary", frame)
    bench.down("primary")
    bench.accept()
    bench.pass_time(TIMEOUT_S + 1)
    assert bench.metrics.slots["primary"].codes == {200: 1}
    assert bench.metrics.slots["primary"].sum_s == pytest.approx(0.25)
    assert bench.metrics.slots["supervisor"].codes == {503: 1}


def test_failover_serves_from_one(bench: Bench) -> None:
    bench.dispatch._runs._balancer = Failover()
    bench.up("secondary", "primary")
    for _ in range(5):
        bench.accept()
    assert len(bench.asked("primary")) == 5
    bench.down("primary")
    assert len(bench.answer_all("secondary")) == 5


# -- suspects


def test_a_killer_among_a_hundred(bench: Bench) -> None:
    """Whatever worker begins the killer dies, with all that it holds; the neighbours are answered, each once."""
    bench.up("primary", "secondary")
    killer = bench.accept(target="/v1/documents/a/killer", headers={"x-request-id": "r-7"})
    innocents = [bench.accept(target=f"/v1/documents/a/{number}") for number in range(100)]
    deaths = 0
    while not received(killer):
        for slot in [slot for slot in bench.workers if bench.asked_has(slot, b"killer")]:
            deaths += 1
            bench.down(slot)
            bench.up(slot)
            break
        for slot in list(bench.workers):
            if not bench.asked_has(slot, b"killer"):
                for frame in bench.asked(slot):
                    bench.answer(slot, frame)
        bench.accept(target="/v1/documents/a/newcomer")
    while sum(len(bench.answer_all(slot)) for slot in bench.workers):
        pass
    assert deaths == RETRIES + 1
    assert [only(innocent).status for innocent in innocents] == [200] * 100
    assert (only(killer).status, only(killer).json["requestId"]) == (502, "r-7")
    assert bench.dispatch.open_requests() == 0


def test_while_the_only_worker_tries_suspects_newcomers_wait(bench: Bench) -> None:
    bench.up("primary", "secondary")
    suspects = [bench.accept() for _ in range(4)]
    bench.answer_all("secondary")
    bench.down("primary")
    newcomer = bench.accept()
    [first] = bench.asked("secondary")
    # The other one is back, and takes what is new.
    bench.up("primary")
    [frame] = bench.asked("primary")
    bench.answer("primary", frame)
    assert only(newcomer).status == 200
    bench.answer("secondary", first)
    bench.answer_all("secondary")
    assert [only(suspect).status for suspect in suspects] == [200] * 4


def test_a_suspect_that_becomes_a_commit_is_none_any_more(bench: Bench) -> None:
    store = bench.store()
    bench.up("primary")
    requests = [bench.accept("PUT") for _ in range(2)]
    bench.down("primary")
    bench.up("primary")
    for _ in requests:
        [frame] = bench.asked("primary")
        bench.commit("primary", frame)
    for frame in store.take(Kind.COMMIT):
        bench.result(frame)
    assert [only(request).status for request in requests] == [200] * 2
    assert len([bench.accept() for _ in range(3)]) == len(bench.asked("primary"))


def test_a_suspect_that_takes_long_holds_up_nobody_for_ever(bench: Bench) -> None:
    bench.up("primary")
    slow, other = bench.accept(), bench.accept()
    bench.down("primary")
    bench.up("primary")
    [frame] = bench.asked("primary")
    bench.pass_time(Patience(0, 0).trial_s + 1)
    assert len(bench.answer_all("primary")) == 1
    assert only(other).status == 200
    bench.answer("primary", frame)
    assert only(slow).status == 200


def test_a_suspect_that_nobody_takes_is_late_like_any(bench: Bench) -> None:
    bench.up("primary")
    requests = [bench.accept() for _ in range(2)]
    bench.down("primary")
    bench.pass_time(TIMEOUT_S + 1)
    assert [only(request).status for request in requests] == [503] * 2
    assert bench.dispatch.open_requests() == 0


# -- drained and replaced


def test_who_does_not_serve_gets_nothing_new_and_keeps_what_it_has(bench: Bench) -> None:
    bench.up("primary", "secondary")
    before = [bench.accept() for _ in range(2)]
    kept = bench.asked("primary")
    bench.answer_all("secondary")
    bench.dispatch.serve([SERVERS["secondary"]])
    for _ in range(4):
        bench.accept()
    assert not bench.asked("primary")
    assert len(bench.answer_all("secondary")) == 4
    for frame in kept:
        bench.answer("primary", frame)
    assert [only(request).status for request in before] == [200] * 2
    bench.dispatch.serve([])
    assert not bench.dispatch.has_workers
    late = bench.accept()
    bench.dispatch.serve([SERVERS["primary"]])
    bench.answer_all("primary")
    assert only(late).status == 200


def test_what_is_taken_back_is_answered_by_another_and_only_once(bench: Bench) -> None:
    bench.up("primary", "secondary")
    requests = [bench.accept() for _ in range(2)]
    bench.answer_all("secondary")
    [frame] = bench.asked("primary")
    bench.dispatch.serve([SERVERS["secondary"]])
    assert bench.dispatch.take_back(bench.workers["primary"]) == 1
    assert len(bench.answer_all("secondary")) == 1
    bench.answer("primary", frame)
    assert [only(request).status for request in requests] == [200] * 2
    assert bench.dispatch.inflight("primary") == 0


def test_who_is_replaced_finishes_and_its_death_costs_nothing(bench: Bench) -> None:
    bench.up("primary")
    requests = [bench.accept() for _ in range(2)]
    former = bench.workers["primary"]
    first, _ = bench.asked("primary")
    bench.up("primary")
    assert bench.dispatch.inflight("primary") == 2
    sent = answer(200, b"{}", server=b"primary", request_id=b"r")
    bench.dispatch.on_answer(former, (Kind.ANSWER, 0, 200, former.generation, first[4], sent))
    assert not bench.asked("primary")
    bench.dispatch.worker_lost(former, [SERVERS["primary"]])
    assert len(bench.answer_all("primary")) == 1
    assert [only(request).status for request in requests] == [200] * 2


# -- what takes its time


def test_an_order_is_answered_once_it_is_in_force(bench: Bench) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[Any] = loop.create_future()
        refused: asyncio.Future[Any] = loop.create_future()
        failed: asyncio.Future[Any] = loop.create_future()
        never: asyncio.Future[Any] = loop.create_future()
        asked = []
        for future in (done, refused, failed, never):
            bench.local = lambda _, future=future: future
            asked.append(bench.accept("POST", "/admin/failover"))
        assert bench.dispatch.open_requests() == 4
        done.set_result((200, b"application/json", b"{}"))
        refused.set_exception(Problem("conflict", "no"))
        failed.set_exception(RuntimeError("a fault of ours"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert [only(request).status for request in asked[:3]] == [200, 409, 500]
        bench.dispatch.stop()
        bench.dispatch.give_up()
        assert (only(asked[3]).status, only(asked[3]).closes) == (503, True)
        never.set_result((200, b"application/json", b"{}"))
        await asyncio.sleep(0)
        assert bench.dispatch.open_requests() == 0

    asyncio.run(main())


def test_what_health_says_of_the_instance_is_no_failed_request() -> None:
    bench = Bench()
    bench.local = lambda _: (503, b"application/json", b"{}")
    bench.accept("GET", "/health")
    bench.local = None
    bench.accept("GET")
    bench.pass_time(TIMEOUT_S + 1)
    assert (bench.metrics.errors(), bench.metrics.failures(), bench.metrics.answers()) == (2, 1, 1)
