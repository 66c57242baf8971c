"""The lane: every entry reaches upstream exactly once and in order, whatever gets lost, and nothing is hidden.

Store, outbox and calls are the real ones; the upstream is in memory (tests/fakes/upstream.py, which passes the contract
suite); time is manual.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from dataclasses import replace
from math import log2
from pathlib import Path
from typing import Any

import orjson
import pytest

from deora.documents.writes import Write
from deora.replay.breaker import Breaker
from deora.replay.coverage import CROWDED_BYTES, Coverage
from deora.replay.lane import RECHECK_S, STRIKES, Lane
from deora.replay.terms import LaneSettings
from deora.upstream.base import Cursor, Delivery, Moved, Outcome, Refused, Unauthorised, Unclear
from deora.upstream.sqlite import SqliteUpstream
from tests.fakes.calls import increment
from tests.fakes.lane import LaneBench, numbered
from tests.fakes.loop import run
from tests.fakes.store import create, set_, update
from tests.fakes.upstream import Call, FakeUpstream, Fault, Faults

Outage = Unclear("the network is unreachable")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[LaneBench]:
    """A lane's world."""
    made = LaneBench(tmp_path)
    yield made
    made.store.close()


def go(bench: LaneBench, main: Coroutine[Any, Any, None]) -> None:
    run(main, bench.clock)


def by_index(faults: dict[int, Any]) -> Faults:
    """Faults by the number of the call."""
    return lambda call: faults.get(call.index)


def chaos(bench: LaneBench, *, lost: float = 0.0, late: float = 0.0, unanswered: float = 0.0) -> Faults:
    """Faults by chance; what was held up arrives at any later call, in any order."""

    def faults(_: Call) -> Fault | None:
        if bench.upstream.held_up and bench.dice.random() < 0.2:
            bench.upstream.release(bench.dice.randrange(len(bench.upstream.held_up)))
        chance = bench.dice.random()
        if chance < lost:
            return Fault.LOST
        if chance < lost + late:
            return Fault.LATE
        return Fault.UNANSWERED if chance < lost + late + unanswered else None

    return faults


def release_all(upstream: FakeUpstream) -> None:
    """When all is done nothing of what the network still holds may take effect."""
    while upstream.held_up:
        assert upstream.release() == Moved()


# -- all goes well


def test_entries_reach_upstream_in_order_and_are_done(bench: LaneBench) -> None:
    bench.write_numbered(1200, documents=40)
    go(bench, bench.drain())
    bench.check()
    assert {entry["state"] for entry in bench.store.entries()} == {"done"}
    cursor = bench.upstream.cursors[bench.key]
    assert Coverage.decode(cursor.applied) == Coverage(1200)
    assert cursor.seq == bench.upstream.count("apply") == 3
    assert bench.upstream.count("read") == 1
    assert (bench.status.state, bench.status.breaker, bench.status.last_error) == ("up", "CLOSED", None)
    assert bench.slept_s == []


def test_an_entry_of_many_writes_arrives_whole(bench: LaneBench) -> None:
    bench.store.commit(*[set_(f"d/{number}", {"n": number}) for number in range(500)])
    bench.store.commit(*[update(f"d/{number}", {"n": {"$increment": 1}}) for number in range(0, 500, 2)])
    go(bench, bench.drain())
    assert bench.upstream.documents == bench.store.views()
    assert len(bench.upstream.applied) == 2


def test_what_is_written_while_the_lane_runs_follows(bench: LaneBench) -> None:
    async def scenario() -> None:
        task = asyncio.ensure_future(bench.new_lane().run())
        for _ in range(5):
            bench.write_numbered(7, documents=3)
            await bench.watch(task, lambda: bench.store.waiting() == 0)
            await asyncio.sleep(100)
        task.cancel()

    go(bench, scenario())
    bench.check()


def test_the_latency_of_the_last_batch_is_shown(bench: LaneBench) -> None:
    bench.upstream.delay_s = 0.25
    bench.write_numbered(1, documents=1)
    go(bench, bench.drain())
    assert bench.status.latency_ms == pytest.approx(250)


# -- answers and requests get lost


@pytest.mark.parametrize("seed", range(3))
def test_counters_are_exact_though_3_answers_of_10_are_lost(tmp_path: Path, seed: int) -> None:
    bench = LaneBench(tmp_path, seed=seed, settings=LaneSettings(max_writes=7))
    writes = [increment(f"counters/{bench.dice.randrange(20)}") for _ in range(1500)]
    expected: dict[str, int] = {}
    for write in writes:
        expected[write.path] = expected.get(write.path, 0) + 1
    bench.store.write_each(writes)
    bench.upstream.faults = chaos(bench, unanswered=0.3)
    go(bench, bench.drain(within_s=24 * 3600))
    held = {path: orjson.loads(data)["n"] for path, data in bench.upstream.documents.items()}
    assert held == expected, f"seed {seed}"
    assert bench.store.entries("dead") == []
    batches = len({batch_id for batch_id, _ in bench.upstream.applied})
    assert bench.upstream.count("apply") == batches, "what has landed was sent again"
    bench.store.close()


