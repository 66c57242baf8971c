"""`deora status` and `deora health`."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.fakes.control import ControlServer, Routes

Deora = Callable[..., Result]


@pytest.mark.usefixtures("instance")
def test_status_draws_the_screen(deora: Deora) -> None:
    result = deora("status", env={"COLUMNS": "80"})
    assert result.exit_code == 0
    assert result.stdout.startswith("DEORA  degraded  node n-3f2a9c")
    assert max(map(len, result.stdout.splitlines())) <= 80


@pytest.mark.usefixtures("instance")
def test_status_json_is_the_server_s_and_nothing_else(deora: Deora, status: dict[str, Any]) -> None:
    result = deora("status", "--json")
    assert json.loads(result.stdout) == status
    assert result.stderr == ""


@pytest.mark.parametrize("command", ["status", "health"])
def test_not_running(deora: Deora, command: str) -> None:
    result = deora(command, "--json")
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr.startswith("error: no instance runs on ")
    assert "hint: " in result.stderr


@pytest.mark.usefixtures("instance")
@pytest.mark.parametrize(
    ("state", "http_status", "exit_code"),
    [("healthy", 200, 0), ("degraded", 200, 1), ("down", 503, 2), ("odd", 200, 2)],
)
def test_health_by_exit_code(deora: Deora, routes: Routes, state: str, http_status: int, exit_code: int) -> None:
    document = {"status": state, "uptime": 7400.5, "services": {"primary": True, "secondary": False}}
    routes["GET /health"] = (http_status, document)
    result = deora("health")
    assert result.exit_code == exit_code
    assert result.stdout == f"{state}  up 2h03m\n  primary     ok\n  secondary   OUT\n"
    result = deora("health", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (exit_code, document)


@pytest.mark.usefixtures("instance")
def test_health_says_why_a_service_is_out(deora: Deora, routes: Routes) -> None:
    document = {"status": "degraded", "services": {"secondary": False}, "reasons": {"secondary": "cannot boot"}}
    routes["GET /health"] = (200, document)
    assert deora("health").stdout.splitlines()[1] == "  secondary   OUT  cannot boot"


@pytest.mark.usefixtures("instance")
@pytest.mark.parametrize("answer", [b"<html>", [1], None, {"services": [1]}])
def test_health_that_cannot_be_read_is_down(deora: Deora, routes: Routes, answer: Any) -> None:
    routes["GET /health"] = (200, answer)
    assert deora("health").exit_code == 2


def test_health_asks_once_and_only_for_health(deora: Deora, instance: ControlServer, routes: Routes) -> None:
    routes["GET /health"] = (200, {"status": "healthy"})
    deora("health")
    assert instance.requests == [("GET", "/health", None)]


def test_health_loads_no_rich(tmp_path: Path) -> None:
    code = (
        "import sys; from deora.cli.main import cli; cli.main(['health'], standalone_mode=False);"
        "assert not {'rich', 'psutil', 'asyncio', 'orjson', 'http.client'} & set(sys.modules), 'too much is imported'"
    )
    root = Path(__file__).parents[3]
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={"PYTHONPATH": str(root)}, capture_output=True, text=True
    )
    assert "no instance runs" in result.stderr
    assert "too much" not in result.stderr
