"""The named variables: what each of them sets, and when it does nothing."""

from __future__ import annotations

from typing import Any

import pytest

from deora.config.layers import Layers, Origin
from deora.config.load import load
from deora.config.named import NAMED
from deora.config.schema import Config
from deora.config.variables import Setting
from deora.errors import ConfigError

CANARY = "canary7f3a"
POSTGRES = {"DEORA_DATABASE__PRIMARY__TYPE": "postgres", "DEORA_DATABASE__PRIMARY__URL": "postgresql://h/n"}
FIRESTORE = {"DEORA_DATABASE__SECONDARY__TYPE": "firestore", "DEORA_DATABASE__SECONDARY__PROJECT": "venue"}
REDIS = {"REDIS_STRING": "redis://cache:6379/0"}


def value(wire: dict[str, Any], key: str) -> Any:
    """What stands at a dotted key."""
    for step in key.split("."):
        wire = wire[step]
    return wire


SETS: list[tuple[dict[str, str], str, Any]] = [
    ({"SERVER_ID": "bar-1"}, "servers.id", "bar-1"),
    ({"PORT": "8080"}, "servers.port", 8080),
    ({"PORT": ""}, "servers.port", 3000),
    ({"PORT": "  "}, "servers.port", 3000),
    ({"DATABASE_URL": "postgres://u:p@h/n"}, "database.primary.url", "postgres://u:p@h/n"),
    ({"DATABASE_URL": "postgresql://h/n"}, "database.primary.type", "postgres"),
    ({"DATABASE_URL": "sqlite:///a/b.db"}, "database.primary", {"type": "sqlite", "file": "a/b.db"}),
    ({"DATABASE_URL": "sqlite:////mnt/b.db"}, "database.primary", {"type": "sqlite", "file": "/mnt/b.db"}),
    ({**POSTGRES, "DB_POOL_MIN": "3"}, "database.primary.pool.min", 3),
    ({**POSTGRES, "DB_POOL_MAX": "30"}, "database.primary.pool.max", 30),
    ({"DATABASE_URL": "postgresql://h/n", "DB_POOL_MAX": "30"}, "database.primary.pool.max", 30),
    ({**POSTGRES, "DB_SSL": "true"}, "database.primary.ssl", "verify-full"),
    ({**POSTGRES, "DB_SSL": "0"}, "database.primary.ssl", "disable"),
    ({**POSTGRES, "DB_SSL": "require"}, "database.primary.ssl", "require"),
    ({**POSTGRES, "DB_STATEMENT_TIMEOUT": "5000"}, "database.primary.pool.statement_timeout_s", 5),
    ({**POSTGRES, "DB_STATEMENT_TIMEOUT": "2500"}, "database.primary.pool.statement_timeout_s", 2.5),
    ({"DB_POOL_MIN": "abc", "DB_SSL": "what"}, "database.primary.type", "sqlite"),
    ({"REDIS_STRING": "redis://h:1/0"}, "cache.redis.url", "redis://h:1/0"),
    ({"REDIS_STRING": "h"}, "cache.redis.url", "redis://h"),
    ({"REDIS_STRING": "h:6380"}, "cache.redis.url", "redis://h:6380"),
    ({"REDIS_STRING": "h", "REDIS_PORT_NO": "6381"}, "cache.redis.url", "redis://h:6381"),
    ({"REDIS_STRING": "[::1]:1", "REDIS_PORT_NO": "6381"}, "cache.redis.url", "redis://[::1]:6381"),
    ({**REDIS, "REDIS_PORT_NO": "06381"}, "cache.redis.url", "redis://cache:6381/0"),
    ({**REDIS, "REDIS_PASSWORD": "a/b@c:d"}, "cache.redis.url", "redis://:a%2Fb%40c%3Ad@cache:6379/0"),
    ({"REDIS_STRING": "redis://u:x@h", "REDIS_PASSWORD": "y"}, "cache.redis.url", "redis://u:y@h"),
    ({"REDIS_STRING": "unix:///r.sock", "REDIS_PORT_NO": "1"}, "cache.redis.url", "unix:///r.sock"),
    ({"REDIS_STRING": "unix:///r.sock", "REDIS_PASSWORD": "p"}, "cache.redis.url", "unix://:p@/r.sock"),
    ({"REDIS_PORT_NO": "1", "REDIS_PASSWORD": "x"}, "cache.redis.url", None),
    ({"DEORA_CACHE__REDIS__URL": "redis://h", "REDIS_PASSWORD": "x"}, "cache.redis.url", "redis://:x@h"),
    ({"DEORA_CACHE__REDIS__URL": "redis://:a@h", "REDIS_PASSWORD": "x"}, "cache.redis.url", "redis://:a@h"),
    ({"DEORA_CACHE__REDIS__URL": "redis://h:1", "REDIS_PORT_NO": "2"}, "cache.redis.url", "redis://h:1"),
    ({"RATE_LIMIT_ENABLED": "false"}, "security.rate_limit.requests", 0),
    ({"RATE_LIMIT_ENABLED": "true"}, "security.rate_limit.requests", 100),
    ({"RATE_LIMIT_ENABLED": "no", "RATE_LIMIT_MAX_REQUESTS": "5"}, "security.rate_limit.requests", 0),
    ({"RATE_LIMIT_ENABLED": "yes", "RATE_LIMIT_MAX_REQUESTS": "5"}, "security.rate_limit.requests", 5),
    ({"RATE_LIMIT_ENABLED": "yes", "RATE_LIMIT_MAX_REQUESTS": "0"}, "security.rate_limit.requests", 100),
    (
        {"RATE_LIMIT_ENABLED": "false", "DEORA_SECURITY__RATE_LIMIT__REQUESTS": "7"},
        "security.rate_limit.requests",
        7,
    ),
    ({"RATE_LIMIT_WINDOW_MS": "1500"}, "security.rate_limit.window_s", 1.5),
    ({"RATE_LIMIT_MAX_REQUESTS": "7"}, "security.rate_limit.requests", 7),
    ({"REQUIRE_HTTPS": "on"}, "security.require_https", True),
    ({"LOG_LEVEL": "WARN"}, "logger.level", "warning"),
    ({"LOG_LEVEL": "Debug"}, "logger.level", "debug"),
    ({"LOG_DIR": "/var/log/deora"}, "logger.dir", "/var/log/deora"),
    ({"FIRESTORE_EMULATOR_HOST": "localhost:8080"}, "database.primary", {"type": "sqlite", "file": "upstream.db"}),
    ({**FIRESTORE, "FIRESTORE_EMULATOR_HOST": "h:8080"}, "database.secondary.emulator_host", "h:8080"),
    ({**FIRESTORE, "GOOGLE_APPLICATION_CREDENTIALS": "/k.json"}, "database.secondary.credentials", "/k.json"),
    (
        {
            **FIRESTORE,
            "FIRESTORE_EMULATOR_HOST": "h:8080",
            "DEORA_DATABASE__SECONDARY__EMULATOR_HOST": "null",
        },
        "database.secondary.emulator_host",
        None,
    ),
]


