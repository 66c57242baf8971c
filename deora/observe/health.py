"""What the figures mean: healthy, degraded or down. Pure: a snapshot in, JSON members out.

healthy   everything that is configured is there
degraded  requests are served, but something is out: a worker, the store, the replayer, an upstream, room on the disk;
          or the store's file was damaged, and nobody has looked at it yet
down      no request can be served: no worker is up
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

HEALTHY: Final = "healthy"
DEGRADED: Final = "degraded"
DOWN: Final = "down"

# Below this the disk counts as unhealthy. operations.json's alerts.disk_free is the same figure, for the alert.
LOW_DISK_BYTES: Final = 500 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class WorkerState:
    """A worker's row of status. `serves`: whether it takes requests; `stands_by`: failed over, others do; `crashes`:
    how often it ended without having been asked to."""

    slot: str
    role: str
    pid: int | None
    state: str
    uptime_s: float
    restarts: int
    cpu_percent: float | None
    memory_bytes: int | None
    requests_per_s: float
    p99_ms: float | None
    inflight: int
    latency_ms: float | None = None
    reason: str | None = None
    serves: bool = False
    stands_by: bool = False
    crashes: int = 0


@dataclass(frozen=True, slots=True)
class ProcessState:
    """The row of a process that is no worker."""

    name: str
    pid: int | None
    state: str
    uptime_s: float
    restarts: int
    memory_bytes: int | None
    latency_ms: float | None = None
    reason: str | None = None
    crashes: int = 0


@dataclass(frozen=True, slots=True)
class UpstreamState:
    """An upstream's row of status. `label` is its name among the services: its type.

    `pool`: connections total, idle and active, and calls waiting for one, where the upstream has a pool.
    """

    name: str
    label: str
    type: str
    state: str
    breaker: str
    failures: int
    threshold: int
    latency_ms: float | None
    pending: int
    oldest_s: int | None
    last_error: str | None
    pool: dict[str, int] | None = None


@dataclass(frozen=True, slots=True)
class BackupState:
    """The scheduled backups: where they go and how often, what became of the last one. Times are seconds.

    `age_s`: since the last one was made; None where none was since the start. `is_late`: for too long.
    """

    folder: str
    every_s: float
    running: bool
    age_s: float | None
    file: str | None
    size_bytes: int | None
    took_s: float | None
    failures: int
    error: str | None
    hint: str | None
    is_late: bool


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that health and status are worked out from. Sizes are bytes, times seconds. `redis`: whether it answers;
    None where none is configured. `refusal`: why the store takes no new writes; None while it does. `damage`: what
    happened to the store's file and what to do, until it is put away. `streams`: change streams that are open.

    `answers` and `errors` (5xx) count since the start. `clock_offset_s`: what the wall clock adds to the time since
    boot. `replayed`: entries that each upstream has taken, or refused, since the start. `latencies`: the store's
    `commit` and `sync`, as `metrics.Histogram` has them. `alerts`: rows of `observe.alerts`.
    `backup`: None where none are scheduled.
    """

    version: str
    node: str
    server_id: str
    pid: int
    timestamp: str
    uptime_s: float
    workers: list[WorkerState]
    processes: list[ProcessState]
    upstreams: list[UpstreamState]
    queue: dict[str, Any]
    disk_free_bytes: int | None = None
    disk_total_bytes: int | None = None
    wal_bytes: int | None = None
    ballast_bytes: int | None = None
    refusal: str | None = None
    memory_available_bytes: int | None = None
    cache: dict[str, Any] = field(default_factory=dict)
    redis: bool | None = None
    damage: list[tuple[str, str]] = field(default_factory=list)
    streams: int = 0
    answers: int = 0
    errors: int = 0
    clock_offset_s: float | None = None
    replayed: dict[str, int] = field(default_factory=dict)
    latencies: dict[str, Any] = field(default_factory=dict)
    alerts: list[dict[str, Any]] = field(default_factory=list)
    backup: BackupState | None = None