@pytest.mark.parametrize("seed", range(6))
def test_nothing_is_lost_doubled_or_disordered_by_a_network_that_does_all_of_it(tmp_path: Path, seed: int) -> None:
    bench = LaneBench(tmp_path, seed=seed, settings=LaneSettings(max_writes=5))
    bench.write_numbered(300, documents=9)
    bench.upstream.faults = chaos(bench, lost=0.15, late=0.15, unanswered=0.15)
    go(bench, bench.drain(within_s=24 * 3600))
    assert bench.upstream.count("apply") > 300 / 5, "the seed made no trouble"
    release_all(bench.upstream)
    bench.check()


def test_a_batch_is_sent_again_as_it_was(bench: LaneBench) -> None:
    bench.write_numbered(20, documents=3)
    bench.upstream.faults = by_index({1: Fault.LOST, 3: Fault.LATE, 5: Outage})

    async def scenario() -> None:
        await bench.until(lambda: bench.upstream.count("apply") == 3)
        bench.write_numbered(20, documents=3)
        await bench.drain()

    go(bench, scenario())
    sent = [call.delivery for call in bench.upstream.calls if call.delivery is not None]
    assert len(sent) == 5
    assert sent[0] == sent[1] == sent[2] == sent[3]
    release_all(bench.upstream)
    bench.check()


def test_after_a_lost_answer_the_cursor_is_read_before_anything_else_is_sent(bench: LaneBench) -> None:
    bench.write_numbered(3, documents=1)
    bench.upstream.faults = by_index({1: Fault.UNANSWERED, 2: Outage, 3: Outage})
    go(bench, bench.drain())
    assert [call.kind for call in bench.upstream.calls] == ["read", "apply", "read", "read", "read"]
    bench.check()


def test_a_call_without_an_answer_ends_at_its_deadline(bench: LaneBench) -> None:
    bench.write_numbered(3, documents=1)
    bench.upstream.faults = by_index({1: Fault.SILENT, 2: Fault.SILENT})
    start_s = bench.clock.monotonic_s()
    go(bench, bench.drain())
    bench.check()
    assert 40 <= bench.clock.monotonic_s() - start_s < 41
    errors = dict.fromkeys(status.last_error for _, status in bench.shown)
    assert list(errors) == [None, "no answer within 30 s", "no answer within 10 s"]


def test_an_upstream_that_hangs_opens_the_breaker_within_80_s(bench: LaneBench) -> None:
    bench.write_numbered(3, documents=1)
    bench.upstream.faults = lambda _: Fault.SILENT
    go(bench, bench.until(lambda: bench.status.breaker == "OPEN" if bench.shown else False, within_s=80))


def test_an_upstream_that_is_out_from_the_start_is_shown_at_once(bench: LaneBench) -> None:
    bench.upstream.faults = lambda _: Outage
    go(bench, bench.until(lambda: bool(bench.shown) and bench.status.state == "down", within_s=1))


def test_that_upstream_refuses_us_is_logged_once(bench: LaneBench, caplog: pytest.LogCaptureFixture) -> None:
    bench.upstream.faults = lambda _: Unauthorised("no such user")

    async def scenario() -> None:
        task = asyncio.ensure_future(bench.new_lane().run())
        await asyncio.sleep(600)
        task.cancel()

    go(bench, scenario())
    assert [record.getMessage() for record in caplog.records] == ["upstream refuses us: no such user"]


def test_the_log_of_a_closed_breaker_names_no_error(bench: LaneBench, caplog: pytest.LogCaptureFixture) -> None:
    bench.write_numbered(1, documents=1)
    bench.upstream.faults = by_index(dict.fromkeys(range(1, 8), Outage))
    go(bench, bench.drain())
    told = [(record.getMessage(), vars(record)["error"]) for record in caplog.records]
    assert told[0] == ("the breaker is OPEN", Outage.message)
    assert told[-1] == ("the breaker is CLOSED", None)


@pytest.mark.parametrize("seed", range(3))
def test_two_replayers_at_once_do_no_harm(tmp_path: Path, seed: int) -> None:
    """An old replayer may still be alive when the next one starts."""
    bench = LaneBench(tmp_path, seed=seed, settings=LaneSettings(max_writes=4))
    bench.upstream.faults = chaos(bench, lost=0.1, late=0.1, unanswered=0.1)
    bench.upstream.refused = {"d/3": "no"}
    bench.upstream.delay_s = 0.01
    bench.write_numbered(120, documents=6)

    async def scenario() -> None:
        tasks = [asyncio.ensure_future(bench.new_lane().run()) for _ in range(2)]
        for task in tasks:
            await bench.watch(task, lambda: bench.store.waiting() == 0, within_s=24 * 3600)
        for task in tasks:
            task.cancel()

    go(bench, scenario())
    release_all(bench.upstream)
    bench.check(dead={"d/3"})


