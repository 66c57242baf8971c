"""The life of an outbox entry, in one table.

                     CLAIM               APPLIED               PRUNE
        PENDING -------------> INFLIGHT ---------> DONE ----------------> (gone)
           ^  ^                 |     |              |
           |  |    RELEASE      |     | REFUSED      | REQUEUE (upstream was restored without it)
           |  +-----------------+     v              |
           |                         DEAD --DROP--> (gone)
           |      RETRY               |              |
           +--------------------------+--------------+

FOUND, a rarity, takes PENDING and DEAD to DONE: upstream was restored twice, or this store was, and by upstream's
cursor it has the entry. FOUND_REFUSED takes PENDING to DEAD: this store was restored, and upstream had refused the
entry.

PENDING and INFLIGHT are stored as the same number: which entries are inflight is what the persisted batches hold, so a
claim writes one row and not one for each entry, and ending a batch can never leave an entry "running" for ever.
"""

from __future__ import annotations

from enum import Enum
from typing import Final


class State(Enum):
    """Where an entry is."""

    PENDING = "pending"
    INFLIGHT = "inflight"
    DONE = "done"
    DEAD = "dead"
    GONE = "gone"


class Event(Enum):
    """What can happen to an entry."""

    CLAIM = "claim"
    RELEASE = "release"
    APPLIED = "applied"
    REFUSED = "refused"
    RETRY = "retry"
    DROP = "drop"
    PRUNE = "prune"
    REQUEUE = "requeue"
    FOUND = "found upstream"
    FOUND_REFUSED = "found refused"


TRANSITIONS: Final[dict[tuple[State, Event], State]] = {
    (State.PENDING, Event.CLAIM): State.INFLIGHT,
    (State.INFLIGHT, Event.RELEASE): State.PENDING,
    (State.INFLIGHT, Event.APPLIED): State.DONE,
    (State.INFLIGHT, Event.REFUSED): State.DEAD,
    (State.DEAD, Event.RETRY): State.PENDING,
    (State.DEAD, Event.DROP): State.GONE,
    (State.DONE, Event.PRUNE): State.GONE,
    (State.DONE, Event.REQUEUE): State.PENDING,
    # Upstream or this store was restored, and the cursor has decided this entry.
    (State.PENDING, Event.FOUND): State.DONE,
    (State.DEAD, Event.FOUND): State.DONE,
    (State.PENDING, Event.FOUND_REFUSED): State.DEAD,
}

STORED: Final[dict[State, int]] = {State.PENDING: 0, State.INFLIGHT: 0, State.DONE: 1, State.DEAD: 2}
"""The number in `entries.state`."""


def state_of(stored: int, in_batch: bool) -> State:
    """The state of an entry from its stored number and from whether a persisted batch holds it."""
    if stored == STORED[State.PENDING]:
        return State.INFLIGHT if in_batch else State.PENDING
    return State.DONE if stored == STORED[State.DONE] else State.DEAD


def allowed(state: State, event: Event) -> State | None:
    """The state after `event`, or None where the table has no such transition."""
    return TRANSITIONS.get((state, event))
