"""Collections that are kept whole: a puller between a real store and an upstream in memory that others change, too."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from deora.replay import puller as module
from deora.replay.adoptions import Adoptions
from deora.replay.breaker import Breaker, State
from deora.replay.puller import NAMES_EVERY, OutOfReach, Puller
from deora.replay.reads import Source
from deora.replay.restored import Restored
from deora.upstream.base import Cursor, CursorKey, Delivery, Failure, Outcome, Unclear
from tests.fakes.calls import StoreWithCalls, increment
from tests.fakes.clock import ManualClock
from tests.fakes.loop import run
from tests.fakes.store import Claimed, delete, set_, settings_with
from tests.fakes.upstream import FakeUpstream

INTERVAL_S = 60.0


class Bench:
    """A store that keeps `menu` whole, and its upstream."""

    def __init__(self, folder: Path) -> None:
        self.clock = ManualClock()
        settings = replace(settings_with(max_entries=100_000, max_bytes=2**30), replicate=("menu",))
        self.store = StoreWithCalls(folder / "store.db", self.clock, settings)
        self.upstream = FakeUpstream()
        self.breaker = Breaker(3, 60.0)
        self.new_puller()

    def new_puller(self, identity: str = "fake:1") -> None:
        """A puller as a replayer makes it that has just started."""
        source = Source("primary", self.upstream, self.breaker, self._note)
        self.puller = Puller(
            source,
            identity,
            ("menu",),
            self.store.calls,
            Adoptions(self.store.calls),
            INTERVAL_S,
            sleep=asyncio.sleep,
        )

    def _note(self, result: object) -> None:
        failed = isinstance(result, Unclear)
        (self.breaker.failed if failed else self.breaker.succeeded)(self.clock.monotonic_s())

    @property
    def key(self) -> CursorKey:
        """This box's cursor."""
        return CursorKey(*self.store.service.identity, 0)

    def view(self) -> dict[str, Any]:
        """What clients see of the collection."""
        views = self.store.views().items()
        return {path: orjson.loads(data) for path, data in views if path.startswith("menu/")}

    def theirs(self) -> dict[str, Any]:
        """What upstream holds of it."""
        documents = self.upstream.documents.items()
        return {path: orjson.loads(data) for path, data in documents if path.startswith("menu/")}

    async def pull(self, times: int = 1) -> None:
        """So many pulls."""
        for _ in range(times):
            await self.puller.pull("menu")

    async def deliver(self, batch: Claimed) -> None:
        """A batch lands upstream; it is not settled yet."""
        payloads = [payload for _, payload in batch.entries]
        await self.upstream.apply(Delivery(self.key, batch.seq, batch.cursor_id, batch.id, b"", payloads))

    async def drain(self) -> None:
        """All that waits lands and is settled."""
        while (batch := self.store.claim()) is not None:
            await self.deliver(batch)
            self.store.settle(batch)


Scenario = Callable[[Bench], Awaitable[None]]


@pytest.fixture
def bench(tmp_path: Path) -> Callable[[Scenario], None]:
    """Runs a scenario on a manual clock."""

    def go(scenario: Scenario) -> None:
        one = Bench(tmp_path)

        async def whole() -> None:
            # The same for each life of a puller.
            one.puller._key = one.key
            await scenario(one)

        run(whole(), one.clock)
        one.store.close()

    return go


Go = Callable[[Scenario], None]


def price(value: int) -> bytes:
    """A document."""
    return b'{"price":%d}' % value


@pytest.mark.parametrize("size", [1, 99, 100, 101, 250])
def test_the_first_pull_lists_the_whole_collection(bench: Go, size: int) -> None:
    async def scenario(one: Bench) -> None:
        for number in range(size):
            one.upstream.put(f"menu/{number}", price(number))
        one.upstream.put("other/1", b"{}")
        one.upstream.put("menu/1/sizes/1", b"{}")
        assert await one.store.calls.replica("primary", "menu", "fake:1") is None
        await one.pull()
        assert one.view() == {path: data for path, data in one.theirs().items() if path.count("/") == 1}
        assert await one.store.calls.replica("primary", "menu", "fake:1") is not None
        assert "other/1" not in one.store.views()

    bench(scenario)


