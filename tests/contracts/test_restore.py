"""A store that was restored from a backup, at every upstream: each entry takes effect once, and one box goes on."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import orjson

from deora.clock import SystemClock
from deora.replay.breaker import Breaker
from deora.replay.lane import Lane
from deora.replay.takeover import taken_over
from deora.replay.terms import LaneSettings
from deora.store.lives import begin_life
from deora.upstream.base import Cursor, CursorKey, Upstream
from tests.contracts.conftest import Bench
from tests.contracts.test_takeover import OTHER, TAKER, THIRD
from tests.contracts.test_upstream import KEY
from tests.fakes.calls import StoreWithCalls
from tests.fakes.clock import ManualClock
from tests.fakes.store import update


@asynccontextmanager
async def delivering(store: StoreWithCalls, upstream: Upstream) -> AsyncIterator[Lane]:
    """A lane at work."""
    settings, breaker = LaneSettings(max_writes=4), Breaker(5, 60.0)
    lane = Lane(
        "primary",
        upstream,
        store.calls,
        settings,
        breaker,
        SystemClock(),
        sleep=asyncio.sleep,
        random=random.Random(1).random,
        report=lambda _name, _status: None,
    )
    task = asyncio.ensure_future(lane.run())
    try:
        yield lane
    finally:
        task.cancel()
        await asyncio.wait({task})


async def until(store: StoreWithCalls, holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            store.clock.advance(0.05)
            store.handle()
            await asyncio.sleep(0.01)


def write(store: StoreWithCalls, count: int) -> None:
    store.write_each([update(f"a/{n % 3}", {"n": {"$increment": 1}}, upsert=True) for n in range(count)])


def restored(folder: Path, source: StoreWithCalls) -> StoreWithCalls:
    """The store of a fresh box, from a backup that is taken now."""
    folder.mkdir()
    with closing(sqlite3.connect(source.path)) as db, closing(sqlite3.connect(folder / "copy")) as copy:
        db.backup(copy)
    shutil.copyfile(folder / "copy", folder / "store.db")
    with closing(sqlite3.connect(folder / "store.db", isolation_level=None)) as db:
        db.execute("BEGIN")
        begin_life(db)
        db.execute("COMMIT")
    return StoreWithCalls(folder / "store.db", ManualClock())


async def test_a_restored_store_sends_what_upstream_lacks_and_nothing_else(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "box").mkdir()
    box = StoreWithCalls(tmp_path / "box" / "store.db", ManualClock())
    stores, upstream = [box], bench.make()
    try:
        write(box, 12)
        async with delivering(box, upstream):
            await until(box, lambda: box.waiting() == 0)
        write(box, 9)
        fresh, twin = (restored(tmp_path / name, box) for name in ("fresh", "twin"))
        stores += [fresh, twin]
        async with delivering(box, upstream):
            await until(box, lambda: box.waiting() <= 5)
        write(fresh, 6)
        async with delivering(fresh, upstream):
            await until(fresh, lambda: fresh.waiting() == 0 and not fresh.service.outbox.upstreams["primary"].lost)
        documents = {path: orjson.loads(data)["n"] for path, data in (await bench.all_documents()).items()}
        assert documents == {"a/0": 9, "a/1": 9, "a/2": 9}
        assert {path: orjson.loads(view)["n"] for path, view in fresh.views().items()} == documents
        async with delivering(twin, upstream) as lane:
            await until(twin, lambda: lane.status.state == "stopped")
        assert "in use elsewhere" in str(lane.status.last_error)
        old = CursorKey(*box.service.identity, 0)
        cursor = await upstream.read_cursor(old)
        assert isinstance(cursor, Cursor)
        assert cursor.taken_by == CursorKey(*fresh.service.identity, 0).box
    finally:
        for store in stores:
            store.close()


async def test_a_marker_passes_on_with_the_queue_of_the_box_that_it_names(bench: Bench) -> None:
    upstream = bench.make()

    async def take(box: str) -> str | None:
        cursor = await taken_over(
            KEY, box, lambda key, former: upstream.take_over(key, box, former), upstream.read_cursor
        )
        assert isinstance(cursor, Cursor)
        return cursor.taken_by

    assert await take(TAKER.box) == TAKER.box
    assert await take(OTHER.box) == TAKER.box, "it has nothing of that one"
    # It gets that one's queue, and another one gets its.
    await upstream.take_over(TAKER, OTHER.box)
    await upstream.take_over(OTHER, THIRD.box)
    assert await take(THIRD.box) == THIRD.box
    assert await take(OTHER.box) == THIRD.box
    assert await take(TAKER.box) == THIRD.box
