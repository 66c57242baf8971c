"""The zygote of the moment. What becomes of the children is the arbiter's, see test_arbiter."""

from __future__ import annotations

import asyncio

import pytest

from tests.fakes.arbiter import Arbitrate, Bench


def test_without_a_zygote_nothing_is_spawned(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        assert bench.arbiter.zygotes.pid is None
        with pytest.raises(ConnectionError):
            await bench.arbiter.zygotes.spawn("primary")
        await bench.all_up()
        assert bench.arbiter.zygotes.pid == bench.zygotes[0].pid

    arbitrate(talk)


def test_one_that_ends_while_the_instance_stops_is_not_replaced(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        bench.arbiter.zygotes.stopping = True
        bench.zygotes[0].process.kill()
        await bench.until(lambda: bench.arbiter.zygotes.pid is None)
        await asyncio.sleep(0)
        assert len(bench.zygotes) == 1
        assert bench.arbiter.zygotes.restarts == 0

    arbitrate(talk)


def test_a_stop_ends_it(arbitrate: Arbitrate) -> None:
    async def talk(bench: Bench) -> None:
        await bench.all_up()
        bench.arbiter.zygotes.stop()
        assert bench.arbiter.zygotes.pid is None
        assert bench.zygotes[0].process.poll() is not None
        bench.arbiter.zygotes.stop()

    arbitrate(talk)
