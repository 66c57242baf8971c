"""`deora doctor`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.fakes.control import ControlServer, Routes

Deora = Callable[..., Result]


def found(result: Result) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(result.stdout)
    return {finding["name"]: finding for finding in shown["findings"]} | {"all": shown}


@pytest.fixture
def free_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "0")


@pytest.mark.usefixtures("free_port")
def test_without_an_instance_it_says_so_and_warnings_are_no_failure(deora: Deora, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir(mode=0o700)
    result = deora("doctor", "--data", str(data))
    assert result.exit_code == 0, result.stdout
    assert "; no instance runs\n" in result.stdout
    assert "warning backups: none are scheduled" in result.stdout.replace("  ", " ")
    assert "hint: set backup.dir" in result.stdout.replace("  ", " ")
    shown = found(deora("doctor", "--data", str(data), "--json"))
    assert (shown["all"]["running"], shown["all"]["failed"]) == (False, 0)
    assert {"port", "store", "disk syncs", "upstream primary"} <= shown.keys()


@pytest.mark.usefixtures("free_port")
def test_what_has_failed_ends_in_1(deora: Deora, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").mkdir(mode=0o700)
    monkeypatch.setenv("DEORA_OPERATIONS__BACKUP__DIR", str(tmp_path / "stick"))
    result = deora("doctor", "--data", str(tmp_path / "data"), "--json")
    assert result.exit_code == 1
    assert found(result)["backups"]["level"] == "failed"
    monkeypatch.setenv("DEORA_QUEUE__MAX_ENTRIES", "many")
    result = deora("doctor", "--data", str(tmp_path / "data"), "--json")
    assert result.exit_code == 1
    assert "max_entries" in found(result)["configuration"]["detail"]


def test_with_an_instance_its_alerts_are_findings(deora: Deora, instance: ControlServer, routes: Routes) -> None:
    assert instance is not None
    routes["GET /status"] = (
        200,
        {
            "status": "degraded",
            "supervisor": {"pid": 7},
            "alerts": [{"name": "breaker-open", "detail": "primary is out", "hint": "it is tried again by itself"}],
        },
    )
    shown = found(deora("doctor", "--json"))
    assert shown["all"]["running"] is True
    assert (shown["instance"]["level"], "pid 7" in shown["instance"]["detail"]) == ("warning", True)
    assert shown["alert breaker-open"]["hint"] == "it is tried again by itself"
    assert "port" not in shown
