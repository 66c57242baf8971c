"""What the figures mean."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from deora.observe.health import (
    LOW_DISK_BYTES,
    BackupState,
    ProcessState,
    Snapshot,
    UpstreamState,
    WorkerState,
    api_health,
    detailed,
    health,
    status_document,
    verdict,
)

QUEUE: dict[str, Any] = {
    "pending": 3,
    "inflight": 1,
    "dead": 0,
    "oldest_s": 4,
    "in_per_s": 1.0,
    "out_per_s": 2.0,
    "drain_eta_s": 4.0,
    "paused": False,
    "by_priority": {"5": 4},
    "accepted": 9,
}


def worker(role: str, state: str = "up", reason: str | None = None) -> WorkerState:
    return WorkerState(role, role, 7, state, 1.0, 0, 0.5, 1000, 2.0, 3.0, 0, 0.2, reason, serves=state == "up")


def process(name: str, state: str = "up", reason: str | None = None) -> ProcessState:
    return ProcessState(name, 8, state, 1.0, 0, 1000, 0.3, reason)


def upstream(state: str = "up", breaker: str = "CLOSED", error: str | None = None) -> UpstreamState:
    return UpstreamState("primary", "sqlite", "sqlite", state, breaker, 0, 5, 1.5, 4, 4, error)


WELL = Snapshot(
    version="1",
    node="n",
    server_id="bar",
    pid=1,
    timestamp="2026-12-01T20:00:00Z",
    uptime_s=12.34,
    workers=[worker("primary"), worker("secondary")],
    processes=[process("store"), process("replayer"), process("zygote")],
    upstreams=[upstream()],
    queue=QUEUE,
    disk_free_bytes=LOW_DISK_BYTES,
    disk_total_bytes=2 * LOW_DISK_BYTES,
    memory_available_bytes=1 << 30,
)
ONE_WORKER_OUT = replace(WELL, workers=[worker("primary", "delayed", "no disk"), worker("secondary")])
NO_WORKER = replace(WELL, workers=[worker("primary", "delayed"), worker("secondary", "starting")])
NO_STORE = replace(WELL, processes=[process("store", "down"), process("replayer"), process("zygote")])
BREAKER_OPEN = replace(WELL, upstreams=[upstream("down", "OPEN", "refused")])
UNAUTHORISED = replace(WELL, upstreams=[upstream("unauthorised", error="the token has expired")])
STOPPED = replace(WELL, upstreams=[upstream("stopped", error="a cloned box")])


HALF_OPEN = replace(WELL, upstreams=[upstream("down", "HALF_OPEN", "no answer")])
PAUSED = replace(WELL, upstreams=[upstream("paused")])
NO_REPLAYER = replace(WELL, processes=[process("store"), process("replayer", "down"), process("zygote")])
NO_ZYGOTE = replace(WELL, processes=[process("store"), process("replayer"), process("zygote", "down")])
ONE_OF_TWO = replace(WELL, workers=[worker("primary"), worker("primary", "down"), worker("secondary")])


@pytest.mark.parametrize(
    ("snapshot", "status", "code"),
    [
        (WELL, "healthy", 200),
        (ONE_WORKER_OUT, "degraded", 200),
        (NO_WORKER, "down", 503),
        (NO_STORE, "degraded", 200),
        (BREAKER_OPEN, "degraded", 200),
        (STOPPED, "degraded", 200),
        (UNAUTHORISED, "degraded", 200),
        (HALF_OPEN, "degraded", 200),
        (PAUSED, "healthy", 200),
        (NO_REPLAYER, "degraded", 200),
        (ONE_OF_TWO, "degraded", 200),
    ],
)
def test_verdicts(snapshot: Snapshot, status: str, code: int) -> None:
    assert verdict(snapshot) == status
    assert health(snapshot)[0] == code
    assert api_health(snapshot)[0] == code
    assert detailed(snapshot)[0] == (200 if status == "healthy" else 503)


def test_the_members_of_health() -> None:
    assert health(WELL)[1] == {
        "status": "healthy",
        "timestamp": "2026-12-01T20:00:00Z",
        "serverId": "bar",
        "uptime": 12.3,
        "services": {"primary": True, "secondary": True, "store": True, "replayer": True, "sqlite": True},
        "batchWriterLeader": True,
    }
    members = health(ONE_WORKER_OUT)[1]
    assert members["services"]["primary"] is False
    assert members["reasons"] == {"primary": "no disk"}
    assert health(BREAKER_OPEN)[1]["services"]["sqlite"] is False


def test_a_store_that_refuses_writes_is_degraded_and_says_why() -> None:
    full = replace(WELL, wal_bytes=5, ballast_bytes=7, refusal="there is no room on the disk")
    status, members = health(full)
    assert (status, members["status"]) == (200, "degraded")
    assert members["reasons"] == {"disk": "new writes are refused: there is no room on the disk"}
    status, members = detailed(full)
    [check] = [check for check in members["checks"] if check["name"] == "disk"]
    assert (status, check["healthy"]) == (503, False)
    assert "log 5 bytes, ballast 7 bytes; new writes are refused: there is no room" in check["detail"]
    assert "refused" not in str(detailed(replace(WELL, wal_bytes=5, ballast_bytes=7)))


def test_a_low_disk_and_a_wrong_clock_are_unhealthy_in_detail() -> None:
    poor = replace(WELL, disk_free_bytes=LOW_DISK_BYTES - 1, timestamp="1970-01-01T00:00:05Z")
    code, members = detailed(poor)
    assert (code, members["status"]) == (503, "degraded")
    assert [check["name"] for check in members["checks"] if not check["healthy"]] == ["disk", "clock"]


def test_the_members_of_status() -> None:
    members = status_document(ONE_WORKER_OUT)
    assert list(members["workers"][0]) == [
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
        "reason",
    ]
    assert list(members["processes"][0]) == ["name", "pid", "state", "uptime_s", "restarts", "memory_bytes"]
    assert list(members["queue"]) == [
        "pending",
        "inflight",
        "dead",
        "oldest_s",
        "in_per_s",
        "out_per_s",
        "drain_eta_s",
        "paused",
    ]
    assert members["supervisor"] == {"pid": 1, "uptime_s": 12.3}


def test_the_members_of_api_health() -> None:
    assert api_health(BREAKER_OPEN)[1] == {
        "ok": True,
        "status": "degraded",
        "database": {
            "connected": False,
            "totalConnections": 0,
            "idleConnections": 0,
            "activeConnections": 0,
            "waitingQueue": 4,
            "status": "down",
        },
        "circuitBreaker": {"state": "OPEN", "failureCount": 0, "threshold": 5},
        "uptime": 12.3,
    }


def test_a_role_is_there_while_one_of_its_workers_is() -> None:
    assert health(ONE_OF_TWO)[1]["services"]["primary"] is True
    assert health(ONE_WORKER_OUT)[1]["services"]["primary"] is False


def test_an_upstream_that_refuses_us_is_out() -> None:
    for snapshot in (UNAUTHORISED, STOPPED):
        assert health(snapshot)[1]["services"]["sqlite"] is False
        [check] = [check for check in detailed(snapshot)[1]["checks"] if check["name"] == "upstream-primary"]
        assert check["healthy"] is False
        assert str(snapshot.upstreams[0].last_error) in check["detail"]
        assert api_health(snapshot)[1]["database"]["connected"] is False


@pytest.mark.parametrize(
    ("timestamp", "plausible"),
    [
        ("1970-01-01T00:00:05Z", False),
        ("2025-12-31T23:59:59Z", False),
        ("2026-01-01T00:00:00Z", True),
        ("2038-01-19T03:14:08Z", False),
    ],
)
def test_a_clock_that_cannot_be_right_is_seen(timestamp: str, plausible: bool) -> None:
    [check] = [check for check in detailed(replace(WELL, timestamp=timestamp))[1]["checks"] if check["name"] == "clock"]
    assert check["healthy"] is plausible


def test_the_zygote_is_no_service_but_is_missed_in_detail() -> None:
    assert (verdict(NO_ZYGOTE), health(NO_ZYGOTE)[0]) == ("healthy", 200)
    assert "zygote" not in health(NO_ZYGOTE)[1]["services"]
    code, members = detailed(NO_ZYGOTE)
    assert (code, members["status"]) == (503, "degraded")
    assert [check["name"] for check in members["checks"] if not check["healthy"]] == ["zygote"]


def test_what_is_not_known_is_not_checked() -> None:
    unknown = replace(WELL, disk_free_bytes=None, memory_available_bytes=None)
    assert {check["name"] for check in detailed(unknown)[1]["checks"]}.isdisjoint({"disk", "memory"})


def test_a_batch_under_way_is_an_active_connection() -> None:
    busy = api_health(WELL)[1]["database"]
    assert (busy["totalConnections"], busy["activeConnections"], busy["idleConnections"]) == (1, 1, 0)
    idle = api_health(replace(WELL, queue={**QUEUE, "inflight": 0}))[1]["database"]
    assert (idle["totalConnections"], idle["activeConnections"], idle["idleConnections"]) == (1, 0, 1)


def test_a_pool_says_its_connections_itself() -> None:
    pooled = replace(WELL.upstreams[0], pool={"total": 5, "idle": 3, "active": 2, "waiting": 0})
    database = api_health(replace(WELL, upstreams=[pooled]))[1]["database"]
    assert (database["totalConnections"], database["idleConnections"], database["activeConnections"]) == (5, 3, 2)


def test_a_damaged_file_degrades_until_it_is_put_away() -> None:
    told = replace(WELL, damage=[("a page is wrong; lost: 3 rows", "look after the disk")])
    assert verdict(told) == "degraded"
    status, members = health(told)
    assert (status, members["reasons"]["damage"]) == (200, "a page is wrong; lost: 3 rows")
    assert detailed(told)[0] == 503


BACKUP = BackupState("/b", 900.0, False, 60.0, "/b/x.db", 7, 0.5, 0, None, None, False)


def test_backups_are_shown_where_they_are_scheduled() -> None:
    assert "backup" not in status_document(WELL)
    shown = status_document(replace(WELL, backup=BACKUP))["backup"]
    assert (shown["file"], shown["age_s"], shown["error"]) == ("/b/x.db", 60.0, None)
    # Writes go on: it is no reason to take the box out.
    assert verdict(replace(WELL, backup=replace(BACKUP, error="no disk"))) == "healthy"
