"""The metrics page, read by the official parser."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from deora.observe.health import BackupState, Snapshot, UpstreamState, WorkerState
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
    replayed={"primary": 40},
    latencies={"commit": [[0, 1, 2, *[0] * 10, 1], 9.5], "sync": [[3, 1, *[0] * 12], 0.001]},
    alerts=[{"name": "process-down"}, {"name": "process-down"}],
    cache={"memory": {"hits": 5, "misses": 2}, "disk": {"hits": 1, "misses": 1}},
    disk_free_bytes=9000,
    wal_bytes=4096,
    ballast_bytes=16,
    streams=3,
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
    assert value("deora_store_commit_duration_seconds_bucket", le="0.0005") == 1
    assert value("deora_store_commit_duration_seconds_bucket", le="2.5") == 3
    assert value("deora_store_commit_duration_seconds_bucket", le="+Inf") == 4
    assert value("deora_store_commit_duration_seconds_sum") == 9.5
    assert value("deora_store_sync_duration_seconds_count") == 4
    assert value("deora_replayed_entries_total", upstream="primary") == 40
    assert value("deora_upstream_breaker_state", upstream="primary", state="OPEN") == 1
    assert value("deora_upstream_breaker_state", upstream="primary", state="CLOSED") == 0
    assert value("deora_alerts_raised", alert="process-down", severity="critical") == 2
    assert value("deora_alerts_raised", alert="disk-low", severity="warning") == 0
    assert value("deora_cache_hits_total", tier="memory") == 5
    assert value("deora_cache_misses_total", tier="disk") == 1
    assert value("deora_change_streams") == 3
    assert value("deora_disk_free_bytes") == 9000
    assert value("deora_wal_bytes") == 4096
    assert value("deora_ballast_bytes") == 16


def test_what_the_store_has_not_looked_at_yet_is_left_out() -> None:
    found = samples(replace(SNAPSHOT, wal_bytes=None, ballast_bytes=0), Metrics())
    names = {name for name, _ in found}
    assert "deora_wal_bytes" not in names
    assert found["deora_ballast_bytes", frozenset()] == 0, "a ballast that was given up is a figure"


def test_a_label_cannot_end_its_quotes() -> None:
    odd = replace(SNAPSHOT, workers=[replace(SNAPSHOT.workers[0], slot='a"b\\c\nd')])
    found = samples(odd, Metrics())
    assert found["deora_up", frozenset({("process", 'a"b\\c\nd')})] == 1


def test_names_begin_with_deora() -> None:
    assert all(name.startswith("deora_") for name, _ in samples(SNAPSHOT, Metrics()))


@pytest.mark.parametrize(
    ("state", "breaker", "up"),
    [("up", "CLOSED", 1), ("paused", "CLOSED", 1), ("down", "CLOSED", 1), ("down", "HALF_OPEN", 0)]
    + [(state, "CLOSED", 0) for state in ("stopped", "unauthorised")],
)
def test_an_upstream_that_refuses_us_is_not_up(state: str, breaker: str, up: int) -> None:
    snapshot = replace(SNAPSHOT, upstreams=[replace(SNAPSHOT.upstreams[0], state=state, breaker=breaker)])
    found = samples(snapshot, Metrics())
    assert found["deora_upstream_up", frozenset({("upstream", "primary"), ("type", "sqlite")})] == up


def test_a_histogram_never_falls_and_ends_at_its_count() -> None:
    metrics = Metrics()
    for number in range(200):
        metrics.answered("primary", 200, number / 10)
    found = samples(SNAPSHOT, metrics)
    buckets = [
        (float(dict(labels)["le"]), value)
        for (name, labels), value in found.items()
        if name == "deora_request_duration_seconds_bucket"
    ]
    counts = [value for _, value in sorted(buckets)]
    assert counts == sorted(counts)
    assert counts[-1] == found["deora_request_duration_seconds_count", frozenset({("slot", "primary")})] == 200
    assert dict(buckets)[0.1] == 2, "a bucket holds what is equal to its bound"


def test_each_family_has_its_kind_and_help() -> None:
    families = list(text_string_to_metric_families(render(SNAPSHOT, Metrics()).decode()))
    assert len(families) == len({family.name for family in families})
    for family in families:
        assert family.type in ("counter", "gauge", "histogram")
        assert family.documentation


def test_without_a_store_there_are_no_latencies_of_its() -> None:
    found = samples(replace(SNAPSHOT, latencies={}), Metrics())
    assert not [name for name, _ in found if name.startswith("deora_store_")]


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is missing (Debian package: prometheus)")
def test_promtool_finds_nothing_to_complain_of() -> None:
    metrics = Metrics()
    metrics.answered("primary", 200, 0.002)
    found = subprocess.run(["promtool", "check", "metrics"], input=render(SNAPSHOT, metrics), capture_output=True)
    assert (found.returncode, found.stdout, found.stderr) == (0, b"", b"")


def test_each_metric_is_documented() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "api.md").read_text(encoding="utf-8")
    metrics = Metrics()
    metrics.answered("primary", 200, 0.002)
    families = re.findall(r"^# TYPE (\S+)", render(SNAPSHOT, metrics).decode(), re.MULTILINE)
    assert len(families) > 20
    assert [name for name in families if f"`{name}`" not in page] == []


def test_backups_where_they_are_scheduled() -> None:
    nothing = frozenset[tuple[str, str]]()
    backup = BackupState("/b", 900.0, False, 60.5, "/b/x.db", 7, None, 2, None, None, False)
    found = samples(replace(SNAPSHOT, backup=backup), Metrics())
    assert found["deora_backup_age_seconds", nothing] == 60.5
    assert found["deora_backup_size_bytes", nothing] == 7
    assert found["deora_backup_failures_total", nothing] == 2
    assert not any("backup" in name for name, _ in samples(SNAPSHOT, Metrics()))
    assert not any("duration" in name and "backup" in name for name, _ in found)
