"""What the store does when no client waits: it lets go of what has been kept long enough, a little at a time.

Everything here but one is counted in running time (`Progress.running_s`), never by the wall clock. The rows of deleted
documents carry the wall clock's time, so they are only swept once that clock has gone evenly for as long as such a row
is kept: then a row from within that time can be told from all others, wherever the clock was before.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from deora.clock import Clock
from deora.outbox.statements import SQL
from deora.outbox.states import STORED, State
from deora.outbox.storage import OVERHEAD_BYTES, Outbox
from deora.store.answers import Answers
from deora.store.identity import Progress
from deora.store.settlements import PRIMARY
from deora.store.view import Documents

# Rows a step: at most a few milliseconds of a transaction that a client might wait for.
ROWS_AT_ONCE: Final = 500

# By so much the wall clock may move against the monotonic one between two looks, without counting as having jumped.
JUMP_US: Final = 1_000_000
# So much is added to the time that a row is kept, for a wall clock that is slewed: chrony does it by 1/12 at most.
SLEW_PART: Final = 8


class Housekeeping:
    """Prunes done entries, kept answers and rows of documents that are gone."""

    def __init__(
        self,
        db: sqlite3.Connection,
        documents: Documents,
        outbox: Outbox,
        answers: Answers,
        progress: Progress,
        *,
        retention_s: int,
        max_bytes: int,
        tombstones_us: int,
        clock: Clock,
    ) -> None:
        self._db = db
        self._documents = documents
        self._outbox = outbox
        self._answers = answers
        self._progress = progress
        self._retention_s = retention_s
        self._max_bytes = max_bytes
        self._tombstones_us = tombstones_us
        self._clock = clock
        self.is_short = False
        """whether the disk lacks room: done entries go before their time"""
        self._position: int | None = None
        self._next_pass_s = 0
        self._ahead_us = self._wall_ahead_us()
        self._even_since_s = clock.monotonic_s()

    def watch_clock(self) -> None:
        """Notes whether the wall clock has jumped; called in each transaction, before anything is stamped with it."""
        ahead_us = self._wall_ahead_us()
        if abs(ahead_us - self._ahead_us) > JUMP_US:
            self._even_since_s = self._clock.monotonic_s()
        self._ahead_us = ahead_us

    def _wall_ahead_us(self) -> int:
        return self._clock.wall_us() - int(self._clock.monotonic_s() * 1e6)

    def step(self, *, idle: bool) -> bool:
        """One small step of each kind, within a transaction. Returns whether there is more to do at once.

        What only saves work later is done where the store is `idle`.
        """
        pruned = self._prune_entries()
        joining = self._outbox.join_some() if idle else False
        swept = self._sweep()
        changes = self._documents.log.prune(ROWS_AT_ONCE, self._progress.running_s - self._retention_s)
        return joining or max(pruned, swept, changes, self._answers.prune(ROWS_AT_ONCE)) >= ROWS_AT_ONCE

    def _sweep(self) -> int:
        """Removes rows of documents that are gone; whether another upstream still waits for one, the queues tell.

        A row outlives the cached copies of its document. One that seems to be from the future is from before a jump.
        """
        kept_us = self._tombstones_us + self._tombstones_us // SLEW_PART
        if (self._clock.monotonic_s() - self._even_since_s) * 1e6 < kept_us or not self._outbox.is_joined():
            return 0
        wall_us = self._clock.wall_us()
        return self._documents.sweep(ROWS_AT_ONCE, wall_us - kept_us, wall_us + kept_us)

    def _prune_entries(self) -> int:
        """Done entries older than the retention go; younger ones too while the queue's share of the disk is used up, or
        the disk itself. None of an upstream whose cursor went back: it may lack them.

        A pass walks all entries, ROWS_AT_ONCE a step; an index on the done ones would cost each settlement more.
        """
        over_bytes = self._outbox.live_bytes() + self._outbox.done_bytes() - self._max_bytes
        upstreams = self._outbox.upstreams.values()
        crowded = (over_bytes > 0 or self.is_short) and any(
            upstream.done_bytes > 0 and not upstream.lost for upstream in upstreams
        )
        if self._position is None:
            if not crowded and self._progress.running_s < self._next_pass_s:
                return 0
            self._position = 0
        rows = self._db.execute(SQL["prunable"], (self._position, ROWS_AT_ONCE)).fetchall()
        by_id = {upstream.id: upstream for upstream in upstreams}
        oldest_kept_s = self._progress.running_s - self._retention_s
        gone: list[tuple[int]] = []
        pruned_commit = 0
        for ident, upstream_id, size_bytes, running_s, state, commit_no in rows:
            self._position = ident
            upstream = by_id.get(upstream_id)
            if state != STORED[State.DONE] or (running_s > oldest_kept_s and over_bytes <= 0 and not self.is_short):
                continue
            if upstream is not None and upstream.lost:
                continue
            gone.append((ident,))
            if upstream is not None and upstream.name == PRIMARY:
                pruned_commit = commit_no
            over_bytes -= size_bytes + OVERHEAD_BYTES
            if upstream is not None:
                upstream.done -= 1
                upstream.done_bytes -= size_bytes + OVERHEAD_BYTES
                upstream.changed = True
        self._db.executemany(SQL["delete_entry"], gone)
        if pruned_commit:
            self._documents.log.pruned(pruned_commit)
        if len(rows) < ROWS_AT_ONCE:
            self._position = None
            self._next_pass_s = self._progress.running_s + max(60, self._retention_s // 24)
        return len(rows)
