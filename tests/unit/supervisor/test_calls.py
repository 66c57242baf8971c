"""Calls between children: numbered, routed by role, and answered even where the child that was asked is gone."""

from __future__ import annotations

from typing import Any

import pytest

from deora.errors import Problem
from deora.supervisor.calls import Calls
from deora.wire.frames import Frame, Kind, Role, pack, unpack
from tests.fakes.star import KeptLink


class Star:
    """Two children that can be called, and those that call."""

    def __init__(self) -> None:
        self.links: dict[str, KeptLink] = {"store": KeptLink(), "replayer": KeptLink()}
        self.calls = Calls(self.links.get)
        self.told: list[tuple[int, Any]] = []

    def ask(self, role: int, body: bytes = b"x") -> None:
        """The supervisor's own call."""
        self.calls.ask(role, body, lambda aux, reply: self.told.append((aux, unpack(reply))))


def call(ident: int, role: int, body: bytes) -> Frame:
    """A child's CALL."""
    return (Kind.CALL, 0, role, 0, ident, body)


def test_a_call_gets_a_number_of_its_own_and_the_reply_its_old_one() -> None:
    star = Star()
    primary, secondary = KeptLink(), KeptLink()
    star.calls.route(primary, call(7, Role.REPLAYER, b"one"))
    star.calls.route(secondary, call(7, Role.REPLAYER, b"two"))
    star.calls.route(secondary, call(8, Role.STORE, b"three"))
    first, second = star.links["replayer"].take(Kind.CALL)
    [third] = star.links["store"].take(Kind.CALL)
    assert [first[5], second[5], third[5]] == [b"one", b"two", b"three"]
    assert len({first[4], second[4], third[4]}) == 3
    star.calls.replied((Kind.REPLY, 0, 1, 0, second[4], b"no"))
    star.calls.replied((Kind.REPLY, 0, 0, 0, first[4], b"yes"))
    assert [(frame[4], frame[2], frame[5]) for frame in primary.take(Kind.REPLY)] == [(7, 0, b"yes")]
    assert [(frame[4], frame[2], frame[5]) for frame in secondary.take(Kind.REPLY)] == [(7, 1, b"no")]


def test_a_reply_is_told_once() -> None:
    star = Star()
    star.ask(Role.STORE)
    [frame] = star.links["store"].take(Kind.CALL)
    for _ in range(2):
        star.calls.replied((Kind.REPLY, 0, 0, 0, frame[4], pack(5)))
    star.calls.fail("store")
    assert star.told == [(0, 5)]


@pytest.mark.parametrize(("role", "slot"), [(Role.STORE, "store"), (Role.REPLAYER, "replayer"), (9, "role 9")])
def test_a_child_that_is_not_up_is_unavailable(role: int, slot: str) -> None:
    star = Star()
    star.links.clear()
    star.ask(role)
    [(aux, parts)] = star.told
    problem = Problem.from_wire(parts)
    assert (aux, problem.kind, problem.detail) == (1, "unavailable", f"the {slot} is not up")


def test_the_calls_of_a_child_that_ends_fail_and_no_others() -> None:
    star = Star()
    star.ask(Role.STORE)
    star.ask(Role.REPLAYER)
    star.calls.fail("replayer")
    [(_, parts)] = star.told
    assert "replayer" in Problem.from_wire(parts).detail
    [frame] = star.links["store"].take(Kind.CALL)
    star.calls.replied((Kind.REPLY, 0, 0, 0, frame[4], pack("fine")))
    assert star.told[1:] == [(0, "fine")]
