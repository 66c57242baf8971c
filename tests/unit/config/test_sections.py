"""Sections behave as frozen dataclasses, and show no secret."""

from __future__ import annotations

import copy
from dataclasses import FrozenInstanceError, fields, is_dataclass, replace

import pytest

from deora.config.database import PostgresUpstream, Table
from deora.config.schema import Config, Queue, Role
from deora.config.sections import display, plain
from deora.config.security import Security, Token

CANARY = "canary7f3a"


def test_values_by_position_and_by_name() -> None:
    assert Table("orders", "number") == Table(id="number", table="orders")
    assert Table("orders").id == "id"
    assert Table("orders") != Table("bills")
    assert hash(Table("orders")) == hash(Table("orders"))
    assert Table("orders") != ("orders", "id")


def test_wrong_construction() -> None:
    with pytest.raises(TypeError, match="missing: \\['table'\\]"):
        Table()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="unknown or given twice: \\['tabel'\\]"):
        Table("orders", tabel="x")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="given twice: \\['table'\\]"):
        Table("orders", table="x")  # type: ignore[misc]
    with pytest.raises(TypeError, match="takes 2 values, not 3"):
        Table("orders", "id", "x")  # type: ignore[call-arg]


def test_a_section_does_not_change() -> None:
    role = Config().servers.primary
    with pytest.raises(FrozenInstanceError):
        role.workers = 2  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        del role.workers
    with pytest.raises(FrozenInstanceError):
        role.wokers = 2  # type: ignore[attr-defined]
    assert role.workers == 1


def test_default_mappings_are_not_shared() -> None:
    first, second = Queue(), Queue()
    first.priorities["orders"] = 9
    assert second.priorities == {}
    assert Queue().priorities == {}


def test_it_is_a_dataclass_to_others() -> None:
    role = Role(id="A", workers=1, weight=70, priority=1)
    assert is_dataclass(role)
    assert [each.name for each in fields(role)] == ["id", "workers", "weight", "priority"]
    assert replace(role, workers=4) == Role("A", 4, 70, 1)
    assert copy.deepcopy(Config()) == Config()
    assert not hasattr(role, "__dict__")


def test_plain_has_no_sections_and_no_tuples() -> None:
    security = Security(
        tokens=(Token(name="till", hash="sha256:" + "0" * 64, scope="write"),), allowed_hosts=("a", "b")
    )
    assert plain(security)["tokens"] == [{"name": "till", "hash": "sha256:" + "0" * 64, "scope": "write"}]
    assert plain(security)["allowed_hosts"] == ["a", "b"]


def test_display_and_repr_hide_secrets() -> None:
    upstream = PostgresUpstream(
        type="postgres",
        url=f"postgresql://deora:{CANARY}@db/venue?password={CANARY}",
        tables={"orders": Table("orders")},
    )
    token = Token(name="till", hash=f"sha256:{CANARY}", scope="read")
    shown = display(upstream)
    assert shown["url"] == "postgresql://deora:***@db/venue?password=***"
    assert shown["tables"] == {"orders": {"table": "orders", "id": "id"}}
    assert display(token) == {"name": "till", "hash": "***", "scope": "read"}
    for text in (repr(upstream), repr(token), str(token), f"{Security(tokens=(token,))}"):
        assert CANARY not in text
    assert repr(token) == "Token(name='till', hash='***', scope='read')"
