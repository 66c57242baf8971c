"""Every child in place of its former self, under load: with a new zygote, which has the code that is installed now, and
with a new configuration.

    a new zygote --> the first worker --> the other workers --> the store --> the replayer --> the old zygote ends
        |                  |
        +------------------+--> cannot start: everything is as it was

A worker comes before its former self goes, so there are never fewer than before. Of store and replayer there is one at
a time: what is for them waits, for the tenth of a second that the next one takes. Workers go first since they judge
what the upstreams of a new configuration take, before the store makes entries for them; the replayer goes last since
it delivers what the store has made.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final

from deora.config.schema import Config
from deora.errors import DeoraError
from deora.supervisor.arbiter import Arbiter
from deora.supervisor.children import Child, children_of
from deora.supervisor.roster import State
from deora.supervisor.spawn import Zygote
from deora.wire.frames import Kind, encode

_log = logging.getLogger("deora.supervisor")

# A store may be in the middle of a slow fsync, which a kill would not make faster.
START_S: Final = 30.0


class RenewalError(DeoraError):
    """A child could not be started anew. `is_reverted`: everything is as it was before."""

    def __init__(self, message: str, *, is_reverted: bool) -> None:
        super().__init__(message, hint="the log tells more")
        self.is_reverted = is_reverted


async def renew(arbiter: Arbiter, old: Config, new: Config) -> list[str]:
    """Starts every child anew, and returns the slots. Raises RenewalError, or StartError where no zygote comes up."""
    zygote = await Zygote.start()
    former = arbiter.zygotes.take(zygote)
    arbiter.configure(new)
    is_taken = False
    try:
        slots = [child.member.slot for child in arbiter.workers()]
        fresh = {child.member.slot: child for child in children_of(new)}
        stay = [slot for slot in slots if slot in fresh]
        await _first(arbiter, stay[0], fresh)
        is_taken = True
    finally:
        unused = former if is_taken else zygote
        if not is_taken:
            arbiter.configure(old)
            if former is not None:
                arbiter.zygotes.take(former)
        if unused is not None and (is_taken or former is not None):
            unused.close()
        await arbiter.start_who_is_down()
    return await _others(arbiter, stay, fresh)


async def _first(arbiter: Arbiter, slot: str, fresh: dict[str, Child]) -> None:
    reason = await _renew_worker(arbiter, slot)
    if reason is not None:
        raise RenewalError(f"a new {slot} cannot start: {reason}", is_reverted=True)
    _weigh(arbiter, fresh)


async def _others(arbiter: Arbiter, stay: list[str], fresh: dict[str, Child]) -> list[str]:
    faults = []
    new_slots = [slot for slot in fresh if slot not in arbiter.children]
    for slot in new_slots:
        arbiter.children[slot] = fresh[slot]
        await arbiter.spawn(fresh[slot])
    for slot in (*stay[1:], *new_slots):
        reason = await _renew_worker(arbiter, slot)
        if reason is not None:
            faults.append(f"a new {slot} cannot start: {reason}")
    for slot in [child.member.slot for child in arbiter.workers()]:
        if slot not in fresh:
            arbiter.succession.retire(slot)
    for slot in ("store", "replayer"):
        reason = await _renew_single(arbiter, slot)
        if reason is not None:
            faults.append(f"the new {slot} cannot start: {reason}")
    arbiter.children = {slot: arbiter.children[slot] for slot in fresh}
    if faults:
        raise RenewalError("; ".join(faults), is_reverted=False)
    return list(fresh)


def _weigh(arbiter: Arbiter, fresh: dict[str, Child]) -> None:
    """Gives the workers their new weights and priorities."""
    for child in arbiter.everyone():
        if child.member.slot in fresh:
            child.server = fresh[child.member.slot].server
    arbiter.rebalance()


async def _renew_worker(arbiter: Arbiter, slot: str) -> str | None:
    """One that was being started for another reason may be of the old configuration still: then once more."""
    try:
        async with asyncio.timeout(START_S + arbiter.succession.drain_s):
            while arbiter.children[slot].edition != arbiter.edition:
                reason = await arbiter.succession.replace(slot)
                if reason is not None:
                    return reason
            child = arbiter.children[slot]
            while child.member.state is State.STARTING:
                await arbiter.next_change()
    except TimeoutError:
        reason = f"it was not ready within {START_S:g} s"
        coming = arbiter.succession.coming.get(slot)
        if coming is not None:
            arbiter.take_out(coming, reason)
        return reason
    return child.member.reason if child.member.state is State.DELAYED else None


async def _renew_single(arbiter: Arbiter, slot: str) -> str | None:
    """Ends a child of which there is one at a time, and waits for the next one; or says why that cannot start."""
    child = arbiter.children[slot]
    deadline_s = time.monotonic() + START_S
    while child.edition != arbiter.edition or child.member.state is not State.UP:
        if child.edition == arbiter.edition and child.member.state is State.DELAYED:
            return child.member.reason
        if child.member.state is State.DELAYED:
            arbiter.retry(child)
        elif child.edition != arbiter.edition and child.link is not None and child.member.state is State.UP:
            _ask_to_end(child)
        await arbiter.next_change(max(0.0, deadline_s - time.monotonic()))
        if time.monotonic() >= deadline_s:
            reason = f"it was not ready within {START_S:g} s"
            arbiter.take_out(child, reason)
            return reason
    return None


def _ask_to_end(child: Child) -> None:
    if not child.is_asked:
        child.is_asked = True
        assert child.link is not None
        child.link.send(encode(Kind.STOP, 0))
