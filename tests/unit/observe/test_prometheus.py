"""The metrics page, read by the official parser."""

from __future__ import annotations

from dataclasses import replace

from prometheus_client.parser import text_string_to_metric_families

from deora.observe.health import Snapshot, UpstreamState, WorkerState
from deora.observe.metrics import Metrics
from deora.observe.prometheus import render

QUEUE = {"pending": 3, "inflight": 1, "dead": 2, "oldest_s": None, "by_priority": {"9": 1, "5": 3}, "accepted": 11}
SNAPSHOT = Snapshot(
    version="1",
    node="n",
    server_id="bar",
    pid=1,
    timestamp="2026-12-01T20:00:00Z",
    uptime_s=12.0,
    workers=[WorkerState("primary", "primary", 7, "up", 1.0, 4, 0.5, 1000, 2.0, 3.0, 6)],
    processes=[],
    upstreams=[UpstreamState("primary", "sqlite", "sqlite", "down", "OPEN", 5, 5, None, 4, None, None)],
    queue=QUEUE,
)


def samples(snapshot: Snapshot, metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    text = render(snapshot, metrics).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_every_figure_is_there() -> None:
    metrics = Metrics()
    metrics.answered("primary", 200, 0.002)
    metrics.answered("primary", 200, 50.0)
    found = samples(SNAPSHOT, metrics)

    def value(name: str, **labels: str) -> float:
        return found[name, frozenset(labels.items())]

    assert value("deora_requests_total", slot="primary", code="200") == 2
    assert value("deora_request_duration_seconds_bucket", slot="primary", le="0.0025") == 1
    assert value("deora_request_duration_seconds_bucket", slot="primary", le="+Inf") == 2
    assert value("deora_request_duration_seconds_count", slot="primary") == 2
    assert value("deora_up", process="primary") == 1
    assert value("deora_restarts_total", process="primary") == 4
    assert value("deora_requests_inflight", slot="primary") == 6
    assert value("deora_queue_entries", state="dead") == 2
    assert value("deora_queue_priority_entries", priority="9") == 1
    assert value("deora_queue_oldest_seconds") == 0
    assert value("deora_upstream_up", upstream="primary", type="sqlite") == 0
    assert value("deora_upstream_pending", upstream="primary") == 4


def test_a_label_cannot_end_its_quotes() -> None:
    odd = replace(SNAPSHOT, workers=[replace(SNAPSHOT.workers[0], slot='a"b\\c\nd')])
    found = samples(odd, Metrics())
    assert found["deora_up", frozenset({("process", 'a"b\\c\nd')})] == 1


def test_names_begin_with_deora() -> None:
    assert all(name.startswith("deora_") for name, _ in samples(SNAPSHOT, Metrics()))
