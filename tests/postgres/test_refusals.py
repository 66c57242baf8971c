"""What it costs to find the one entry of many that PostgreSQL refuses: round trips, counted on the wire."""

from __future__ import annotations

import pytest

from deora.upstream.base import Applied, Refused
from tests.fakes.proxy import Proxy
from tests.fakes.venue import Venue, create, set_

COUNT = 200
# Twice BEGIN, the cursor, the write and ROLLBACK; a savepoint and a write for what is before it, and for itself; and
# what a connection asks of a statement that it has not met yet. Halving would take 60.
NAMED = 20


@pytest.mark.parametrize("collection", ["generic", "mapped"])
@pytest.mark.parametrize("place", [0, 120, COUNT - 1])
async def test_a_row_that_is_shown_is_found_at_once(venue: Venue, collection: str, place: int) -> None:
    await venue.execute("CREATE TABLE mapped (id text PRIMARY KEY, total int CHECK (total >= 0))")
    venue.connect({"mapped": "mapped"})
    assert await venue.send(set_("generic/first", {"total": 0}), set_("mapped/first", {"total": 0})) == Applied()
    await venue.execute(
        "ALTER TABLE deora_documents ADD CONSTRAINT total CHECK (collection <> 'generic' OR (data->>'total')::int >= 0)"
    )
    entries = [set_(f"{collection}/{number}", {"total": -1 if number == place else 1}) for number in range(COUNT)]
    before, _, database = venue.url.rpartition("/")
    host, _, port = before.rpartition(":")
    with Proxy(int(port)) as proxy:
        venue.connect({"mapped": "mapped"}, url=f"{host}:{proxy.port}/{database}")
        assert await venue.send(set_(f"{collection}/second", {"total": 0})) == Applied()
        asked = proxy.requests
        outcome = await venue.send(*entries)
        asked = proxy.requests - asked
        await venue.close()
    assert isinstance(outcome, Refused)
    assert (outcome.index, "violates check constraint" in outcome.message) == (place, True)
    assert asked <= NAMED, f"{asked} round trips"


async def test_a_row_that_misleads_is_no_proof(venue: Venue) -> None:
    """The refused row shows the id of another entry in one of its columns."""
    await venue.execute(
        "CREATE TABLE mapped (id text PRIMARY KEY, of text, total int, CONSTRAINT total CHECK (total >= 0))",
    )
    venue.connect({"mapped": "mapped"})
    entries = [set_(f"mapped/{number}", {"of": "3", "total": -1 if number == 30 else 1}) for number in range(40)]
    outcome = await venue.send(*entries)
    assert isinstance(outcome, Refused)
    assert outcome.index == 30


async def test_a_refusal_that_shows_no_row_is_found_by_halving(venue: Venue) -> None:
    assert await venue.send(set_("a/17", {"theirs": 1})) == Applied()
    outcome = await venue.send(*(create(f"a/{number}", {}) for number in range(40)))
    assert isinstance(outcome, Refused)
    assert outcome.index == 17
