"""Every kind of fault, by a table; all of them at once; nothing of a secret."""

from __future__ import annotations

import math
from typing import Any

import pytest

from deora.config.fields import Spec
from deora.config.reading import Fault, allowed, did_you_mean, dotted, found, read_section, read_value
from deora.config.schema import Config

CANARY = "canary7f3a"
HASH = "sha256:" + "0" * 64
POSTGRES = {"type": "postgres", "url": "postgresql://h/n"}


def faults_of(value: dict[str, Any]) -> list[tuple[str, str]]:
    """The faults of a configuration, as (path, detail)."""
    faults: list[Fault] = []
    read_section(Config, value, (), faults)
    return [(dotted(fault.path), fault.detail) for fault in faults]


FAULTS: list[tuple[dict[str, Any], str, str]] = [
    # integers
    ({"servers": {"port": "3000"}}, "servers.port", 'found "3000"; allowed is a whole number from 0 to 65535'),
    ({"servers": {"port": 65536}}, "servers.port", "found 65536; allowed is a whole number from 0 to 65535"),
    ({"servers": {"port": -1}}, "servers.port", "found -1; allowed"),
    ({"servers": {"port": 3000.0}}, "servers.port", "found 3000.0; allowed"),
    ({"servers": {"port": True}}, "servers.port", "found true; allowed"),
    ({"servers": {"port": None}}, "servers.port", "found null; allowed"),
    ({"servers": {"port": 10**400}}, "servers.port", "found 1000"),
    ({"servers": {"primary": {"workers": 0}}}, "servers.primary.workers", "found 0; allowed is a whole number from 1"),
    # numbers
    ({"servers": {"request_timeout_s": "30"}}, "servers.request_timeout_s", 'found "30"; allowed is a number from 0.1'),
    ({"servers": {"request_timeout_s": 0}}, "servers.request_timeout_s", "found 0; allowed"),
    ({"servers": {"request_timeout_s": math.nan}}, "servers.request_timeout_s", "found NaN; allowed"),
    ({"servers": {"request_timeout_s": math.inf}}, "servers.request_timeout_s", "found Infinity; allowed"),
    ({"operations": {"alerts": {"error_rate": 1.5}}}, "operations.alerts.error_rate", "found 1.5; allowed is a number"),
    # sizes
    (
        {"servers": {"max_memory": "1 gigabyte"}},
        "servers.max_memory",
        'found "1 gigabyte"; allowed is a size from 64MiB',
    ),
    ({"servers": {"max_memory": "1KiB"}}, "servers.max_memory", 'found "1KiB"; allowed is a size from 64MiB to 1TiB'),
    ({"servers": {"max_memory": 1.5}}, "servers.max_memory", "found 1.5; allowed"),
    ({"servers": {"max_memory": False}}, "servers.max_memory", "found false; allowed"),
    # booleans
    ({"security": {"require_https": "true"}}, "security.require_https", 'found "true"; allowed is true or false'),
    ({"security": {"require_https": 1}}, "security.require_https", "found 1; allowed is true or false"),
    # choices
    ({"loadbalancer": {"mode": "Weighted"}}, "loadbalancer.mode", 'found "Weighted"; allowed is one of "weighted", '),
    ({"loadbalancer": {"mode": []}}, "loadbalancer.mode", "found a list; allowed"),
    # texts
    ({"servers": {"host": ""}}, "servers.host", 'found ""; allowed is an IP address or a host name'),
    ({"servers": {"host": 127}}, "servers.host", "found 127; allowed"),
    ({"servers": {"id": "a\nb"}}, "servers.id", 'found "a\\nb"; allowed is 1 to 64 of'),
    ({"logger": {"dir": "x" * 99 + "\x00"}}, "logger.dir", "found " + '"' + "x" * 56 + "...; allowed"),
    # lists
    ({"database": {"replicate": "orders"}}, "database.replicate", 'found "orders"; allowed is a list; each item a'),
    ({"database": {"replicate": ["a", 5]}}, "database.replicate[1]", "found 5; allowed is a collection"),
    ({"database": {"replicate": ["a", "b", "a"]}}, "database.replicate[2]", "stands twice in the list, first at [0]"),
    ({"logger": {"outputs": ["syslog"]}}, "logger.outputs[0]", 'found "syslog"; allowed is one of "console"'),
    # mappings
    ({"queue": {"priorities": []}}, "queue.priorities", "found a list; allowed is an object; each name a collection"),
    (
        {"queue": {"priorities": {"orders": 10}}},
        "queue.priorities.orders",
        "found 10; allowed is a whole number from 0",
    ),
    ({"queue": {"priorities": {"a//b": 1}}}, 'queue.priorities["a//b"]', 'found "a//b"; allowed is a collection'),
    # sections
    ({"servers": []}, "servers", "found a list; allowed is an object with the keys id, host, port"),
    ({"servers": {"primary": 5}}, "servers.primary", "found 5; allowed is an object with the keys id, workers"),
    ({"security": {"tokens": [{"name": "a", "hash": HASH}]}}, "security.tokens[0].scope", "missing; it must be one of"),
    (
        {"security": {"tokens": [{"name": "a", "hash": HASH, "scope": "root"}]}},
        "security.tokens[0].scope",
        'found "root"',
    ),
    # unknown keys
    (
        {"servers": {"prot": 3000}},
        "servers.prot",
        'unknown key; did you mean "port"?; the keys here are id, host, port',
    ),
    ({"servers": {"PORT": 3000}}, "servers.PORT", 'unknown key; did you mean "port"?'),
    ({"servers": {"zzz": 3000}}, "servers.zzz", "unknown key; the keys here are"),
    ({"server": {}}, "server", 'unknown key; did you mean "servers"?'),
    # upstreams
    ({"database": {"primary": None}}, "database.primary", 'found null; allowed is an object with a "type", one of'),
    (
        {"database": {"primary": "sqlite"}},
        "database.primary",
        'found a text (not shown); allowed is an object with a "type"',
    ),
    (
        {"database": {"primary": {"type": "mysql"}}},
        "database.primary.type",
        'found "mysql"; allowed is one of "sqlite", ',
    ),
    ({"database": {"primary": {"type": ["sqlite"]}}}, "database.primary.type", "found a list; allowed"),
    ({"database": {"secondary": {"file": "b.db"}}}, "database.secondary.type", 'missing; it must be one of "sqlite"'),
    ({"database": {"primary": {"type": "postgres"}}}, "database.primary.url", "missing; it must be a postgresql://"),
    (
        {"database": {"primary": {"url": "postgresql://h/n"}}},
        "database.primary.url",
        'the type "sqlite" has no such key, the type "postgres" has; the keys here are type, file',
    ),
    ({"database": {"primary": {**POSTGRES, "pool": {"max": 0}}}}, "database.primary.pool.max", "found 0; allowed"),
    (
        {"database": {"primary": {**POSTGRES, "tables": {"orders": {"id": "n"}}}}},
        "database.primary.tables.orders.table",
        "missing; it must be a table",
    ),
]


