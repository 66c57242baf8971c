"""Reading through: from the first upstream that answers, one read a document, and the breaker shared with the lane."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from deora.errors import Problem
from deora.replay import reads as module
from deora.replay.adoptions import Adoptions, Copies
from deora.replay.breaker import Breaker
from deora.replay.reads import Reads, Source
from deora.upstream.base import CursorKey, Page, Unauthorised, Unclear
from tests.fakes.clock import ManualClock
from tests.fakes.loop import run
from tests.fakes.upstream import FakeUpstream, Fault

KEY = CursorKey("node", "epoch", 0)


class Store:
    """The store's part."""

    def __init__(self) -> None:
        self.opened = 0
        self.adopted: list[tuple[str, int, Copies]] = []

    async def open(self, upstream: str) -> tuple[str, str]:
        """See `Opener.open`."""
        assert upstream == "primary"
        self.opened += 1
        return KEY.node, KEY.epoch

    async def adopt(self, upstream: str, seq: int, copies: Copies) -> list[str]:
        """See `Adopting.adopt`."""
        self.adopted.append((upstream, seq, copies))
        return []


class Bench:
    """Reads over two upstreams in memory."""

    def __init__(self, names: tuple[str, ...] = ("primary", "secondary")) -> None:
        self.clock = ManualClock()
        self.store = Store()
        self.upstreams = {name: FakeUpstream() for name in names}
        self.breakers = {name: Breaker(3, 60.0) for name in names}
        self.noted: list[tuple[str, str]] = []
        sources = [Source(name, self.upstreams[name], self.breakers[name], self._note(name)) for name in names]
        self.reads = Reads(sources, self.store, Adoptions(self.store), self.clock)

    def _note(self, name: str) -> Any:
        def note(result: object) -> None:
            self.noted.append((name, type(result).__name__))
            if isinstance(result, Unclear):
                self.breakers[name].failed(self.clock.monotonic_s())
            else:
                self.breakers[name].succeeded(self.clock.monotonic_s())

        return note

    @property
    def primary(self) -> FakeUpstream:
        """The first upstream."""
        return self.upstreams["primary"]

    def fail(self, name: str, *faults: Any) -> None:
        """The next calls of an upstream meet these."""
        waiting = list(faults)
        self.upstreams[name].faults = lambda _: waiting.pop(0) if waiting else None

    def go(self, scenario: Coroutine[Any, Any, None]) -> float:
        """Runs a scenario by the manual clock; how long it took."""
        began_s = self.clock.monotonic_s()
        run(scenario, self.clock)
        return self.clock.monotonic_s() - began_s


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def refusal(reading: Coroutine[Any, Any, Any]) -> Problem:
    """The Problem that a read ends with."""
    try:
        found = await reading
    except Problem as problem:
        return problem
    raise AssertionError(found)


def test_documents_come_as_upstream_holds_them(bench: Bench) -> None:
    async def scenario() -> None:
        bench.primary.put("a/1", b"{}")
        assert await bench.reads.serve("read", ["a/1", "a/2"]) == [("a/1", b"{}"), ("a/2", None)]
        assert await bench.reads.serve("read", ["a/1"]) == [("a/1", b"{}")]

    bench.go(scenario())
    assert bench.store.opened == 1
    assert bench.upstreams["secondary"].calls == []
    assert bench.store.adopted == []


def test_one_read_of_a_document_serves_all_who_ask(bench: Bench) -> None:
    bench.primary.put("a/1", b"{}")
    bench.primary.delay_s = 1.0

    async def scenario() -> None:
        async def late() -> Any:
            await asyncio.sleep(0.5)
            return await bench.reads.read(["a/1", "a/3"])

        found = await asyncio.gather(
            *(bench.reads.read(["a/1"]) for _ in range(50)), bench.reads.read(["a/2", "a/1"]), late()
        )
        assert found[:50] == [[("a/1", b"{}")]] * 50
        assert found[50] == [("a/2", None), ("a/1", b"{}")]
        assert found[51] == [("a/1", b"{}"), ("a/3", None)]

    bench.go(scenario())
    assert len(bench.primary.calls) == 2


def test_what_is_asked_for_at_once_is_read_at_once(bench: Bench) -> None:
    async def scenario() -> None:
        await asyncio.gather(*(bench.reads.read([f"a/{number}"]) for number in range(250)))

    bench.go(scenario())
    assert len(bench.primary.calls) == 3


def test_that_one_caller_goes_leaves_the_others_their_answer(bench: Bench) -> None:
    bench.primary.put("a/1", b"{}")
    bench.primary.delay_s = 1.0

    async def scenario() -> None:
        first = asyncio.ensure_future(bench.reads.read(["a/1"]))
        second = asyncio.ensure_future(bench.reads.read(["a/1"]))
        await asyncio.sleep(0.5)
        first.cancel()
        assert await second == [("a/1", b"{}")]

    bench.go(scenario())


