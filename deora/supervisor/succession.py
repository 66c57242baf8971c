"""One worker in place of another, without a failed request: first comes the new one, then the old one goes.

    in its slot ------------- the new one's HELLO -------------> leaving: finishes what it holds ---> STOP, ended
    coming: spawned, started ----^                    (what is left after the drain's time-out goes to others)

So there are never fewer workers than before, and one that cannot start changes nothing. Should the old one die before
the new one is ready, the new one has the slot already.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from deora.gateway.dispatch import Dispatch
from deora.supervisor.children import Child
from deora.supervisor.roster import Event, State
from deora.wire.frames import Kind, encode

if TYPE_CHECKING:
    from deora.supervisor.arbiter import Arbiter

KILL_AFTER_S: Final = 5.0
LOOK_S: Final = 0.02


class Succession:
    """The workers beside those in their slots. `drain_s`: how long a worker may take to finish what it holds."""

    def __init__(self, arbiter: Arbiter, dispatch: Dispatch, drain_s: float) -> None:
        self._arbiter = arbiter
        self._dispatch = dispatch
        self.drain_s = drain_s
        self.coming: dict[str, Child] = {}
        self.leaving: list[Child] = []

    async def replace(self, slot: str) -> str | None:
        """Starts the worker of a slot anew, and returns once the old one has gone; or why the new one cannot start,
        and then the old one stays. Where none is up in the slot it is merely started, at once."""
        child = self._arbiter.children[slot]
        coming = self.coming.get(slot, child)
        if child.member.state is State.UP and coming is child:
            # It may have died, and been given up, before its spawn returns.
            coming = self.coming[slot] = child.successor()
            await self._arbiter.spawn(coming)
        elif child.member.state is State.DELAYED:
            self._arbiter.retry(child)
        while coming.member.state in (State.DOWN, State.STARTING):
            await self._arbiter.next_change()
        if coming.member.state is State.DELAYED:
            return coming.member.reason
        while child in self.leaving:
            await self._arbiter.next_change()
        return None

    def start_replacing(self, slot: str) -> None:
        """The same, for nobody who waits."""

        async def replace() -> None:
            await self.replace(slot)

        self._arbiter.start_task(replace())

    def arrived(self, child: Child) -> None:
        """A worker is ready. If it has come for another one, that one leaves now."""
        if self.coming.get(child.member.slot) is child:
            former = self._take_slot(child)
            former.member.move(Event.STOP)
            self.leaving.append(former)
            self._arbiter.start_task(self._see_off(former))

    def retire(self, slot: str) -> None:
        """Gives a slot up: its worker finishes what it holds and goes, and none comes in its place."""
        former = self._arbiter.children.pop(slot)
        coming = self.coming.pop(slot, None)
        for child in (former, coming):
            if child is not None and child.member.move(Event.STOP) is State.STOPPING:
                self.leaving.append(child)
                self._arbiter.start_task(self._see_off(child))
        self._arbiter.rebalance()

    def inherit(self, slot: str) -> bool:
        """The worker in a slot has died: whether one that was coming has its place now."""
        child = self.coming.get(slot)
        if child is not None:
            self._take_slot(child)
        return child is not None

    def gave_up(self, child: Child) -> bool:
        """A child cannot start: whether it is one that was coming. Then it is let go, and the old one stays."""
        is_coming = self.coming.get(child.member.slot) is child
        if is_coming:
            del self.coming[child.member.slot]
        return is_coming

    def left(self, child: Child) -> None:
        """A child has ended that was asked to."""
        if child in self.leaving:
            self.leaving.remove(child)

    def _take_slot(self, child: Child) -> Child:
        slot = child.member.slot
        del self.coming[slot]
        former, self._arbiter.children[slot] = self._arbiter.children[slot], child
        child.member.duty, child.member.stands_by = former.member.duty, former.member.stands_by
        return former

    async def _see_off(self, child: Child) -> None:
        await self.emptied([child])
        if child.worker is not None:
            self._dispatch.take_back(child.worker)
        if child.link is not None:
            child.link.send(encode(Kind.STOP, 0))
        await self._arbiter.wait_ended([child], time.monotonic() + KILL_AFTER_S)

    async def emptied(self, children: list[Child], while_true: Callable[[], bool] = lambda: True) -> None:
        """Waits until these workers hold no request, for the drain's time-out at most, and only while something is
        true."""
        deadline_s = time.monotonic() + self.drain_s
        while any(child.held for child in children) and while_true() and time.monotonic() < deadline_s:
            await asyncio.sleep(LOOK_S)
