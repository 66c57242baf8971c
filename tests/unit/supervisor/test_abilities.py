"""What this installation cannot do."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from deora.config.schema import Config
from deora.errors import StartError
from deora.supervisor.abilities import check_abilities


def config(**sections: Any) -> Config:
    return Config.from_wire(sections)


def test_the_defaults_can_all_be_had() -> None:
    check_abilities(config())


@pytest.mark.parametrize(
    ("database", "package"),
    [
        ({"type": "postgres", "url": "postgresql://h/d"}, "asyncpg"),
        ({"type": "firestore", "project": "p"}, "aiohttp"),
        ({"type": "firestore", "project": "p"}, "google.auth"),
    ],
)
def test_an_upstream_needs_its_packages(
    monkeypatch: pytest.MonkeyPatch, database: dict[str, Any], package: str
) -> None:
    settings = config(database={"secondary": database})
    check_abilities(settings)
    plain = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else plain(name))
    kind = database["type"]
    with pytest.raises(StartError, match=rf"secondary is of type '{kind}', which needs {package}$") as refused:
        check_abilities(settings)
    assert refused.value.hint == f"install it: pip install 'deora[{kind}]'"


def test_redis_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = config(cache={"redis": {"url": "redis://127.0.0.1:6379/0"}})
    check_abilities(wanted)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(StartError) as refused:
        check_abilities(wanted)
    assert "deora[redis]" in str(refused.value.hint)


def test_sentry_needs_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = config(operations={"alerts": {"sentry_dsn": "https://k@sentry.example/1"}})
    check_abilities(wanted)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(StartError) as refused:
        check_abilities(wanted)
    assert "deora[sentry]" in str(refused.value.hint)
