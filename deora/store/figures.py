"""The queue's figures for status, metrics and `GET /v1/queue`."""

from __future__ import annotations

import sqlite3
from typing import Any

from deora.outbox.figures import Upstream
from deora.outbox.statements import SQL
from deora.outbox.storage import Outbox
from deora.store.identity import Progress


class Figures:
    """Counted in memory, but for the age of a queue's oldest entry: that is looked up when it may have changed."""

    def __init__(self, db: sqlite3.Connection, outbox: Outbox, progress: Progress, identity: tuple[str, str]) -> None:
        self._db = db
        self._outbox = outbox
        self._progress = progress
        self._identity = identity
        self._oldest: dict[str, int | None] = {}

    def look_again(self, name: str | None = None) -> None:
        """The oldest entry of an upstream, or of all, may be another one now."""
        if name is None:
            self._oldest.clear()
        else:
            self._oldest.pop(name, None)

    def show(self) -> dict[str, Any]:
        """The figures as they are now."""
        return {
            "upstreams": {upstream.name: self._of(upstream) for upstream in self._outbox.upstreams.values()},
            "bytes": self._outbox.live_bytes(),
            "running_s": self._progress.running_s,
            "commit": self._progress.commit_no,
            "node": self._identity[0],
            "epoch": self._identity[1],
        }

    def _of(self, upstream: Upstream) -> dict[str, Any]:
        if upstream.pending == 0:
            self._oldest.pop(upstream.name, None)
        elif upstream.name not in self._oldest:
            row = self._db.execute(SQL["oldest_live"], {"upstream": upstream.id}).fetchone()
            self._oldest[upstream.name] = row[1]
        return {
            "pending": upstream.pending - upstream.inflight,
            "inflight": upstream.inflight,
            "dead": upstream.dead,
            "done": upstream.done,
            "paused": upstream.paused,
            "by_priority": upstream.by_priority,
            "oldest_since_s": self._oldest.get(upstream.name),
            "accepted": upstream.number,
        }
