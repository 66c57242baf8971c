"""What the store does when no client waits: it lets go of what has been kept long enough, a little at a time.

Everything here but one is counted in running time (`Progress.running_s`), never by the wall clock.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from deora.clock import Clock
from deora.outbox.statements import SQL
from deora.outbox.states import STORED, State
from deora.outbox.storage import OVERHEAD_BYTES, Outbox
from deora.store.commits import KEPT_ANSWERS_S
from deora.store.identity import Progress
from deora.store.view import Documents

# Rows a step: at most a few milliseconds of a transaction that a client might wait for.
ROWS_AT_ONCE: Final = 500

# A request without an Idempotency-Key is sent again for as long as its client may wait for it: request_timeout_s at
# most, 30 s by default. Ten minutes leave room for a larger one.
KEPT_REQUESTS_S: Final = 600


class Housekeeping:
    """Prunes done entries, kept answers and rows of documents that are gone."""

    def __init__(
        self,
        db: sqlite3.Connection,
        documents: Documents,
        outbox: Outbox,
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
        self._progress = progress
        self._retention_s = retention_s
        self._max_bytes = max_bytes
        self._tombstones_us = tombstones_us
        self._clock = clock
        self._position: int | None = None
        self._next_pass_s = 0
        self._marks: list[tuple[int, int]] = [(progress.running_s, self._highest_request())]

    def step(self) -> bool:
        """One small step of each kind, within a transaction. Returns whether there is more to do at once."""
        pruned = self._prune_entries()
        # By the wall clock: they outlive the cached copies of their documents, which expire by it.
        swept = self._documents.sweep(ROWS_AT_ONCE, self._clock.wall_us() - self._tombstones_us)
        answers = self._db.execute(
            "DELETE FROM answers WHERE key IN (SELECT key FROM answers WHERE running_s <= ? LIMIT ?)",
            (self._progress.running_s - KEPT_ANSWERS_S, ROWS_AT_ONCE),
        ).rowcount
        requests = self._prune_requests()
        return max(pruned, swept, answers, requests) >= ROWS_AT_ONCE

    def _prune_entries(self) -> int:
        """Done entries older than the retention go; younger ones too while the queue's share of the disk is used up.

        A pass walks all entries, ROWS_AT_ONCE a step; an index on the done ones would cost each settlement more.
        """
        over_bytes = self._outbox.live_bytes() + self._outbox.done_bytes() - self._max_bytes
        crowded = over_bytes > 0 and self._outbox.done_bytes() > 0
        if self._position is None:
            if not crowded and self._progress.running_s < self._next_pass_s:
                return 0
            self._position = 0
        rows = self._db.execute(SQL["prunable"], (self._position, ROWS_AT_ONCE)).fetchall()
        by_id = {upstream.id: upstream for upstream in self._outbox.upstreams.values()}
        oldest_kept_s = self._progress.running_s - self._retention_s
        gone: list[tuple[int]] = []
        for ident, upstream_id, size_bytes, running_s, state in rows:
            self._position = ident
            if state != STORED[State.DONE] or (running_s > oldest_kept_s and over_bytes <= 0):
                continue
            gone.append((ident,))
            over_bytes -= size_bytes + OVERHEAD_BYTES
            upstream = by_id.get(upstream_id)
            if upstream is not None:
                upstream.done -= 1
                upstream.done_bytes -= size_bytes + OVERHEAD_BYTES
                upstream.changed = True
        self._db.executemany(SQL["delete_entry"], gone)
        if len(rows) < ROWS_AT_ONCE:
            self._position = None
            self._next_pass_s = self._progress.running_s + max(60, self._retention_s // 24)
        return len(rows)

    def _highest_request(self) -> int:
        [(highest,)] = self._db.execute("SELECT coalesce(max(id), 0) FROM requests").fetchall()
        return int(highest)

    def _prune_requests(self) -> int:
        running_s = self._progress.running_s
        if running_s - self._marks[-1][0] >= KEPT_REQUESTS_S // 2:
            self._marks.append((running_s, self._highest_request()))
        if running_s - self._marks[0][0] < KEPT_REQUESTS_S:
            return 0
        removed = self._db.execute(
            "DELETE FROM requests WHERE id IN (SELECT id FROM requests WHERE id <= ? LIMIT ?)",
            (self._marks[0][1], ROWS_AT_ONCE),
        ).rowcount
        if removed < ROWS_AT_ONCE:
            self._marks.pop(0)
            if not self._marks:
                self._marks.append((running_s, self._highest_request()))
        return removed