def test_what_another_replayer_applied_meanwhile_stays_in_the_cursor(bench: LaneBench) -> None:
    """A lane that comes back with what it knew of the cursor reads it again where the store has got further."""
    bench.write_numbered(10, documents=2)

    async def deliver(lane: Lane) -> None:
        task = asyncio.ensure_future(lane.run())
        await bench.watch(task, lambda: bench.store.waiting() == 0)
        task.cancel()
        await asyncio.wait({task})

    async def scenario() -> None:
        first = bench.new_lane()
        await deliver(first)
        bench.write_numbered(10, documents=2)
        await deliver(bench.new_lane())
        bench.write_numbered(10, documents=2)
        await deliver(first)

    go(bench, scenario())
    bench.check()
    assert Coverage.decode(bench.upstream.cursors[bench.key].applied) == Coverage(watermark=30)


# -- upstream is away


def test_a_passing_failure_is_tried_again_with_growing_jittered_pauses(bench: LaneBench) -> None:
    bench.threshold = 1000
    bench.write_numbered(1, documents=1)
    bench.upstream.faults = by_index(dict.fromkeys(range(12), Outage))
    go(bench, bench.drain())
    bench.check()
    assert len(bench.slept_s) == 12
    for number, slept_s in enumerate(bench.slept_s):
        assert 0 <= slept_s <= min(30.0, 0.1 * 2**number)
    assert len(set(bench.slept_s)) == 12, "pauses without jitter"
    assert max(bench.slept_s) > 5


def test_an_outage_opens_the_breaker_and_one_probe_at_a_time_looks_for_its_end(bench: LaneBench) -> None:
    """Ten minutes of F17: at the threshold the breaker opens, then there is one call a minute and no more."""
    start_s = bench.clock.monotonic_s()
    called_s: list[float] = []

    def faults(_: Call) -> Unclear | None:
        called_s.append(bench.clock.monotonic_s() - start_s)
        return Outage if bench.clock.monotonic_s() < start_s + 600 else None

    bench.upstream.faults = faults
    bench.write_numbered(50, documents=5)
    go(bench, bench.drain())
    bench.check()
    during = [moment for moment in called_s if moment < 600]
    opened_s = during[bench.threshold - 1]
    assert opened_s < 2
    probes = [moment - opened_s for moment in during[bench.threshold :]]
    assert 8 <= len(probes) <= 9
    assert all(59.9 < later - earlier < 61.5 for earlier, later in zip([0.0, *probes], probes, strict=False)), probes
    assert called_s[len(during)] < 600 + 61.5
    assert called_s[-1] - called_s[len(during)] < 0.1, "the drain follows the first good probe"
    breakers = [status.breaker for _, status in bench.shown]
    assert "OPEN" in breakers
    assert breakers[-1] == "CLOSED"
    attempts = {entry["attempts"] for entry in bench.store.entries()}
    assert max(attempts) <= 1 + len(probes) + 1, "a pause is no attempt"


def test_an_outage_is_shown_with_its_reason(bench: LaneBench) -> None:
    bench.write_numbered(2, documents=1)
    bench.upstream.faults = lambda _: Outage
    go(bench, bench.until(lambda: bool(bench.shown) and bench.status.breaker == "OPEN"))
    assert (bench.status.state, bench.status.last_error) == ("down", Outage.message)
    assert bench.status.failures == bench.threshold
    go(bench, bench.until(lambda: all(entry["attempts"] > 0 for entry in bench.store.entries())))
    assert {entry["error"] for entry in bench.store.entries("inflight")} == {Outage.message}


def test_the_reason_of_an_outage_reaches_the_entries_however_low_the_threshold(bench: LaneBench) -> None:
    bench.threshold = 1
    bench.write_numbered(1, documents=1)
    bench.upstream.faults = lambda _: Outage
    go(bench, bench.until(lambda: bench.store.entries()[0]["attempts"] > 0, within_s=10))
    assert bench.store.entries()[0]["error"] == Outage.message


def test_without_anything_to_send_status_tells_the_truth_too(bench: LaneBench) -> None:
    async def scenario() -> None:
        task = asyncio.ensure_future(bench.new_lane().run())
        await asyncio.sleep(100)
        assert 2 <= len(bench.upstream.calls) <= 4
        assert bench.status.state == "up"
        bench.upstream.faults = lambda _: Outage
        await asyncio.sleep(bench.settings.check_interval_s + 1)
        assert (bench.status.state, bench.status.breaker) == ("down", "CLOSED")
        await asyncio.sleep(60)
        assert bench.status.breaker == "OPEN"
        calls = len(bench.upstream.calls)
        await asyncio.sleep(600)
        assert 9 <= len(bench.upstream.calls) - calls <= 10
        bench.upstream.faults = lambda _: None
        await asyncio.sleep(65)
        assert (bench.status.state, bench.status.breaker, bench.status.last_error) == ("up", "CLOSED", None)
        task.cancel()

    go(bench, scenario())


