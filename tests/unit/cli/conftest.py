"""What the tests of the command line share: a clean environment, a runner, and answers as a server gives them."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from deora.cli.main import cli
from tests.fakes.control import ControlServer, Routes, control_server

_STATUS: dict[str, Any] = {
    "status": "degraded",
    "version": "0.1.0",
    "node": "n-3f2a9c",
    "supervisor": {"pid": 4711, "uptime_s": 7400.2},
    "workers": [
        {
            "slot": "primary",
            "role": "primary",
            "pid": 4712,
            "state": "up",
            "uptime_s": 7399,
            "restarts": 0,
            "cpu_percent": 12.4,
            "memory_bytes": 67108864,
            "requests_per_s": 1204.4,
            "p99_ms": 3.21,
            "inflight": 2,
        },
        {
            "slot": "secondary",
            "role": "secondary",
            "pid": None,
            "state": "starting",
            "uptime_s": None,
            "restarts": 13,
            "cpu_percent": None,
            "memory_bytes": None,
            "requests_per_s": 0,
            "p99_ms": None,
            "inflight": 0,
        },
    ],
    "processes": [
        {"name": "store", "pid": 4714, "state": "up", "uptime_s": 7399, "restarts": 0, "memory_bytes": 52428800},
        {"name": "replayer", "pid": 4715, "state": "up", "uptime_s": 266400, "restarts": 1, "memory_bytes": 1288490188},
        {"name": "zygote", "pid": 4716, "state": "up", "uptime_s": 0.4, "restarts": 0, "memory_bytes": 22428800},
    ],
    "upstreams": [
        {
            "name": "primary",
            "type": "firestore",
            "state": "down",
            "breaker": "OPEN",
            "latency_ms": None,
            "pending": 12044,
            "oldest_s": 740,
            "last_error": "UNAVAILABLE: Network is unreachable",
        },
        {
            "name": "secondary",
            "type": "postgres",
            "state": "up",
            "breaker": "CLOSED",
            "latency_ms": 1.24,
            "pending": 0,
            "oldest_s": None,
            "last_error": None,
        },
    ],
    "queue": {
        "pending": 12044,
        "inflight": 500,
        "dead": 3,
        "oldest_s": 740,
        "in_per_s": 12.2,
        "out_per_s": 480,
        "drain_eta_s": 25.1,
        "paused": False,
    },
    "cache": {"memory": {"hits": 99, "misses": 1}, "disk": {"hits": 0, "misses": 0}},
    "alerts": ["upstream primary: breaker open for 12 minutes"],
}

_ENTRY: dict[str, Any] = {
    "id": 1204,
    "state": "dead",
    "upstream": "primary",
    "priority": 5,
    "created": "2026-01-31T12:00:00.123456Z",
    "writes": [
        {"set": {"path": "orders/o1", "data": {"total": 12.5, "note": "for table 2"}}},
        {"update": {"path": "stock/s1", "data": {"n": {"$increment": -1}}}},
    ],
    "attempts": 3,
    "error": "INVALID_ARGUMENT: the property total is not valid",
}


@pytest.fixture(autouse=True)
def _clean_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An empty working directory, and none of the variables that the command line reads."""
    for name in list(os.environ):
        if name.startswith("DEORA_") or name in ("RUNTIME_DIRECTORY", "STATE_DIRECTORY", "COLUMNS", "NO_COLOR", "PORT"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def status() -> dict[str, Any]:
    """An answer to GET /status of an instance whose first upstream is out."""
    return copy.deepcopy(_STATUS)


@pytest.fixture
def entry() -> dict[str, Any]:
    """A dead entry of two writes."""
    return copy.deepcopy(_ENTRY)


@pytest.fixture
def summary(status: dict[str, Any]) -> dict[str, Any]:
    """An answer to GET /v1/queue."""
    return {**status["queue"], "by_priority": {"9": 3, "5": 12041, "1": 0}, "upstreams": status["upstreams"]}


@pytest.fixture
def deora() -> Callable[..., Result]:
    """Runs the command line with these words, in this process; an error that it does not expect fails the test."""

    def run(*words: str, **options: Any) -> Result:
        return CliRunner().invoke(cli, words, catch_exceptions=False, prog_name="deora", **options)

    return run


@pytest.fixture
def routes(status: dict[str, Any], summary: dict[str, Any], entry: dict[str, Any]) -> Routes:
    """What the instance of `instance` answers; a test may change it at any time."""
    return {
        "GET /status": (200, status),
        "GET /v1/queue": (200, summary),
        "GET /v1/queue/entries/1204": (200, entry),
    }


@pytest.fixture
def instance(tmp_path: Path, routes: Routes) -> Iterator[ControlServer]:
    """A control socket in `./data`, where every command looks for it."""
    with control_server(tmp_path / "data", routes) as server:
        yield server
