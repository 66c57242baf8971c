"""Conditions: what an operator should know of, and what is no reason to wake one."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import pytest

from deora.observe.conditions import Condition, Conditions, Key, Thresholds
from deora.observe.health import BackupState, ProcessState, Snapshot, UpstreamState, WorkerState

LIMITS = Thresholds(queue_entries=100, queue_oldest_s=60, disk_free=1000, error_rate=0.05)


def worker(**changed: Any) -> WorkerState:
    made = WorkerState("primary", "primary", 7, "up", 1.0, 0, 0.5, 1000, 2.0, 3.0, 0, serves=True)
    return replace(made, **changed)


def upstream(**changed: Any) -> UpstreamState:
    return replace(UpstreamState("primary", "sqlite", "sqlite", "up", "CLOSED", 0, 5, 1.5, 4, 4, None), **changed)


BACKUP = BackupState("/b", 900.0, False, 60.0, "/b/x.db", 7, 0.5, 0, None, None, False)
WELL = Snapshot(
    version="1",
    node="n",
    server_id="bar",
    pid=1,
    timestamp="2026-12-01T20:00:00Z",
    uptime_s=100.0,
    workers=[worker()],
    processes=[ProcessState("store", 8, "up", 1.0, 0, 1000)],
    upstreams=[upstream()],
    queue={"pending": 3, "inflight": 1, "dead": 0, "oldest_s": 4},
    disk_free_bytes=5000,
)


def look(snapshot: Snapshot, active: Collection[Key] = ()) -> list[Condition]:
    return Conditions(LIMITS).look(snapshot, active)


def names(snapshot: Snapshot, active: Collection[Key] = ()) -> list[str]:
    return [condition.name for condition in look(snapshot, active)]


def queue(**changed: Any) -> Snapshot:
    return replace(WELL, queue=WELL.queue | changed)


@pytest.mark.parametrize(
    ("snapshot", "expected"),
    [
        (WELL, []),
        (replace(WELL, workers=[worker(state="delayed", reason="no disk")]), ["process-down"]),
        (replace(WELL, workers=[worker(state="starting")]), ["process-down"]),
        (replace(WELL, processes=[ProcessState("store", None, "down", 1.0, 0, None)]), ["process-down"]),
        (replace(WELL, workers=[worker(state="maint")]), ["worker-out"]),
        (replace(WELL, workers=[worker(state="drain", stands_by=True)]), ["failed-over"]),
        (replace(WELL, damage=[("20260131: a page is wrong", "look after the disk")]), ["store-damaged"]),
        (replace(WELL, upstreams=[upstream(breaker="OPEN", last_error="refused")]), ["breaker-open"]),
        (replace(WELL, upstreams=[upstream(breaker="HALF_OPEN")]), ["breaker-open"]),
        (replace(WELL, upstreams=[upstream(state="stopped")]), ["upstream-stopped"]),
        (replace(WELL, upstreams=[upstream(state="unauthorised")]), ["upstream-unauthorised"]),
        (replace(WELL, upstreams=[upstream(state="paused")]), []),
        (
            replace(WELL, upstreams=[upstream(pool={"total": 2, "idle": 0, "active": 2, "waiting": 1})]),
            ["pool-exhausted"],
        ),
        (replace(WELL, upstreams=[upstream(pool={"total": 2, "idle": 0, "active": 2, "waiting": 0})]), []),
        (queue(pending=99), []),
        (queue(pending=100), ["queue-entries"]),
        (queue(oldest_s=60), []),
        (queue(oldest_s=61), ["queue-oldest"]),
        (queue(oldest_s=None), []),
        (queue(dead=1), ["dead-letters"]),
        (replace(WELL, disk_free_bytes=999), ["disk-low"]),
        (replace(WELL, disk_free_bytes=None), []),
        (replace(WELL, refusal="there is no room on the disk"), ["writes-refused"]),
        (replace(WELL, backup=BACKUP), []),
        (replace(WELL, backup=replace(BACKUP, error="no disk", hint="mount it")), ["backup-failed"]),
        (replace(WELL, backup=replace(BACKUP, is_late=True)), ["backup-late"]),
        (replace(WELL, backup=replace(BACKUP, is_late=True, age_s=None)), ["backup-late"]),
        (replace(WELL, timestamp="1970-01-01T00:00:05Z"), ["clock-wrong"]),
        (replace(WELL, redis=False), ["redis-lost"]),
        (replace(WELL, redis=True), []),
    ],
)
def test_what_is_seen(snapshot: Snapshot, expected: list[str]) -> None:
    assert names(snapshot) == expected


def test_each_says_what_was_seen_and_what_to_do() -> None:
    everything = replace(
        queue(pending=200, oldest_s=100, dead=2),
        workers=[worker(state="delayed", reason="no disk")],
        damage=[("20260131: a page is wrong", "look after the disk")],
        upstreams=[upstream(state="unauthorised", last_error="the token has expired")],
        refusal="no room",
        redis=False,
    )
    found = look(everything)
    assert all(condition.detail and condition.hint for condition in found)
    told = " ".join(condition.detail for condition in found)
    for text in ("no disk", "a page is wrong", "the token has expired", "no room", "201 entries", "100 s"):
        assert text in told


@pytest.mark.parametrize(
    ("name", "near", "over"),
    [
        ("queue-entries", queue(pending=85, inflight=0), queue(pending=80, inflight=0)),
        ("queue-oldest", queue(oldest_s=50), queue(oldest_s=48)),
        ("disk-low", replace(WELL, disk_free_bytes=1199), replace(WELL, disk_free_bytes=1200)),
    ],
)
def test_a_threshold_that_was_crossed_is_left_behind_by_more_than_an_inch(
    name: str, near: Snapshot, over: Snapshot
) -> None:
    assert names(near) == []
    assert names(near, {(name, "")}) == [name]
    assert names(over, {(name, "")}) == []


def test_a_process_that_ended_and_is_back_is_seen_once() -> None:
    conditions = Conditions(LIMITS)
    assert conditions.look(WELL, ()) == []
    [seen] = conditions.look(replace(WELL, workers=[worker(crashes=1)]), ())
    assert (seen.name, seen.subject, seen.at_once, seen.level) == ("process-down", "primary", True, 1)
    assert conditions.look(replace(WELL, workers=[worker(crashes=1)]), ()) == []


def test_what_is_being_started_may_only_need_a_moment() -> None:
    [starting] = look(replace(WELL, workers=[worker(state="starting")]))
    [failed] = look(replace(WELL, workers=[worker(state="delayed")]))
    assert (starting.at_once, failed.at_once) == (False, True)


def test_a_clock_that_is_set_is_told_of_for_a_while() -> None:
    conditions = Conditions(LIMITS)
    seen = []
    for uptime_s, offset_s in ((0, 10.0), (1, 12.0), (2, -3588.0), (3, -3588.0), (61, -3588.0), (63, -3588.0)):
        found = conditions.look(replace(WELL, uptime_s=uptime_s, clock_offset_s=offset_s), ())
        seen.append([condition.detail for condition in found])
    said = ["the clock was set by -3600 s, and says 2026-12-01T20:00:00Z now"]
    assert seen == [[], [], said, said, said, []]


def error_rates(*looks: tuple[float, int, int]) -> list[bool]:
    """Whether the error rate is seen at looks of (uptime, answers, errors)."""
    conditions = Conditions(LIMITS)
    return [
        bool(conditions.look(replace(WELL, uptime_s=uptime_s, answers=answers, errors=errors), ()))
        for uptime_s, answers, errors in looks
    ]


def test_the_error_rate_is_that_of_the_last_minute() -> None:
    assert error_rates((0, 0, 0), (1, 100, 5)) == [False, False]
    assert error_rates((0, 0, 0), (1, 100, 6)) == [False, True]
    assert error_rates((0, 1000, 1000), (1, 1100, 1000)) == [False, False]
    assert error_rates((0, 0, 0), (1, 100, 50), (30, 200, 50), (62, 300, 50)) == [False, True, True, False]


def test_a_few_answers_are_no_rate() -> None:
    assert error_rates((0, 0, 0), (1, 19, 19)) == [False, False]
