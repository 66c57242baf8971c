"""Calls from one child to another, through the supervisor: it gives each a number of its own and brings the reply back.

A call to a child that is not up, or that ends before it has replied, is answered at once: with "unavailable". But those
to the replayer, which only read, wait while it is being started, and are asked again where it was asked to end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from deora.errors import Problem
from deora.wire.frames import Frame, Kind, Role, encode, pack
from deora.wire.link import Link

SLOTS: Final[dict[int, str]] = {Role.STORE: "store", Role.REPLAYER: "replayer"}
PATIENT: Final = ("replayer",)
"""the slots whose calls wait: the others' callers know better what to do next"""

Answer = Callable[[int, bytes], None]
"""Takes a REPLY: its `aux` and its body."""


class _Call(NamedTuple):
    slot: str
    body: bytes
    answer: Answer


class Calls:
    """The calls under way. `link_of` gives the link of the child in a slot, None while it is not up; `is_coming` tells
    whether it soon will be."""

    def __init__(self, link_of: Callable[[str], Link | None], is_coming: Callable[[str], bool]) -> None:
        self._link_of = link_of
        self._is_coming = is_coming
        self._under_way: dict[int, _Call] = {}
        self._waiting: list[_Call] = []
        self._ids = 0

    def route(self, link: Link, frame: Frame) -> None:
        """A child's CALL, which came over its link."""
        _, _, role, _, ident, body = frame
        self.ask(role, body, lambda aux, reply: link.send(encode(Kind.REPLY, ident, reply, aux=aux)))

    def ask(self, role: int, body: bytes, answer: Answer) -> None:
        """Calls the child of a role; `answer` is told once."""
        self._ask(_Call(SLOTS.get(role, f"role {role}"), body, answer))

    def _ask(self, call: _Call) -> None:
        link = self._link_of(call.slot)
        if link is not None:
            self._ids += 1
            self._under_way[self._ids] = call
            link.send(encode(Kind.CALL, self._ids, call.body))
        elif call.slot in PATIENT and self._is_coming(call.slot):
            self._waiting.append(call)
        else:
            call.answer(1, _unavailable(call.slot))

    def replied(self, frame: Frame) -> None:
        """A child's REPLY."""
        _, _, aux, _, ident, body = frame
        call = self._under_way.pop(ident, None)
        if call is not None:
            call.answer(aux, body)

    def resume(self, slot: str) -> None:
        """The child in a slot is up: it is asked what has waited for it."""
        self._ask_again([call for call in self._waiting if call.slot == slot])

    def lost(self, slot: str, *, again: bool = False) -> None:
        """The child in a slot ended: its calls will have no other answer. `again`: it was asked to end, and those that
        may be asked once more are."""
        idents = [ident for ident, call in self._under_way.items() if call.slot == slot]
        calls = [self._under_way.pop(ident) for ident in idents]
        if again and slot in PATIENT:
            self._ask_again(calls)
            return
        for call in calls:
            call.answer(1, _unavailable(slot))
        self._ask_again([call for call in self._waiting if call.slot == slot])

    def _ask_again(self, calls: list[_Call]) -> None:
        self._waiting = [call for call in self._waiting if call not in calls]
        for call in calls:
            self._ask(call)


def _unavailable(slot: str) -> bytes:
    return pack(Problem("unavailable", f"the {slot} is not up", hint="it is started again by itself").to_wire())