def test_after_an_outage_the_drain_ramps_up(bench: LaneBench) -> None:
    bench.write_numbered(2000, documents=100)
    bench.upstream.faults = by_index({1: Outage, 2: Outage})
    go(bench, bench.drain())
    bench.check()
    sizes = [len(call.delivery.payloads) for call in bench.upstream.calls if call.delivery is not None]
    assert sizes == [500, 500, 50, 100, 200, 400, 500, 250]
    assert bench.asked[0] == (500, 0.8)


@pytest.mark.parametrize("retry_after_s", [2.0, 45.0])
def test_the_pause_that_upstream_asks_for_is_kept_within_a_tenth(bench: LaneBench, retry_after_s: float) -> None:
    bench.write_numbered(1, documents=1)
    bench.upstream.faults = by_index({index: Unclear("too many requests", retry_after_s) for index in range(4)})
    go(bench, bench.drain())
    bench.check()
    assert len(bench.slept_s) == 4
    assert all(retry_after_s <= slept_s <= retry_after_s * 1.1 for slept_s in bench.slept_s)


# -- pausing


def test_a_pause_during_an_outage_holds_the_batch_in_the_store(bench: LaneBench) -> None:
    bench.write_numbered(30, documents=3)
    bench.upstream.faults = lambda _: Outage

    async def scenario() -> None:
        task = asyncio.ensure_future(bench.new_lane().run())
        await bench.watch(task, lambda: bench.upstream.count("read") >= 3)
        bench.store.pause(True)
        await asyncio.sleep(5)
        bench.upstream.faults = lambda _: None
        await asyncio.sleep(600)
        assert bench.upstream.count("apply") == 0
        assert len(bench.store.entries("inflight")) == 30
        bench.store.pause(False)
        await bench.watch(task, lambda: bench.store.waiting() == 0, within_s=5)
        task.cancel()

    go(bench, scenario())
    bench.check()


def test_a_pause_while_the_breaker_is_open_is_seen_at_once(bench: LaneBench) -> None:
    bench.write_numbered(3, documents=1)
    bench.upstream.faults = lambda _: Outage

    async def scenario() -> None:
        task = asyncio.ensure_future(bench.new_lane().run())
        await bench.watch(task, lambda: bool(bench.shown) and bench.status.breaker == "OPEN")
        bench.store.pause(True)
        asked = len(bench.asked)
        await asyncio.sleep(2)
        assert len(bench.asked) == asked + 1, "the lane does not wait in the store"
        attempts = bench.store.entries()[0]["attempts"]
        await asyncio.sleep(2)
        bench.store.pause(False)
        bench.upstream.faults = lambda _: None
        await bench.watch(task, lambda: bench.store.waiting() == 0, within_s=120)
        assert bench.store.entries()[0]["attempts"] == attempts
        task.cancel()

    go(bench, scenario())
    bench.check()


# -- upstream refuses entries


