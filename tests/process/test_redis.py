"""Redis as a tier of a real instance: it helps while it is there, and nobody notices when it is not (F23)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench.instance import Instance
from tests.fakes.redis import PretendedRedis, RealRedis
from tests.process.test_reading import get, put, until

# Nothing is fresh for long, so that each read asks the tiers and upstream.
DATABASE = {"sync_interval_s": 0.1}


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RealRedis]:
    """A real one."""
    one = RealRedis(tmp_path).start()
    yield one
    one.kill()


def has_redis(one: Instance) -> bool:
    """What health says."""
    return bool(one.get("/health")["services"]["redis"])


def log_lines(one: Instance, text: str) -> int:
    """How many lines of the log hold a text."""
    return (one.data / "logs" / "app.log").read_text(encoding="utf-8").count(text)


def test_redis_comes_and_goes_and_every_request_is_served(instance: Callable[..., Instance], redis: RealRedis) -> None:
    one = instance(database=DATABASE, cache={"redis": {"url": redis.url}, "memory": {"max_size": 0}})
    until(lambda: has_redis(one))
    for number in range(20):
        put(one, f"menu/{number}", f'{{"n": {number}}}')

    def read_all() -> None:
        for number in range(20):
            answer = get(one, f"menu/{number}")
            assert (answer.status, answer.json["data"]) == (200, {"n": number})

    read_all()
    until(lambda: redis.command(b"DBSIZE") == b":20\r\n")
    node = one.status()["node"]
    assert f"deora:{node}:menu/7".encode() in redis.command(b"KEYS *")
    time.sleep(DATABASE["sync_interval_s"])
    read_all()
    until(lambda: one.status()["cache"]["redis"]["hits"] > 0)

    redis.hang(on=True)
    read_all()
    until(lambda: not has_redis(one))
    assert one.get("/health")["status"] == "degraded"
    redis.hang(on=False)
    until(lambda: has_redis(one))
    redis.kill()
    read_all()
    until(lambda: not has_redis(one))
    read_all()
    redis.start()
    until(lambda: has_redis(one))
    read_all()
    assert log_lines(one, "Redis is lost") == log_lines(one, "Redis is back") == 2 * 2, "twice, by each of two workers"


@pytest.mark.parametrize("answer", [b"", b"garbage\r\n", b"$4\r\nevil\r\n"])
def test_a_server_that_answers_anything_disturbs_nobody(tmp_path: Path, answer: bytes) -> None:
    server = PretendedRedis(answer)
    # Not by the fixture: that waits until all is healthy.
    one = Instance(tmp_path, {"database": DATABASE, "cache": {"redis": {"url": server.url}, "memory": {"max_size": 0}}})
    try:
        one.wait_until_ready()
        put(one, "menu/1", '{"n": 1}')
        for _ in range(30):
            found = get(one, "menu/1")
            assert (found.status, found.json["data"]) == (200, {"n": 1})
        assert one.request("PUT", "/v1/documents/menu/2", json={}).status == 201
        assert one.terminate() == 0
    finally:
        one.stop()
        server.close()