def test_an_empty_collection_is_whole_too(bench: Go) -> None:
    async def scenario(one: Bench) -> None:
        await one.pull()
        assert await one.store.calls.replica("primary", "menu", "fake:1") == ""
        one.upstream.put("menu/1", price(1))
        await one.pull()
        assert one.view() == {"menu/1": {"price": 1}}

    bench(scenario)


def test_later_pulls_take_what_changed(bench: Go) -> None:
    async def scenario(one: Bench) -> None:
        for number in range(500):
            one.upstream.put(f"menu/{number}", price(number))
        await one.pull(2)
        calls = len(one.upstream.calls)
        one.upstream.put("menu/7", price(70))
        one.upstream.put("menu/new", price(1))
        await one.pull()
        assert one.view() == one.theirs()
        assert len(one.upstream.calls) == calls + 1

    bench(scenario)


def test_what_changes_while_the_collection_is_listed_is_not_missed(bench: Go) -> None:
    async def scenario(one: Bench) -> None:
        for number in range(250):
            one.upstream.put(f"menu/{number:03d}", price(number))
        plain = one.upstream.list_documents

        async def meanwhile(key: CursorKey, collection: str, after: str | None, limit: int) -> Any:
            page = await plain(key, collection, after, limit)
            if after is None:
                one.upstream.put("menu/005", price(-5))  # on the page that has just been read
            elif after == "199":
                one.upstream.put("menu/240", price(-240))  # on this one
            return page

        one.upstream.list_documents = meanwhile  # type: ignore[method-assign]
        await one.pull()
        assert one.view() == one.theirs()

    bench(scenario)


@pytest.mark.parametrize("until_s", [0.1, 5.0])
def test_a_change_that_becomes_visible_late_is_not_missed(bench: Go, until_s: float) -> None:
    """As in PostgreSQL: a transaction took its number, others came and went with higher ones, and then it commits."""

    async def scenario(one: Bench) -> None:
        for number in range(150):
            one.upstream.put(f"menu/{number:03d}", price(number))
        late = "0000000050"  # above it nothing is certain while that transaction runs
        one.upstream.stable = late
        pulling = asyncio.ensure_future(one.pull())
        await asyncio.sleep(until_s)
        one.upstream.documents["menu/000"], one.upstream.marks["menu/000"] = price(-1), late
        one.upstream.stable = None
        await pulling
        await one.pull()
        assert one.view() == one.theirs()

    bench(scenario)


def test_what_is_deleted_upstream_is_noticed_when_the_names_are_compared(bench: Go) -> None:
    async def scenario(one: Bench) -> None:
        for number in range(5):
            one.upstream.put(f"menu/{number}", price(number))
        await one.pull()
        one.upstream.put("menu/3", None)
        await one.pull(NAMES_EVERY)
        assert one.view() == one.theirs()
        assert "menu/3" not in one.view()

    bench(scenario)


def test_the_first_pull_also_finds_what_was_deleted_before(bench: Go) -> None:
    async def scenario(one: Bench) -> None:
        one.store.write_each([set_("menu/1", {}), set_("menu/2", {})])
        await one.drain()
        one.upstream.put("menu/1", None)
        await one.pull()
        assert set(one.view()) == {"menu/2"}

    bench(scenario)


def test_what_this_box_has_yet_to_send_stays(bench: Go) -> None:
    async def scenario(one: Bench) -> None:
        one.upstream.put("menu/1", b'{"n":5}')
        one.upstream.put("menu/2", b"{}")
        await one.pull()
        one.store.write_each([increment("menu/1"), set_("menu/3", {}), delete("menu/2")])
        one.upstream.put("menu/1", b'{"n":10}')
        await one.pull(NAMES_EVERY + 1)
        assert one.view() == {"menu/1": {"n": 11}, "menu/3": {}}
        await one.drain()
        await one.pull(NAMES_EVERY + 1)
        assert one.view() == one.theirs() == {"menu/1": {"n": 11}, "menu/3": {}}

    bench(scenario)


