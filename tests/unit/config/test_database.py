"""The upstreams' sections."""

from __future__ import annotations

from deora.config.database import UPSTREAM_TYPES, FirestoreUpstream, PostgresUpstream, SqliteUpstream
from deora.config.schema import Config


def test_each_type_is_named_by_its_section() -> None:
    assert {"sqlite": SqliteUpstream, "firestore": FirestoreUpstream, "postgres": PostgresUpstream} == UPSTREAM_TYPES
    assert {name: section.specs["type"].choices for name, section in UPSTREAM_TYPES.items()} == {
        name: (name,) for name in UPSTREAM_TYPES
    }


def test_defaults_of_a_firestore() -> None:
    wire = {"database": {"primary": {"type": "firestore", "project": "venue"}}}
    upstream = Config.from_wire(wire).database.primary
    assert upstream == FirestoreUpstream(
        type="firestore", project="venue", database="(default)", credentials="key.json", emulator_host=None
    )


def test_defaults_of_a_postgres() -> None:
    wire = {
        "database": {"secondary": {"type": "postgres", "url": "postgresql://h/n", "tables": {"orders": {"table": "o"}}}}
    }
    assert Config.from_wire(wire).to_wire()["database"]["secondary"] == {
        "type": "postgres",
        "url": "postgresql://h/n",
        "tables": {"orders": {"table": "o", "id": "id"}},
        "ssl": None,
        "pool": {
            "min": 2,
            "max": 20,
            "idle_timeout_s": 30,
            "connect_timeout_s": 10,
            "max_age_s": 7200,
            "statement_timeout_s": 30,
        },
    }