def children(snapshot: Snapshot) -> list[tuple[str, WorkerState | ProcessState]]:
    """Every process by its name."""
    found: list[tuple[str, WorkerState | ProcessState]] = [(worker.slot, worker) for worker in snapshot.workers]
    found += [(process.name, process) for process in snapshot.processes]
    return found


def services(snapshot: Snapshot) -> dict[str, bool]:
    """Service -> whether it is there.

    A role is there while one of its workers serves, so not while all are drained or failed over; an upstream while its
    breaker is CLOSED and it takes writes. Upstreams go by their type: `primary` and `secondary` are the workers' roles.
    """
    found: dict[str, bool] = {}
    for worker in snapshot.workers:
        found[worker.role] = found.get(worker.role, False) or worker.serves
    for process in snapshot.processes:
        if process.name != "zygote":
            found[process.name] = process.state == "up"
    for upstream in snapshot.upstreams:
        found[upstream.label] = takes_writes(upstream)
    if snapshot.redis is not None:
        found["redis"] = snapshot.redis
    return found


def takes_writes(upstream: UpstreamState) -> bool:
    """Whether an upstream is there, as far as is known. Behind a closed breaker it may refuse us all the same."""
    return upstream.breaker == "CLOSED" and upstream.state not in ("stopped", "unauthorised")


def verdict(snapshot: Snapshot) -> str:
    """healthy, degraded or down."""
    if not any(worker.serves for worker in snapshot.workers):
        return DOWN
    every_worker = all(worker.state == "up" for worker in snapshot.workers)
    is_whole = every_worker and all(services(snapshot).values())
    return HEALTHY if is_whole and snapshot.refusal is None and not snapshot.damage else DEGRADED


def health(snapshot: Snapshot) -> tuple[int, dict[str, Any]]:
    """HTTP status and members of `GET /health`."""
    status = verdict(snapshot)
    found = services(snapshot)
    members = {
        "status": status,
        "timestamp": snapshot.timestamp,
        "serverId": snapshot.server_id,
        "uptime": round(snapshot.uptime_s, 1),
        "services": found,
        "batchWriterLeader": found.get("replayer", False),
    }
    reasons = {name: child.reason for name, child in children(snapshot) if child.reason is not None}
    if snapshot.refusal is not None:
        reasons["disk"] = f"new writes are refused: {snapshot.refusal}"
    if snapshot.damage:
        reasons["damage"] = " ".join(text for text, _ in snapshot.damage)
    if reasons:
        members["reasons"] = reasons
    return (503 if status == DOWN else 200), members


def detailed(snapshot: Snapshot) -> tuple[int, dict[str, Any]]:
    """HTTP status and members of `GET /health/detailed`."""
    checks: list[dict[str, Any]] = []

    def add(name: str, healthy: bool, latency_ms: float | None, detail: str) -> None:
        latency_ms = round(latency_ms, 3) if latency_ms is not None else None
        checks.append({"name": name, "healthy": healthy, "latency_ms": latency_ms, "detail": detail})

    for worker in snapshot.workers:
        add(worker.slot, worker.state == "up", worker.latency_ms, worker.reason or worker.state)
    for process in snapshot.processes:
        add(process.name, process.state == "up", process.latency_ms, process.reason or process.state)
    for upstream in snapshot.upstreams:
        detail = f"{upstream.type}, breaker {upstream.breaker}, {upstream.pending} waiting"
        if upstream.last_error is not None:
            detail += f": {upstream.last_error}"
        add(f"upstream-{upstream.name}", takes_writes(upstream), upstream.latency_ms, detail)
    if snapshot.redis is not None:
        add("redis", snapshot.redis, None, "answers" if snapshot.redis else "does not answer; the disk cache goes on")
    if snapshot.disk_free_bytes is not None:
        add("disk", *_disk(snapshot))
    if snapshot.memory_available_bytes is not None:
        available = snapshot.memory_available_bytes
        add("memory", available >= 64 * 1024 * 1024, None, f"{available} bytes available")
    for text, _ in snapshot.damage:
        add("store-file", False, None, text)
    add("clock", year_is_plausible(snapshot.timestamp), None, f"this box says {snapshot.timestamp}")
    all_healthy = all(check["healthy"] for check in checks)
    status = verdict(snapshot)
    if status == HEALTHY and not all_healthy:
        status = DEGRADED
    return (200 if status == HEALTHY else 503), {"status": status, "checks": checks}


