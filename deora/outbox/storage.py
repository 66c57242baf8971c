"""The outbox in SQLite: enqueue, claim, settle. All of it runs inside the store's transaction, which it never ends.

`Outbox` keeps one row of figures for each upstream in memory and writes it with each `flush`. If a transaction fails
the process ends (a commit error means "unknown"), so memory can never drift from the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, Final

import orjson

from deora.outbox.figures import Upstream, load_upstreams, save_upstream
from deora.outbox.heads import Queues, encode_heads, head_id
from deora.outbox.origins import Origin, Origins
from deora.outbox.selection import Entry, Front, Limits, select
from deora.outbox.statements import SQL
from deora.outbox.states import State, state_of
from deora.outbox.tail import JOINED_AT_ONCE, TAIL_AT_MOST, entry_of, join_tail, take_tail

# What an entry takes on disk beside its payload: its row's other columns, its place in the index, its queue's row with
# its index. Measured over 1,000,000 entries of 300 bytes (bench/claim.py prints the file's size).
OVERHEAD_BYTES: Final = 110


@dataclass(frozen=True, slots=True)
class Batch:
    """A persisted batch: its members never change until it is settled or split."""

    id: str
    attempts: int
    entries: list[Entry]
    origins: dict[int, Origin] = field(default_factory=dict)

    def to_wire(self, upstream: Upstream) -> list[Any]:
        """The batch for the replayer, with the cursor that it must find; what was taken over says from whom."""
        entries: list[list[Any]] = [[entry.number, entry.payload] for entry in self.entries]
        for index, entry in enumerate(self.entries if self.origins else []):
            origin = self.origins.get(entry.id)
            if origin is not None:
                entries[index].append([origin.node, origin.epoch])
        return [self.id, self.attempts, upstream.seq, upstream.batch_id, entries]


@dataclass(slots=True)
class _Row:
    """A row of `batches`. `joined`: its members stand in their queues."""

    id: str
    upstream: int
    position: int
    attempts: int
    joined: bool
    members: list[int] = field(default_factory=list)


class Outbox:
    """Entries, queues and batches of all upstreams."""

    def __init__(self, db: sqlite3.Connection, names: list[str], new_batch_id: Callable[[], str]) -> None:
        self._db = db
        self._new_batch_id = new_batch_id
        self.queues = Queues(db)
        self.origins = Origins(db)
        self._entries: list[tuple[Any, ...]] = []
        self.upstreams = load_upstreams(db, names)
        self._batches: dict[str, _Row] = {}
        self._load_batches()

    def _load_batches(self) -> None:
        by_id = {upstream.id: upstream for upstream in self.upstreams.values()}
        for ident, upstream, position, attempts, joined, members in self._db.execute(SQL["batches"]):
            row = _Row(ident, upstream, position, attempts, bool(joined), orjson.loads(members))
            self._batches[ident] = row
            if upstream in by_id:
                by_id[upstream].inflight += len(row.members)

    @property
    def database(self) -> sqlite3.Connection:
        """The store's connection, within its transaction."""
        return self._db

    # -- figures

    def live_entries(self) -> int:
        """Pending, inflight and dead entries of all upstreams."""
        return sum(upstream.pending + upstream.dead for upstream in self.upstreams.values())

    def live_bytes(self) -> int:
        """The bytes on disk that these take, overhead included."""
        return sum(upstream.live_bytes for upstream in self.upstreams.values())

    def done_bytes(self) -> int:
        """The bytes on disk that done entries take until they are pruned."""
        return sum(upstream.done_bytes for upstream in self.upstreams.values())

    def inflight_ids(self) -> set[int]:
        """The entries that persisted batches hold."""
        return {member for row in self._batches.values() for member in row.members}

    def state_for(self, upstream: Upstream, commit_no: int) -> State:
        """What has become of an earlier commit at an upstream; GONE where its entry was dropped or pruned.

        Ids of entries and numbers of commits rise together, so an entry is found without an index of commits.
        """
        self.flush()
        [(high,)] = self._db.execute("SELECT coalesce(max(id), 0) FROM entries").fetchall()
        low = 0
        while low < high:
            middle = (low + high) // 2
            found, _, _, theirs = self._db.execute(SQL["entries_from"], (middle,)).fetchone()
            if theirs < commit_no:
                low = found + 1
            else:
                high = middle
        for ident, owner, stored, theirs in self._db.execute(SQL["entries_from"], (low,)).fetchall():
            if theirs == commit_no and owner == upstream.id:
                return state_of(stored, ident in self.inflight_ids())
        return State.GONE

    # -- enqueue

    def enqueue(
        self,
        upstream: Upstream,
        ident: int,
        document_ids: list[int],
        priority: int,
        payload: bytes,
        writes: int,
        commit_no: int,
        now_us: int,
        running_s: int,
    ) -> None:
        """Adds the entry `ident` of a commit, behind all others."""
        heads = tuple(head_id(document, upstream.id) for document in document_ids)
        upstream.number += 1
        self._entries.append(
            (
                ident,
                upstream.id,
                upstream.number,
                priority,
                commit_no,
                now_us,
                running_s,
                writes,
                encode_heads(heads),
                payload,
            )
        )
        upstream.pending += 1
        upstream.tail += 1
        upstream.live_bytes += len(payload) + OVERHEAD_BYTES
        upstream.by_priority[priority] = upstream.by_priority.get(priority, 0) + 1
        upstream.changed = True

    def flush(self) -> None:
        """Writes what this transaction gathered; call it before COMMIT, and before a claim."""
        self._write_entries()
        for upstream in self.upstreams.values():
            if upstream.tail > TAIL_AT_MOST:
                join_tail(self._db, self.queues, upstream, JOINED_AT_ONCE)
        self.queues.flush()
        for upstream in self.upstreams.values():
            save_upstream(self._db, upstream)

    def join_all(self) -> None:
        """Puts every live entry into its queues that is not there yet, so that they say all that there is to say."""
        self._write_entries()
        by_id = {upstream.id: upstream for upstream in self.upstreams.values()}
        for row in [row for row in self._batches.values() if not row.joined and row.upstream in by_id]:
            self._remove_batch(row.id)
            self._join_members(row)
            self._add_batch(row)
        for upstream in self.upstreams.values():
            join_tail(self._db, self.queues, upstream, upstream.tail)
        self.flush()

    def join_some(self, *, of_all: bool = False) -> bool:
        """A part of `join_all`, for when nothing else is to do; whether there is more.

        Batches stay as they are, and so does a tail that goes by age, but `of_all`: it may never have to join.
        """
        self._write_entries()
        choosing = [upstream for upstream in self.upstreams.values() if of_all or not upstream.goes_by_age]
        for upstream in choosing:
            join_tail(self._db, self.queues, upstream, JOINED_AT_ONCE)
        return any(upstream.tail for upstream in choosing)

    def has_long_tail(self) -> bool:
        """Whether `join_all` would take longer than a client should wait for a transaction."""
        return any(upstream.tail > JOINED_AT_ONCE for upstream in self.upstreams.values())

    def is_joined(self) -> bool:
        """Whether every live entry stands in its queues."""
        return not any(upstream.tail for upstream in self.upstreams.values()) and all(
            row.joined for row in self._batches.values()
        )

    def _join_members(self, row: _Row) -> None:
        """Puts a batch's entries into their queues, before all that has come since."""
        if not row.joined:
            row.joined = True
            for entry in reversed(self.load(row.members)):
                self.queues.rejoin(entry.heads, row.upstream, entry.id, entry.priority)

    def _write_entries(self) -> None:
        if self._entries:
            self._db.executemany(SQL["insert_entry"], self._entries)
            self._entries.clear()

    # -- claim

    def next_batch(self, upstream: Upstream, limits: Limits) -> Batch | None:
        """The batch to send next: the persisted one where there is one, else a new one.

        None where nothing may be sent; where a tail is left then, it is on its way into the queues: ask again.
        """
        row = min(
            (row for row in self._batches.values() if row.upstream == upstream.id),
            key=lambda row: row.position,
            default=None,
        )
        if row is not None:
            return Batch(
                row.id, row.attempts, self.load(row.members), self.origins.of_entries(upstream.id, row.members)
            )
        if upstream.pending == 0 or upstream.paused:
            return None
        self.flush()
        held = dict(self._db.execute(SQL["held"]).fetchall()) if upstream.dead else {}
        entries = take_tail(self._db, upstream, limits, held)
        joined = entries is None
        if entries is None:
            join_tail(self._db, self.queues, upstream, JOINED_AT_ONCE)
            if upstream.tail:
                return None
            self.flush()
            entries = self._select(upstream, limits, held)
        if not entries:
            return None
        batch_id = self._new_batch_id()
        members = [entry.id for entry in entries]
        self._add_batch(_Row(batch_id, upstream.id, 0, 0, joined, members))
        upstream.inflight += len(entries)
        return Batch(batch_id, 0, entries, self.origins.of_entries(upstream.id, members))

    def _select(self, upstream: Upstream, limits: Limits, held: dict[int, int]) -> list[Entry]:
        upstream.claims += 1
        fronts = self._db.execute(SQL["fronts"], (upstream.id,))
        oldest = self._db.execute(SQL["oldest"], (upstream.id,))
        # Every fifth claim goes by age first: an old entry larger than the last fifth of a batch gets its turn too.
        share = 0.0 if upstream.claims % 5 == 0 else limits.urgent_share
        try:
            return select(
                Limits(limits.max_writes, limits.max_bytes, share),
                (Front(row[0], row[1], row[2], row[3], row[4], entry_of(row[5:])) for row in fronts),
                lambda head, after, count: [
                    entry_of(row) for row in self._db.execute(SQL["followers"], (head, after, count))
                ],
                (entry_of(row) for row in oldest),
                held,
            )
        finally:
            # A statement that is not reset would hold this transaction's snapshot open.
            fronts.close()
            oldest.close()

    def load(self, members: list[int]) -> list[Entry]:
        """Entries by id, in order."""
        return [entry_of(row) for row in self._db.execute(SQL["members"], (orjson.dumps(members),))]

    def _add_batch(self, row: _Row) -> None:
        self._batches[row.id] = row
        members = orjson.dumps(row.members).decode()
        values = (row.id, row.upstream, row.position, row.attempts, row.joined, members)
        self._db.execute(SQL["insert_batch"], values)

    # -- settle

    def attempted(self, batch_id: str, error: str) -> None:
        """Notes a failed attempt, so that an operator sees it; the batch stays as it is."""
        row = self._batches.get(batch_id)
        if row is not None:
            row.attempts += 1
            self._db.execute(SQL["batch_attempted"], (batch_id,))
            self._db.execute(SQL["entries_attempted"], (error, orjson.dumps(row.members)))

    def split(self, upstream: Upstream, batch_id: str, at: list[int], seq: int, cursor_id: str) -> bool:
        """Replaces a fenced batch by several: cut before the members with the indexes `at`, sent in the same order."""
        row = self._remove_batch(batch_id)
        if row is None:
            return False
        self._join_members(row)
        cuts = [0, *sorted({index for index in at if 0 < index < len(row.members)}), len(row.members)]
        parts = [row.members[start:end] for start, end in pairwise(cuts)]
        for other in [other for other in self._batches.values() if other.upstream == upstream.id]:
            del self._batches[other.id]
            self._db.execute(SQL["delete_batch"], (other.id,))
            other.position += len(parts)
            self._add_batch(other)
        for position, members in enumerate(parts):
            self._add_batch(_Row(self._new_batch_id(), upstream.id, position, 0, True, members))
        self.moved(upstream, seq, cursor_id)
        return True

    def moved(self, upstream: Upstream, seq: int, cursor_id: str) -> None:
        """Notes where upstream's cursor stands."""
        upstream.seq = seq
        upstream.batch_id = cursor_id
        upstream.changed = True

    def settle_done(self, upstream: Upstream, batch_id: str, running_s: int) -> list[Entry]:
        """Marks a batch's entries as applied; they leave their queues. Returns them, or nothing where it is settled."""
        return self._settle(upstream, batch_id, State.DONE, running_s, None, holds=False)

    def settle_dead(self, upstream: Upstream, batch_id: str, running_s: int, error: str, *, holds: bool) -> list[Entry]:
        """Marks the one entry of a fenced batch as refused, with upstream's message."""
        return self._settle(upstream, batch_id, State.DEAD, running_s, error, holds=holds)

    def _settle(
        self, upstream: Upstream, batch_id: str, state: State, running_s: int, error: str | None, *, holds: bool
    ) -> list[Entry]:
        row = self._remove_batch(batch_id)
        if row is None:
            return []
        entries = self.load(row.members)
        upstream.inflight -= len(entries)
        if row.joined:
            self.queues.preload([head for entry in entries for head in entry.heads])
        for entry in entries:
            if row.joined:
                self.queues.leave(entry.heads, entry.id)
            upstream.count(State.PENDING, state, entry.priority, len(entry.payload) + OVERHEAD_BYTES)
        if state is State.DONE:
            self._db.executemany(SQL["settle_done"], [(running_s, entry.id) for entry in entries])
        else:
            self._db.executemany(SQL["settle_dead"], [(running_s, error, entry.id) for entry in entries])
            letters = [(head, entry.id, int(holds)) for entry in entries for head in entry.heads]
            self._db.executemany(SQL["insert_dead_letter"], letters)
            if holds:
                self._release_behind(upstream, {letter[0] for letter in letters})
        return entries

    def _release_behind(self, upstream: Upstream, blocked: set[int]) -> None:
        """Takes the batches apart that hold what must wait in the queues `blocked`, directly or behind another entry.

        They are parts of a batch that was split. None of them has been sent, since only the first batch ever is.
        """
        rows = [row for row in self._batches.values() if row.upstream == upstream.id]
        for row in sorted(rows, key=lambda row: row.position):
            heads = {head for entry in self.load(row.members) for head in entry.heads}
            if not blocked.isdisjoint(heads):
                blocked |= heads
                upstream.inflight -= len(row.members)
                self._remove_batch(row.id)

    def release_all(self, upstream: Upstream) -> list[Entry]:
        """Takes all batches of an upstream apart: none of them can land any more. Returns what they held."""
        released = []
        for row in [row for row in self._batches.values() if row.upstream == upstream.id]:
            self._join_members(row)
            self._remove_batch(row.id)
            upstream.inflight -= len(row.members)
            released += self.load(row.members)
        return released

    def _remove_batch(self, batch_id: str) -> _Row | None:
        row = self._batches.pop(batch_id, None)
        if row is not None:
            self._db.execute(SQL["delete_batch"], (batch_id,))
        return row
