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
        self.coming: set[str] = set()
        self.calls = Calls(self.links.get, self.coming.__contains__)
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
    star.calls.lost("store")
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
    star.calls.lost("replayer")
    [(_, parts)] = star.told
    assert "replayer" in Problem.from_wire(parts).detail
    [frame] = star.links["store"].take(Kind.CALL)
    star.calls.replied((Kind.REPLY, 0, 0, 0, frame[4], pack("fine")))
    assert star.told[1:] == [(0, "fine")]


def test_calls_to_the_replayer_wait_while_it_is_started_and_those_to_the_store_do_not() -> None:
    star = Star()
    link = star.links.pop("replayer")
    star.links.pop("store")
    star.coming.update(("replayer", "store"))
    star.ask(Role.STORE)
    star.ask(Role.REPLAYER, b"one")
    star.ask(Role.REPLAYER, b"two")
    assert [aux for aux, _ in star.told] == [1]
    star.links["replayer"] = link
    star.calls.resume("store")
    assert link.take(Kind.CALL) == []
    star.calls.resume("replayer")
    assert [frame[5] for frame in link.take(Kind.CALL)] == [b"one", b"two"]
    star.calls.resume("replayer")
    assert link.take(Kind.CALL) == []


def test_what_waits_for_one_that_cannot_start_is_told_so() -> None:
    star = Star()
    star.links.clear()
    star.coming.add("replayer")
    star.ask(Role.REPLAYER)
    star.coming.clear()
    star.calls.lost("replayer")
    star.calls.lost("replayer")
    assert [aux for aux, _ in star.told] == [1]


def test_one_that_was_asked_to_end_leaves_its_calls_to_the_next() -> None:
    star = Star()
    star.ask(Role.REPLAYER, b"one")
    star.ask(Role.STORE, b"two")
    former = star.links.pop("replayer")
    [lost] = former.take(Kind.CALL)
    star.coming.add("replayer")
    star.calls.lost("replayer", again=True)
    star.calls.lost("store", again=True)
    assert [aux for aux, _ in star.told] == [1]
    star.links["replayer"] = KeptLink()
    star.calls.resume("replayer")
    [frame] = star.links["replayer"].take(Kind.CALL)
    assert frame[5] == b"one"
    # An answer that the former one gave on its way out is not this one's.
    star.calls.replied((Kind.REPLY, 0, 0, 0, lost[4], pack(1)))
    star.calls.replied((Kind.REPLY, 0, 0, 0, frame[4], pack(2)))
    assert star.told[1:] == [(0, 2)]
