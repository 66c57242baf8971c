"""What the replayer is told of alerts, and when."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from deora.errors import Problem
from deora.supervisor.alarm import SETTLED_S, Alarm
from deora.supervisor.calls import Answer
from deora.wire.frames import Role, pack, unpack
from tests.fakes.gauges import GaugesBench, upstream_figures

WEBHOOK = {"operations": {"alerts": {"webhook": "https://hooks.example/x"}}, "servers": {"id": "bar"}}


class Bench(GaugesBench):
    """An alarm whose calls are kept: the test is the replayer."""

    def __init__(self, **config: Any) -> None:
        super().__init__(**config)
        self.asked: list[tuple[list[Any], Answer]] = []
        self.arbiter.ask = self.ask  # type: ignore[method-assign]
        self.alarm = Alarm(self.config, self.arbiter, self.gauges, self.clock.monotonic_s)
        self.up()
        self.dead(0)

    def ask(self, role: int, body: bytes, answer: Answer) -> None:
        assert role == Role.REPLAYER
        self.asked.append((unpack(body), answer))

    def dead(self, number: int) -> None:
        self.queue(primary=upstream_figures(dead=number))

    def step(self, *, seconds: float = 1.0, fails: bool = False) -> list[Any] | None:
        """Time passes; what the replayer was told then, and answers."""
        self.clock.advance(seconds)
        self.alarm.tick()
        asked, self.asked = self.asked, []
        for _, answer in asked:
            answer(int(fails), pack(None))
        return asked[0][0] if asked else None


def names(call: list[Any] | None) -> list[str] | None:
    return None if call is None else [alert[0] for alert in call[2]]


def test_what_changes_is_told_and_nothing_else() -> None:
    bench = Bench(**WEBHOOK)
    first = bench.step()
    assert first is not None
    assert (first[0], first[1], first[3]) == ("alerts", "bar", False)
    assert bench.step() is None
    bench.dead(1)
    assert "dead-letters" in (names(bench.step()) or [])
    assert bench.step() is None
    bench.dead(0)
    assert names(bench.step()) == []


def test_what_was_not_heard_is_told_again() -> None:
    bench = Bench(**WEBHOOK)
    assert bench.step(fails=True) is not None
    assert bench.step(fails=True) is not None
    assert bench.step() is not None
    assert bench.step() is None


def test_one_call_at_a_time() -> None:
    bench = Bench(**WEBHOOK)
    bench.alarm.tick()
    [(_, answer)] = bench.asked
    bench.dead(1)
    bench.clock.advance(1)
    bench.alarm.tick()
    assert len(bench.asked) == 1
    answer(0, pack(None))
    bench.asked.clear()
    assert "dead-letters" in (names(bench.step()) or [])


def test_another_replayer_is_told_anew() -> None:
    bench = Bench(**WEBHOOK)
    bench.step()
    bench.arbiter.children["replayer"].member.generation += 1
    assert bench.step() is not None


def test_only_who_has_run_for_a_while_knows_what_is_over() -> None:
    bench = Bench(**WEBHOOK)
    bench.step()
    call = bench.step(seconds=SETTLED_S)
    assert call is not None
    assert call[3] is True


def test_where_nobody_is_to_be_told_nobody_is_asked() -> None:
    bench = Bench()
    assert bench.step() is None
    with pytest.raises(Problem) as refused:
        asyncio.run(bench.alarm.test())
    assert (refused.value.status, "operations.json" in str(refused.value.hint)) == (409, True)
    bench.alarm.configure(Bench(**WEBHOOK).config)
    assert bench.step() is not None


def test_a_test_is_answered_by_the_replayer() -> None:
    async def talk(failed: int, body: bytes) -> Any:
        bench = Bench(**WEBHOOK)
        testing = asyncio.ensure_future(bench.alarm.test())
        await asyncio.sleep(0)
        [(call, answer)] = bench.asked
        assert call == ["alertsTest", "bar"]
        answer(failed, body)
        return await testing

    rows = [{"target": "webhook", "sent": True}]
    assert asyncio.run(talk(0, pack(rows))) == {"sent": rows}
    with pytest.raises(Problem, match="not up"):
        asyncio.run(talk(1, pack(Problem("unavailable", "the replayer is not up").to_wire())))