def test_a_batch_on_its_way_is_waited_for(bench: Go) -> None:
    async def scenario(one: Bench) -> None:
        one.upstream.put("menu/1", b'{"n":0}')
        await one.pull()
        one.store.write_each([increment("menu/1")])
        batch = one.store.claim()
        assert batch is not None
        await one.deliver(batch)
        pulling = asyncio.ensure_future(one.pull())
        await asyncio.sleep(0.1)
        assert one.view() == {"menu/1": {"n": 1}}
        one.store.settle(batch)
        await pulling
        one.upstream.put("menu/1", b'{"n":8}')
        await one.pull()
        assert one.view() == {"menu/1": {"n": 8}}

    bench(scenario)


def test_what_stays_undecided_is_read_with_the_next_pull(bench: Go) -> None:
    async def scenario(one: Bench) -> None:
        one.upstream.put("menu/1", b'{"n":0}')
        await one.pull()
        one.store.write_each([increment("menu/1")])
        batch = one.store.claim()
        assert batch is not None
        one.upstream.put("menu/1", b'{"by":"them","n":0}')
        await one.deliver(batch)
        await one.pull()
        assert one.view() == {"menu/1": {"n": 1}}, "not known yet, and nothing twice"
        one.store.settle(batch)
        await one.pull()
        assert one.view() == {"menu/1": {"by": "them", "n": 1}}

    bench(scenario)


def test_a_new_puller_goes_on_and_one_of_another_upstream_begins_anew(bench: Go) -> None:
    async def scenario(one: Bench) -> None:
        for number in range(500):
            one.upstream.put(f"menu/{number}", price(number))
        await one.pull()
        before = len(one.upstream.calls)
        one.new_puller()
        one.puller._key = one.key
        await one.pull()
        assert len(one.upstream.calls) == before + 1
        one.new_puller("fake:2")
        one.puller._key = one.key
        await one.pull()
        assert len(one.upstream.calls) > before + 5

    bench(scenario)


@pytest.mark.parametrize("failing", range(8))
def test_a_pull_that_is_cut_off_is_made_up_for(bench: Go, failing: int) -> None:
    async def scenario(one: Bench) -> None:
        for number in range(150):
            one.upstream.put(f"menu/{number}", price(number))
        one.upstream.faults = lambda call: Unclear("gone") if call.index == failing else None
        for _ in range(3):
            try:
                await one.pull()
            except OutOfReach:
                one.upstream.put("menu/1", price(-failing))
        one.upstream.faults = lambda _: None
        await one.pull()
        assert one.view() == one.theirs()

    bench(scenario)


def test_it_pulls_every_interval_and_leaves_an_upstream_alone_that_is_out(bench: Go) -> None:
    async def scenario(one: Bench) -> None:
        running = asyncio.ensure_future(one.puller.run())
        await asyncio.sleep(1)
        one.upstream.put("menu/1", price(1))
        await asyncio.sleep(INTERVAL_S)
        assert one.view() == one.theirs()
        one.upstream.faults = lambda _: Unclear("gone")
        await asyncio.sleep(10 * INTERVAL_S)
        calls = len(one.upstream.calls)
        assert one.breaker.state is State.OPEN
        await asyncio.sleep(10 * INTERVAL_S)
        assert len(one.upstream.calls) == calls
        one.upstream.faults = lambda _: None
        one.upstream.put("menu/1", price(2))
        one.breaker.succeeded(one.clock.monotonic_s())
        await asyncio.sleep(INTERVAL_S)
        assert one.view() == one.theirs()
        running.cancel()

    bench(scenario)


