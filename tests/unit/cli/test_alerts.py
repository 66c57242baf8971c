"""`deora alerts` and `deora alerts test`: what is wrong, and whether anybody would be told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from deora.cli import alerts as module
from deora.cli.main import cli

ROW = {"name": "disk-low", "detail": "5 bytes\x1b[0m", "hint": "make room", "severity": "warning", "for_s": 65}
SENT = {"target": "webhook", "place": "https://hooks.example/***", "sent": True, "status": 204, "detail": ""}
NOT_SENT = {
    "target": "sentry",
    "place": "https://s.example/***",
    "sent": False,
    "status": 403,
    "detail": "answered 403",
}


class Client:
    """The control socket's other end."""

    said: Any = None

    def __init__(self, _: Path) -> None:
        pass

    def get(self, path: str) -> Any:
        assert path == "/status"
        return self.said

    def post(self, path: str) -> Any:
        assert path == "/admin/alerts:test"
        return self.said


@pytest.fixture(autouse=True)
def client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ControlClient", Client)


def run(said: Any, *arguments: str, monkeypatch: pytest.MonkeyPatch) -> Result:
    monkeypatch.setattr(Client, "said", said)
    return CliRunner().invoke(cli, ["alerts", *arguments])


def test_alerts_are_shown_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    found = run({"alerts": [ROW | {"holds": False}]}, monkeypatch=monkeypatch)
    assert found.stdout.splitlines() == [
        "warning disk-low  for 1m05s, quiet now",
        "  5 bytes\\x1b[0m",
        "  hint: make room",
    ]
    assert run({"alerts": []}, monkeypatch=monkeypatch).stdout == "no alerts\n"
    assert json.loads(run({"alerts": [ROW]}, "--json", monkeypatch=monkeypatch).stdout) == [ROW]


def test_a_test_says_what_came_back(monkeypatch: pytest.MonkeyPatch) -> None:
    fine = run({"sent": [SENT]}, "test", monkeypatch=monkeypatch)
    assert (fine.exit_code, fine.stdout) == (0, "webhook: https://hooks.example/*** has taken it (204)\n")
    bad = run({"sent": [SENT, NOT_SENT]}, "test", monkeypatch=monkeypatch)
    assert (bad.exit_code, bad.stdout.splitlines()[1]) == (1, "sentry: not sent: answered 403")
    assert json.loads(run({"sent": [SENT]}, "test", "--json", monkeypatch=monkeypatch).stdout) == {"sent": [SENT]}
    assert run({}, "test", monkeypatch=monkeypatch).exit_code == 1
