"""`deora queue` and its commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from tests.fakes.control import ControlServer, Routes, control_server

Deora = Callable[..., Result]


@pytest.mark.usefixtures("instance")
def test_summary(deora: Deora, summary: dict[str, Any]) -> None:
    assert deora("queue").stdout.startswith("QUEUE  waiting 12,044")
    assert json.loads(deora("queue", "--json").stdout) == summary


def test_ls_asks_for_what_was_named(deora: Deora, instance: ControlServer, routes: Routes, entry: Any) -> None:
    page = {"entries": [entry], "cursor": None}
    target = "/v1/queue/entries?state=dead&upstream=primary&path=orders%2Fo+1%26&limit=7&cursor=c%3D"
    routes[f"GET {target}"] = (200, page)
    words = ["queue", "ls", "--state", "dead", "--upstream", "primary", "--limit", "7", "--cursor", "c=", "--path"]
    result = deora(*words, "orders/o 1&")
    assert (result.exit_code, result.stderr) == (0, "")
    assert "set orders/o1 +1" in result.stdout
    assert json.loads(deora(*words, "orders/o 1&", "--json").stdout) == page
    assert {target for _, target, _ in instance.requests} == {target}


@pytest.mark.usefixtures("instance")
def test_ls_says_how_to_go_on(deora: Deora, routes: Routes, entry: Any) -> None:
    routes["GET /v1/queue/entries?limit=50"] = (200, {"entries": [entry], "cursor": "abc"})
    assert deora("queue", "ls").stderr == "more follow: add --cursor abc\n"


@pytest.mark.parametrize("words", [["--state", "done"], ["--limit", "0"], ["--limit", "1001"], ["--limit", "x"]])
def test_ls_refuses_what_the_server_would(deora: Deora, words: list[str]) -> None:
    assert deora("queue", "ls", *words).exit_code == 2


@pytest.mark.usefixtures("instance")
def test_show(deora: Deora, entry: Any) -> None:
    assert deora("queue", "show", "1204").stdout.startswith("ENTRY 1204  dead")
    assert json.loads(deora("queue", "show", "1204", "--json").stdout) == entry


@pytest.mark.parametrize(
    ("words", "request_sent", "says"),
    [
        ("queue retry 1204", ("POST", "/v1/queue/entries/1204:retry", None), "entry 1204 is in the queue again"),
        ("queue retry 1204 --force", ("POST", "/v1/queue/entries/1204:retry", {"force": True}), "in the queue again"),
        ("queue drop 1204", ("DELETE", "/v1/queue/entries/1204", None), "entry 1204 is dropped"),
        ("queue drop ../a?b", ("DELETE", "/v1/queue/entries/..%2Fa%3Fb", None), "entry ../a?b is dropped"),
        ("queue pause", ("POST", "/v1/queue:pause", None), "the queue is paused"),
        ("queue resume", ("POST", "/v1/queue:resume", None), "the queue is resumed"),
    ],
)
def test_commands_that_change(
    deora: Deora, instance: ControlServer, routes: Routes, words: str, request_sent: tuple[str, str, Any], says: str
) -> None:
    routes[f"{request_sent[0]} {request_sent[1]}"] = (200, {"done": True})
    result = deora(*words.split())
    assert (result.exit_code, result.stderr) == (0, "")
    assert says in result.stdout
    assert json.loads(deora(*words.split(), "--json").stdout) == {"done": True}
    assert instance.requests == [request_sent] * 2


@pytest.mark.usefixtures("instance")
def test_a_refusal_says_what_the_server_said(deora: Deora, routes: Routes) -> None:
    problem = {
        "title": "conflict",
        "detail": "orders/o1 has later writes",
        "hint": 'look first; {"force": true} does it',
    }
    routes["POST /v1/queue/entries/1204:retry"] = (409, problem)
    result = deora("queue", "retry", "1204", "--json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error: orders/o1 has later writes\nhint: look first; --force does it\n"


@pytest.mark.usefixtures("instance")
@pytest.mark.parametrize(
    ("words", "request_sent"),
    [
        ("queue show 7", "GET /v1/queue/entries/7"),
        ("queue retry 7", "POST /v1/queue/entries/7:retry"),
        ("queue drop 7 --yes", "DELETE /v1/queue/entries/7"),
    ],
)
def test_an_unknown_entry_is_looked_for_by_a_command(
    deora: Deora, routes: Routes, words: str, request_sent: str
) -> None:
    hint = "GET /v1/queue/entries lists them; done ones are pruned after retention_hours"
    routes[request_sent] = (404, {"detail": "the queue has no entry 7", "hint": hint})
    result = deora(*words.split())
    said = "`deora queue ls` lists them; done ones are pruned after retention_hours"
    assert result.stderr == f"error: the queue has no entry 7\nhint: {said}\n"


@pytest.mark.parametrize(("answer", "sent"), [("n\n", 0), ("y\n", 1)])
def test_drop_asks_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, deora: Deora, instance: ControlServer, routes: Routes, answer: str, sent: int
) -> None:
    routes["DELETE /v1/queue/entries/1204"] = (200, {})
    monkeypatch.setattr("deora.cli.queue.can_ask", lambda: True)
    result = deora("queue", "drop", "1204", input=answer)
    assert result.exit_code == 1 - sent
    assert "Drop entry 1204?" in result.stderr
    assert len(instance.requests) == sent
    assert deora("queue", "drop", "1204", "--yes").exit_code == 0


def test_options_after_the_group_s_name_are_the_command_s(deora: Deora, tmp_path: Path, entry: Any) -> None:
    routes: Routes = {"GET /v1/queue/entries/1": (200, entry)}
    with control_server(tmp_path / "other", routes):
        result = deora("queue", "--data", "other", "--json", "show", "1")
        assert json.loads(result.stdout) == entry
        assert deora("queue", "--data", "none", "show", "1", "--data", "other").exit_code == 0
        assert deora("queue", "--data", "other", "show", "1", env={"DEORA_DATA": "none"}).exit_code == 0
