"""`GET /metrics`: the figures in the text format that Prometheus reads (version 0.0.4). Names start with `deora_`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from itertools import accumulate

from deora.observe.alerts import KINDS
from deora.observe.health import Snapshot, children, takes_writes
from deora.observe.metrics import BUCKETS_S, STORE_BUCKETS_S, Metrics

BREAKER_STATES = ("CLOSED", "OPEN", "HALF_OPEN")
CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"

Sample = tuple[str, dict[str, str], float | int]


def render(snapshot: Snapshot, metrics: Metrics) -> bytes:
    """The whole page."""
    families = [
        *_requests(metrics),
        *_processes(snapshot),
        *_queue(snapshot),
        *_store(snapshot),
        *_upstreams(snapshot),
        *_cache(snapshot),
        *_disk(snapshot),
        *_backup(snapshot),
        *_alerts(snapshot),
    ]
    lines: list[str] = []
    for name, kind, help_text, samples in families:
        lines.append(f"# HELP {name} {help_text}")
        lines.append(f"# TYPE {name} {kind}")
        lines.extend(_line(sample) for sample in samples)
    return ("\n".join(lines) + "\n").encode()


Family = tuple[str, str, str, list[Sample]]


def _requests(metrics: Metrics) -> Iterable[Family]:
    counts: list[Sample] = []
    latencies: list[Sample] = []
    for slot, figures in sorted(metrics.slots.items()):
        for code, number in sorted(figures.codes.items()):
            counts.append(("deora_requests_total", {"slot": slot, "code": str(code)}, number))
        bounds = [*(str(bound) for bound in BUCKETS_S), "+Inf"]
        for bound, number in zip(bounds, accumulate(figures.buckets), strict=True):
            latencies.append(("deora_request_duration_seconds_bucket", {"slot": slot, "le": bound}, number))
        latencies.append(("deora_request_duration_seconds_sum", {"slot": slot}, round(figures.sum_s, 6)))
        latencies.append(("deora_request_duration_seconds_count", {"slot": slot}, figures.total))
    yield "deora_requests_total", "counter", "Requests answered, by slot and status code.", counts
    yield "deora_request_duration_seconds", "histogram", "From a request's last byte to its answer.", latencies


def _processes(snapshot: Snapshot) -> Iterable[Family]:
    everyone = children(snapshot)
    yield (
        "deora_up",
        "gauge",
        "Whether a process serves.",
        [("deora_up", {"process": name}, int(child.state == "up")) for name, child in everyone],
    )
    yield (
        "deora_restarts_total",
        "counter",
        "How often a process was started again.",
        [("deora_restarts_total", {"process": name}, child.restarts) for name, child in everyone],
    )
    yield (
        "deora_memory_bytes",
        "gauge",
        "Resident memory of a process.",
        [
            ("deora_memory_bytes", {"process": name}, child.memory_bytes)
            for name, child in everyone
            if child.memory_bytes is not None
        ],
    )
    yield (
        "deora_requests_inflight",
        "gauge",
        "Requests that a worker holds.",
        [("deora_requests_inflight", {"slot": worker.slot}, worker.inflight) for worker in snapshot.workers],
    )
    yield (
        "deora_uptime_seconds",
        "gauge",
        "Since the supervisor started.",
        [("deora_uptime_seconds", {}, round(snapshot.uptime_s, 1))],
    )
    yield (
        "deora_change_streams",
        "gauge",
        "Change streams that are open.",
        [("deora_change_streams", {}, snapshot.streams)],
    )


def _queue(snapshot: Snapshot) -> Iterable[Family]:
    queue = snapshot.queue
    states: list[Sample] = [
        ("deora_queue_entries", {"state": state}, queue[state]) for state in ("pending", "inflight", "dead")
    ]
    yield "deora_queue_entries", "gauge", "Entries of the outbox by state.", states
    yield (
        "deora_queue_priority_entries",
        "gauge",
        "Pending and inflight entries by priority.",
        [("deora_queue_priority_entries", {"priority": level}, n) for level, n in queue["by_priority"].items()],
    )
    yield (
        "deora_queue_oldest_seconds",
        "gauge",
        "How long the oldest live entry has waited; 0 for none.",
        [("deora_queue_oldest_seconds", {}, queue["oldest_s"] or 0)],
    )
    yield (
        "deora_queue_accepted_total",
        "counter",
        "Entries accepted since the store was made.",
        [("deora_queue_accepted_total", {}, queue["accepted"])],
    )


_STORE = {
    "commit": "From a group of writes to its answers; what arrives while one syncs waits for the next.",
    "sync": "The COMMIT of such a group: the write-ahead log is written and synced.",
}


def _store(snapshot: Snapshot) -> Iterable[Family]:
    for what, help_text in _STORE.items():
        name = f"deora_store_{what}_duration_seconds"
        samples: list[Sample] = []
        if what in snapshot.latencies:
            counts, sum_s = snapshot.latencies[what]
            bounds = [*(str(bound) for bound in STORE_BUCKETS_S), "+Inf"]
            for bound, number in zip(bounds, accumulate(counts), strict=True):
                samples.append((f"{name}_bucket", {"le": bound}, number))
            samples += [(f"{name}_sum", {}, round(sum_s, 6)), (f"{name}_count", {}, sum(counts))]
        yield name, "histogram", help_text, samples


def _upstreams(snapshot: Snapshot) -> Iterable[Family]:
    yield (
        "deora_replayed_entries_total",
        "counter",
        "Entries that an upstream has taken, or that were given up, since the supervisor started.",
        [("deora_replayed_entries_total", {"upstream": name}, n) for name, n in snapshot.replayed.items()],
    )
    yield (
        "deora_upstream_breaker_state",
        "gauge",
        "1 for the state that an upstream's breaker is in.",
        [
            ("deora_upstream_breaker_state", {"upstream": each.name, "state": state}, int(each.breaker == state))
            for each in snapshot.upstreams
            for state in BREAKER_STATES
        ],
    )
    yield (
        "deora_upstream_up",
        "gauge",
        "Whether an upstream's breaker is closed and it takes writes.",
        [
            ("deora_upstream_up", {"upstream": each.name, "type": each.type}, int(takes_writes(each)))
            for each in snapshot.upstreams
        ],
    )
    yield (
        "deora_upstream_pending",
        "gauge",
        "Entries that an upstream still lacks.",
        [("deora_upstream_pending", {"upstream": each.name}, each.pending) for each in snapshot.upstreams],
    )


def _alerts(snapshot: Snapshot) -> Iterable[Family]:
    raised = Counter(alert["name"] for alert in snapshot.alerts)
    yield (
        "deora_alerts_raised",
        "gauge",
        "Alerts that there are now, by their names.",
        [("deora_alerts_raised", {"alert": name, "severity": KINDS[name].severity}, raised[name]) for name in KINDS],
    )


def _cache(snapshot: Snapshot) -> Iterable[Family]:
    for what, help_text in (("hits", "Copies found, by tier."), ("misses", "Copies asked for and not found, by tier.")):
        name = f"deora_cache_{what}_total"
        samples: list[Sample] = [(name, {"tier": tier}, figures[what]) for tier, figures in snapshot.cache.items()]
        yield name, "counter", help_text, samples


def _disk(snapshot: Snapshot) -> Iterable[Family]:
    """What the store has looked at last; a figure that it could not see is left out."""
    for name, help_text, size_bytes in (
        ("deora_disk_free_bytes", "Free on the disk of the data directory.", snapshot.disk_free_bytes),
        ("deora_wal_bytes", "Size of the store's write-ahead log.", snapshot.wal_bytes),
        ("deora_ballast_bytes", "Kept back on the disk, for what must go on where it is full.", snapshot.ballast_bytes),
    ):
        if size_bytes is not None:
            yield name, "gauge", help_text, [(name, {}, size_bytes)]


def _backup(snapshot: Snapshot) -> Iterable[Family]:
    backup = snapshot.backup
    if backup is None:
        return
    gauges = (
        ("deora_backup_age_seconds", "Since the last scheduled backup was made.", backup.age_s),
        ("deora_backup_size_bytes", "Size of the last scheduled backup.", backup.size_bytes),
        ("deora_backup_duration_seconds", "What the last scheduled backup took.", backup.took_s),
    )
    for name, help_text, value in gauges:
        if value is not None:
            yield name, "gauge", help_text, [(name, {}, value)]
    name = "deora_backup_failures_total"
    yield name, "counter", "Scheduled backups that failed.", [(name, {}, backup.failures)]


def _line(sample: Sample) -> str:
    name, labels, value = sample
    if not labels:
        return f"{name} {value}"
    inner = ",".join(f'{key}="{_escape(text)}"' for key, text in labels.items())
    return f"{name}{{{inner}}} {value}"


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
