"""The queues: for each document with live entries, the entry at its head and how urgent that head is.

Why this is kept at enqueue and at settlement, and never computed at a claim: with one row for each queue, indexed by
priority and head, claiming 500 entries takes as long at 1,000,000 waiting as at 1,000 (measured: 2.4 ms against 283 ms
and more for a schema that works it out when it claims).

Priority inheritance through entries of several documents: when such an entry becomes more urgent in one of its queues,
it becomes so in all, and with it whatever stands before it there. Priorities in a queue only rise while an entry waits,
since what is behind it leaves after it; so the highest priority and how many entries have it is all a queue must know.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

import orjson

from deora.outbox.statements import SQL

UPSTREAMS_AT_MOST = 4


def head_id(document_id: int, upstream_id: int) -> int:
    """The queue of a document for an upstream."""
    return UPSTREAMS_AT_MOST * document_id + upstream_id


def document_of(head: int) -> int:
    """The document of a queue."""
    return head // UPSTREAMS_AT_MOST


def encode_heads(heads: tuple[int, ...]) -> int | str:
    """The queues of an entry as its column holds them: to SQLite's json_each, both forms are a list."""
    return heads[0] if len(heads) == 1 else orjson.dumps(heads).decode()


def decode_heads(stored: int | str) -> tuple[int, ...]:
    """What `encode_heads` stored."""
    return (stored,) if isinstance(stored, int) else tuple(orjson.loads(stored))


@dataclass(slots=True)
class Head:
    """A row of `heads`. See the schema for what each column means."""

    id: int
    upstream: int
    first: int
    first_priority: int
    priority: int
    urgent: int
    waiting: int
    shared: int

    def row(self) -> tuple[int, ...]:
        """The columns in their order."""
        return (
            self.id,
            self.upstream,
            self.first,
            self.first_priority,
            self.priority,
            self.urgent,
            self.waiting,
            self.shared,
        )

    def count(self, priority: int) -> None:
        """Counts an entry, or the new priority of one, in."""
        if priority > self.priority:
            self.priority = priority
            self.urgent = 1
        elif priority == self.priority:
            self.urgent += 1


