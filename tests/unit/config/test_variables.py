"""DEORA_<FILE>__<KEY>: which names are keys, and what is said of the others."""

from __future__ import annotations

from typing import Any

import pytest

from deora.config.layers import Layers, Origin
from deora.config.variables import Setting, is_setting, put_setting

CANARY = "canary7f3a"


def after(name: str, text: str) -> Layers:
    """Layers on which this variable alone was laid."""
    layers = Layers()
    put_setting(layers, Setting(name, text, Origin(4, name)))
    return layers


@pytest.mark.parametrize(
    ("name", "text", "tree"),
    [
        ("DEORA_SERVERS__PORT", "8080", {"servers": {"port": 8080}}),
        ("DEORA_servers__Port", "8080", {"servers": {"port": 8080}}),
        ("DEORA_SERVERS__MAX_MEMORY", "2GiB", {"servers": {"max_memory": "2GiB"}}),
        ("DEORA_SERVERS__ID", "", {"servers": {"id": None}}),
        ("DEORA_LOADBALANCER__HEALTH_CHECK__RISE", "4", {"loadbalancer": {"health_check": {"rise": 4}}}),
        ("DEORA_DATABASE__PRIMARY__TYPE", "postgres", {"database": {"primary": {"type": "postgres"}}}),
        ("DEORA_DATABASE__PRIMARY__POOL__MAX", "9", {"database": {"primary": {"pool": {"max": 9}}}}),
        ("DEORA_DATABASE__SECONDARY", "null", {"database": {"secondary": None}}),
        ("DEORA_DATABASE__SECONDARY", '{"type": "sqlite"}', {"database": {"secondary": {"type": "sqlite"}}}),
        ("DEORA_DATABASE__REPLICATE", '["menu"]', {"database": {"replicate": ["menu"]}}),
        ("DEORA_QUEUE__PRIORITIES__Bills", "9", {"queue": {"priorities": {"Bills": 9}}}),
        ("DEORA_QUEUE__PRIORITIES__a__b", "9", {"queue": {"priorities": {"a__b": 9}}}),
        ("DEORA_QUEUE__PRIORITIES", '{"a/b/c": 9}', {"queue": {"priorities": {"a/b/c": 9}}}),
        (
            "DEORA_DATABASE__PRIMARY__TABLES__Orders__TABLE",
            "o",
            {"database": {"primary": {"tables": {"Orders": {"table": "o"}}}}},
        ),
        (
            "DEORA_DATABASE__PRIMARY__TABLES__Orders",
            '{"table": "o"}',
            {"database": {"primary": {"tables": {"Orders": {"table": "o"}}}}},
        ),
        ("DEORA_SECURITY__REQUIRE_HTTPS", "yes", {"security": {"require_https": True}}),
    ],
)
def test_setting(name: str, text: str, tree: dict[str, Any]) -> None:
    layers = after(name, text)
    assert layers.problems == []
    assert layers.tree == tree


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("DEORA_SERVERS__PROT", CANARY, 'there is no such key; did you mean "DEORA_SERVERS__PORT"?'),
        ("DEORA__SERVERS__PORT", CANARY, 'there is no such key; did you mean "DEORA_SERVERS__PORT"?'),
        ("DEORA_SERVER__PORT", CANARY, 'there is no such key; did you mean "DEORA_SERVERS__PORT"?'),
        ("DEORA_SERVERS__WORKERS", CANARY, "there is no such key"),
        ("DEORA_SERVERS__", CANARY, "there is no such key"),
        ("DEORA_TEST__SEED", CANARY, "there is no such key"),
        ("DEORA_DATABASE__PRIMARY__URI", CANARY, 'there is no such key; did you mean "DEORA_DATABASE__PRIMARY__URL"?'),
        (
            "DEORA_DATABASE__PRIMARY__TABLES__Orders__TABEL",
            CANARY,
            'there is no such key; did you mean "DEORA_DATABASE__PRIMARY__TABLES__Orders__TABLE"?',
        ),
        (
            "DEORA_SECURITY__TOKENS__0__SCOPE",
            CANARY,
            "security.tokens has no keys of its own; set it whole, by DEORA_SECURITY__TOKENS",
        ),
        (
            "DEORA_SERVERS__PORT__MIN",
            CANARY,
            "servers.port has no keys of its own; set it whole, by DEORA_SERVERS__PORT",
        ),
        (
            "DEORA_SECURITY__TOKENS",
            f'[{{"hash": "{CANARY}"}} "{CANARY}"]',
            "security.tokens: not valid JSON, line 1 column 25: Expecting ',' delimiter",
        ),
        ("DEORA_DATABASE__PRIMARY", CANARY, "database.primary: not valid JSON, line 1 column 1: Expecting value"),
    ],
)
def test_wrong_setting(name: str, text: str, problem: str) -> None:
    layers = after(name, text)
    assert layers.problems[0].startswith(f"{name}: {problem}")
    assert len(layers.problems) == 1
    assert CANARY not in layers.problems[0]
    assert layers.tree == {}


@pytest.mark.parametrize(
    ("name", "claims"),
    [
        ("DEORA_SERVERS__PORT", True),
        ("DEORA__SERVERS", True),
        ("DEORA_CONFIG", False),
        ("DEORA_CONFIG_DIR", False),
        ("DEORA_TEST_FIRESTORE_JAR", False),
        ("PORT", False),
        ("OTHER_DEORA_A__B", False),
        ("deora_servers__port", False),
    ],
)
def test_is_setting(name: str, claims: bool) -> None:
    assert is_setting(name) is claims
