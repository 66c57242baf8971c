"""What an operator orders: workers drained, kept out, brought back, started anew; failover and recover.

Orders are kept by the supervisor and outlive the processes that they are about; a restart of DEORA forgets them. An
order that would leave no worker to serve is refused: `deora stop` is how to stop.
"""

from __future__ import annotations

import logging
from typing import Any

from deora.errors import Problem
from deora.gateway.dispatch import Dispatch
from deora.supervisor.arbiter import Arbiter
from deora.supervisor.children import FIRST_ROLE, Child
from deora.supervisor.pulse import Pulse
from deora.supervisor.roster import Duty, Member, State, left_without

_log = logging.getLogger("deora.supervisor")

Done = dict[str, Any]
"""What an operator is told: the members of the answer."""


class Orders:
    """Each returns once the order is in force. Raises Problem where it cannot be followed."""

    def __init__(self, arbiter: Arbiter, dispatch: Dispatch) -> None:
        self._arbiter = arbiter
        self._dispatch = dispatch

    async def drain(self, slot: str) -> Done:
        """Gives a worker nothing new, and waits until it holds nothing."""
        return await self._release(slot, Duty.DRAIN)

    async def maint(self, slot: str) -> Done:
        """The same, and nobody judges its health: it may be stopped and looked into."""
        return await self._release(slot, Duty.MAINT)

    async def ready(self, slot: str) -> Done:
        """Has a worker serve again."""
        child = self._worker(slot)
        child.member.duty = Duty.READY
        child.pulse = Pulse()
        self._arbiter.rebalance()
        _log.info("%s is ready to serve, by an operator's order", slot)
        return self._told(slot, 0)

    async def restart(self, slot: str) -> Done:
        """Starts a worker anew: the new one first."""
        self._worker(slot)
        _log.info("%s is started anew, by an operator's order", slot)
        reason = await self._arbiter.succession.replace(slot)
        if reason is not None:
            raise Problem(
                "unavailable",
                f"{slot} could not be started anew: {reason}",
                hint="where one was up in its place, it goes on; the log tells more",
            )
        return self._told(slot, 0)

    async def failover(self) -> Done:
        """Has the second role serve alone, and waits until the first one holds nothing."""
        workers = self._arbiter.workers()
        first = [child for child in workers if child.name == FIRST_ROLE]
        if left_without([child.member for child in first], _members(workers)):
            raise Problem(
                "conflict",
                f"no worker but the {FIRST_ROLE}'s is up and ready to serve",
                hint="see `deora status`; `deora worker ready NAME` brings one back that was drained",
            )
        return {"failover": True, "redispatched": await self._stand_by(first)}

    async def recover(self) -> Done:
        """Ends a failover."""
        for child in self._arbiter.workers():
            child.member.stands_by = False
        self._arbiter.rebalance()
        _log.info("recovered: every role serves")
        return {"failover": False}

    async def _stand_by(self, first: list[Child]) -> int:
        for child in first:
            child.member.stands_by = True
        self._arbiter.rebalance()
        _log.warning("failed over, by an operator's order: the %s serves no more", FIRST_ROLE)
        return await self._empty([child.member.slot for child in first], lambda child: child.member.stands_by)

    async def _release(self, slot: str, duty: Duty) -> Done:
        child = self._worker(slot)
        if left_without([child.member], _members(self._arbiter.workers())):
            raise Problem(
                "conflict",
                f"no worker but {slot} is up and ready to serve",
                hint="bring another one back first (`deora worker ready NAME`), or end the instance with `deora stop`",
            )
        child.member.duty = duty
        self._arbiter.rebalance()
        _log.warning("%s is in %s, by an operator's order", slot, duty.value)
        return self._told(slot, await self._empty([slot], lambda child: child.member.duty is not Duty.READY))

    async def _empty(self, slots: list[str], holds: Any) -> int:
        """Waits until the workers in these slots hold nothing; takes back what they still hold then, and counts it."""
        children = [self._arbiter.children[slot] for slot in slots]
        await self._arbiter.succession.emptied(children, lambda: all(map(holds, children)))
        return sum(
            self._dispatch.take_back(child.worker) for child in children if child.worker is not None and holds(child)
        )

    def _worker(self, slot: str) -> Child:
        slots = [child.member.slot for child in self._arbiter.workers()]
        if slot not in slots:
            raise Problem("not-found", f"there is no worker {slot!r}", hint=f"the workers are {', '.join(slots)}")
        return self._arbiter.children[slot]

    def _told(self, slot: str, redispatched: int) -> Done:
        child = self._arbiter.children[slot]
        return {
            "slot": slot,
            "state": child.member.shown,
            "pid": child.pid if child.member.state is State.UP else None,
            "redispatched": redispatched,
        }


def _members(children: list[Child]) -> list[Member]:
    return [child.member for child in children]