@pytest.mark.parametrize(("environ", "key", "expected"), SETS)
def test_sets(environ: dict[str, str], key: str, expected: Any) -> None:
    assert value(load(None, environ=environ, dotenv=None).to_wire(), key) == expected


def test_each_named_variable_is_tried_above() -> None:
    assert {name for environ, _, _ in SETS for name in environ} >= set(NAMED)


WRONG: list[tuple[dict[str, str], str]] = [
    ({"PORT": "abc"}, 'PORT (environment): servers.port: found "abc"; allowed is a whole number from 0 to 65535'),
    ({"SERVER_ID": "a b"}, 'SERVER_ID (environment): servers.id: found "a b"; allowed is 1 to 64 of'),
    (
        {"DATABASE_URL": f"mysql://u:{CANARY}@h/n"},
        "DATABASE_URL (environment): database.primary: found mysql://... (the rest is not shown); allowed are",
    ),
    ({"DATABASE_URL": CANARY}, "DATABASE_URL (environment): database.primary: found a text (not shown); allowed are"),
    ({"DATABASE_URL": f"postgresql://u:{CANARY}/x@h/n"}, "DATABASE_URL (environment): database.primary.url: found"),
    ({**POSTGRES, "DB_POOL_MIN": "-1"}, "DB_POOL_MIN (environment): database.primary.pool.min: found -1; allowed"),
    (
        {**POSTGRES, "DB_POOL_MIN": "21"},
        "DB_POOL_MIN (environment): database.primary.pool.min and database.primary.pool.max: min is 21, max is 20",
    ),
    ({**POSTGRES, "DB_SSL": "maybe"}, 'DB_SSL (environment): database.primary.ssl: found "maybe"; allowed is one of'),
    (
        {**POSTGRES, "DB_STATEMENT_TIMEOUT": "30s"},
        'DB_STATEMENT_TIMEOUT (environment): database.primary.pool.statement_timeout_s: found "30s"; allowed is',
    ),
    (
        {**POSTGRES, "DB_STATEMENT_TIMEOUT": "0"},
        "DB_STATEMENT_TIMEOUT (environment): database.primary.pool.statement_timeout_s: found 0; allowed is a number",
    ),
    ({"REDIS_STRING": f"http://{CANARY}"}, "REDIS_STRING (environment): cache.redis.url: found http://... (the rest"),
    (
        {**REDIS, "REDIS_PORT_NO": "70000"},
        'REDIS_PORT_NO (environment): cache.redis.url: found "70000"; allowed is a whole number from 1 to 65535',
    ),
    (
        {"RATE_LIMIT_ENABLED": "2"},
        'RATE_LIMIT_ENABLED (environment): security.rate_limit.requests: found "2"; allowed is true or false',
    ),
    ({"REQUIRE_HTTPS": "maybe"}, 'REQUIRE_HTTPS (environment): security.require_https: found "maybe"; allowed is true'),
    ({"LOG_LEVEL": "loud"}, 'LOG_LEVEL (environment): logger.level: found "loud"; allowed is one of "debug"'),
    (
        {**FIRESTORE, "FIRESTORE_EMULATOR_HOST": "localhost"},
        'FIRESTORE_EMULATOR_HOST (environment): database.secondary.emulator_host: found "localhost"; allowed is a host',
    ),
]


@pytest.mark.parametrize(("environ", "problem"), WRONG)
def test_wrong(environ: dict[str, str], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, environ=environ, dotenv=None)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith(problem)
    assert CANARY not in str(caught.value)


def test_every_key_is_one_of_the_schema() -> None:
    for name, variable in NAMED.items():
        layers = Layers()
        layers.put(("database",), Config().to_wire()["database"], Origin(0, "x"))
        prefix = ("database", "primary") if variable.upstream_type else ()
        assert layers.rank((*prefix, *variable.path)) <= 0, name
        assert variable.meaning.endswith("."), name


def test_a_setting_shows_where_it_was_found() -> None:
    assert Setting("PORT", "1", Origin(3, "PORT (environment)")).origin.label == "PORT (environment)"
