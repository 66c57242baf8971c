"""The figures of an instance, from what its children have said."""

from __future__ import annotations

import os
from typing import Any

import pytest

from deora import __version__
from deora.observe.health import QUEUE_MEMBERS, status_document
from tests.fakes.gauges import GaugesBench, upstream_figures

FIRESTORE = {"type": "firestore", "project": "p"}
SQLITE = {"type": "sqlite", "file": "second.db"}


def snapshot(bench: GaugesBench) -> Any:
    return bench.gauges.snapshot(bench.now_s)


# -- children


def test_before_anybody_is_up() -> None:
    bench = GaugesBench()
    found = snapshot(bench)
    assert (found.version, found.node, found.pid, found.uptime_s) == (__version__, "", os.getpid(), 0)
    assert [(worker.slot, worker.role, worker.state, worker.pid) for worker in found.workers] == [
        ("primary", "primary", "down", None),
        ("secondary", "secondary", "down", None),
    ]
    assert [(process.name, process.state) for process in found.processes] == [
        ("store", "down"),
        ("replayer", "down"),
        ("zygote", "down"),
    ]
    assert all(worker.memory_bytes is None and worker.cpu_percent is None for worker in found.workers)
    assert found.queue["pending"] == 0
    assert found.memory_available_bytes > 0


def test_a_worker_of_several_has_its_role() -> None:
    bench = GaugesBench(servers={"secondary": {"workers": 2}})
    assert [(worker.slot, worker.role) for worker in snapshot(bench).workers] == [
        ("primary", "primary"),
        ("secondary", "secondary"),
        ("secondary-2", "secondary"),
    ]


def test_a_process_that_runs_has_memory_and_after_two_looks_cpu() -> None:
    bench = GaugesBench()
    child = bench.arbiter.children["primary"]
    child.pid = os.getpid()
    bench.up()
    bench.tick()
    bench.tick()
    [worker, _] = snapshot(bench).workers
    assert worker.pid == os.getpid()
    assert worker.memory_bytes > 1024 * 1024
    assert worker.cpu_percent >= 0
    child.pid = None
    bench.tick()
    assert snapshot(bench).workers[0].cpu_percent is None


def test_a_process_that_has_just_ended_has_no_figures() -> None:
    bench = GaugesBench()
    bench.arbiter.children["store"].pid = 2**22 - 1
    bench.tick()
    assert snapshot(bench).processes[0].memory_bytes is None


def test_what_a_child_has_to_say() -> None:
    bench = GaugesBench()
    bench.up()
    child = bench.arbiter.children["primary"]
    child.member.generation, child.member.restarts = 4, 3
    child.latency_ms = 0.5
    child.since_s = bench.now_s
    bench.arbiter.children["store"].member.reason = "no disk"
    bench.clock.advance(7)
    found = snapshot(bench)
    assert (found.workers[0].restarts, found.workers[0].uptime_s, found.workers[0].latency_ms) == (3, 7, 0.5)
    assert found.processes[0].reason == "no disk"
    assert found.uptime_s == 7


def test_requests() -> None:
    bench = GaugesBench()
    for _ in range(100):
        bench.metrics.answered("primary", 200, 0.002)
    bench.metrics.answered("primary", 200, 0.5)
    bench.metrics.tick(2.0)
    primary, secondary = snapshot(bench).workers
    assert (primary.requests_per_s, primary.p99_ms, primary.inflight) == (50.5, 2.0, 0)
    assert (secondary.requests_per_s, secondary.p99_ms) == (0.0, None)


def test_caches_are_counted_over_all_workers() -> None:
    bench = GaugesBench()
    bench.arbiter.children["primary"].figures = {"cache": {"memory": {"hits": 3, "misses": 1}}}
    bench.arbiter.children["secondary"].figures = {
        "cache": {"memory": {"hits": 4, "misses": 2}, "disk": {"hits": 1, "misses": 1}}
    }
    assert snapshot(bench).cache == {"memory": {"hits": 7, "misses": 3}, "disk": {"hits": 1, "misses": 1}}
    assert snapshot(bench).redis is None


def test_the_disk_is_the_stores_to_tell() -> None:
    bench = GaugesBench()
    assert snapshot(bench).disk_free_bytes is None
    bench.arbiter.children["store"].figures = {"disk_free": 5, "disk_total": 10}
    found = snapshot(bench)
    assert (found.disk_free_bytes, found.disk_total_bytes) == (5, 10)