class Queues:
    """The rows of `heads` and `followers`. Heads are held in memory until `flush`, within one transaction."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._heads: dict[int, Head | None] = {}
        self._stored: set[int] = set()
        self._changed: dict[int, None] = {}
        self._followers: list[tuple[int, int, int, int]] = []

    def preload(self, heads: list[int]) -> None:
        """Reads the queues in one statement that are about to be touched one by one."""
        missing = [head for head in heads if head not in self._heads]
        self._heads.update(dict.fromkeys(missing))
        for row in self._db.execute(SQL["heads_of"], (orjson.dumps(missing),)):
            self._heads[row[0]] = Head(*row)
            self._stored.add(row[0])

    def join(self, heads: tuple[int, ...], upstream: int, entry: int, priority: int) -> None:
        """Puts a new entry, younger than all in these queues, at their ends."""
        shared = int(len(heads) > 1)
        for ident in heads:
            self._add(ident, upstream, entry, priority, shared)

    def rejoin(self, heads: tuple[int, ...], upstream: int, entry: int, priority: int) -> None:
        """Puts a dead entry that is retried back at its place, which may be before others."""
        shared = int(len(heads) > 1)
        if shared:
            # What is younger in one of its queues makes it more urgent in all of them. Which of the queue are younger
            # is not looked up: at worst it becomes as urgent as one that stands before it.
            present = (self._get(ident) for ident in heads)
            priority = max([priority, *(head.priority for head in present if head is not None)])
        for ident in heads:
            head = self._get(ident)
            if head is None or entry > head.first:
                self._add(ident, upstream, entry, priority, shared)
                continue
            self._followers.append((ident, head.first, head.first_priority, self._is_shared(head.first)))
            head.first, head.first_priority = entry, priority
            head.waiting += 1
            head.shared += shared
            head.count(priority)
            self._changed[ident] = None

    def _add(self, ident: int, upstream: int, entry: int, priority: int, shared: int) -> None:
        self._changed[ident] = None
        head = self._get(ident)
        if head is None:
            self._heads[ident] = Head(ident, upstream, entry, priority, priority, 1, 1, shared)
            return
        # Where all are as urgent as the queue, which is the common case, only a more urgent one can raise others.
        raises = head.shared > 0 and (priority > head.priority or head.urgent < head.waiting)
        self._followers.append((ident, entry, priority, shared))
        head.waiting += 1
        head.count(priority)
        if raises:
            self._raise_before(head, entry, priority)
        head.shared += shared

    def leave(self, heads: tuple[int, ...], entry: int) -> None:
        """Takes a settled entry out of its queues."""
        self.write_followers()
        for ident in heads:
            head = self._get(ident)
            if head is None:
                continue
            self._changed[ident] = None
            head.waiting -= 1
            head.shared -= int(len(heads) > 1)
            if head.waiting == 0:
                self._heads[ident] = None
                continue
            if head.first == entry:
                gone = head.first_priority
                head.first, head.first_priority, _ = self._db.execute(SQL["next_follower"], (ident,)).fetchone()
                self._db.execute(SQL["delete_follower"], (ident, head.first)).fetchall()
            else:
                [(gone, _)] = self._db.execute(SQL["delete_follower"], (ident, entry)).fetchall()
            if gone == head.priority:
                head.urgent -= 1
                if head.urgent == 0:
                    self._recount(head)

    def flush(self) -> None:
        """Writes what changed, in a statement for each kind of change."""
        self.write_followers()
        saved: list[tuple[int, ...]] = []
        updated: list[tuple[int, ...]] = []
        deleted: list[tuple[int, ...]] = []
        # In the order of their pages, each of which is then written once.
        for ident in sorted(self._changed):
            head = self._heads[ident]
            if head is not None:
                (updated if ident in self._stored else saved).append(head.row())
            elif ident in self._stored:
                deleted.append((ident,))
        for name, rows in (("save_head", saved), ("update_head", updated), ("delete_head", deleted)):
            if rows:
                self._db.executemany(SQL[name], rows)
        self._heads.clear()
        self._stored.clear()
        self._changed.clear()

    def _get(self, ident: int) -> Head | None:
        if ident not in self._heads:
            row = self._db.execute(SQL["head"], (ident,)).fetchone()
            if row is not None:
                self._stored.add(ident)
            self._heads[ident] = Head(*row) if row is not None else None
        return self._heads[ident]

    def write_followers(self) -> None:
        """Writes the entries that joined, so that statements can see them."""
        if self._followers:
            self._db.executemany(SQL["insert_follower"], sorted(self._followers))
            self._followers.clear()

    def _recount(self, head: Head) -> None:
        """The highest priority left. Rare: a level can only be lost when all its entries have been settled."""
        row = self._db.execute(SQL["follower_levels"], (head.id,)).fetchone()
        level, count = row if row is not None else (-1, 0)
        head.priority = max(level, head.first_priority)
        head.urgent = (count if level == head.priority else 0) + int(head.first_priority == head.priority)

    def _entry_heads(self, entry: int) -> tuple[int, ...]:
        [(stored,)] = self._db.execute("SELECT heads FROM entries WHERE id = ?", (entry,)).fetchall()
        return decode_heads(stored)

    def _is_shared(self, entry: int) -> int:
        return int(len(self._entry_heads(entry)) > 1)

    def _raise_before(self, head: Head, before: int, priority: int) -> None:
        """Makes the shared entries that stand before `before` in this queue as urgent as `priority`, everywhere."""
        work = [(head, before)]
        while work:
            queue, limit = work.pop()
            self.write_followers()
            rows = self._db.execute(
                SQL["shared_below"], {"head": queue.id, "before": limit, "priority": priority}
            ).fetchall()
            entries = [row[0] for row in rows]
            if queue.first < limit and queue.first_priority < priority and self._is_shared(queue.first):
                entries.append(queue.first)
            for entry in entries:
                for ident in self._entry_heads(entry):
                    other = self._get(ident)
                    if other is not None and self._raise_in(other, entry, priority):
                        self._changed[ident] = None
                        if other is not queue:
                            work.append((other, entry))

    def _raise_in(self, head: Head, entry: int, priority: int) -> bool:
        if head.first == entry:
            if head.first_priority >= priority:
                return False
            head.first_priority = priority
        elif not self._db.execute(
            SQL["raise_follower"], {"head": head.id, "entry": entry, "priority": priority}
        ).rowcount:
            return False
        head.count(priority)
        return True
