"""`deora reload`."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from click.testing import Result

from deora.cli.reload import counted
from tests.fakes.control import ControlServer, Routes

Deora = Callable[..., Result]

DONE = {"reloaded": ["store", "primary", "secondary", "replayer"], "took_s": 1.234, "restart_needed": []}


def test_it_says_what_was_done(deora: Deora, instance: ControlServer, routes: Routes) -> None:
    routes["POST /admin/reload"] = (200, DONE)
    result = deora("reload")
    assert (result.exit_code, result.stdout) == (0, "reloaded in 1.2 s: 2 workers, store, replayer\n")
    assert json.loads(deora("reload", "--json").stdout) == DONE
    assert instance.requests == [("POST", "/admin/reload", None)] * 2


@pytest.mark.usefixtures("instance")
def test_it_names_what_needs_a_restart(deora: Deora, routes: Routes) -> None:
    routes["POST /admin/reload"] = (200, {**DONE, "restart_needed": ["servers.port"]})
    assert "needs `deora restart`: servers.port" in deora("reload").stdout


@pytest.mark.usefixtures("instance")
def test_every_fault_of_the_configuration_is_printed(deora: Deora, routes: Routes) -> None:
    problems = ["servers.json: port: 99999 is too large", "queue.json: no such key"]
    detail = "the configuration is wrong:\n  - " + "\n  - ".join(problems) + "\nnothing was changed"
    routes["POST /admin/reload"] = (409, {"detail": detail, "hint": "correct it", "problems": problems})
    result = deora("reload")
    assert (result.exit_code, result.stdout) == (1, "")
    assert all(problem in result.stderr for problem in problems)
    assert "nothing was changed" in result.stderr
    result = deora("reload", "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {"reloaded": [], "error": detail, "hint": "correct it", "problems": problems}


def test_without_an_instance(deora: Deora) -> None:
    assert deora("reload").exit_code == 3


@pytest.mark.parametrize(
    ("slots", "said"),
    [(["primary"], "1 worker"), (["store", "primary", "primary-2", "replayer"], "2 workers, store, replayer")],
)
def test_counting(slots: list[str], said: str) -> None:
    assert counted(slots) == said