# -- the queue


def test_the_queue_adds_up_over_upstreams() -> None:
    bench = GaugesBench(database={"secondary": SQLITE})
    bench.queue(
        running_s=100,
        primary=upstream_figures(
            pending=3, inflight=2, dead=1, by_priority={9: 1, 5: 4}, oldest_since_s=90, accepted=20, paused=True
        ),
        secondary=upstream_figures(pending=10, by_priority={5: 10}, oldest_since_s=40, accepted=20),
    )
    found = bench.gauges.queue(bench.now_s)
    assert {name: found[name] for name in ("pending", "inflight", "dead", "oldest_s", "paused")} == {
        "pending": 13,
        "inflight": 2,
        "dead": 1,
        "oldest_s": 60,
        "paused": False,
    }
    assert list(found["by_priority"].items()) == [("9", 1), ("5", 14)]
    assert [(each["name"], each["pending"], each["oldest_s"], each["paused"]) for each in found["upstreams"]] == [
        ("primary", 5, 10, True),
        ("secondary", 10, 60, False),
    ]
    assert set(found) == {*QUEUE_MEMBERS, "by_priority", "upstreams"}


def test_it_is_paused_where_every_upstream_is() -> None:
    bench = GaugesBench()
    assert bench.gauges.queue(bench.now_s)["paused"] is False
    bench.queue(primary=upstream_figures(paused=True))
    assert bench.gauges.queue(bench.now_s)["paused"] is True


def test_rates_and_the_time_to_drain() -> None:
    bench = GaugesBench()
    # 2,000 wait; each second 10 come in and 60 go out.
    for second in range(30):
        bench.queue(primary=upstream_figures(pending=2000 - 50 * second, accepted=5000 + 10 * second))
        bench.tick()
    found = bench.gauges.queue(bench.now_s)
    assert found["in_per_s"] == pytest.approx(10, rel=0.01)
    assert found["out_per_s"] == pytest.approx(60, rel=0.01)
    assert found["drain_eta_s"] == pytest.approx((2000 - 50 * 29) / 50, rel=0.01)


def test_a_queue_that_does_not_shrink_has_no_time_to_drain() -> None:
    bench = GaugesBench()
    for second in range(5):
        bench.queue(primary=upstream_figures(pending=100 + second, accepted=100 + second))
        bench.tick()
    assert bench.gauges.queue(bench.now_s)["drain_eta_s"] is None
    bench.queue(primary=upstream_figures(accepted=200))
    assert bench.gauges.queue(bench.now_s)["drain_eta_s"] == 0


def test_rates_are_of_the_last_seconds() -> None:
    bench = GaugesBench()
    for second in range(60):
        bench.queue(primary=upstream_figures(accepted=1000 * min(second, 30)))
        bench.tick()
    assert bench.gauges.queue(bench.now_s)["in_per_s"] == 0


# -- upstreams


def test_an_upstream_that_has_not_spoken_yet() -> None:
    [upstream] = snapshot(GaugesBench()).upstreams
    assert (upstream.name, upstream.type, upstream.state, upstream.breaker, upstream.pending) == (
        "primary",
        "sqlite",
        "unknown",
        "CLOSED",
        0,
    )
    assert upstream.oldest_s is None


def test_what_the_replayer_says_of_it() -> None:
    bench = GaugesBench(database={"breaker": {"threshold": 7}})
    bench.queue(running_s=9, primary=upstream_figures(pending=3, inflight=2, oldest_since_s=2))
    bench.arbiter.upstreams["primary"] = {
        "state": "up",
        "breaker": "OPEN",
        "failures": 5,
        "latency_ms": 1.23456,
        "last_error": "no route",
    }
    [upstream] = snapshot(bench).upstreams
    assert (upstream.state, upstream.breaker, upstream.failures, upstream.threshold) == ("up", "OPEN", 5, 7)
    assert (upstream.latency_ms, upstream.last_error) == (1.235, "no route")
    assert (upstream.pending, upstream.oldest_s) == (5, 7)
    bench.queue(primary=upstream_figures(paused=True))
    assert snapshot(bench).upstreams[0].state == "paused"


@pytest.mark.parametrize("state", ["down", "unauthorised", "stopped"])
def test_a_pause_hides_no_fault(state: str) -> None:
    bench = GaugesBench()
    bench.arbiter.upstreams["primary"] = {"state": state}
    bench.queue(primary=upstream_figures(paused=True))
    assert snapshot(bench).upstreams[0].state == state


