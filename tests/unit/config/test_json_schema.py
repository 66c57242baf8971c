"""The JSON Schemas: every key is there, the defaults are valid, what the configuration refuses for its type is not."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from deora.config.json_schema import schema_of
from deora.config.schema import FILES, Config
from deora.config.template import template_files

TYPES: dict[str, Any] = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": int | float,
    "boolean": bool,
    "null": type(None),
}


def is_valid(value: Any, schema: dict[str, Any]) -> bool:
    """What a validator says, for the keywords that are used."""
    known = {"$schema", "title", "description", "default", "type", "minimum", "maximum", "enum", "const", "anyOf"}
    known |= {"properties", "additionalProperties", "required", "items", "uniqueItems", "pattern"}
    assert schema.keys() <= known, schema.keys() - known
    if "anyOf" in schema and not any(is_valid(value, each) for each in schema["anyOf"]):
        return False
    if "type" in schema:
        is_bool = isinstance(value, bool)
        if not isinstance(value, TYPES[schema["type"]]) or (is_bool and schema["type"] != "boolean"):
            return False
    checks = [
        value in schema.get("enum", [value]),
        value == schema.get("const", value),
    ]
    if isinstance(value, int | float) and "minimum" in schema:
        checks.append(schema["minimum"] <= value <= schema["maximum"])
    if isinstance(value, str) and "pattern" in schema:
        checks.append(re.search(schema["pattern"], value) is not None)
    if isinstance(value, list) and "items" in schema:
        checks += [is_valid(each, schema["items"]) for each in value]
    if isinstance(value, dict):
        inside, others = schema.get("properties", {}), schema.get("additionalProperties", {})
        checks.append(set(schema.get("required", [])) <= value.keys())
        for name, each in value.items():
            rule = inside.get(name, others)
            checks.append(rule is not False and is_valid(each, rule))
    return all(checks)


@pytest.mark.parametrize("name", FILES)
def test_the_file_that_init_writes_is_valid_and_every_key_is_known(name: str) -> None:
    schema = schema_of(name)
    written = json.loads(template_files()[f"{name}.json"])
    assert is_valid(written, schema)
    assert is_valid({}, schema)
    section = Config.specs[name].section
    assert section is not None
    assert list(schema["properties"]) == list(section.specs)
    assert not is_valid({**written, "nope": 1}, schema)
    assert json.loads(json.dumps(schema)) == schema


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("queue", {"max_entries": 0}),
        ("queue", {"max_entries": 1.5}),
        ("queue", {"max_entries": True}),
        ("queue", {"max_bytes": "much"}),
        ("queue", {"max_bytes": "1.5GiB"}),
        ("queue", {"on_dead": "wait"}),
        ("queue", {"priorities": {"orders": 10}}),
        ("servers", {"primary": {"wieght": 1}}),
        ("servers", {"host": None}),
        ("database", {"primary": {"type": "sqlite", "url": "x"}}),
        ("database", {"primary": {"type": "postgres"}}),
        ("database", {"primary": None}),
        ("security", {"tokens": [{"name": "x"}]}),
        ("security", {"require_https": "yes"}),
    ],
)
def test_what_is_wrong(name: str, value: dict[str, Any]) -> None:
    assert not is_valid(value, schema_of(name))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("queue", {"max_bytes": "2 GiB", "priorities": {"orders": 9}}),
        ("queue", {"max_bytes": 1_000_000}),
        ("database", {"primary": {"type": "postgres", "url": "postgresql://h/x"}, "secondary": None}),
        ("operations", {"backup": {"dir": None}}),
        ("security", {"allowed_hosts": ["a.test"]}),
    ],
)
def test_what_is_right(name: str, value: dict[str, Any]) -> None:
    assert is_valid(value, schema_of(name))


def test_no_secret_has_a_default_in_it() -> None:
    webhook = schema_of("operations")["properties"]["alerts"]["properties"]["webhook"]
    assert "default" not in webhook
    with pytest.raises(KeyError):
        schema_of("nope")
