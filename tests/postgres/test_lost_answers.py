"""10,000 writes of which half increments, while 30 % of the commits' answers are lost: counters are exact (F18)."""

from __future__ import annotations

import pytest

from deora.upstream.base import Applied, Cursor, Moved, Unclear
from tests.fakes.proxy import COMMIT, LostAnswers, Proxy
from tests.fakes.venue import KEY, Venue, set_, upsert

WRITES = 10_000
BATCH = 20


@pytest.mark.parametrize("table", ["generic", "mapped"])
async def test_counters_are_exact_though_answers_are_lost(venue: Venue, table: str) -> None:
    await venue.execute("CREATE TABLE counters (id text PRIMARY KEY, n int)")
    seed = 7
    with Proxy(int(venue.url.rpartition(":")[2].partition("/")[0])) as proxy:
        answers = proxy.answers = LostAnswers(COMMIT, 0.3, seed)
        host, _, database = venue.url.rpartition("/")
        url = f"{host.rpartition(':')[0]}:{proxy.port}/{database}"
        venue.connect({"counters": "counters"} if table == "mapped" else {}, url=url)
        sent = landed_unheard = 0
        while sent < WRITES:
            numbers = range(sent, sent + BATCH)
            writes = [
                upsert(f"counters/{number % 7}", {"n": {"$increment": 1}})
                if number % 2
                else set_(f"sets/{number % 50}", {"number": number})
                for number in numbers
            ]
            outcome = await venue.send(*writes)
            if isinstance(outcome, Unclear):
                # As a lane does: nothing is sent before the cursor has told.
                cursor = await venue.client.read_cursor(KEY)
                assert isinstance(cursor, Cursor | None)
                mine = f"b{venue.seq + 1}"
                if cursor is not None and cursor.batch_id == mine:
                    assert await venue.send(*writes) == Moved()
                    venue.seq, venue.batch_id = venue.seq + 1, mine
                    landed_unheard += 1
                else:
                    continue
            else:
                assert outcome == Applied()
            sent += BATCH
        await venue.close()
    assert landed_unheard == answers.losses > WRITES // BATCH // 5
    source = (
        "SELECT id, n FROM counters"
        if table == "mapped"
        else ("SELECT id, (data ->> 'n')::int FROM deora_documents WHERE collection = 'counters'")
    )
    expected = {str(key): sum(number % 7 == key for number in range(1, WRITES, 2)) for key in range(7)}
    assert sorted(await venue.rows(source)) == sorted(expected.items()), f"seed {seed}"
    last = await venue.rows(
        "SELECT max((data ->> 'number')::int), count(*) FROM deora_documents WHERE collection = 'sets'"
    )
    assert last == [(WRITES - 2, 25)]