@pytest.mark.parametrize("count", [1, 2, 3, 8, 100, 500])
@pytest.mark.parametrize("place", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("names_index", [True, False])
def test_a_refused_entry_is_found_and_the_others_go_on(
    bench: LaneBench, count: int, place: float, names_index: bool
) -> None:
    bench.write_numbered(count, documents=count)
    guilty = f"d/{round(place * (count - 1))}"
    bench.upstream.refused = {guilty: "column total does not exist"}
    bench.upstream.names_index = names_index
    go(bench, bench.drain())
    bench.check(dead={guilty})
    [dead] = bench.store.entries("dead")
    assert dead["error"] == "column total does not exist"
    assert bench.status.state == "up"
    # Each of a batch's halvings costs the refusal, a look at the cursor, and its fence.
    halvings = 2 if names_index else log2(count) + 2
    assert bench.upstream.count("fence") <= halvings
    assert len(bench.upstream.calls) <= 1 + 4 * halvings
    assert bench.slept_s == []


def test_several_refused_entries_are_found(bench: LaneBench) -> None:
    bench.write_numbered(500, documents=500)
    dead = {f"d/{number}": f"refused {number}" for number in (0, 17, 18, 250, 499)}
    bench.upstream.refused = dead
    bench.upstream.names_index = False
    go(bench, bench.drain())
    bench.check(dead=set(dead))
    for entry in bench.store.entries("dead"):
        [write] = entry["writes"]
        assert entry["error"] == dead[write["update"]["path"]]
    coverage = Coverage.decode(bench.upstream.cursors[bench.key].applied)
    assert coverage == Coverage(500, [], [1, 18, 19, 251, 500])


def test_writes_behind_a_dead_one_to_the_same_document_go_on(bench: LaneBench) -> None:
    bench.upstream.documents["d/1"] = b'{"from":"elsewhere"}'
    bench.store.write_each([create("d/1", {"n": 1}), update("d/1", {"n": {"$increment": 1}}), set_("d/2", {})])
    go(bench, bench.drain())
    [dead] = bench.store.entries("dead")
    assert "exists" in dead["error"]
    assert bench.upstream.documents == {"d/1": b'{"from":"elsewhere","n":1}', "d/2": b"{}"}


def test_a_multi_write_entry_is_refused_whole(bench: LaneBench) -> None:
    bench.store.commit(set_("d/1", {}), set_("d/2", {}), set_("d/3", {}))
    bench.store.commit(set_("d/4", {}))
    bench.upstream.refused = {"d/2": "no"}
    go(bench, bench.drain())
    assert bench.upstream.documents == {"d/4": b"{}"}
    assert [len(entry["writes"]) for entry in bench.store.entries("dead")] == [3]


def test_a_dead_entry_that_is_retried_is_sent_under_a_new_number(bench: LaneBench) -> None:
    bench.write_numbered(4, documents=2)
    bench.upstream.refused = {"d/1": "no"}
    go(bench, bench.drain())
    bench.upstream.refused = {}
    for entry in bench.store.entries("dead"):
        assert bench.store.operate("retry", entry["id"], True).problem is None
    go(bench, bench.drain())
    bench.check()
    assert Coverage.decode(bench.upstream.cursors[bench.key].applied) == Coverage(6, [], [2, 4])


@pytest.mark.parametrize("count", [1, 3])
def test_a_late_copy_of_a_refused_batch_cannot_land(bench: LaneBench, count: int) -> None:
    """The first copy is in the network, the retry is refused: only the fence keeps the first one out."""
    bench.write_numbered(count, documents=count)
    bench.upstream.faults = by_index({1: Fault.LATE, 3: Refused("no")})
    go(bench, bench.until(lambda: bench.upstream.count("fence") == 1 and not bench.store.entries("inflight")))
    if count == 1:
        assert [entry["state"] for entry in bench.store.entries()] == ["dead"]
    [late] = bench.upstream.held_up
    assert late.payloads
    assert bench.upstream.release() == Moved()
    bench.write_numbered(count, documents=count)
    go(bench, bench.drain())
    if count == 1:
        assert [entry["state"] for entry in bench.store.entries()] == ["dead", "done"]
        assert bench.upstream.documents == {"d/0": b'{"log":[1],"n":1}'}
    else:
        bench.check()


@pytest.mark.parametrize("arrives_at", [4, 5])
@pytest.mark.parametrize("count", [1, 3])
def test_a_late_copy_that_lands_before_the_fence_is_believed(bench: LaneBench, count: int, arrives_at: int) -> None:
    """It arrives before the cursor is read (call 4), or between that and the fence (call 5)."""
    bench.write_numbered(count, documents=count)
    faults = {1: Fault.LATE, 3: Refused("no")}

    def arriving(call: Call) -> Any:
        if call.index == arrives_at:
            bench.upstream.release()
        return faults.get(call.index)

    bench.upstream.faults = arriving
    go(bench, bench.drain())
    bench.check()
    assert bench.upstream.count("fence") == arrives_at - 4


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.LATE, Fault.UNANSWERED])
def test_a_fence_whose_answer_is_lost_is_found_by_the_cursor(bench: LaneBench, fault: Fault) -> None:
    bench.write_numbered(3, documents=3)
    bench.upstream.refused = {"d/1": "no"}
    faults = iter([fault, fault])
    bench.upstream.faults = lambda call: next(faults, None) if call.kind == "fence" else None
    go(bench, bench.drain())
    release_all(bench.upstream)
    bench.check(dead={"d/1"})


# -- upstream refuses us


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("refusal", [Refused("cannot execute UPDATE in a read-only transaction"), Unauthorised("role")])
def test_where_the_cursor_cannot_be_written_nothing_goes_dead(
    bench: LaneBench, count: int, refusal: Refused | Unauthorised
) -> None:
    bench.write_numbered(count, documents=count)

    def faults(call: Call) -> Refused | Unauthorised | None:
        if call.kind == "fence":
            return refusal
        return Refused("read-only") if call.kind == "apply" else None

    bench.upstream.faults = faults

    async def scenario() -> None:
        task = asyncio.ensure_future(bench.new_lane().run())
        await asyncio.sleep(3600)
        assert bench.store.entries("dead") == []
        assert {entry["attempts"] > 100 for entry in bench.store.entries("inflight")} == {True}
        assert bench.status.state == "unauthorised"
        assert refusal.message in str(bench.status.last_error)
        assert refusal.message in bench.store.entries()[0]["error"]
        states = {status.state for moment_s, status in bench.shown if moment_s > bench.clock.monotonic_s() - 3000}
        assert states == {"unauthorised"}, "status must not flap"
        bench.upstream.faults = lambda _: None
        await bench.watch(task, lambda: bench.store.waiting() == 0, within_s=5)
        assert bench.status.state == "up"
        task.cancel()

    go(bench, scenario())
    bench.check()


# -- a batch that fails though upstream is there


