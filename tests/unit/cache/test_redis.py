"""The Redis tier, with a real Redis that is killed and hung, and with servers that answer garbage (F23)."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from deora.cache.copies import Moment, copy_of
from deora.cache.redis import PROBE_S, THRESHOLD, RedisTier
from deora.cache.tiered import Tiers
from tests.fakes.clock import ManualClock
from tests.fakes.redis import PretendedRedis, RealRedis

TIMEOUT_S = 0.05
GARBAGE = [
    b"",  # hangs
    b"garbage\r\n",
    b"\0\xff" * 5000,
    b"$-5\r\n\r\n",
    b"$99999999999\r\nx",
    b"*-7\r\n",
    b"*3\r\n$1\r\na\r\n",
    b":notanumber\r\n",
    b"-ERR go away\r\n",
    b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
    b"+PONG\r\n" * 3,
    b":7\r\n",
]

NOW = Moment(0, "this boot", 1.0)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RealRedis]:
    """A real one."""
    one = RealRedis(tmp_path).start()
    yield one
    one.kill()


def using(url: str, scenario: Callable[[RedisTier, ManualClock], Awaitable[None]], ttl_s: float = 60) -> None:
    """Runs a scenario with a tier."""

    async def whole() -> None:
        clock = ManualClock()
        tier = RedisTier(url, "box1", TIMEOUT_S, ttl_s, clock.monotonic_s)
        try:
            await scenario(tier, clock)
        finally:
            await tier.close()

    asyncio.run(whole())


def is_up(tier: RedisTier) -> bool:
    """What it thinks now."""
    return tier.is_up


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged, in short."""
    return [record.getMessage().partition(":")[0] for record in caplog.records if record.name == "deora.cache"]


def test_bytes_come_back_under_this_boxes_name_and_expire(redis: RealRedis) -> None:
    async def scenario(tier: RedisTier, _: ManualClock) -> None:
        value = bytes(range(256)) * 100
        assert await tier.get("a/ü") is None
        await tier.put("a/ü", value)
        assert await tier.get("a/ü") == value
        assert redis.command(b"KEYS *").endswith("deora:box1:a/ü\r\n".encode())
        left_ms = int(redis.command(b"PTTL deora:box1:a/\xc3\xbc")[1:])
        assert 50_000 < left_ms <= 60_000
        await tier.put("a/2", b"x")
        await tier.drop(["a/ü", "a/9"])
        assert await tier.get("a/ü") is None
        assert await tier.get("a/2") == b"x"

    using(redis.url, scenario)


def test_a_redis_that_is_killed_costs_one_line_and_is_found_again(
    redis: RealRedis, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(tier: RedisTier, clock: ManualClock) -> None:
        await tier.put("a/1", b"x")
        redis.kill()
        for _ in range(20):
            assert await tier.get("a/1") is None
            await tier.put("a/1", b"x")
        assert not is_up(tier)
        redis.start()
        assert await tier.get("a/1") is None, "it is asked again when a probe has found it"
        clock.advance(PROBE_S)
        await tier.check()
        assert is_up(tier)
        await tier.put("a/1", b"y")
        assert await tier.get("a/1") == b"y"

    with caplog.at_level(logging.INFO, "deora.cache"):
        using(redis.url, scenario)
    assert lines(caplog) == ["Redis is lost", "Redis is back"]


def test_a_redis_that_hangs_is_given_up_and_its_late_answer_is_nobodys(
    redis: RealRedis, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(tier: RedisTier, clock: ManualClock) -> None:
        await tier.put("a/1", b"one")
        await tier.put("a/2", b"two")
        redis.hang(on=True)
        began_s = time.monotonic()
        for _ in range(10):
            assert await tier.get("a/1") is None
        # Only the first ones wait; the machine may be slow, but not ten time-outs slow.
        assert time.monotonic() - began_s < 9 * TIMEOUT_S + 1
        assert not is_up(tier)
        redis.hang(on=False)
        while not is_up(tier):
            clock.advance(PROBE_S)
            await tier.check()
        for _ in range(20):
            assert await tier.get("a/2") in (b"two", None)

    with caplog.at_level(logging.INFO, "deora.cache"):
        using(redis.url, scenario)
    assert lines(caplog)[:2] == ["Redis is lost", "Redis is back"]


@pytest.mark.parametrize("answer", GARBAGE, ids=lambda answer: repr(answer[:12]))
def test_a_server_that_answers_anything_is_survived(answer: bytes) -> None:
    server = PretendedRedis(answer)

    async def scenario(tier: RedisTier, clock: ManualClock) -> None:
        tiers = Tiers(3600.0)
        tiers.add("redis", tier)
        for _ in range(2 * THRESHOLD):
            assert await tiers.get("a/1", NOW) is None
            await tiers.put(copy_of("a/1", b"{}", NOW, None))
            await tiers.drop("a/1")
            clock.advance(PROBE_S)
            await tier.check()

    using(server.url, scenario)
    server.close()


def test_where_nothing_listens_it_is_a_miss(caplog: pytest.LogCaptureFixture) -> None:
    server = PretendedRedis(b"")
    server.close()

    async def scenario(tier: RedisTier, _: ManualClock) -> None:
        for _attempt in range(10):
            assert await tier.get("a/1") is None
        assert not is_up(tier)

    with caplog.at_level(logging.INFO, "deora.cache"):
        using(server.url, scenario)
    assert lines(caplog) == ["Redis is lost"]


def test_while_it_is_lost_only_probes_are_sent() -> None:
    server = PretendedRedis(b"garbage\r\n")

    async def scenario(tier: RedisTier, clock: ManualClock) -> None:
        while is_up(tier):
            await tier.get("a/1")
        before = server.connections
        for _ in range(50):
            await tier.get("a/1")
            await tier.put("a/1", b"x")
            await tier.check()
        assert server.connections <= before + 1
        clock.advance(PROBE_S)
        await tier.check()
        assert server.connections <= before + 2

    using(server.url, scenario)
    server.close()


def test_the_password_is_in_no_log_line(caplog: pytest.LogCaptureFixture) -> None:
    server = PretendedRedis(b"-WRONGPASS no\r\n")
    url = server.url.replace("redis://", "redis://:hunter2@")

    async def scenario(tier: RedisTier, _: ManualClock) -> None:
        while is_up(tier):
            await tier.get("a/1")

    with caplog.at_level(logging.INFO, "deora.cache"):
        using(url, scenario)
    [record] = [record for record in caplog.records if record.name == "deora.cache"]
    assert "hunter2" not in str(record.__dict__)
    server.close()
