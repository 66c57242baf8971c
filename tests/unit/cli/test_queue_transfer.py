"""`deora queue export` and `deora queue import`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from deora.cli import queue_file
from deora.cli.client import ControlClient
from tests.fakes.control import ControlServer, Routes
from tests.unit.cli.test_queue_file import CURSORS, entry, written

Deora = Callable[..., Result]
FIRST = "GET /v1/queue:export?limit=1000"
IMPORT = "POST /v1/queue:import"


def page(*entries: dict[str, Any], cursor: str | None = None) -> dict[str, Any]:
    counted = {name: {**each, "pending": 2, "dead": 1} for name, each in CURSORS.items()}
    return {"node": "n", "epoch": "e", "upstreams": counted, "entries": list(entries), "cursor": cursor}


@pytest.mark.usefixtures("instance")
def test_an_export_has_all_pages(deora: Deora, routes: Routes, tmp_path: Path) -> None:
    routes[FIRST] = (200, page(entry(1), {**entry(2), "state": "dead"}, cursor="12"))
    routes[f"{FIRST}&cursor=12"] = (200, page(entry(3)))
    result = deora("queue", "export", "q.jsonl")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "3 entries written to q.jsonl\n", "")
    lines = [json.loads(line) for line in (tmp_path / "q.jsonl").read_text().splitlines()]
    assert [line["number"] for line in lines[1:-1]] == [1, 2, 3]
    assert lines[0]["upstreams"]["primary"]["seq"] == 7
    assert lines[0]["created"].endswith("Z")
    shown = json.loads(deora("queue", "export", "q.jsonl", "--force", "--json").stdout)
    assert shown == {"file": "q.jsonl", "entries": 3}
    assert "2 entries" in deora("queue", "export", "p.jsonl", "--state", "pending").stdout
    piped = deora("queue", "export", "-")
    assert piped.stdout.splitlines()[1:-1] == (tmp_path / "q.jsonl").read_text().splitlines()[1:-1]
    assert piped.stderr == "3 entries written to -\n"


@pytest.mark.usefixtures("instance")
def test_an_export_may_be_a_part(deora: Deora, routes: Routes) -> None:
    routes[f"{FIRST}&state=dead&upstream=primary"] = (200, page(entry(1)))
    assert deora("queue", "export", "q.jsonl", "--state", "dead", "--upstream", "primary").exit_code == 0


@pytest.mark.usefixtures("instance")
def test_an_export_that_fails_leaves_nothing(deora: Deora, routes: Routes, tmp_path: Path) -> None:
    routes[FIRST] = (200, page(entry(1), cursor="12"))
    routes[f"{FIRST}&cursor=12"] = (503, {"detail": "not now", "hint": "later"})
    before = sorted(tmp_path.iterdir())
    result = deora("queue", "export", "q.jsonl")
    assert (result.exit_code, result.stderr) == (1, "error: not now\nhint: later\n")
    assert sorted(tmp_path.iterdir()) == before


def test_an_import_sends_pages_and_sums_up(deora: Deora, instance: ControlServer, routes: Routes) -> None:
    written(Path("q.jsonl"), *(entry(number) for number in range(1, 600)))
    routes[IMPORT] = (200, {"imported": 3, "alreadyUpstream": 2, "alreadyHere": 1})
    result = deora("queue", "import", "q.jsonl")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "6 entries imported, 4 already upstream, 2 already here\n"
    bodies = [body for _, target, body in instance.requests if target == "/v1/queue:import"]
    assert [len(body["entries"]) for body in bodies] == [500, 99]
    assert bodies[0]["from"] == {"node": "n", "epoch": "e", "upstreams": CURSORS}
    shown = json.loads(deora("queue", "import", "q.jsonl", "--json", "--upstream", "secondary").stdout)
    assert shown == {"imported": 3, "alreadyUpstream": 2, "alreadyHere": 1}
    assert list(instance.requests[-1][2]["from"]["upstreams"]) == ["secondary"]


def test_a_bad_file_sends_nothing(deora: Deora, instance: ControlServer) -> None:
    path = written(Path("q.jsonl"), entry(1))
    path.write_bytes(path.read_bytes()[:-10])
    result = deora("queue", "import", "q.jsonl")
    assert result.exit_code == 1
    assert "is cut off" in result.stderr
    assert instance.requests == []


@pytest.mark.usefixtures("instance")
def test_a_refusal_says_how_far_it_came(deora: Deora, routes: Routes, monkeypatch: pytest.MonkeyPatch) -> None:
    written(Path("q.jsonl"), entry(1), entry(2))
    routes[IMPORT] = (507, {"detail": "the queue is full", "hint": "let it drain"})
    result = deora("queue", "import", "q.jsonl")
    assert (result.exit_code, result.stderr) == (1, "error: the queue is full\nhint: let it drain\n")
    monkeypatch.setattr(queue_file, "PAGE_ENTRIES", 1)
    post = ControlClient.post

    def once(*_: Any) -> Any:
        monkeypatch.setattr(ControlClient, "post", post)
        return {"imported": 1, "alreadyUpstream": 0, "alreadyHere": 0}

    monkeypatch.setattr(ControlClient, "post", once)
    result = deora("queue", "import", "q.jsonl")
    assert "the queue is full (1 entries imported, 0 already upstream, 0 already here before that)" in result.stderr
    assert "hint: let it drain; then run the same command again" in result.stderr
