"""Sources laid over each other: what wins, what is dropped, who is named."""

from __future__ import annotations

from typing import Any

import pytest

from deora.config.fields import Spec
from deora.config.layers import Layers, Origin, child_spec, from_text
from deora.config.reading import Fault
from deora.config.schema import Config

FILE = Origin(0, "database.json")
WEAK = Origin(1, "weak")
STRONG = Origin(3, "strong")


def layered(*puts: tuple[tuple[str, ...], Any, Origin]) -> Layers:
    """Layers after these puts."""
    layers = Layers()
    for path, value, origin in puts:
        layers.put(path, value, origin)
    return layers


def test_objects_are_merged_and_all_else_is_replaced() -> None:
    layers = layered(
        (("database",), {"breaker": {"threshold": 9}, "replicate": ["a", "b"]}, FILE),
        (("database",), {"breaker": {"timeout_s": 1}, "replicate": ["c"]}, WEAK),
        (("database", "breaker", "timeout_s"), 2, STRONG),
    )
    assert layers.tree == {"database": {"breaker": {"threshold": 9, "timeout_s": 2}, "replicate": ["c"]}}
    assert layers.problems == []


def test_origins() -> None:
    layers = layered(
        (("database",), {"secondary": None, "breaker": {"threshold": 9}}, FILE),
        (("database", "secondary", "file"), "b.db", STRONG),
        (("queue", "max_entries"), 5, WEAK),
    )
    places: dict[tuple[str, ...], Origin | None] = {
        ("database", "breaker", "threshold"): FILE,
        ("database", "breaker", "unknown"): FILE,
        ("database", "secondary"): STRONG,
        ("database", "secondary", "file"): STRONG,
        ("queue",): WEAK,
        ("cache", "redis"): None,
    }
    assert {path: layers.origin(path) for path in places} == places


def test_ranks_count_what_is_set_only() -> None:
    layers = layered((("cache",), {"redis": {"url": None}}, WEAK))
    assert layers.rank(("cache", "redis", "url")) == 1
    assert layers.rank(("cache", "redis", "timeout_s")) == -1
    assert layers.rank(("queue", "max_entries")) == -1


def test_another_type_drops_the_keys_of_the_former() -> None:
    layers = layered(
        (("database",), {"primary": {"type": "postgres", "url": "postgresql://h/n", "pool": {"max": 3}}}, FILE),
        (("database", "primary", "file"), "b.db", WEAK),
        (("database", "primary", "type"), "sqlite", WEAK),
    )
    assert layers.tree["database"]["primary"] == {"type": "sqlite", "file": "b.db"}


def test_a_type_takes_what_was_set_for_it_before() -> None:
    """The default type counts: a file that names a URL alone is made whole by the type from the environment."""
    layers = layered(
        (("database",), {"primary": {"url": "postgresql://h/n", "file": "b.db"}}, FILE),
        (("database", "primary", "type"), "postgres", STRONG),
    )
    assert layers.tree["database"]["primary"] == {"type": "postgres", "url": "postgresql://h/n"}


@pytest.mark.parametrize("kind", [None, 5, ["sqlite"], "mysql"])
def test_a_wrong_type_drops_nothing(kind: object) -> None:
    layers = layered(
        (("database",), {"primary": {"type": kind, "url": "postgresql://h/n"}}, FILE),
        (("database", "primary", "type"), "sqlite", STRONG),
    )
    assert layers.tree["database"]["primary"] == {"type": "sqlite", "url": "postgresql://h/n"}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({"servers": {"port": "x"}}, 'servers.port: found "x"; allowed'),
        ({"servers": {"port": None}}, "servers.port: found null; allowed"),
        ({"database": {"replicate": [5]}}, "database.replicate[0]: found 5; allowed"),
        ({"database": {"primary": {"type": "postgres", "url": "x"}}}, "database.primary.url: found a text (not shown)"),
        ({"queue": {"priorities": {"a": 10}}}, "queue.priorities.a: found 10; allowed"),
    ],
)
def test_a_wrong_value_is_a_fault_even_where_it_is_replaced(value: dict[str, Any], problem: str) -> None:
    layers = Layers()
    for name, file in value.items():
        layers.put((name,), file, FILE)
    layers.put(("servers", "port"), 1, STRONG)
    layers.put(("database",), {"replicate": ["a"], "primary": {"type": "sqlite"}}, STRONG)
    layers.put(("queue", "priorities", "a"), 1, STRONG)
    assert len(layers.problems) == 1
    assert layers.problems[0].startswith(f"database.json: {problem}")


@pytest.mark.parametrize("wrong", [5, "x", [], None])
def test_what_should_be_an_object_and_is_none_stays_for_the_reader(wrong: object) -> None:
    layers = layered(
        (("servers",), {"primary": wrong}, FILE),
        (("servers", "primary", "workers"), 2, STRONG),
    )
    assert layers.tree["servers"]["primary"] == wrong
    assert layers.origin(("servers", "primary")) == FILE


def test_a_reported_fault_names_its_source_once() -> None:
    layers = layered((("database",), {"primary": {"type": "postgres"}}, FILE))
    fault = Fault(("database", "primary", "url"), "missing", ("database", "primary", "type"))
    layers.report(fault)
    layers.report(fault)
    layers.report(Fault(("queue", "x"), "unknown key"))
    assert layers.problems == ["database.json: database.primary.url: missing", "queue.x: unknown key"]
    assert ("queue", "x") in layers.broken


def test_child_spec() -> None:
    root = Spec("section", section=Config)
    database = child_spec(root, "database")
    assert database is not None
    primary = child_spec(database, "primary")
    assert primary is not None
    url = child_spec(primary, "url")
    assert url is not None
    assert url.rule == "postgres_url"
    assert child_spec(root, "nothing") is None
    assert child_spec(url, "nothing") is None


NULLABLE = Spec("text", nullable=True)


@pytest.mark.parametrize(
    ("spec", "text", "value"),
    [
        (Spec("integer"), "42", 42),
        (Spec("integer"), " 42 ", 42),
        (Spec("integer"), "4_2", "4_2"),
        (Spec("integer"), "abc", "abc"),
        (Spec("integer"), "[1]", "[1]"),
        (Spec("number"), "0.5", 0.5),
        (Spec("number"), "1e3", 1000.0),
        (Spec("number"), "NaN", "NaN"),
        (Spec("size"), "10MiB", "10MiB"),
        (Spec("boolean"), "TRUE", True),
        (Spec("boolean"), " off ", False),
        (Spec("boolean"), "maybe", "maybe"),
        (Spec("text"), "42", "42"),
        (Spec("text"), "null", "null"),
        (NULLABLE, "null", None),
        (NULLABLE, "", None),
        (NULLABLE, "x", "x"),
        (Spec("choice"), "info", "info"),
        (Spec("list"), '["a"]', ["a"]),
        (Spec("mapping"), '{"a": 1}', {"a": 1}),
        (Spec("variant", nullable=True), "null", None),
    ],
)
def test_from_text(spec: Spec, text: str, value: object) -> None:
    result = from_text(spec, text)
    assert result == value
    assert type(result) is type(value)


def test_from_text_refuses_what_should_be_json() -> None:
    with pytest.raises(ValueError, match="line 1 column 1"):
        from_text(Spec("list"), "a,b")