@pytest.mark.parametrize(("value", "path", "detail"), FAULTS)
def test_fault(value: dict[str, Any], path: str, detail: str) -> None:
    faults = faults_of(value)
    assert len(faults) == 1
    assert faults[0][0] == path
    assert faults[0][1].startswith(detail)


def test_all_faults_of_the_table_at_once() -> None:
    """Each key once: what one fault hides of another would be a fault that is reported too late."""
    merged: dict[str, Any] = {
        "servers": {"port": "x", "host": 1, "prot": 2, "primary": {"workers": 0, "weight": "y"}},
        "database": {"primary": {"type": "postgres", "pool": {"max": 0, "mx": 1}}, "replicate": [1, "a", "a"]},
        "security": {"tokens": [{"name": "-"}, 5], "require_https": 1, "tls": []},
        "queue": {"priorities": {"orders": 10, "bills": "9"}},
    }
    assert {path for path, _ in faults_of(merged)} == {
        "servers.port",
        "servers.host",
        "servers.prot",
        "servers.primary.workers",
        "servers.primary.weight",
        "database.primary.url",
        "database.primary.pool.max",
        "database.primary.pool.mx",
        "database.replicate[0]",
        "database.replicate[2]",
        "security.tokens[0].name",
        "security.tokens[0].hash",
        "security.tokens[0].scope",
        "security.tokens[1]",
        "security.require_https",
        "security.tls",
        "queue.priorities.orders",
        "queue.priorities.bills",
    }


