"""Checks across keys, each by a configuration that breaks it and one that just does not."""

from __future__ import annotations

from typing import Any

import pytest

from deora.config.checks import check_listen_address, conflicts
from deora.config.reading import dotted
from deora.config.schema import Config

HASH = "sha256:" + "0" * 64
TOKEN = {"name": "till", "hash": HASH, "scope": "write"}
POSTGRES = {"type": "postgres", "url": "postgresql://h/n"}
FIRESTORE = {"type": "firestore", "project": "venue"}

CONFLICTS: list[tuple[dict[str, Any], str, str]] = [
    ({"servers": {"secondary": {"id": "A"}}}, "servers.primary.id servers.secondary.id", 'both are "A"'),
    ({"servers": {"host": "0.0.0.0"}}, "servers.host security.tokens", "security.tokens is empty"),
    (
        {"servers": {"host": "10.0.0.1"}, "security": {"tokens": [TOKEN], "require_https": True}},
        "servers.host security.tokens security.require_https security.tls security.trusted_proxies",
        "nothing brings HTTPS",
    ),
    (
        {"servers": {"request_timeout_s": 2}},
        "loadbalancer.health_check.hang_timeout_s servers.request_timeout_s",
        "hang_timeout_s must be below request_timeout_s",
    ),
    (
        {"cache": {"memory": {"max_size": 1 << 30}}},
        "cache.memory.max_size servers.max_memory",
        "a memory cache of 1GiB alone takes a worker over",
    ),
    (
        {"database": {"primary": {**POSTGRES, "pool": {"min": 21}}}},
        "database.primary.pool.min database.primary.pool.max",
        "min is 21, max is 20",
    ),
    (
        {"database": {"secondary": {**POSTGRES, "pool": {"max": 1}}}},
        "database.secondary.pool.min database.secondary.pool.max",
        "min is 2, max is 1",
    ),
    (
        {"database": {"secondary": {"type": "sqlite", "file": "./x/../upstream.db"}}},
        "database.secondary.file database.primary.file",
        "give the secondary another file",
    ),
    (
        {"database": {"primary": POSTGRES, "secondary": POSTGRES}},
        "database.secondary.url database.primary.url",
        "both upstreams are the same place",
    ),
    (
        {"database": {"primary": FIRESTORE, "secondary": FIRESTORE}},
        "database.secondary.project database.primary.project",
        "both upstreams are the same place",
    ),
    ({"database": {"primary": {"file": "./store.db"}}}, "database.primary.file", "the file of the store itself"),
    ({"security": {"tls": {"cert": "a.pem"}}}, "security.tls.cert security.tls.key", "cert is set and key is not"),
    ({"security": {"tls": {"key": "a.pem"}}}, "security.tls.cert security.tls.key", "key is set and cert is not"),
    (
        {"security": {"tokens": [TOKEN, {**TOKEN, "hash": "sha256:" + "1" * 64}]}},
        "security.tokens[1].name",
        "it has the name of an earlier token",
    ),
    (
        {"security": {"tokens": [TOKEN, {**TOKEN, "name": "bar"}]}},
        "security.tokens[1].hash",
        "it has the hash of an earlier token",
    ),
]

FINE: list[dict[str, Any]] = [
    {},
    {"servers": {"host": "0.0.0.0"}, "security": {"tokens": [TOKEN]}},
    {"servers": {"host": "::1"}, "security": {"require_https": True}},
    {
        "servers": {"host": "::"},
        "security": {"tokens": [TOKEN], "require_https": True, "trusted_proxies": ["10.0.0.1"]},
    },
    {
        "servers": {"host": "::"},
        "security": {"tokens": [TOKEN], "require_https": True, "tls": {"cert": "a.pem", "key": "b.pem"}},
    },
    {"servers": {"request_timeout_s": 2.1}},
    {"database": {"primary": {**POSTGRES, "pool": {"min": 20}}}},
    {"database": {"secondary": {"type": "sqlite", "file": "other.db"}}},
    {"database": {"primary": FIRESTORE, "secondary": {**FIRESTORE, "database": "second"}}},
    {"security": {"tokens": [TOKEN, {"name": "bar", "hash": "sha256:" + "1" * 64, "scope": "read"}]}},
]


@pytest.mark.parametrize(("wire", "paths", "detail"), CONFLICTS)
def test_conflict(wire: dict[str, Any], paths: str, detail: str) -> None:
    found = conflicts(Config.from_wire(wire))
    assert len(found) == 1
    assert " ".join(dotted(path) for path in found[0].paths) == paths
    assert detail in found[0].detail


@pytest.mark.parametrize("wire", FINE)
def test_no_conflict(wire: dict[str, Any]) -> None:
    assert conflicts(Config.from_wire(wire)) == []


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_needs_no_token(host: str) -> None:
    assert check_listen_address(Config(), host) is None


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "bar.local", "::ffff:127.0.0.1", ""])
def test_any_other_address_needs_one(host: str) -> None:
    fault = check_listen_address(Config(), host)
    assert fault is not None
    assert f'"{host}" can be reached from other machines' in fault
    assert "deora token add NAME --scope write" in fault
    assert check_listen_address(Config.from_wire({"security": {"tokens": [TOKEN]}}), host) is None
