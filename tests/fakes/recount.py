"""What the outbox keeps in sums and in rows for each queue, counted again from the entries alone."""

from __future__ import annotations

import sqlite3
from collections import Counter
from typing import Any

import orjson

from deora.outbox.heads import decode_heads
from deora.outbox.storage import OVERHEAD_BYTES, Outbox

PENDING, DONE, DEAD = 0, 1, 2


def recount_figures(db: sqlite3.Connection, upstream: int) -> dict[str, Any]:
    """The figures of an upstream, from its entries and batches."""
    rows = db.execute("SELECT state, priority, length(payload) FROM entries WHERE upstream = ?", (upstream,)).fetchall()
    states = Counter(row[0] for row in rows)
    members = [
        len(orjson.loads(row[0])) for row in db.execute("SELECT members FROM batches WHERE upstream = ?", (upstream,))
    ]
    return {
        "pending": states[PENDING],
        "done": states[DONE],
        "dead": states[DEAD],
        "live_bytes": sum(row[2] + OVERHEAD_BYTES for row in rows if row[0] != DONE),
        "done_bytes": sum(row[2] + OVERHEAD_BYTES for row in rows if row[0] == DONE),
        "by_priority": dict(Counter(row[1] for row in rows if row[0] == PENDING)),
        "inflight": sum(members),
    }


def check_figures(db: sqlite3.Connection, outbox: Outbox) -> None:
    """Memory, the row of `upstreams` and a recount agree. The outbox has been flushed."""
    for upstream in outbox.upstreams.values():
        expected = recount_figures(db, upstream.id)
        assert {name: getattr(upstream, name) for name in expected} == expected
        columns = [name for name in expected if name != "inflight"]
        [row] = db.execute(f"SELECT {', '.join(columns)} FROM upstreams WHERE id = ?", (upstream.id,)).fetchall()
        stored = dict(zip(columns, row, strict=True))
        stored["by_priority"] = {int(level): count for level, count in orjson.loads(stored["by_priority"]).items()}
        assert stored == {name: expected[name] for name in columns}


def waiting_entries(db: sqlite3.Connection) -> dict[int, tuple[int, tuple[int, ...]]]:
    """Live entries by rising id: id -> (own priority, queues)."""
    rows = db.execute("SELECT id, priority, heads FROM entries WHERE state = 0 ORDER BY id")
    return {ident: (priority, decode_heads(heads)) for ident, priority, heads in rows}


def queued_entries(db: sqlite3.Connection) -> dict[int, tuple[int, tuple[int, ...]]]:
    """Those of `waiting_entries` that have joined their queues: not the tail, nor batches that were taken from it."""
    rows = db.execute(
        """SELECT id FROM entries WHERE state = 0
           AND id <= coalesce((SELECT joined FROM upstreams WHERE upstreams.id = upstream), id)
           AND id NOT IN (SELECT value FROM batches, json_each(members) WHERE joined = 0)"""
    )
    queued = {row[0] for row in rows}
    return {ident: entry for ident, entry in waiting_entries(db).items() if ident in queued}


def queue_rows(db: sqlite3.Connection, urgency: dict[int, int]) -> tuple[set[tuple[Any, ...]], set[tuple[Any, ...]]]:
    """What `heads` and `followers` must hold. `urgency` gives the priority that an entry has by inheritance."""
    queues: dict[int, list[int]] = {}
    entries = queued_entries(db)
    for ident, (_, heads) in entries.items():
        for head in heads:
            queues.setdefault(head, []).append(ident)
    head_rows, follower_rows = set(), set()
    for head, members in queues.items():
        levels = [urgency[ident] for ident in members]
        shared = {ident: int(len(entries[ident][1]) > 1) for ident in members}
        first = members[0]
        head_rows.add(
            (
                head,
                head % 4,
                first,
                urgency[first],
                max(levels),
                levels.count(max(levels)),
                len(members),
                sum(shared.values()),
            )
        )
        follower_rows |= {(head, ident, urgency[ident], shared[ident]) for ident in members[1:]}
    return head_rows, follower_rows


def stored_queue_rows(db: sqlite3.Connection) -> tuple[set[tuple[Any, ...]], set[tuple[Any, ...]]]:
    """What `heads` and `followers` hold."""
    heads = db.execute("SELECT id, upstream, first, first_priority, priority, urgent, waiting, shared FROM heads")
    followers = db.execute("SELECT head, entry, priority, shared FROM followers")
    return set(heads.fetchall()), set(followers.fetchall())


def inherited(entries: dict[int, tuple[int, tuple[int, ...]]], known: dict[int, int] | None = None) -> dict[int, int]:
    """The priority of each entry, for those of several documents with what is behind them in any of their queues.

    `known` are priorities that entries already have: they only rise while an entry waits.
    """
    known = known or {}
    urgency = {ident: max(own, known.get(ident, own)) for ident, (own, _) in entries.items()}
    rising = True
    while rising:
        rising = False
        for ident, (_, heads) in entries.items():
            if len(heads) == 1:
                continue
            for other, (_, theirs) in entries.items():
                if other > ident and urgency[other] > urgency[ident] and not set(heads).isdisjoint(theirs):
                    urgency[ident] = urgency[other]
                    rising = True
    return urgency