SECRETS: list[dict[str, Any]] = [
    {"security": {"tokens": [{"name": "a", "hash": CANARY, "scope": "read"}]}},
    {"security": {"tokens": [CANARY]}},
    {"security": {"tokens": CANARY}},
    {"security": CANARY},
    {"operations": {"alerts": f"https://hooks.example/{CANARY}"}},
    {"security": {"tokens": [{"name": "a", "hash": {"x": CANARY}, "scope": "read", "unknown": CANARY}]}},
    {"database": {"primary": {"type": "postgres", "url": f"mysql://u:{CANARY}@h/n"}}},
    {"database": {"primary": {"type": "postgres", "url": CANARY}}},
    {"database": {"primary": {"type": "postgres", "url": f"{CANARY}{CANARY}://h"}}},
    {"database": {"primary": {"url": f"postgresql://u:{CANARY}@h/n"}}},
    {"database": {"primary": f"postgresql://u:{CANARY}@h/n"}},
    {"cache": {"redis": {"url": f"redis//:{CANARY}@h"}}},
    {"cache": {"redis": f"redis://:{CANARY}@h"}},
    {"operations": {"alerts": {"webhook": f"ftp://h/{CANARY}"}}},
    {"operations": {"alerts": {"sentry_dsn": f"https://h/{CANARY}"}}},
    {"servers": {"host": f"postgresql://u:{CANARY}@h/n"}},
    {"servers": {"pasword": CANARY}},
]


@pytest.mark.parametrize("value", SECRETS)
def test_no_fault_shows_a_secret(value: dict[str, Any]) -> None:
    faults = faults_of(value)
    assert faults
    assert CANARY not in str(faults)


def test_partial_sections_keep_the_other_defaults_of_their_place() -> None:
    faults: list[Fault] = []
    value = {"servers": {"secondary": {"workers": 2}}, "database": {"primary": {"file": "other.db"}}}
    config = read_section(Config, value, (), faults)
    assert not faults
    assert (config.servers.secondary.id, config.servers.secondary.workers, config.servers.secondary.weight) == (
        "B",
        2,
        30,
    )
    assert repr(config.database.primary) == "SqliteUpstream(type='sqlite', file='other.db')"


def test_a_faulty_value_leaves_a_whole_configuration() -> None:
    config = read_section(Config, {"servers": {"port": "x"}, "security": {"tokens": [5]}}, (), [])
    assert config == Config()


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("servers", "port"), "servers.port"),
        (("security", "tokens", 1, "hash"), "security.tokens[1].hash"),
        (("queue", "priorities", "a/b/c"), 'queue.priorities["a/b/c"]'),
        (("queue", "priorities", "a\nb"), 'queue.priorities["a\\nb"]'),
    ],
)
def test_dotted(path: tuple[str | int, ...], text: str) -> None:
    assert dotted(path) == text


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (Spec("integer", minimum=1, maximum=9, nullable=True), "a whole number from 1 to 9, or null"),
        (Spec("choice", choices=("a",)), '"a"'),
        (Spec("list", item=Spec("choice", choices=("a", "b"))), 'a list; each item one of "a", "b"'),
    ],
)
def test_allowed(spec: Spec, words: str) -> None:
    assert allowed(spec) == words


def test_found_shortens_and_hides() -> None:
    assert found(Spec("text"), b"x") == "a bytes"
    assert found(Spec("text", secret="value"), CANARY) == "a text (not shown)"
    assert found(Spec("text", secret="value"), 5) == "a value of another kind (not shown)"
    assert found(Spec("text", secret="value"), None) == "null"
    assert found(Spec("text", secret="password"), f"mysql://{CANARY}") == "mysql://... (the rest is not shown)"


def test_did_you_mean() -> None:
    assert did_you_mean("prot", ["port", "host"]) == '; did you mean "port"?'
    assert did_you_mean("x", ["port", "host"]) == ""


def test_nullable() -> None:
    faults: list[Fault] = []
    assert read_value(Spec("integer", minimum=0, maximum=1, nullable=True), None, (), faults) is None
    assert not faults
