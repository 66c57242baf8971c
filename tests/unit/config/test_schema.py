"""The whole schema: the defaults of the contract, the round trip over the wire, secrets."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deora.config.fields import REQUIRED, Spec
from deora.config.formats import follows
from deora.config.reading import Fault, read_value
from deora.config.schema import FILES, Config, upstreams
from deora.errors import ConfigError

MIB = 1 << 20
HASH = "sha256:" + "0" * 64
CANARY = "canary7f3a"
CANARY_URL = f"postgresql://deora:{CANARY}@db:5432/venue?sslpassword={CANARY}"

# The defaults as the design page gives them; `id` and `require_https` serve SERVER_ID and REQUIRE_HTTPS.
DEFAULTS: dict[str, Any] = {
    "servers": {
        "id": None,
        "host": "127.0.0.1",
        "port": 3000,
        "max_memory": 1024 * MIB,
        "request_timeout_s": 30,
        "drain_timeout_s": 10,
        "primary": {"id": "A", "workers": 1, "weight": 70, "priority": 1},
        "secondary": {"id": "B", "workers": 1, "weight": 30, "priority": 2},
    },
    "loadbalancer": {
        "mode": "weighted",
        "sticky": "none",
        "max_retries": 2,
        "health_check": {"interval_s": 5, "rise": 2, "fall": 3, "hang_timeout_s": 2},
    },
    "database": {
        "primary": {"type": "sqlite", "file": "upstream.db"},
        "secondary": None,
        "health_check_interval_s": 30,
        "sync_interval_s": 60,
        "replicate": [],
        "breaker": {"threshold": 5, "timeout_s": 60},
        "retry": {"attempts": 3, "base_s": 0.1},
        "batch": {"max_writes": 500, "max_bytes": 3 * MIB},
    },
    "cache": {
        "memory": {"max_size": 32 * MIB, "ttl_s": 3600},
        "disk": {"max_size": 256 * MIB, "ttl_s": 3600},
        "redis": {"url": None, "timeout_s": 0.05},
    },
    "queue": {
        "max_entries": 1_000_000,
        "max_bytes": 2048 * MIB,
        "retention_hours": 24,
        "on_dead": "continue",
        "priorities": {},
    },
    "logger": {
        "level": "info",
        "outputs": ["console", "file"],
        "dir": "logs",
        "max_file_size": 10 * MIB,
        "keep": 5,
        "access": False,
    },
    "security": {
        "tokens": [],
        "trusted_proxies": [],
        "allowed_hosts": [],
        "require_https": False,
        "cors": {"origins": []},
        "rate_limit": {"requests": 100, "window_s": 10},
        "tls": {"cert": None, "key": None},
        "limits": {
            "body": 4 * MIB,
            "headers": 16384,
            "target": 8192,
            "header_timeout_s": 10,
            "connections_per_address": 200,
            "streams": 200,
        },
    },
    "operations": {
        "alerts": {
            "webhook": None,
            "sentry_dsn": None,
            "queue_entries": 10000,
            "queue_oldest_s": 3600,
            "disk_free": 500 * MIB,
            "error_rate": 0.05,
        },
        "backup": {"dir": None, "every_minutes": 15, "keep": 96},
    },
}

TEXTS: dict[str, list[str]] = {
    "text": ["x", "ä b"],
    "id": ["A", "bar-1.x"],
    "host": ["127.0.0.1", "::1", "bar.local"],
    "host_port": ["127.0.0.1:8080", "[::1]:1"],
    "network": ["10.0.0.0/8", "::1"],
    "collection": ["orders", "orders/o1/items", "Löhne"],
    "table": ["orders", "public.orders"],
    "column": ["id", "Nr."],
    "directory": ["logs", "/var/log/x"],
    "file": ["a.db", "/mnt/b.db"],
    "origin": ["https://till.example:8443"],
    "http_url": ["https://hooks.example/T0/B0"],
    "sentry_dsn": ["https://abc@sentry.example/1"],
    "redis_url": ["redis://:pw@h:6379/0", "unix:///run/r.sock"],
    "postgres_url": ["postgresql://u:pw@h:5432/n", "postgres://h/n"],
    "firestore_id": ["venue", "(default)"],
    "token_hash": [HASH, "sha256:" + "ab" * 32],
}


def values(spec: Spec) -> st.SearchStrategy[Any]:
    """Plain values that a specification allows."""
    strategy: st.SearchStrategy[Any]
    match spec.kind:
        case "text":
            strategy = st.sampled_from(TEXTS[spec.rule])
        case "integer" | "size":
            strategy = st.integers(int(spec.minimum or 0), int(spec.maximum or 0))
        case "number":
            strategy = st.floats(spec.minimum, spec.maximum) | st.integers(1, int(spec.maximum or 1))
        case "boolean":
            strategy = st.booleans()
        case "choice":
            strategy = st.sampled_from(spec.choices)
        case "list":
            assert spec.item
            strategy = st.lists(values(spec.item), max_size=3, unique_by=lambda item: json.dumps(item, sort_keys=True))
        case "mapping":
            assert spec.item
            strategy = st.dictionaries(st.sampled_from(TEXTS[spec.rule]), values(spec.item), max_size=3)
        case "section":
            strategy = members(spec.section)
        case "variant":
            strategy = st.one_of(*(members(section) for section in (spec.variants or {}).values()))
    return strategy | st.none() if spec.nullable else strategy


def members(section: Any) -> st.SearchStrategy[dict[str, Any]]:
    """Plain objects for a section, whole ones, so that they come back as they were."""
    return st.fixed_dictionaries({name: values(spec) for name, spec in section.specs.items()})


def test_defaults_are_those_of_the_contract() -> None:
    assert Config().to_wire() == DEFAULTS
    assert list(FILES) == list(DEFAULTS)


@settings(max_examples=150, deadline=None, print_blob=True)
@given(members(Config))
def test_round_trip(wire: dict[str, Any]) -> None:
    config = Config.from_wire(wire)
    assert config.to_wire() == wire
    packed = msgpack.packb(config.to_wire())
    again = Config.from_wire(msgpack.unpackb(packed))
    assert again == config
    assert again.to_wire() == wire
    assert msgpack.packb(again.to_wire()) == packed


def test_from_wire_names_every_fault() -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_wire({"servers": {"port": "x"}, "queue": {"max_entries": 0}})
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["servers.port", "queue.max_entries"]


def test_upstreams() -> None:
    assert upstreams(Config()) == {"primary": Config().database.primary}
    both = Config.from_wire({"database": {"secondary": {"type": "sqlite", "file": "b.db"}}})
    assert list(upstreams(both)) == ["primary", "secondary"]
    assert upstreams(both)["secondary"].type == "sqlite"


def every_spec(section: Any) -> list[tuple[str, Spec]]:
    """All keys of the schema, those of upstreams, lists and mappings included."""
    found = []
    for name, spec in section.specs.items():
        found.append((f"{section.__name__}.{name}", spec))
        inner = [spec.section, spec.item.section if spec.item else None, *(spec.variants or {}).values()]
        for each in filter(None, inner):
            found += every_spec(each)
    return found


@pytest.mark.parametrize(("name", "spec"), every_spec(Config))
def test_each_key_is_explained_and_its_default_allowed(name: str, spec: Spec) -> None:
    assert spec.meaning.endswith("."), name
    if spec.default is not REQUIRED and spec.kind not in ("section", "variant"):
        faults: list[Fault] = []
        plain = list(spec.default) if isinstance(spec.default, tuple) else spec.default
        read_value(spec, plain, (name,), faults)
        assert not faults
    if spec.kind in ("integer", "number", "size"):
        assert spec.minimum is not None
        assert spec.maximum is not None
        assert spec.minimum < spec.maximum


def test_the_samples_follow_their_rules() -> None:
    assert all(follows(rule, sample) for rule, samples in TEXTS.items() for sample in samples)


def test_no_secret_in_what_is_shown() -> None:
    config = Config.from_wire(
        {
            "database": {
                "primary": {"type": "postgres", "url": CANARY_URL},
                "secondary": {"type": "postgres", "url": f"postgresql://u:{CANARY}@x@h/n"},
            },
            "cache": {"redis": {"url": f"redis://:{CANARY}@h:6379/0"}},
            "security": {"tokens": [{"name": "till", "hash": "sha256:" + "c0ffee" * 10 + "beef", "scope": "admin"}]},
            "operations": {"alerts": {"webhook": f"https://h/{CANARY}", "sentry_dsn": f"https://{CANARY}@h/1"}},
        }
    )
    shown = config.to_display()
    for text in (repr(config), str(shown), str(config.database), f"{config.security.tokens}"):
        assert CANARY not in text
        assert "c0ffee" not in text
    assert shown["database"]["primary"]["url"] == "postgresql://deora:***@db:5432/venue?sslpassword=***"
    assert shown["security"]["tokens"] == [{"name": "till", "hash": "***", "scope": "admin"}]
    assert shown["operations"]["alerts"]["webhook"] == "***"
    assert str(config.to_wire()).count(CANARY) == 6