def poison(path: str) -> Faults:
    """Each batch that touches this document ends without an answer; all else goes well."""

    def faults(call: Call) -> Unclear | None:
        payloads = call.delivery.payloads if call.delivery is not None else []
        return Unclear("500: internal error") if any(path.encode() in payload for payload in payloads) else None

    return faults


@pytest.mark.parametrize("count", [1, 2, 100])
def test_an_entry_that_upstream_chokes_on_is_dead_at_last(bench: LaneBench, count: int) -> None:
    bench.write_numbered(count, documents=count)
    guilty = f"d/{count - 1}"
    bench.upstream.faults = poison(guilty)
    # Nine pauses before the first strike-out, nine more for the entry alone; the halving between takes no time.
    go(bench, bench.drain(within_s=2 * 51.1 + 5))
    bench.check(dead={guilty})
    [dead] = bench.store.entries("dead")
    assert "500: internal error" in dead["error"]
    assert str(STRIKES) in dead["error"]


@pytest.mark.parametrize("count", [1, 4])
def test_an_outage_of_writes_alone_kills_no_entry(bench: LaneBench, count: int) -> None:
    """Reads answer all the time, as of a database that is locked or has no room."""
    bench.write_numbered(count, documents=count)
    bench.upstream.faults = lambda call: Unclear("database is locked") if call.delivery is not None else None

    async def scenario() -> None:
        task = asyncio.ensure_future(bench.new_lane().run())
        await asyncio.sleep(3600)
        assert 0 < bench.upstream.count("fence") <= bench.upstream.count("apply") / STRIKES
        bench.upstream.faults = lambda _: None
        await bench.watch(task, lambda: bench.store.waiting() == 0, within_s=60)
        task.cancel()

    go(bench, scenario())
    bench.check()


@pytest.mark.parametrize("count", [1, 4])
def test_an_outage_of_writes_that_ends_at_the_fence_kills_no_entry(bench: LaneBench, count: int) -> None:
    bench.write_numbered(count, documents=count)

    def faults(call: Call) -> Unclear | None:
        over = bench.upstream.count("fence") > 0
        return Unclear("database is locked") if call.kind == "apply" and not over else None

    bench.upstream.faults = faults
    go(bench, bench.drain())
    bench.check()
    assert bench.upstream.count("fence") == 1


def test_a_fence_of_long_ago_proves_nothing(bench: LaneBench) -> None:
    """It could be written once, then not, and then the outage is over: still no entry is to blame."""
    bench.write_numbered(1, documents=1)

    def faults(call: Call) -> Unclear | None:
        fences = bench.upstream.count("fence")
        if call.kind == "fence":
            return Unclear("database is locked") if fences == 2 else None
        return Unclear("database is locked") if call.kind == "apply" and fences < 3 else None

    bench.upstream.faults = faults
    go(bench, bench.drain())
    bench.check()
    assert bench.upstream.count("fence") == 3


def test_what_asks_for_patience_is_no_strike(bench: LaneBench) -> None:
    bench.write_numbered(1, documents=1)
    patience = Unclear("too many requests", 1.0)
    sent = iter(range(3 * STRIKES))
    bench.upstream.faults = lambda call: patience if call.kind == "apply" and next(sent, None) is not None else None
    go(bench, bench.drain())
    bench.check()
    assert (bench.upstream.count("apply"), bench.upstream.count("fence")) == (3 * STRIKES + 1, 0)


def test_what_fails_ten_times_for_reads_is_no_strike(bench: LaneBench) -> None:
    bench.threshold = 1000
    bench.write_numbered(1, documents=1)
    bench.upstream.faults = by_index(dict.fromkeys(range(3 * STRIKES), Outage))
    go(bench, bench.drain())
    bench.check()
    assert bench.upstream.count("fence") == 0


# -- a cursor that is not where it should be


def stop(bench: LaneBench, change: Callable[[], None], caplog: pytest.LogCaptureFixture) -> str:
    """Delivers ten entries, changes the cursor, writes ten more and lets a lane look at it; what it then says."""
    bench.write_numbered(10, documents=3)
    go(bench, bench.drain())
    change()
    sent = bench.upstream.count("apply") + bench.upstream.count("fence")
    bench.write_numbered(10, documents=3)

    async def scenario() -> None:
        task = asyncio.ensure_future(bench.new_lane().run())
        await asyncio.sleep(60)
        first = len(bench.shown)
        await asyncio.sleep(600)
        assert {status.state for _, status in bench.shown[first:]} == {"stopped"}, "status must not flap"
        task.cancel()

    with caplog.at_level(logging.ERROR):
        go(bench, scenario())
    assert bench.upstream.count("apply") + bench.upstream.count("fence") == sent, "something was sent"
    assert len(bench.store.entries("inflight")) == 10
    assert [record.getMessage() for record in caplog.records] == [f"replay stopped: {bench.status.last_error}"]
    return str(bench.status.last_error)


def test_a_cursor_that_another_box_has_moved_stops_the_lane(bench: LaneBench, caplog: pytest.LogCaptureFixture) -> None:
    reason = stop(bench, lambda: bench.upstream.move_as_another_box(bench.key), caplog)
    assert "cloned" in reason


