"""What an update does to a mapped table's JSON column is what it did to the view: the oracle is `documents.apply`."""

from __future__ import annotations

import random
from typing import Any

import orjson
import pytest

from deora.documents.apply import apply
from deora.documents.values import canonical
from deora.upstream.base import Applied
from tests.contracts.test_upstream import EVERYTHING, UPDATES
from tests.fakes.venue import Venue, set_, update, upsert

TABLE = "CREATE TABLE things (id text PRIMARY KEY, doc {type})"


def below(fields: dict[str, Any]) -> dict[str, Any]:
    """The same update of what lies in the column `doc`."""
    return {f"doc.{path}": value for path, value in fields.items()}


@pytest.mark.parametrize("type_", ["jsonb", "json"])
async def test_every_update_does_what_it_did_to_the_view(venue: Venue, type_: str) -> None:
    await venue.execute(TABLE.format(type=type_))
    venue.connect({"things": "things"})
    expected = {}
    for number, (before, fields) in enumerate(UPDATES):
        path = f"things/{number}"
        write = update(path, below(fields))
        assert await venue.send(set_(path, {"doc": before}), write) == Applied(), fields
        expected[path] = apply(canonical({"doc": before}), write)
    for path, read in zip(expected, await venue.read(*expected), strict=True):
        assert canonical(read) == expected[path], path


async def test_every_upsert_makes_what_the_view_holds(venue: Venue) -> None:
    await venue.execute(TABLE.format(type="jsonb"))
    venue.connect({"things": "things"})
    expected = {}
    for number, (_, fields) in enumerate(UPDATES):
        path = f"things/{number}"
        write = upsert(path, below(fields))
        assert await venue.send(write) == Applied(), fields
        view = apply(None, write)
        expected[path] = view
    for path, read in zip(expected, await venue.read(*expected), strict=True):
        # What an update only deletes from a column that is not there leaves it NULL: no field.
        assert canonical(read) == expected[path], path


def random_value(dice: random.Random, depth: int = 0) -> Any:
    """Some value, with the numbers and tags that operators look at."""
    leaves = [None, True, 0, 1, -1, 1.0, 0.5, 2**63 - 1, 1e300, "x", "", {"$timestamp": "2026-01-31T12:00:00.000000Z"}]
    if depth < 2 and dice.random() < 0.5:
        if dice.random() < 0.5:
            return {dice.choice("abc"): random_value(dice, depth + 1) for _ in range(dice.randrange(3))}
        return [random_value(dice, depth + 1) for _ in range(dice.randrange(4))]
    return dice.choice(leaves)


def random_fields(dice: random.Random) -> dict[str, Any]:
    """Some update of members of `doc`; no path is a prefix of another."""
    fields: dict[str, Any] = {}
    for path in dice.sample(["a", "b.a", "b.b.a", "b.b.b", "b.c", "c.a.a", "c.b"], dice.randrange(1, 5)):
        fields[f"doc.{path}"] = dice.choice(
            [
                random_value(dice),
                {"$increment": dice.choice([1, -1, 0.5, 2**62])},
                {"$max": dice.choice([0, 0.5, 1.0])},
                {"$min": dice.choice([0, 0.5, 1.0])},
                {"$arrayUnion": [random_value(dice, 2) for _ in range(dice.randrange(3))]},
                {"$arrayRemove": [random_value(dice, 2) for _ in range(dice.randrange(3))]},
                {"$delete": True},
            ]
        )
    return fields


@pytest.mark.parametrize("seed", range(3))
async def test_any_update_of_anything_ends_where_the_oracle_does(venue: Venue, seed: int) -> None:
    dice = random.Random(seed)
    await venue.execute(TABLE.format(type="jsonb"))
    venue.connect({"things": "things"})
    expected: dict[str, bytes | None] = {}
    for number in range(150):
        path = f"things/{number}"
        before = {"doc": random_value(dice)}
        if before["doc"] is None:
            before = {}
        writes = [update(path, random_fields(dice)) for _ in range(dice.randrange(1, 3))]
        view: bytes | None = canonical(before)
        for write in writes:
            view = apply(view, write)
        assert await venue.send(set_(path, before), *writes) == Applied(), (before, writes)
        expected[path] = view
    for path, read in zip(expected, await venue.read(*expected), strict=True):
        assert canonical(read) == canonical(orjson.loads(expected[path] or b"{}")), f"seed {seed}, {path}"


async def test_a_json_column_keeps_every_kind_of_value(venue: Venue) -> None:
    await venue.execute(TABLE.format(type="jsonb"))
    venue.connect({"things": "things"})
    assert await venue.send(set_("things/1", {"doc": EVERYTHING})) == Applied()
    assert await venue.read("things/1") == [{"doc": EVERYTHING}]
