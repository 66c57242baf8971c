"""Picks: exact shares, and no bursts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import pairwise

import pytest

from deora.config.schema import LoadBalancer
from deora.gateway.balancer import MODES, Balancer, Failover, LeastConn, RoundRobin, Server, Weighted, smooth_pattern

PRIMARY = Server("primary", 70, 1)
SECONDARY = Server("secondary", 30, 2)
BOTH = [PRIMARY, SECONDARY]


def balancer(mode: Callable[[], Balancer], servers: list[Server]) -> Balancer:
    """A balancer that knows its servers."""
    made = mode()
    made.update(servers)
    return made


def picks(made: Balancer, count: int) -> list[str | None]:
    return [made.pick() for _ in range(count)]


def test_weighted_gives_exactly_7_of_10() -> None:
    made = balancer(Weighted, BOTH)
    for _ in range(100):
        assert Counter(picks(made, 10)) == {"primary": 7, "secondary": 3}


def test_weighted_is_smooth() -> None:
    found = picks(balancer(Weighted, BOTH), 1000)
    places = [place for place, slot in enumerate(found) if slot == "secondary"]
    # 30 of 100 spread evenly: every third or fourth pick, never two in a row, never five without one.
    assert {later - earlier for earlier, later in pairwise(places)} == {3, 4}


@pytest.mark.parametrize(
    ("weights", "period"),
    [((70, 30), 10), ((1, 1), 2), ((5, 1, 1), 7), ((1000, 999), 1999), ((1000, 1000, 1000), 3), ((3,), 1)],
)
def test_the_pattern_is_one_period_with_each_servers_share(weights: tuple[int, ...], period: int) -> None:
    servers = [Server(f"s{place}", weight, 1) for place, weight in enumerate(weights)]
    pattern = smooth_pattern(servers)
    assert len(pattern) == period
    counted = Counter(pattern)
    for server in servers:
        assert counted[server.slot] * sum(weights) == server.weight * period


def test_the_textbook_pattern_of_smooth_weighted_round_robin() -> None:
    servers = [Server("a", 5, 1), Server("b", 1, 1), Server("c", 1, 1)]
    assert "".join(smooth_pattern(servers)) == "aabacaa"


def test_weight_0_serves_only_where_no_other_is_up() -> None:
    spare = Server("spare", 0, 1)
    assert set(smooth_pattern([PRIMARY, spare])) == {"primary"}
    assert smooth_pattern([spare]) == ["spare"]


def test_round_robin_takes_turns_whatever_the_weights() -> None:
    assert picks(balancer(RoundRobin, BOTH), 6) == ["primary", "secondary"] * 3


def test_failover_serves_from_the_best_priority() -> None:
    # Not by place, not by weight.
    made = balancer(Failover, [Server("b", 1, 2), Server("c", 1, 3), Server("a", 1, 1)])
    assert picks(made, 5) == ["a"] * 5
    made.update([Server("b", 1, 2), Server("c", 1, 3)])
    assert picks(made, 5) == ["b"] * 5
    made.update([Server("b", 1, 2), Server("a", 1, 1)])
    assert picks(made, 5) == ["a"] * 5


def test_failover_among_equals_is_always_the_same_one() -> None:
    assert picks(balancer(Failover, [Server("primary-2", 1, 1), Server("primary", 1, 1)]), 3) == ["primary"] * 3


@pytest.mark.parametrize("mode", MODES.values())
def test_nobody_up(mode: type[Weighted] | type[RoundRobin] | type[Failover]) -> None:
    made = mode()
    assert made.pick() is None
    made.update(BOTH)
    assert made.pick() is not None
    made.update([])
    assert made.pick() is None


@pytest.mark.parametrize("mode", MODES.values())
def test_only_those_that_are_up_are_picked(mode: type[Weighted] | type[RoundRobin] | type[Failover]) -> None:
    made = balancer(mode, BOTH)
    made.pick()
    made.update([SECONDARY])
    assert set(picks(made, 20)) == {"secondary"}


def test_every_mode_is_one_that_the_configuration_allows() -> None:
    assert "weighted" in MODES
    for mode in MODES:
        assert LoadBalancer(mode=mode).mode == mode


class Loads(dict[str, int]):
    """How many requests each slot has."""

    def of(self, slot: str) -> int:
        return self.get(slot, 0)


def least_conn(servers: list[Server], loads: Loads) -> LeastConn:
    made = LeastConn()
    made.load = loads.of
    made.update(servers)
    return made


def test_the_least_busy_is_taken() -> None:
    loads = Loads(a=3, b=1, c=2)
    made = least_conn([Server("a", 1, 1), Server("b", 1, 1), Server("c", 1, 1)], loads)
    assert made.pick() == "b"
    loads["b"] = 5
    assert made.pick() == "c"


def test_a_weight_is_a_share_of_what_is_at_work() -> None:
    loads = Loads()
    made = least_conn(BOTH, loads)
    for _ in range(100):
        slot = made.pick()
        assert slot is not None
        loads[slot] = loads.of(slot) + 1
    assert loads["primary"] == pytest.approx(70, abs=1)


def test_at_rest_turns_are_taken_by_weight() -> None:
    assert Counter(picks(least_conn(BOTH, Loads()), 100)) == {"primary": 70, "secondary": 30}


def test_equals_take_turns() -> None:
    made = least_conn([Server("a", 1, 1), Server("b", 1, 1), Server("c", 1, 1)], Loads())
    assert Counter(picks(made, 30)) == {"a": 10, "b": 10, "c": 10}
