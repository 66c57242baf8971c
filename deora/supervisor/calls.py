"""Calls from one child to another, through the supervisor: it gives each a number of its own and brings the reply back.

A call to a child that is not up, or that ends before it has replied, is answered at once: with "unavailable".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from deora.errors import Problem
from deora.wire.frames import Frame, Kind, Role, encode, pack
from deora.wire.link import Link

SLOTS: Final[dict[int, str]] = {Role.STORE: "store", Role.REPLAYER: "replayer"}

Answer = Callable[[int, bytes], None]
"""Takes a REPLY: its `aux` and its body."""


class Calls:
    """The calls under way. `link_of` gives the link of the child in a slot, None while it is not up."""

    def __init__(self, link_of: Callable[[str], Link | None]) -> None:
        self._link_of = link_of
        self._under_way: dict[int, tuple[str, Answer]] = {}
        self._ids = 0

    def route(self, link: Link, frame: Frame) -> None:
        """A child's CALL, which came over its link."""
        _, _, role, _, ident, body = frame
        self.ask(role, body, lambda aux, reply: link.send(encode(Kind.REPLY, ident, reply, aux=aux)))

    def ask(self, role: int, body: bytes, answer: Answer) -> None:
        """Calls the child of a role; `answer` is told once."""
        slot = SLOTS.get(role, f"role {role}")
        link = self._link_of(slot)
        if link is None:
            answer(1, _unavailable(slot))
            return
        self._ids += 1
        self._under_way[self._ids] = (slot, answer)
        link.send(encode(Kind.CALL, self._ids, body))

    def replied(self, frame: Frame) -> None:
        """A child's REPLY."""
        _, _, aux, _, ident, body = frame
        _, answer = self._under_way.pop(ident, ("", None))
        if answer is not None:
            answer(aux, body)

    def fail(self, slot: str) -> None:
        """The child in a slot ended: its calls will have no other answer."""
        lost = [ident for ident, (called, _) in self._under_way.items() if called == slot]
        for answer in [self._under_way.pop(ident)[1] for ident in lost]:
            answer(1, _unavailable(slot))


def _unavailable(slot: str) -> bytes:
    return pack(Problem("unavailable", f"the {slot} is not up", hint="it is started again by itself").to_wire())