def test_with_the_primary_out_the_secondary_answers(bench: Bench) -> None:
    bench.upstreams["secondary"].put("a/1", b'{"from":2}')
    bench.fail("primary", Unclear("no"), Fault.LOST, Unauthorised("who?"))

    async def scenario() -> None:
        for _ in range(3):
            assert await bench.reads.read(["a/1"]) == [("a/1", b'{"from":2}')]
        assert await bench.reads.read(["a/1"]) == [("a/1", None)]

    bench.go(scenario())
    assert bench.noted[:2] == [("primary", "Unclear"), ("secondary", "Page")]


@pytest.mark.parametrize("operation", ["read", "adopt"])
def test_that_the_secondary_lacks_a_document_does_not_say_that_there_is_none(bench: Bench, operation: str) -> None:
    """Others write to the primary one; the secondary has this box's writes alone."""
    bench.primary.put("a/1", b"{}")
    bench.fail("primary", *[Unclear("no route")] * 3)

    async def scenario() -> None:
        for _ in range(4):
            problem = await refusal(bench.reads.serve(operation, ["a/1"]))
        assert (problem.kind, problem.retry_after_s) == ("unavailable", 60)
        assert "primary is out; secondary does not have it" in problem.detail

    bench.go(scenario())
    assert bench.store.adopted == []


def test_an_upstream_whose_breaker_is_open_is_not_asked(bench: Bench) -> None:
    async def scenario() -> None:
        bench.fail("primary", *[Unclear("no")] * 3)
        bench.upstreams["secondary"].put("a/1", b"{}")
        for _ in range(10):
            await bench.reads.read(["a/1"])
        assert len(bench.primary.calls) == 3
        await asyncio.sleep(61)
        await bench.reads.read(["a/1"])
        assert len(bench.primary.calls) == 3, "a probe is the lane's to make"
        bench.breakers["primary"].succeeded(bench.clock.monotonic_s())
        await bench.reads.read(["a/1"])
        assert len(bench.primary.calls) == 4

    bench.go(scenario())


def test_with_all_out_it_is_a_503_that_says_when_to_come_again(bench: Bench) -> None:
    async def scenario() -> None:
        for name in bench.upstreams:
            bench.fail(name, *[Unclear("no route")] * 3)
        for _ in range(3):
            problem = await refusal(bench.reads.read(["a/1"]))
        assert (problem.status, problem.retry_after_s) == (503, 60)
        assert "no route" in problem.detail
        await asyncio.sleep(50.5)
        problem = await refusal(bench.reads.serve("adopt", ["a/1"]))
        assert problem.retry_after_s == 10
        assert problem.fields == {
            "error": "The service cannot answer now",
            "message": problem.detail,
            "retryAfter": 10,
        }

    bench.go(scenario())
    assert bench.store.adopted == []


def test_an_upstream_that_hangs_is_given_up_after_the_deadline(bench: Bench) -> None:
    bench.upstreams["secondary"].put("a/1", b"{}")
    bench.fail("primary", Fault.SILENT)

    async def scenario() -> None:
        assert await bench.reads.read(["a/1"]) == [("a/1", b"{}")]

    assert bench.go(scenario()) == pytest.approx(module.READ_DEADLINE_S, abs=0.1)
    assert bench.noted == [("primary", "Unclear"), ("secondary", "Page")]


def test_what_is_adopted_goes_to_the_store_with_its_upstream_and_seq(bench: Bench) -> None:
    async def scenario() -> None:
        bench.primary.put("a/1", b"{}")
        await bench.reads.serve("adopt", ["a/1", "a/2"])
        bench.upstreams["secondary"].put("a/1", b'{"from":2}')
        bench.fail("primary", Unclear("no"))
        await bench.reads.serve("adopt", ["a/1"])

    bench.go(scenario())
    assert bench.store.adopted == [
        ("primary", 0, [("a/1", b"{}"), ("a/2", None)]),
        ("secondary", 0, [("a/1", b'{"from":2}')]),
    ]


def test_what_upstream_holds_and_is_no_document_is_no_404(bench: Bench) -> None:
    class Odd(FakeUpstream):
        async def read_documents(self, key: CursorKey, paths: list[str]) -> Any:
            page = await super().read_documents(key, paths)
            return Page(0, [copy for copy in getattr(page, "copies", []) if copy.path != "a/odd"])

    source = Source("primary", Odd(), Breaker(3, 60), lambda _: None)
    reads = Reads([source], bench.store, Adoptions(bench.store), bench.clock)

    async def scenario() -> None:
        assert await reads.read(["a/1"]) == [("a/1", None)]
        assert "a/odd" in (await refusal(reads.read(["a/odd"]))).detail

    bench.go(scenario())


def test_more_than_a_frame_holds_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REPLY_BYTES", 5)
    bench.primary.put("a/1", b"12345")
    bench.primary.put("a/2", b"6")

    async def scenario() -> None:
        assert await bench.reads.read(["a/1"]) == [("a/1", b"12345")]
        assert (await refusal(bench.reads.read(["a/1", "a/2"]))).kind == "too-large"

    bench.go(scenario())


def test_an_unknown_call_is_refused(bench: Bench) -> None:
    async def scenario() -> None:
        assert (await refusal(bench.reads.serve("write", []))).kind == "bad-request"

    bench.go(scenario())
