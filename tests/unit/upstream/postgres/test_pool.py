"""The pool, with connections that are none and a clock that is moved by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from deora.config.database import Pool as Settings
from deora.upstream.base import PoolFigures
from deora.upstream.postgres.pool import Pool


class Wire:
    """A connection."""

    def __init__(self) -> None:
        self.closed = ""

    def is_closed(self) -> bool:
        return self.closed != ""

    async def close(self, *, timeout: float | None = None) -> None:
        del timeout
        self.closed = "closed"

    def terminate(self) -> None:
        self.closed = "terminated"


class Bench:
    """A pool, all connections that it made, and the time."""

    def __init__(self, settings: Settings) -> None:
        self.made: list[Wire] = []
        self.now_s = 0.0
        self.fault: Exception | None = None
        self.pool: Pool[Wire] = Pool(self._connect, settings, lambda: self.now_s)

    async def _connect(self) -> Wire:
        if self.fault is not None:
            raise self.fault
        self.made.append(Wire())
        return self.made[-1]

    async def take(self, count: int) -> None:
        """Has so many connections in use at once, and gives them back."""
        inside = asyncio.Barrier(count)

        async def one() -> None:
            async with self.pool.lease():
                await inside.wait()

        await asyncio.gather(*(one() for _ in range(count)))
        await self.settle()

    async def settle(self) -> None:
        """Lets goodbyes be said."""
        for _ in range(3):
            await asyncio.sleep(0)


def using(settings: Settings, scenario: Callable[[Bench], Awaitable[None]]) -> Bench:
    bench = Bench(settings)

    async def whole() -> None:
        try:
            await scenario(bench)
        finally:
            await bench.pool.close()

    asyncio.run(whole())
    assert all(wire.is_closed() for wire in bench.made)
    return bench


def test_a_connection_is_used_again() -> None:
    async def scenario(bench: Bench) -> None:
        for _ in range(5):
            async with bench.pool.lease() as lease:
                assert lease.connection is bench.made[0]
                assert bench.pool.figures == PoolFigures(1, 0, 1, 0)
        assert bench.pool.figures == PoolFigures(1, 1, 0, 0)

    using(Settings(min=1), scenario)


def test_no_more_than_max_are_made_and_others_wait() -> None:
    async def scenario(bench: Bench) -> None:
        async with bench.pool.lease(), bench.pool.lease():
            waiting = asyncio.create_task(bench.take(1))
            await bench.settle()
            assert bench.pool.figures == PoolFigures(2, 0, 2, 1)
        await waiting
        assert len(bench.made) == 2

    using(Settings(min=1, max=2), scenario)


def test_what_idles_too_long_is_closed_down_to_min() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.take(5)
        bench.now_s = 29.9
        await bench.pool.tend()
        assert bench.pool.figures.idle == 5
        bench.now_s = 30.0
        await bench.pool.tend()
        await bench.settle()
        assert bench.pool.figures == PoolFigures(2, 2, 0, 0)
        assert [wire.closed for wire in bench.made].count("closed") == 3

    using(Settings(min=2, max=20, idle_timeout_s=30), scenario)


def test_what_is_missing_to_min_is_connected() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.take(1)
        await bench.pool.tend()
        assert bench.pool.figures == PoolFigures(3, 3, 0, 0)

    using(Settings(min=3), scenario)


def test_an_old_connection_is_replaced_once_it_is_free() -> None:
    async def scenario(bench: Bench) -> None:
        async with bench.pool.lease():
            bench.now_s = 7200.0
        await bench.settle()
        assert bench.made[0].closed == "closed"
        await bench.take(1)
        bench.now_s = 14400.0
        async with bench.pool.lease() as lease:
            assert lease.connection is bench.made[2]

    using(Settings(min=1, max_age_s=7200), scenario)


def test_a_broken_connection_is_cut_off() -> None:
    async def scenario(bench: Bench) -> None:
        async with bench.pool.lease() as lease:
            lease.broken = True
        assert bench.made[0].closed == "terminated"
        with pytest.raises(asyncio.CancelledError):
            async with bench.pool.lease():
                raise asyncio.CancelledError
        assert bench.made[1].closed == "terminated"
        with pytest.raises(ValueError, match="ordinary"):
            async with bench.pool.lease():
                raise ValueError("ordinary")
        assert not bench.made[2].is_closed()

    using(Settings(min=1), scenario)


def test_one_that_was_closed_meanwhile_is_not_given_out() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.take(1)
        bench.made[0].terminate()
        async with bench.pool.lease() as lease:
            assert lease.connection is bench.made[1]

    using(Settings(min=1), scenario)


def test_dropping_closes_what_is_idle_and_what_comes_back() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.take(2)
        async with bench.pool.lease():
            bench.pool.drop_idle()
        await bench.settle()
        assert [wire.closed for wire in bench.made] == ["closed", "closed"]

    using(Settings(min=1), scenario)


def test_a_failed_connect_takes_no_room() -> None:
    async def scenario(bench: Bench) -> None:
        bench.fault = OSError("nobody there")
        for _ in range(3):
            with pytest.raises(OSError, match="nobody there"):
                await bench.take(1)
        bench.fault = None
        await bench.take(1)
        assert bench.pool.figures == PoolFigures(1, 1, 0, 0)

    using(Settings(min=1, max=1), scenario)


def test_in_an_outage_the_pool_makes_no_probes_of_its_own() -> None:
    """Whoever needs a connection finds out when the server is back; then the pool is filled again."""

    async def scenario(bench: Bench) -> None:
        await bench.take(1)
        async with bench.pool.lease() as lease:
            lease.broken = True
        await bench.pool.tend()
        assert len(bench.made) == 1, "a broken connection tells of no server that answers"
        bench.fault = OSError("nobody there")
        with pytest.raises(OSError, match="nobody there"):
            await bench.take(1)
        bench.fault = None
        await bench.pool.tend()
        assert len(bench.made) == 1
        await bench.take(1)
        await bench.pool.tend()
        assert bench.pool.figures == PoolFigures(2, 2, 0, 0)

    using(Settings(min=2), scenario)


def test_filling_ends_where_the_server_does_not_answer() -> None:
    async def scenario(bench: Bench) -> None:
        await bench.take(1)
        bench.fault = OSError("nobody there")
        with pytest.raises(OSError, match="nobody there"):
            await bench.pool.tend()
        bench.fault = None
        await bench.pool.tend()
        assert bench.pool.figures == PoolFigures(1, 1, 0, 0)

    using(Settings(min=2), scenario)