def test_a_mark_that_fills_a_page_is_said_and_not_read_for_ever(bench: Go, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHANGES", 3)

    async def scenario(one: Bench) -> None:
        for number in range(5):
            one.upstream.put(f"menu/{number}", price(number))
        await one.pull()
        for number in range(5):
            one.upstream.put(f"menu/{number}", price(-number))
            one.upstream.marks[f"menu/{number}"] = "9"
        with pytest.raises(OutOfReach, match="one mark"):
            await one.pull(2)

    bench(scenario)


@pytest.mark.parametrize("seed", range(6))
def test_after_all_is_said_both_sides_are_the_same(bench: Go, seed: int) -> None:
    """Two sides that write, deletions, batches that land late, pulls in between: in the end nothing differs, and what
    only this box counts is never off by one."""
    print("seed", seed)
    dice = random.Random(seed)

    async def scenario(one: Bench) -> None:
        counted = dict.fromkeys(range(3), 0)
        for _ in range(120):
            step = dice.choice(["count", "count", "them", "gone", "set", "delete", "land", "pull", "pull"])
            name = dice.randrange(3)
            if step == "count":
                one.store.write_each([increment(f"menu/count{name}")])
                counted[name] += 1
            elif step == "them":
                one.upstream.put(f"menu/them{name}", price(dice.randrange(1000)))
            elif step == "gone":
                one.upstream.put(f"menu/them{name}", None)
            elif step == "set":
                one.store.write_each([set_(f"menu/ours{name}", {"n": dice.randrange(1000)})])
            elif step == "delete":
                one.store.write_each([delete(f"menu/ours{name}")])
            elif step == "land" and (batch := one.store.claim(max_writes=dice.randint(1, 4))) is not None:
                await one.deliver(batch)
                if dice.random() < 0.5:
                    await one.pull()
                one.store.settle(batch)
            elif step == "pull":
                await one.pull()
            shown = {path: data["n"] for path, data in one.view().items() if path.startswith("menu/count")}
            assert shown == {f"menu/count{name}": number for name, number in counted.items() if number}
        await one.drain()
        await one.pull(NAMES_EVERY + 1)
        assert one.view() == one.theirs()

    bench(scenario)


def test_after_a_restore_of_upstream_a_collection_is_listed_anew(bench: Callable[[Scenario], None]) -> None:
    """Its marks went back as well, so that no change since would be told by them; and what others wrote is gone."""

    async def scenario(one: Bench) -> None:
        one.upstream.put("menu/tea", b'{"price":1}')
        one.upstream.put("menu/cake", b'{"price":4}')
        backup = one.upstream.backup()
        for price in range(2, 9):
            one.upstream.put("menu/tea", b'{"price":%d}' % price)
        one.upstream.put("menu/soup", b'{"price":9}')
        one.upstream.put("menu/cake", None)
        await one.pull()
        one.store.commit(increment("menu/tea"))
        await one.drain()
        await one.pull()
        assert one.view() == one.theirs() == {"menu/tea": {"n": 1, "price": 8}, "menu/soup": {"price": 9}}
        one.upstream.restore(backup)

        async def send(delivery: Delivery) -> Outcome:
            return await one.upstream.apply(delivery)

        async def take(key: CursorKey, predecessor: str | None) -> Cursor | Failure:
            return await one.upstream.take_over(key, one.key.box, predecessor)

        terms = Restored("primary", one.store.calls, send, take, one.upstream.read_cursor)
        assert await terms.is_due(None)
        assert await terms.settle(one.key, None)
        assert not await terms.is_due(one.upstream.cursors[one.key])
        one.upstream.put("menu/milk", b'{"price":3}')
        await one.pull()
        assert one.view() == one.theirs() | {"menu/tea": {"n": 1, "price": 1}}
        await one.drain()
        await one.pull()
        assert one.view() == one.theirs()
        assert one.theirs()["menu/tea"] == {"n": 1, "price": 1}

    bench(scenario)