def _disk(snapshot: Snapshot) -> tuple[bool, None, str]:
    free = snapshot.disk_free_bytes or 0
    detail = f"{free} bytes free of {snapshot.disk_total_bytes}"
    if snapshot.wal_bytes is not None:
        detail += f"; write-ahead log {snapshot.wal_bytes} bytes, ballast {snapshot.ballast_bytes} bytes"
    if snapshot.refusal is not None:
        detail += f"; new writes are refused: {snapshot.refusal}"
    return free >= LOW_DISK_BYTES and snapshot.refusal is None, None, detail


def year_is_plausible(timestamp: str) -> bool:
    """Whether a clock that says this can be right."""
    # No release of DEORA ran before 2026; a box without a battery clock wakes in 1970 or at its image's date.
    return "2026" <= timestamp[:4] < "2038"


def api_health(snapshot: Snapshot) -> tuple[int, dict[str, Any]]:
    """HTTP status and members of `GET /api/health`: the primary upstream, in the words of a database pool."""
    upstream = snapshot.upstreams[0]
    status = verdict(snapshot)
    connected = upstream.breaker == "CLOSED" and upstream.state in ("up", "paused")
    active = 1 if connected and snapshot.queue["inflight"] else 0
    # What keeps no pool counts as one connection.
    pool = upstream.pool or {"total": int(connected), "idle": int(connected) - active, "active": active}
    members = {
        "ok": status != DOWN,
        "status": status,
        "database": {
            "connected": connected,
            "totalConnections": pool["total"],
            "idleConnections": pool["idle"],
            "activeConnections": pool["active"],
            "waitingQueue": upstream.pending,
            "status": upstream.state,
        },
        "circuitBreaker": {
            "state": upstream.breaker,
            "failureCount": upstream.failures,
            "threshold": upstream.threshold,
        },
        "uptime": round(snapshot.uptime_s, 1),
    }
    return (503 if status == DOWN else 200), members


def status_document(snapshot: Snapshot) -> dict[str, Any]:
    """The members of `GET /status`."""
    return {
        "status": verdict(snapshot),
        "version": snapshot.version,
        "node": snapshot.node,
        "supervisor": {"pid": snapshot.pid, "uptime_s": round(snapshot.uptime_s, 1)},
        "workers": [_row(worker) for worker in snapshot.workers],
        "processes": [_row(process) for process in snapshot.processes],
        "upstreams": [
            {
                "name": upstream.name,
                "type": upstream.type,
                "state": upstream.state,
                "breaker": upstream.breaker,
                "latency_ms": upstream.latency_ms,
                "pending": upstream.pending,
                "oldest_s": upstream.oldest_s,
                "last_error": upstream.last_error,
            }
            for upstream in snapshot.upstreams
        ],
        "queue": {name: snapshot.queue[name] for name in QUEUE_MEMBERS},
        "cache": snapshot.cache,
        **({"backup": _backup(snapshot.backup)} if snapshot.backup is not None else {}),
        "alerts": snapshot.alerts,
    }


def _backup(backup: BackupState) -> dict[str, Any]:
    """What status shows of the scheduled backups, where there are any."""
    names = ("folder", "every_s", "running", "age_s", "file", "size_bytes", "took_s", "failures", "error")
    return {name: getattr(backup, name) for name in names}


# States that an operator has put a worker into.
OUT_BY_ORDER: Final = ("drain", "maint")

QUEUE_MEMBERS: Final = (
    "pending",
    "inflight",
    "dead",
    "oldest_s",
    "in_per_s",
    "out_per_s",
    "drain_eta_s",
    "paused",
)


def _row(child: WorkerState | ProcessState) -> dict[str, Any]:
    row: dict[str, Any] = {}
    for name in type(child).__dataclass_fields__:
        if name not in ("latency_ms", "reason", "serves", "stands_by", "crashes"):
            row[name] = getattr(child, name)
    if child.reason is not None:
        row["reason"] = child.reason
    return row
