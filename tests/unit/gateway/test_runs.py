"""Which worker takes what arrives within one turn of the loop."""

from __future__ import annotations

from collections import Counter
from itertools import groupby

import pytest

from deora.gateway.balancer import MODES, Server
from deora.gateway.requests import Request, Worker
from deora.gateway.runs import RUN_AT_MOST, Runs
from deora.gateway.sticky import ByCookie
from tests.fakes.star import KeptLink, incoming

SERVERS = [Server("primary", 70, 1), Server("secondary", 30, 2)]


class Turns:
    """Two workers, and the turns in which requests arrive."""

    def __init__(self, mode: str = "weighted") -> None:
        self.runs = Runs(MODES[mode]())
        self.links = {server.slot: KeptLink() for server in SERVERS}
        for link in self.links.values():
            link.in_turn = True
        for server in SERVERS:
            self.runs.workers[server.slot] = Worker(server.slot, server.slot.encode(), 1, self.links[server.slot])
        self.runs.update(SERVERS)

    def turn(self, requests: int) -> list[str]:
        """Where the requests of one turn go, in order."""
        slots = []
        for _ in range(requests):
            worker = self.runs.pick()
            assert worker is not None
            self.links[worker.slot].frames.append((0, 0, 0, 0, 0, b""))
            slots.append(worker.slot)
        for link in self.links.values():
            link.frames.clear()
        return slots


def test_a_turn_wakes_one_worker() -> None:
    turns = Turns()
    for requests in (1, 5, RUN_AT_MOST, 2):
        assert len(set(turns.turn(requests))) == 1


def test_a_run_ends() -> None:
    runs = [len(list(run)) for _, run in groupby(Turns("round_robin").turn(4 * RUN_AT_MOST))]
    assert runs == [RUN_AT_MOST] * 4


@pytest.mark.parametrize("size", [1, 2, 7, 10, RUN_AT_MOST, 40])
@pytest.mark.parametrize(("mode", "share"), [("weighted", 0.7), ("round_robin", 0.5), ("failover", 1.0)])
def test_the_shares_hold_in_the_long_run(mode: str, share: float, size: int) -> None:
    turns = Turns(mode)
    total = 100 * RUN_AT_MOST
    counts = Counter(slot for _ in range(total // size) for slot in turns.turn(size))
    assert abs(counts["primary"] - share * counts.total()) <= 2 * RUN_AT_MOST


@pytest.mark.parametrize(("mode", "share"), [("weighted", 0.7), ("round_robin", 0.5)])
def test_long_turns_do_not_fall_to_one_worker(mode: str, share: float) -> None:
    """A long turn, then short ones, over and over: what a run took ahead is made up for."""
    turns = Turns(mode)
    pattern = [12, 1] if mode == "round_robin" else [12, 1, 1]
    counts = Counter(slot for _ in range(200) for size in pattern for slot in turns.turn(size))
    assert abs(counts["primary"] - share * counts.total()) <= 2 * RUN_AT_MOST


def test_after_a_change_nobody_stays_with_a_worker_that_is_gone() -> None:
    turns = Turns()
    turns.turn(1)
    turns.links["primary"].frames.append((0, 0, 0, 0, 0, b""))
    del turns.runs.workers["primary"]
    turns.runs.update(SERVERS[1:])
    assert turns.turn(5) == ["secondary"] * 5
    turns.runs.workers.clear()
    turns.runs.update([])
    assert turns.runs.pick() is None


def test_where_the_load_decides_it_is_asked_for_each_request() -> None:
    turns = Turns("least_conn")
    taken = []
    for number in range(20):
        worker = turns.runs.pick()
        assert worker is not None
        turns.links[worker.slot].frames.append((0, 0, 0, 0, 0, b""))
        worker.held[number] = Request(number, incoming("GET", "/"), b"r", 0.0)
        taken.append(worker.slot)
    assert Counter(taken)["primary"] == pytest.approx(14, abs=1)


def test_a_client_sticks_to_its_worker_and_others_do_not() -> None:
    runs = Runs(MODES["round_robin"](), ByCookie())
    for server in SERVERS:
        runs.workers[server.slot] = Worker(server.slot, server.slot.encode(), 1, KeptLink())
    runs.update(SERVERS)

    def slot(client: bytes | None) -> str:
        worker = runs.pick(client)
        assert worker is not None
        return worker.slot

    assert {slot(b"secondary") for _ in range(10)} == {"secondary"}
    assert {slot(b"") for _ in range(2)} == {slot(None) for _ in range(2)} == {"primary", "secondary"}
    assert runs.lines(b"", "gone") == b""
    assert runs.lines(b"", "primary") == b"Set-Cookie: SERVERID=primary; Path=/; HttpOnly; SameSite=Lax\r\n"
    assert Runs(MODES["weighted"]()).lines(b"", "primary") == b""
