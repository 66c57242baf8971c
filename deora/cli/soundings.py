"""What `deora doctor` asks upstreams: whether they answer, whether they take our credentials, what time they have."""

from __future__ import annotations

import asyncio
import email.utils
import http.client
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from deora.cli.checkup import FAILED, FINE, WARNING, Finding
from deora.config.database import FirestoreUpstream, PostgresUpstream, SqliteUpstream
from deora.config.schema import Config, upstreams
from deora.errors import DeoraError
from deora.upstream.base import CursorKey, Unauthorised, Unclear

DEADLINE_S: Final = 10.0
CLOCK_OFF_S: Final = 60.0
# A cursor that nobody has: reading it needs a connection and credentials, and changes nothing.
_KEY: Final = CursorKey("doctor", "doctor", 0)
_GOOGLE: Final = "firestore.googleapis.com"

Settings = SqliteUpstream | FirestoreUpstream | PostgresUpstream


def of_upstreams(config: Config, data: Path) -> Iterator[Finding]:
    """A round trip to each upstream, and how far its clock is from ours."""
    for name, settings in upstreams(config).items():
        found = asyncio.run(round_trip(name, settings, data))
        yield found
        if found.level == FINE:
            yield from clock_of(name, settings)


async def round_trip(name: str, settings: Settings, data: Path) -> Finding:
    """Whether an upstream answers, and takes our credentials."""
    title = f"upstream {name}"
    if isinstance(settings, SqliteUpstream) and not (data / settings.file).exists():
        folder = (data / settings.file).parent
        if folder.is_dir() or folder == data:
            return Finding(title, FINE, f"{data / settings.file} is made when it is first needed")
        hint = "mount its disk, or make the folder (database.json, file)"
        return Finding(title, FAILED, f"{folder} is not there", hint)
    from deora.replay.main import connect

    began_s = time.perf_counter()
    try:
        upstream = connect(settings, data)
        try:
            async with asyncio.timeout(DEADLINE_S):
                answer = await upstream.read_cursor(_KEY)
        finally:
            await upstream.close()
    except TimeoutError:
        answer = Unclear(f"no answer within {DEADLINE_S:g} s")
    except DeoraError as error:
        return Finding(title, FAILED, error.message, error.hint or "correct database.json")
    if isinstance(answer, Unauthorised):
        hint = "check its credentials and what they may do; writes wait in the queue meanwhile"
        return Finding(title, FAILED, f"it refuses us: {answer.message}", hint)
    if isinstance(answer, Unclear):
        hint = "check the link, the address in database.json, and the server; writes wait in the queue meanwhile"
        return Finding(title, FAILED, answer.message, hint)
    return Finding(title, FINE, f"it answers, within {(time.perf_counter() - began_s) * 1000:.1f} ms")


def clock_of(name: str, settings: Settings) -> Iterator[Finding]:
    """How far this box's clock is from an upstream's, where that one tells its time."""
    theirs_s: float | None = None
    with suppress(OSError, ValueError, http.client.HTTPException, TimeoutError):
        if isinstance(settings, FirestoreUpstream):
            theirs_s = _date_of(settings.emulator_host)
        elif isinstance(settings, PostgresUpstream):
            theirs_s = asyncio.run(_postgres_time(settings))
    if theirs_s is not None:
        yield judged_clock(name, time.time() - theirs_s)


def judged_clock(name: str, off_s: float) -> Finding:
    """What a difference means; more than 0 is ahead of upstream."""
    if abs(off_s) > CLOCK_OFF_S:
        detail = f"this box is {abs(off_s):.0f} s {'ahead of' if off_s > 0 else 'behind'} upstream {name}"
        hint = "set the clock, or see to a time server; nothing is ordered by it, but credentials may be refused"
        return Finding("clock against upstream", WARNING, detail, hint)
    return Finding("clock against upstream", FINE, f"within {max(1, round(abs(off_s)))} s of upstream {name}")


def _date_of(emulator: str | None) -> float | None:
    """The `Date` of an HTTP answer, in seconds since 1970."""
    if emulator is not None:
        connection = http.client.HTTPConnection(emulator, timeout=DEADLINE_S)
    else:
        connection = http.client.HTTPSConnection(_GOOGLE, timeout=DEADLINE_S)
    try:
        connection.request("HEAD", "/")
        date = connection.getresponse().getheader("Date")
    finally:
        connection.close()
    return email.utils.parsedate_to_datetime(date).timestamp() if date else None


async def _postgres_time(settings: PostgresUpstream) -> float:
    from deora.upstream.postgres.connecting import Connector
    from deora.upstream.postgres.dsn import place_of

    async with asyncio.timeout(DEADLINE_S):
        connection = await Connector(place_of(settings.url, settings.ssl), settings.pool)()
        try:
            return float(await connection.fetchval("SELECT extract(epoch FROM clock_timestamp())"))
        finally:
            await connection.close()
