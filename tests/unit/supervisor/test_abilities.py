"""What this version refuses to pretend."""

from __future__ import annotations

from typing import Any

import pytest

from deora.config.schema import Config
from deora.errors import StartError
from deora.gateway.balancer import MODES
from deora.supervisor.abilities import check_abilities, idle_settings


def config(**sections: Any) -> Config:
    return Config.from_wire(sections)


def test_the_defaults_can_all_be_had() -> None:
    check_abilities(config())
    assert idle_settings(config()) == []


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_of_the_balancer_can(mode: str) -> None:
    check_abilities(config(loadbalancer={"mode": mode}))


@pytest.mark.parametrize(
    ("sections", "named"),
    [
        ({"loadbalancer": {"mode": "least_conn"}}, "least_conn"),
        ({"loadbalancer": {"sticky": "cookie"}}, "loadbalancer.sticky"),
        ({"database": {"primary": {"type": "firestore", "project": "p"}}}, "firestore"),
        ({"database": {"replicate": ["orders"]}}, "database.replicate"),
        ({"security": {"cors": {"origins": ["https://venue.example"]}}}, "security.cors"),
    ],
)
def test_what_protects_or_says_where_data_goes_is_not_ignored(sections: dict[str, Any], named: str) -> None:
    with pytest.raises(StartError, match=named) as refused:
        check_abilities(config(**sections))
    assert refused.value.hint


def test_an_upstream_without_its_package_refuses_to_start(monkeypatch: pytest.MonkeyPatch) -> None:
    mapped = config(database={"secondary": {"type": "postgres", "url": "postgresql://h/d"}})
    check_abilities(mapped)
    monkeypatch.setattr("deora.supervisor.abilities.find_spec", lambda _: None)
    with pytest.raises(StartError, match="secondary is of type 'postgres', which needs the package asyncpg") as refused:
        check_abilities(mapped)
    assert refused.value.hint == "install the extra: pip install 'deora[postgres]'"


def test_everything_that_is_refused_is_named_at_once() -> None:
    with pytest.raises(StartError) as refused:
        check_abilities(config(security={"require_https": True}, database={"replicate": ["orders"]}))
    assert "security.require_https" in refused.value.message
    assert "database.replicate" in refused.value.message


def test_what_has_no_effect_is_named() -> None:
    changed = config(servers={"max_memory": "512MiB"}, operations={"backup": {"dir": "b"}}, queue={"max_entries": 7})
    check_abilities(changed)
    assert idle_settings(changed) == ["servers.max_memory", "operations"]
