"""The figures of an upstream's outbox: one row, kept in memory and written with each transaction that changes it."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Any, Final

import orjson

from deora.outbox.statements import SQL
from deora.outbox.states import State

LOST: Final = "lost"
"""`batch_id` while the queue is not in step with an upstream that was restored. No cursor ever has this id, so no batch
that is formed meanwhile can be sent."""


@dataclass(slots=True)
class Upstream:
    """The outbox's figures of one upstream; `pending` counts inflight entries too.

    `tail` counts the live entries behind the id `joined`: those that stand in no queue yet (see `outbox.tail`).
    """

    id: int
    name: str
    paused: bool
    seq: int
    batch_id: str
    number: int
    pending: int
    dead: int
    done: int
    live_bytes: int
    done_bytes: int
    by_priority: dict[int, int]
    joined: int
    tail: int = 0
    inflight: int = 0
    claims: int = 0
    changed: bool = False

    @property
    def lost(self) -> bool:
        """Whether upstream's cursor went back and the queue has not come to terms with it."""
        return self.batch_id == LOST

    def count(self, before: State, after: State, priority: int, size_bytes: int) -> None:
        """Counts an entry of `size_bytes` on disk from one stored state into another."""
        self.changed = True
        self._count_at(before, -1, priority)
        self._count_at(after, 1, priority)
        into_done = int(after is State.DONE) - int(before is State.DONE)
        self.done_bytes += into_done * size_bytes
        self.live_bytes -= into_done * size_bytes

    def _count_at(self, state: State, by: int, priority: int) -> None:
        if state is State.DONE:
            self.done += by
        elif state is State.DEAD:
            self.dead += by
        else:
            self.pending += by
            self.by_priority[priority] = self.by_priority.get(priority, 0) + by
            if self.by_priority[priority] <= 0:
                del self.by_priority[priority]

    @property
    def goes_by_age(self) -> bool:
        """Whether all that waits is in the tail and equally urgent, so that nothing has to be chosen."""
        return len(self.by_priority) <= 1 and self.tail + self.inflight == self.pending


def load_upstreams(db: sqlite3.Connection, names: list[str]) -> dict[str, Upstream]:
    """The figures of the configured upstreams. One that is new gets a row."""
    rows = {row[1]: row for row in db.execute(SQL["upstream_rows"])}
    for name in names:
        if name not in rows:
            ident = max((row[0] for row in rows.values()), default=-1) + 1
            db.execute(SQL["add_upstream"], (ident, name))
            rows[name] = (ident, name, 0, 0, "", 0, 0, 0, 0, 0, 0, "{}", 0)
    found = {name: _upstream(rows[name]) for name in names}
    for upstream in found.values():
        [(upstream.tail,)] = db.execute(SQL["count_tail"], (upstream.id, upstream.joined)).fetchall()
    return found


def save_upstream(db: sqlite3.Connection, upstream: Upstream) -> None:
    """Writes the figures, where they have changed."""
    if upstream.changed:
        upstream.changed = False
        db.execute(
            SQL["save_upstream"],
            (
                upstream.paused,
                upstream.seq,
                upstream.batch_id,
                upstream.number,
                upstream.pending,
                upstream.dead,
                upstream.done,
                upstream.live_bytes,
                upstream.done_bytes,
                orjson.dumps(upstream.by_priority, option=orjson.OPT_NON_STR_KEYS).decode(),
                upstream.joined,
                upstream.id,
            ),
        )


def _upstream(row: tuple[Any, ...]) -> Upstream:
    ident, name, paused, seq, batch_id, number, pending, dead, done, live_bytes, done_bytes, by_priority, joined = row
    levels = {int(level): count for level, count in orjson.loads(by_priority).items()}
    return Upstream(
        ident, name, bool(paused), seq, batch_id, number, pending, dead, done, live_bytes, done_bytes, levels, joined
    )