def test_a_takeover_stops_the_lane_and_names_the_taker(bench: LaneBench, caplog: pytest.LogCaptureFixture) -> None:
    reason = stop(bench, lambda: bench.upstream.mark_taken(bench.key, "box2.e7"), caplog)
    assert "box2.e7" in reason


def test_a_takeover_is_found_while_nothing_is_to_be_sent(bench: LaneBench, caplog: pytest.LogCaptureFixture) -> None:
    bench.write_numbered(3, 1)
    go(bench, bench.drain())
    bench.upstream.mark_taken(bench.key, "box2.e7")
    with caplog.at_level(logging.ERROR):
        go(bench, bench.until(lambda: bench.status.state == "stopped", within_s=60))
    assert "box2.e7" in str(bench.status.last_error)
    assert "deora queue export" in str(bench.status.last_error)
    assert len([record for record in caplog.records if "replay stopped" in record.message]) == 1


@pytest.mark.parametrize("damage", [b"\x07\x01", b"\x01\x05\x09\x01"])
def test_a_cursor_that_cannot_be_read_stops_the_lane(
    bench: LaneBench, caplog: pytest.LogCaptureFixture, damage: bytes
) -> None:
    def damaged() -> None:
        bench.upstream.cursors[bench.key] = replace(bench.upstream.cursors[bench.key], applied=damage)

    assert "cursor" in stop(bench, damaged, caplog)


def test_a_stopped_lane_goes_on_by_itself_once_the_cursor_is_right(bench: LaneBench) -> None:
    bench.write_numbered(10, documents=3)
    go(bench, bench.drain())
    right = bench.upstream.cursors[bench.key]
    bench.upstream.move_as_another_box(bench.key)
    bench.write_numbered(10, documents=3)

    async def scenario() -> None:
        task = asyncio.ensure_future(bench.new_lane().run())
        await asyncio.sleep(60)
        assert bench.status.state == "stopped"
        bench.upstream.faults = by_index({len(bench.upstream.calls) + 1: Outage})
        seen = len(bench.shown)
        await asyncio.sleep(60)
        assert {status.state for _, status in bench.shown[seen:]} == {"stopped"}
        bench.upstream.cursors[bench.key] = right
        await bench.watch(task, lambda: bench.store.waiting() == 0, within_s=5)
        assert (bench.status.state, bench.status.last_error) == ("up", None)
        task.cancel()

    go(bench, scenario())
    bench.check()


def test_an_upstream_that_contradicts_itself_is_not_flooded(bench: LaneBench) -> None:
    """It says that the cursor is elsewhere, and shows it where it was."""
    bench.write_numbered(1, documents=1)

    async def contradict(delivery: Delivery) -> Outcome:
        bench.upstream.calls.append(Call(0, delivery))
        return Moved()

    bench.upstream.apply = contradict  # type: ignore[method-assign]

    async def scenario() -> None:
        task = asyncio.ensure_future(bench.new_lane().run())
        await asyncio.sleep(300)
        task.cancel()

    go(bench, scenario())
    assert len(bench.upstream.calls) < 100
    assert bench.store.entries("dead") == []


def test_near_the_limit_of_what_a_cursor_can_remember_claims_go_by_age(bench: LaneBench) -> None:
    crowded = Coverage(0, [(number, number) for number in range(10_000, 70_000, 2)])
    assert len(crowded.encode()) > CROWDED_BYTES
    bench.upstream.cursors[bench.key] = Cursor(0, "", crowded.encode())
    bench.write_numbered(30, documents=30)
    bench.settings = LaneSettings(max_writes=10)
    go(bench, bench.drain())
    assert [share for _, share in bench.asked[:3]] == [0.8, 0.0, 0.0]


# -- crashes


def trouble(bench: LaneBench) -> None:
    """Eight entries for four documents of which one is refused, and a network that does the worst at fixed calls."""
    bench.settings = LaneSettings(max_writes=4)
    bench.write_numbered(8, documents=4)
    bench.upstream.refused = {"d/2": "no such column"}
    bench.upstream.names_index = False
    bench.upstream.faults = by_index(
        {1: Fault.LATE, 4: Fault.UNANSWERED, 7: Fault.LOST, 9: Outage, 11: Fault.UNANSWERED, 14: Fault.LATE}
    )


def count_points(folder: Path) -> int:
    bench = LaneBench(folder)
    trouble(bench)
    go(bench, bench.drain())
    bench.check(dead={"d/2"})
    bench.store.close()
    return len(bench.points.passed)


