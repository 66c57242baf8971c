"""Figure (e): how fast a backlog reaches a PostgreSQL, beside one connection that does nothing but write.

The server syncs as it comes out of the box, on the disk of the measurement. The peer is what PERFORMANCE calls the
shape's limit: one asyncpg connection, one `unnest` upsert of 500 rows and the marker in each transaction.
"""

from __future__ import annotations

import asyncio
import time
from typing import Final

from bench import postgres
from bench.drain import drain, fill
from bench.instance import Instance
from bench.measure import Bar, Row, Settings
from bench.processes import find_program

TITLE: Final = "drain of a backlog into PostgreSQL"
BACKLOG: Final = 100_000
BATCH: Final = 500
BAR: Final = Bar(15_000)
PEER: Final = "one asyncpg connection"
PEER_SQL: Final = """INSERT INTO peer SELECT path, data::jsonb, $3 FROM unnest($1::text[], $2::text[]) AS g (path, data)
  ON CONFLICT (path) DO UPDATE SET data = excluded.data, version = excluded.version"""


def measure(settings: Settings) -> list[Row]:
    """One row for the drain, and one for the peer on the same server."""
    find_program("wrk")
    folder = settings.directory / "drain-postgres"
    folder.mkdir()
    rates, peers = [], []
    with postgres.running() as server:
        config = {"database": {"primary": {"type": "postgres", "url": server.url()}}}
        with Instance(folder, config) as instance:
            instance.wait_until_ready()
            for number in range(settings.pairs):
                waiting = fill(instance, BACKLOG)
                rates.append(drain(instance, waiting))
                peers.append(asyncio.run(write_alone(server.url())))
                settings.say(
                    f"{TITLE}: round {number + 1} of {settings.pairs}: {waiting:,} entries, {rates[-1]:,.0f}/s;"
                    f" {PEER} {peers[-1]:,.0f}/s"
                )
    return [
        Row(f"{TITLE}, {BACKLOG:,} entries", "entries/s", BAR, rates),
        Row(f"{PEER}, unnest upserts of {BATCH}", "rows/s", None, peers),
    ]


async def write_alone(url: str) -> float:
    """Rows/s of the peer."""
    import asyncpg  # of an extra: the other figures need none of it

    connection = await asyncpg.connect(url)
    try:
        await connection.execute("CREATE TABLE IF NOT EXISTS peer (path text PRIMARY KEY, data jsonb, version bigint)")
        await connection.execute("CREATE TABLE IF NOT EXISTS marker (seq bigint); TRUNCATE marker, peer")
        await connection.execute("INSERT INTO marker VALUES (0)")
        texts = ['{"filler":"%s"}' % ("x" * 280)] * BATCH
        started = time.monotonic()
        for number in range(BACKLOG // BATCH):
            paths = [f"bench/{(number * BATCH + index) * 7919 % 20_000}" for index in range(BATCH)]
            async with connection.transaction():
                await connection.execute("UPDATE marker SET seq = $1", number)
                await connection.execute(PEER_SQL, paths, texts, number)
        return BACKLOG / (time.monotonic() - started)
    finally:
        await connection.close()
