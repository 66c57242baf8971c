"""`deora worker`, `deora failover`, `deora recover`."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from click.testing import Result

from tests.fakes.control import ControlServer, Routes

Deora = Callable[..., Result]


@pytest.mark.parametrize(
    ("verb", "answer", "says"),
    [
        ("drain", {"state": "drain", "redispatched": 0}, "primary is drained; `deora worker ready primary`"),
        ("drain", {"state": "drain", "redispatched": 3}, "went to others (3); `deora worker ready primary`"),
        ("maint", {"state": "maint", "redispatched": 0}, "primary is in maintenance; `deora worker ready primary`"),
        ("ready", {"state": "up", "redispatched": 0}, "primary is ready to serve; its state is up"),
        ("restart", {"state": "up", "pid": 7, "redispatched": 0}, "primary was started anew, as process 7"),
    ],
)
def test_workers(
    deora: Deora, instance: ControlServer, routes: Routes, verb: str, answer: dict[str, object], says: str
) -> None:
    routes[f"POST /admin/workers/primary:{verb}"] = (200, {"slot": "primary", **answer})
    result = deora("worker", verb, "primary")
    assert result.exit_code == 0
    assert says in result.stdout
    assert json.loads(deora("worker", verb, "primary", "--json").stdout) == {"slot": "primary", **answer}
    assert instance.requests == [("POST", f"/admin/workers/primary:{verb}", None)] * 2


@pytest.mark.parametrize(
    ("verb", "answer", "says"),
    [
        ("failover", {"failover": True, "redispatched": 0}, "only the secondary serves; `deora recover` ends it"),
        ("failover", {"failover": True, "redispatched": 2}, "in time went to others (2); `deora recover`"),
        ("recover", {"failover": False}, "primary and secondary serve"),
    ],
)
def test_failover_and_recover(
    deora: Deora, instance: ControlServer, routes: Routes, verb: str, answer: dict[str, object], says: str
) -> None:
    routes[f"POST /admin/{verb}"] = (200, answer)
    result = deora(verb)
    assert result.exit_code == 0
    assert says in result.stdout
    assert json.loads(deora(verb, "--json").stdout) == answer
    assert instance.requests == [("POST", f"/admin/{verb}", None)] * 2


@pytest.mark.usefixtures("instance")
def test_a_refusal_says_what_to_do(deora: Deora, routes: Routes) -> None:
    routes["POST /admin/workers/primary:drain"] = (409, {"detail": "no worker but primary is up", "hint": "wait"})
    result = deora("worker", "drain", "primary")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == "error: no worker but primary is up\nhint: wait\n"


@pytest.mark.usefixtures("instance")
def test_a_name_is_encoded(deora: Deora) -> None:
    assert "/admin/workers/a%2Fb:drain" in deora("worker", "drain", "a/b").stderr


@pytest.mark.parametrize("command", [["failover"], ["recover"], ["worker", "drain", "primary"]])
def test_not_running(deora: Deora, command: list[str]) -> None:
    assert deora(*command).exit_code == 3


def test_a_worker_is_to_be_named(deora: Deora) -> None:
    assert deora("worker", "drain").exit_code == 2