def test_an_entry_is_never_younger_than_now() -> None:
    bench = GaugesBench()
    bench.queue(running_s=5, primary=upstream_figures(pending=1, oldest_since_s=9))
    assert snapshot(bench).upstreams[0].oldest_s == 0


@pytest.mark.parametrize(
    ("database", "labels"),
    [
        ({}, ["sqlite"]),
        ({"secondary": SQLITE}, ["sqlite", "sqlite-secondary"]),
        ({"primary": FIRESTORE, "secondary": SQLITE}, ["firestore", "sqlite"]),
    ],
)
def test_among_the_services_upstreams_go_by_their_type(database: dict[str, Any], labels: list[str]) -> None:
    assert [upstream.label for upstream in snapshot(GaugesBench(database=database)).upstreams] == labels


# -- as a whole


def test_the_instances_name() -> None:
    bench = GaugesBench()
    bench.queue()
    assert (snapshot(bench).node, snapshot(bench).server_id) == ("node1", "node1")
    named = GaugesBench(servers={"id": "bar-1"})
    named.queue()
    assert (snapshot(named).node, snapshot(named).server_id) == ("node1", "bar-1")


def test_status_has_the_shape_of_the_contract() -> None:
    bench = GaugesBench()
    bench.up()
    bench.queue(primary=upstream_figures())
    found = status_document(snapshot(bench))
    assert set(found) == {
        "status",
        "version",
        "node",
        "supervisor",
        "workers",
        "processes",
        "upstreams",
        "queue",
        "cache",
        "alerts",
    }
    assert set(found["workers"][0]) == {
        "slot",
        "role",
        "pid",
        "state",
        "uptime_s",
        "restarts",
        "cpu_percent",
        "memory_bytes",
        "requests_per_s",
        "p99_ms",
        "inflight",
    }
    assert set(found["processes"][0]) == {"name", "pid", "state", "uptime_s", "restarts", "memory_bytes"}
    assert set(found["queue"]) == set(QUEUE_MEMBERS)


def names(bench: GaugesBench) -> list[str]:
    return [alert[0] for alert in bench.gauges.alerts(bench.now_s)]


def test_each_look_is_one_for_the_alerts() -> None:
    bench = GaugesBench(operations={"alerts": {"queue_entries": 5}})
    bench.up()
    bench.queue(primary=upstream_figures(dead=2))
    assert names(bench) == ["dead-letters"]
    [row] = [row for row in snapshot(bench).alerts if row["name"] == "dead-letters"]
    assert (row["holds"], row["severity"]) == (True, "warning")
    bench.queue(primary=upstream_figures(pending=6))
    for _ in range(6):
        bench.tick()
        found = names(bench)
    assert "queue-entries" in found
    bench.gauges.configure(GaugesBench(operations={"alerts": {"queue_entries": 50}}).config)
    for _ in range(31):
        bench.tick()
        found = names(bench)
    assert "queue-entries" not in found


def test_a_process_that_ends_is_an_alert_though_it_is_back() -> None:
    bench = GaugesBench()
    bench.up()
    bench.queue(primary=upstream_figures())
    assert names(bench) == []
    bench.arbiter.children["store"].member.crashes += 1
    assert names(bench) == ["process-down"]


def test_requests_that_failed_and_not_probes_are_errors() -> None:
    bench = GaugesBench()
    for _ in range(100):
        bench.metrics.answered("supervisor", 503, 0.001)
    bench.metrics.said, bench.metrics.unwell = 60, 60
    found = snapshot(bench)
    assert (found.answers, found.errors) == (40, 40)


def test_what_upstreams_have_taken_only_grows() -> None:
    bench = GaugesBench()
    seen = []
    # The last look is that of a store which has queued entries again.
    for accepted, pending in ((100, 100), (100, 40), (120, 10), (120, 60), (120, 0)):
        bench.queue(primary=upstream_figures(accepted=accepted, pending=pending))
        bench.tick()
        seen.append(snapshot(bench).replayed["primary"])
    assert seen == [0, 60, 110, 110, 170]


def test_the_latencies_are_the_stores_to_tell() -> None:
    bench = GaugesBench()
    assert snapshot(bench).latencies == {}
    told = {"commit": [[0] * 14, 0.0], "sync": [[0] * 14, 0.0]}
    bench.arbiter.children["store"].figures = {"latencies": told}
    assert snapshot(bench).latencies == told
