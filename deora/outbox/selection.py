"""Which entries the next batch takes. Pure: the rows come as iterators, the choice goes back as a list.

The rules (DESIGN.md has no say here beyond them):

* An entry may be taken when, for every document it touches, each older live entry is in the batch already. So a batch
  may hold a run of writes to one document, and entries are sent in the order of their ids.
* Four fifths of a batch go by urgency: the most urgent queue first, the older entry first among equals. An entry that
  holds up a more urgent one is as urgent as that one. The last fifth goes by age alone, so that nothing starves.
* An entry is never split. One that is larger than a batch fills a batch by itself.

A queue is the run of live entries of one document. `Front` is its head as the storage keeps it; the entries behind it
are read only when the head has been taken, a few at a time.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

FOLLOWERS_AT_ONCE: Final = 8


@dataclass(frozen=True, slots=True)
class Entry:
    """A live entry. `heads` names the queues it stands in; `priority` is its own with what it inherited."""

    id: int
    number: int
    commit_no: int
    priority: int
    writes: int
    heads: tuple[int, ...]
    payload: bytes


@dataclass(frozen=True, slots=True)
class Front:
    """The head of one queue. `priority` is the highest in the queue, `urgent` how many entries have it.

    `second` is the id of the entry behind the head, if there is one: enough to know its turn, so that it is read only
    when that comes. Most batches end before it does.
    """

    head: int
    priority: int
    urgent: int
    waiting: int
    second: int | None
    entry: Entry


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a batch may hold. `urgent_share` is the part of it that goes by urgency."""

    max_writes: int = 500
    max_bytes: int = 3 * 1024 * 1024
    urgent_share: float = 0.8


Followers = Callable[[int, int, int], list[Entry]]
"""(head, after entry id, how many) -> the next entries of that queue, oldest first"""


@dataclass(slots=True)
class _Batch:
    limits: Limits
    entries: dict[int, Entry] = field(default_factory=dict)
    writes: int = 0
    size_bytes: int = 0

    def take(self, entry: Entry, share: float) -> bool:
        """Takes the entry where it fits; the first one always does."""
        writes = self.writes + entry.writes
        size_bytes = self.size_bytes + len(entry.payload)
        if self.entries and (writes > self.limits.max_writes * share or size_bytes > self.limits.max_bytes * share):
            return False
        self.entries[entry.id] = entry
        self.writes = writes
        self.size_bytes = size_bytes
        return True


@dataclass(slots=True)
class _Queue:
    """What is known of a queue while a batch is chosen from it."""

    front: Front
    followers: Followers
    behind: list[Entry] = field(default_factory=list)
    urgent_left: int = 0
    waiting_left: int = 0

    def next_after(self, taken: Entry) -> tuple[int, int, Entry | None] | None:
        """How urgent the entry behind `taken` is, its id, and itself if it has been read; None at the queue's end."""
        self.waiting_left -= 1
        if taken.priority == self.front.priority:
            self.urgent_left -= 1
        if self.waiting_left <= 0:
            return None
        if not self.behind and taken is self.front.entry and self.urgent_left > 0 and self.front.second is not None:
            return self.front.priority, self.front.second, None
        if not self.behind:
            uniform = self.urgent_left == self.waiting_left
            self.behind = self.followers(self.front.head, taken.id, FOLLOWERS_AT_ONCE if uniform else 500)
            self.behind.reverse()
        if not self.behind:
            return None
        urgency = self.front.priority if self.urgent_left > 0 else max(entry.priority for entry in self.behind)
        entry = self.behind.pop()
        return urgency, entry.id, entry

    def load(self) -> Entry:
        """The entry behind the head, which was queued by its id alone."""
        uniform = self.urgent_left == self.waiting_left
        self.behind = self.followers(self.front.head, self.front.entry.id, FOLLOWERS_AT_ONCE if uniform else 500)
        self.behind.reverse()
        return self.behind.pop()


def select(
    limits: Limits,
    fronts: Iterator[Front],
    followers: Followers,
    oldest: Iterator[Entry],
    held: dict[int, int] | None = None,
) -> list[Entry]:
    """The entries of the next batch, in the order in which they must be applied.

    `fronts` yields queues by falling priority, then by rising id of their head entry; `oldest` all live entries by
    rising id. `held` maps a queue to the dead entry that what is younger in it must wait for.
    """
    held = held or {}
    batch = _Batch(limits)
    if limits.urgent_share > 0:
        _take_urgent(batch, fronts, followers, held)
    _take_oldest(batch, oldest, held)
    return [batch.entries[ident] for ident in sorted(batch.entries)]


def _is_held(entry: Entry, held: dict[int, int]) -> bool:
    return any(held.get(head, entry.id) < entry.id for head in entry.heads)


def _take_urgent(batch: _Batch, fronts: Iterator[Front], followers: Followers, held: dict[int, int]) -> None:
    queues: dict[int, _Queue] = {}
    arrived: dict[int, int] = {}
    heap: list[tuple[int, int, int, Entry | None]] = []
    pending = next(fronts, None)
    while heap or pending is not None:
        if pending is not None and (not heap or (-pending.priority, pending.entry.id) <= heap[0][:2]):
            head, entry = pending.head, pending.entry
            queues[head] = _Queue(pending, followers, urgent_left=pending.urgent, waiting_left=pending.waiting)
            pending = next(fronts, None)
        else:
            _, _, head, behind = heapq.heappop(heap)
            entry = queues[head].load() if behind is None else behind
        if entry.heads != (head,):
            # An entry of several documents is free only when it is at the front in each of them.
            arrived[entry.id] = arrived.get(entry.id, 0) + 1
            if arrived[entry.id] < len(entry.heads):
                continue
        if held and _is_held(entry, held):
            continue
        if not batch.take(entry, batch.limits.urgent_share):
            return
        for queue_id in entry.heads:
            following = queues[queue_id].next_after(entry)
            if following is not None:
                urgency, ident, behind = following
                heapq.heappush(heap, (-urgency, ident, queue_id, behind))


def _take_oldest(batch: _Batch, oldest: Iterator[Entry], held: dict[int, int]) -> None:
    blocked: set[int] = set()
    for entry in oldest:
        if entry.id in batch.entries:
            continue
        if held and (_is_held(entry, held) or not blocked.isdisjoint(entry.heads)):
            blocked.update(entry.heads)
            continue
        if not batch.take(entry, 1.0):
            return