@pytest.mark.parametrize("store_too", [False, True])
def test_a_crash_between_any_two_steps_loses_and_doubles_nothing(tmp_path: Path, store_too: bool) -> None:
    points = count_points(tmp_path / "whole")
    assert points > 80
    for crash_at in range(1, points + 1, 2 if store_too else 1):
        bench = LaneBench(tmp_path / f"{crash_at}")
        trouble(bench)
        bench.points.crash_at = crash_at

        async def scenario(bench: LaneBench = bench) -> None:
            await bench.drain()
            assert bench.points.crashed
            bench.points.crash_at = None
            bench.points.crashed = False
            if store_too:
                bench.store.reopen()
            await bench.drain()

        go(bench, scenario())
        release_all(bench.upstream)
        try:
            bench.check(dead={"d/2"})
        except AssertionError as error:
            error.add_note(f"crashed at point {crash_at}: {bench.points.passed[crash_at - 1]}")
            raise
        bench.store.close()


@pytest.mark.parametrize("seed", range(12))
def test_any_number_of_crashes_loses_and_doubles_nothing(tmp_path: Path, seed: int) -> None:
    bench = LaneBench(tmp_path, seed=seed, settings=LaneSettings(max_writes=seed % 7 + 1))
    bench.timeout_s = 10
    dice = bench.dice
    bench.upstream.names_index = dice.random() < 0.5
    dead = {f"d/{number}" for number in range(8) if dice.random() < 0.2}
    bench.upstream.refused = dict.fromkeys(dead, "no")
    bench.upstream.faults = chaos(bench, lost=0.1, late=0.1, unanswered=0.1)

    async def scenario() -> None:
        for _ in range(25):
            bench.write_numbered(dice.randrange(12), documents=8)
            bench.points.crash_at = len(bench.points.passed) + dice.randrange(1, 60)
            await bench.until(lambda: bench.store.waiting() == 0, within_s=24 * 3600)
            bench.points.crashed = False
            if dice.random() < 0.5:
                bench.store.reopen()
        bench.points.crash_at = None
        await bench.drain(within_s=24 * 3600)

    go(bench, scenario())
    release_all(bench.upstream)
    written = {f"d/{number % 8}" for entry in bench.store.entries() for number in [int(path_of(entry)[2:])]}
    bench.check(dead=dead & written)
    bench.store.close()


def path_of(entry: dict[str, Any]) -> str:
    """The document of a listed entry of one update."""
    [write] = entry["writes"]
    return str(write["update"]["path"])


# -- a real file upstream


class Lossy(SqliteUpstream):
    """Three answers of ten get lost on their way back."""

    bench: LaneBench

    async def apply(self, delivery: Delivery) -> Outcome:
        outcome = await super().apply(delivery)
        return Unclear("the answer was lost") if self.bench.dice.random() < 0.3 else outcome


def test_counters_are_exact_in_a_file_too(tmp_path: Path) -> None:
    bench = LaneBench(tmp_path, seed=7)
    upstream = Lossy(tmp_path / "upstream.db")
    upstream.bench = bench
    writes: list[Write] = [numbered(f"d/{number % 9}", number) for number in range(600)]
    bench.store.write_each(writes)

    async def sleep(seconds: float) -> None:
        bench.clock.advance(seconds)

    async def scenario() -> None:
        lane = Lane(
            "primary",
            upstream,
            bench.store.calls,
            LaneSettings(max_writes=10),
            Breaker(5, 60.0),
            bench.clock,
            sleep=sleep,
            random=bench.dice.random,
            report=lambda *_: None,
        )
        task = asyncio.ensure_future(lane.run())
        while bench.store.waiting() > 0 and not task.done():
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait({task})
        await upstream.close()

    asyncio.run(scenario())
    with closing(sqlite3.connect(tmp_path / "upstream.db")) as db:
        held = dict(db.execute("SELECT path, CAST(data AS BLOB) FROM deora_documents").fetchall())
    assert held == bench.store.views()
    assert sum(orjson.loads(data)["n"] for data in held.values()) == 600
    bench.store.close()


# -- readers of the same upstream


def test_failing_reads_open_the_one_breaker_and_status_shows_it(bench: LaneBench) -> None:
    lane = bench.new_lane()
    lane.note_read(Unauthorised("this collection is not for you"))
    assert (bench.status.breaker, bench.status.state) == ("CLOSED", "up"), "that says nothing of writes"
    for _ in range(bench.threshold):
        lane.note_read(Outage)
    assert (bench.status.breaker, bench.status.last_error) == ("OPEN", Outage.message)
    lane.note_read(None)
    assert bench.status.breaker == "CLOSED"


def test_a_breaker_that_reads_opened_is_probed_as_soon_as_it_may_be(bench: LaneBench) -> None:
    bench.settings = replace(bench.settings, check_interval_s=3600.0)

    async def scenario() -> None:
        lane = bench.new_lane()
        running = asyncio.ensure_future(lane.run())
        await asyncio.sleep(1)
        for _ in range(bench.threshold):
            lane.note_read(Outage)
        # The wait that is under way is a long one; the next ones are short.
        await asyncio.sleep(3600 + bench.timeout_s + 2 * RECHECK_S)
        assert bench.status.breaker == "CLOSED"
        running.cancel()

    go(bench, scenario())
