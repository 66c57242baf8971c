"""One document from wherever it can be had: the real handler and store, and a replayer over documents in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from deora.cache.copies import copy_of, decode_copy
from deora.documents.versions import copy_version
from deora.errors import Problem
from deora.worker.read_through import RETRY_S
from tests.fakes.store import delete, encode_call, settings_with, update
from tests.fakes.tier import MemoryTier
from tests.fakes.worker import INTERVAL_S, TTL_S, Told, WorkerBench, document

OUT = Problem("unavailable", "upstream is out", retry_after_s=60)
PATH = "menu/espresso"
DATA = b'{"price":2}'


@pytest.fixture
def bench(tmp_path: Path) -> Callable[[Callable[[WorkerBench], Awaitable[None]]], None]:
    """Runs a scenario."""

    def run(scenario: Callable[[WorkerBench], Awaitable[None]]) -> None:
        async def whole() -> None:
            settings = replace(settings_with(), replicate=("whole",))
            async with WorkerBench(tmp_path, settings) as one:
                one.tiers.add("disk", MemoryTier())
                await scenario(one)

        asyncio.run(whole())

    return run


Bench = Callable[[Callable[[WorkerBench], Awaitable[None]]], None]


def kept(one: WorkerBench) -> dict[str, bytes]:
    """What the tier holds."""
    tier = one.tiers.by_name["disk"].tier
    assert isinstance(tier, MemoryTier)
    return tier.values


async def ask(one: WorkerBench, path: str = PATH) -> Told:
    """A GET, with all that it leaves to the background done."""
    told = await one.ask("GET", document(path))
    await one.settled()
    return told


async def refusal(one: WorkerBench, path: str = PATH) -> Problem:
    """The same for one that is refused."""
    problem = await one.refusal("GET", document(path))
    await one.settled()
    return problem


def reads(one: WorkerBench) -> list[str]:
    """What the replayer was asked for, and that is forgotten then."""
    asked, one.replayer.asked = one.replayer.asked, []
    return [f"{operation} {path}" for operation, paths in asked for path in paths]


# -- what this box does not hold


def test_what_this_box_does_not_hold_is_read_from_upstream(bench: Bench) -> None:
    async def scenario(one: WorkerBench) -> None:
        one.replayer.documents[PATH] = DATA
        first = await ask(one)
        assert (first.status, first.json["data"], first.json["pending"]) == (200, {"price": 2}, False)
        assert first.version == copy_version(DATA)
        assert f'ETag: "{first.version}"\r\nX-Deora-Source: upstream\r\n' == first.headers
        again = await ask(one)
        assert again.json == first.json
        assert "X-Deora-Source: cache\r\n" in again.headers
        assert reads(one) == [f"read {PATH}"]
        copy = decode_copy(kept(one)[PATH], PATH)
        assert copy is not None
        assert copy.data == DATA
        assert one.store.rows("SELECT * FROM documents") == []

    bench(scenario)


def test_what_upstream_does_not_hold_either_is_a_404(bench: Bench) -> None:
    async def scenario(one: WorkerBench) -> None:
        assert (await refusal(one)).kind == "document-not-found"
        one.replayer.documents[PATH] = DATA
        assert (await ask(one)).status == 200, "that there was none is not believed while upstream can be asked"

    bench(scenario)


def test_a_fresh_copy_is_shown_and_an_older_one_is_fetched_anew(bench: Bench) -> None:
    async def scenario(one: WorkerBench) -> None:
        one.replayer.documents[PATH] = DATA
        first = await ask(one)
        one.context.memory.clear()
        one.store.clock.advance(INTERVAL_S - 1)
        told = await ask(one)
        assert told.json == first.json
        assert told.headers.endswith(f"X-Deora-Source: cache\r\nAge: {INTERVAL_S - 1:.0f}\r\n")
        one.replayer.documents[PATH] = b'{"price":3}'
        one.store.clock.advance(2)
        reads(one)
        changed = await ask(one)
        assert changed.json["data"] == {"price": 3}
        assert "X-Deora-Source: upstream" in changed.headers
        assert "Age" not in changed.headers
        assert reads(one) == [f"read {PATH}"]
        assert changed.json["updateTime"] > first.json["updateTime"]

    bench(scenario)


def test_with_upstream_out_an_older_copy_is_shown_with_its_age(bench: Bench) -> None:
    async def scenario(one: WorkerBench) -> None:
        one.replayer.documents[PATH] = DATA
        first = await ask(one)
        one.replayer.out = OUT
        one.store.clock.advance(500)
        told = await ask(one)
        assert told.json == first.json
        assert "X-Deora-Source: cache\r\nAge: 500\r\n" in told.headers
        reads(one)
        one.store.clock.advance(RETRY_S / 2)
        assert "Age: 500" in (await ask(one)).headers
        assert reads(one) == [], "upstream is left alone for a moment"
        one.replayer.out = None
        one.store.clock.advance(RETRY_S)
        assert "X-Deora-Source: upstream" in (await ask(one)).headers

    bench(scenario)


def test_with_upstream_out_and_no_copy_it_is_a_503_and_a_known_404_stays_one(bench: Bench) -> None:
    async def scenario(one: WorkerBench) -> None:
        assert (await refusal(one, "a/known")).kind == "document-not-found"
        one.replayer.out = OUT
        assert (await refusal(one, "a/known")).kind == "document-not-found"
        problem = await refusal(one, "a/unknown")
        assert (problem.status, problem.retry_after_s) == (503, 60)

    bench(scenario)


def test_a_copy_is_shown_when_upstream_takes_too_long(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deora.worker.read_through.PATIENCE_S", 0.01)

    async def scenario(one: WorkerBench) -> None:
        one.replayer.documents[PATH] = DATA
        await ask(one)
        one.store.clock.advance(INTERVAL_S + 1)
        one.replayer.held_up = asyncio.Event()
        assert "X-Deora-Source: cache" in (await ask(one)).headers

    bench(scenario)


@pytest.mark.parametrize("value", [b"", b"garbage", b"\xff" * 1000])
def test_garbage_in_a_tier_is_a_miss(bench: Bench, value: bytes) -> None:
    async def scenario(one: WorkerBench) -> None:
        one.replayer.documents[PATH] = DATA
        kept(one)[PATH] = value
        assert "X-Deora-Source: upstream" in (await ask(one)).headers
        assert one.tiers.figures() == {"disk": {"hits": 0, "misses": 1}}
        assert kept(one)[PATH] != value

    bench(scenario)


@pytest.mark.parametrize("kind", ["head", "304"])
def test_copies_have_tags_too(bench: Bench, kind: str) -> None:
    async def scenario(one: WorkerBench) -> None:
        one.replayer.documents[PATH] = DATA
        headers = {"if-none-match": f'"{copy_version(DATA)}"'} if kind == "304" else {}
        told = await one.ask("GET", document(PATH), headers=headers, head=kind == "head")
        assert told.status == (304 if kind == "304" else 200)
        assert "X-Deora-Source: upstream" in told.headers

    bench(scenario)


def test_a_replayer_that_is_started_again_is_waited_for(bench: Bench) -> None:
    async def scenario(one: WorkerBench) -> None:
        one.replayer.documents[PATH] = DATA
        one.replayer.out = Problem("unavailable", "the replayer is not up")
        reading = asyncio.ensure_future(one.ask("GET", document(PATH)))
        while len(one.replayer.asked) < 2:
            await asyncio.sleep(0.001)
        one.replayer.out = None
        assert (await reading).json["data"] == {"price": 2}

    bench(scenario)


# -- races with writes


def test_a_read_that_a_write_overtakes_fills_nothing(bench: Bench) -> None:
    async def scenario(one: WorkerBench) -> None:
        one.replayer.documents[PATH] = DATA
        one.replayer.held_up = asyncio.Event()
        reading = asyncio.ensure_future(one.ask("GET", document(PATH)))
        while not one.replayer.asked:
            await asyncio.sleep(0.001)
        await one.put(PATH, {"price": 9})
        one.replayer.held_up.set()
        assert (await reading).json["data"] == {"price": 2}
        await one.settled()
        assert kept(one) == {}
        assert await one.get(PATH) == {"price": 9}

    bench(scenario)


def test_a_copy_that_is_being_kept_while_a_write_comes_is_dropped_again(bench: Bench) -> None:
    async def scenario(one: WorkerBench) -> None:
        one.replayer.documents[PATH] = DATA
        tier = one.tiers.by_name["disk"].tier
        assert isinstance(tier, MemoryTier)
        tier.putting = asyncio.Event()
        assert (await one.ask("GET", document(PATH))).status == 200
        await tier.put_begins.wait()
        await one.put(PATH, {"price": 9})
        tier.putting.set()
        await one.settled()
        assert kept(one) == {}

    bench(scenario)


def test_a_deleted_document_is_not_shown_from_a_tier(bench: Bench) -> None:
    async def scenario(one: WorkerBench) -> None:
        one.replayer.documents[PATH] = DATA
        await ask(one)
        one.store.commit(delete(PATH))
        one.context.memory.clear()
        reads(one)
        assert (await refusal(one)).kind == "document-not-found"
        one.store.deliver()
        one.replayer.out = OUT
        assert (await refusal(one)).kind == "document-not-found"
        assert reads(one) == [], "the delete is believed for a while"
        one.store.clock.advance(INTERVAL_S + 1)
        assert (await refusal(one)).kind == "document-not-found"
        assert reads(one) == [f"read {PATH}"]
        one.replayer.out = None
        assert (await ask(one)).json["data"] == {"price": 2}, "somebody has made it again"

    bench(scenario)


# -- what this box holds


def test_what_waits_for_upstream_is_neither_refreshed_nor_marked(bench: Bench) -> None:
    async def scenario(one: WorkerBench) -> None:
        await one.put(PATH, {"price": 1})
        one.store.clock.advance(3000)
        told = await ask(one)
        assert (told.json["pending"], told.headers.count("\r\n")) == (True, 1)
        assert reads(one) == []

    bench(scenario)


def test_what_is_settled_and_old_is_refreshed_behind_the_answer(bench: Bench) -> None:
    async def scenario(one: WorkerBench) -> None:
        await one.put(PATH, {"price": 2})
        one.store.deliver()
        one.replayer.seq, one.replayer.documents[PATH] = 1, DATA
        one.store.clock.advance(INTERVAL_S - 1)
        assert "Age" not in (await ask(one)).headers
        assert reads(one) == []
        one.store.clock.advance(10)
        told = await ask(one)
        assert "X-Deora-Source: store\r\nAge: 69\r\n" in told.headers
        assert reads(one) == [f"adopt {PATH}"]
        assert (await ask(one)).headers == f'ETag: "{told.version}"\r\n', "upstream has confirmed it"
        one.store.clock.advance(INTERVAL_S + 1)
        one.replayer.documents[PATH] = b'{"price":5}'
        assert (await ask(one)).json["data"] == {"price": 2}
        fresh = await ask(one)
        assert (fresh.json["data"], "Age" in fresh.headers) == ({"price": 5}, False)

    bench(scenario)


def test_what_upstream_deleted_is_gone_after_a_refresh(bench: Bench) -> None:
    async def scenario(one: WorkerBench) -> None:
        await one.put(PATH, {"price": 2})
        one.store.deliver()
        one.replayer.seq = 1
        one.store.clock.advance(INTERVAL_S + 1)
        assert (await ask(one)).status == 200
        assert (await refusal(one)).kind == "document-not-found"

    bench(scenario)


def test_with_upstream_out_what_is_held_is_shown_with_its_age(bench: Bench) -> None:
    async def scenario(one: WorkerBench) -> None:
        await one.put(PATH, {"price": 2})
        one.store.deliver()
        one.replayer.out = OUT
        one.store.clock.advance(1000)
        for _ in range(3):
            assert "X-Deora-Source: store\r\nAge: 1000\r\n" in (await ask(one)).headers
        assert reads(one) == [f"adopt {PATH}"]

    bench(scenario)


def test_a_whole_collection_is_not_asked_for_upstream(bench: Bench) -> None:
    async def scenario(one: WorkerBench) -> None:
        synced = ("synced", "primary", "whole", "sqlite:1", "0")
        one.store.call("replica", "primary", "whole", "sqlite:1")
        one.tell(one.store.handle(encode_call(next(one.ids), "adopt", "primary", 0, [("whole/a", DATA)])))
        one.store.call(*synced)
        assert (await refusal(one, "whole/b")).kind == "document-not-found"
        one.store.clock.advance(INTERVAL_S + 1)
        assert "Age" not in (await ask(one, "whole/a")).headers, "the next pull may still be on its way"
        one.store.clock.advance(INTERVAL_S)
        assert f"Age: {2 * INTERVAL_S + 1:.0f}\r\n" in (await ask(one, "whole/a")).headers
        one.store.call(*synced)
        one.store.clock.advance(RETRY_S)
        assert "Age" not in (await ask(one, "whole/a")).headers
        assert reads(one) == []

    bench(scenario)


@pytest.mark.parametrize("jump_us", [-(10**12), -int(2 * INTERVAL_S * 1e6), 10**12])
def test_a_wall_clock_that_jumps_makes_no_copy_older_or_younger(bench: Bench, jump_us: int) -> None:
    async def scenario(one: WorkerBench) -> None:
        one.replayer.documents[PATH] = DATA
        await ask(one)
        reads(one)
        one.context.memory.clear()
        one.store.clock.wall_now_us += jump_us
        await ask(one)
        assert reads(one) == []
        one.context.memory.clear()
        one.store.clock.advance(2 * INTERVAL_S)
        await ask(one)
        assert reads(one) == [f"read {PATH}"]

    bench(scenario)


def test_what_was_pulled_while_the_clock_was_ahead_is_believed_by_the_next_pull(bench: Bench) -> None:
    async def scenario(one: WorkerBench) -> None:
        year_us = 365 * 86_400 * 1_000_000
        one.store.clock.wall_now_us += year_us
        one.store.call("adopt", "primary", 0, [["whole/a", DATA]])
        one.store.clock.wall_now_us -= year_us
        one.store.call("replica", "primary", "whole", "sqlite:1")
        one.store.call("synced", "primary", "whole", "sqlite:1", "1")
        assert "Age" not in (await ask(one, "whole/a")).headers

    bench(scenario)


# -- many at once


def test_a_batch_reads_through_and_says_what_it_does_not_know(bench: Bench) -> None:
    async def scenario(one: WorkerBench) -> None:
        await one.put("a/1", {"n": 1})
        one.replayer.documents["a/2"] = b'{"n":2}'
        paths = ["a/1", "a/2", "a/3"]
        told = await one.ask("POST", "/v1/documents:batchGet", {"paths": paths})
        await one.settled()
        assert [each["path"] for each in told.json["documents"]] == ["a/1", "a/2"]
        assert (told.json["missing"], "unknown" in told.json) == (["a/3"], False)
        one.replayer.out = OUT
        one.store.clock.advance(INTERVAL_S + 1)
        told = await one.ask("POST", "/v1/documents:batchGet", {"paths": [*paths, "a/4"]})
        assert [each["path"] for each in told.json["documents"]] == ["a/1", "a/2"]
        assert (told.json["missing"], told.json["unknown"]) == (["a/3"], ["a/4"])
        assert set(told.json["ages"]) == {"a/2"}
        assert told.json["ages"]["a/2"] >= INTERVAL_S

    bench(scenario)


def test_a_copy_in_a_tier_serves_after_a_restart(bench: Bench) -> None:
    async def scenario(one: WorkerBench) -> None:
        one.replayer.out = OUT
        await one.tiers.put(copy_of(PATH, DATA, one.moment(), None))
        one.store.clock.advance(7)
        told = await ask(one)
        assert told.json["data"] == {"price": 2}
        assert "Age: 7\r\n" in told.headers
        assert one.tiers.figures() == {"disk": {"hits": 1, "misses": 0}}

    bench(scenario)


def test_a_copy_that_its_tier_has_not_let_go_of_in_time_is_not_shown(bench: Bench) -> None:
    """A tier counts by the wall clock, which may have been put back."""

    async def scenario(one: WorkerBench) -> None:
        one.replayer.out = OUT
        await one.tiers.put(copy_of(PATH, DATA, one.moment(), None))
        one.store.clock.advance(TTL_S + 1)
        one.store.clock.wall_now_us -= int(TTL_S * 1e6)
        assert (await refusal(one)).kind == "unavailable"
        assert one.tiers.figures() == {"disk": {"hits": 0, "misses": 1}}

    bench(scenario)


def test_dead_writes_do_not_keep_a_document_from_being_refreshed(bench: Bench) -> None:
    async def scenario(one: WorkerBench) -> None:
        await one.put(PATH, {"n": 1})
        one.store.deliver()
        one.store.commit(update(PATH, {"n": {"$increment": 1}}))
        one.store.kill()
        one.replayer.seq, one.replayer.documents[PATH] = 2, b'{"n":10}'
        one.store.clock.advance(INTERVAL_S + 1)
        assert (await ask(one)).json["data"] == {"n": 2}
        assert (await ask(one)).json["data"] == {"n": 11}

    bench(scenario)
