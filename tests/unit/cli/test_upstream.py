"""`deora upstream pause|resume`."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from click.testing import Result

from tests.fakes.control import ControlServer, Routes

Deora = Callable[..., Result]


@pytest.mark.parametrize(("verb", "says"), [("pause", "upstream primary is paused"), ("resume", "is resumed")])
def test_pause_and_resume(deora: Deora, instance: ControlServer, routes: Routes, verb: str, says: str) -> None:
    routes[f"POST /admin/upstreams/primary:{verb}"] = (200, {"name": "primary"})
    result = deora("upstream", verb, "primary")
    assert result.exit_code == 0
    assert says in result.stdout
    assert json.loads(deora("upstream", verb, "primary", "--json").stdout) == {"name": "primary"}
    assert instance.requests == [("POST", f"/admin/upstreams/primary:{verb}", None)] * 2


def test_going_on_without_what_is_lost(deora: Deora, instance: ControlServer, routes: Routes) -> None:
    routes["POST /admin/upstreams/primary:acceptLoss"] = (200, {"upstream": "primary", "accepted": 8})
    result = deora("upstream", "resume", "primary", "--accept-loss")
    assert (result.exit_code, result.stdout.split(";")[0]) == (0, "upstream primary goes on without 8 entries")
    assert json.loads(deora("upstream", "resume", "primary", "--accept-loss", "--json").stdout)["accepted"] == 8
    assert instance.requests == [("POST", "/admin/upstreams/primary:acceptLoss", None)] * 2


@pytest.mark.usefixtures("instance")
@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_an_unknown_upstream(deora: Deora, verb: str) -> None:
    result = deora("upstream", verb, "a/b")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"error: no route for /admin/upstreams/a%2Fb:{verb}\n"


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_not_running(deora: Deora, verb: str) -> None:
    assert deora("upstream", verb, "primary").exit_code == 3


def test_a_name_is_needed(deora: Deora) -> None:
    assert deora("upstream", "pause").exit_code == 2
