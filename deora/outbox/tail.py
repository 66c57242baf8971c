"""The tail of an upstream's outbox: the youngest entries, which stand in no queue yet.

An entry that joins its queue touches a page of `heads` or of `followers` that no other entry of its transaction does:
joining at once was the largest part of what a commit wrote (bench: 93 us of CPU a write against 52). So an entry is
only appended when it is accepted. The entries of the tail join their queues many at a time and in the order of the
pages: when a claim must choose among them, when nothing else is to do, or when the tail has grown to TAIL_AT_MOST.
Where nothing stands in a queue, which is the day without an outage, a claim takes the tail's entries as they are, and
they never join.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from deora.outbox.figures import Upstream
from deora.outbox.heads import Queues, decode_heads
from deora.outbox.selection import Entry, Limits, select
from deora.outbox.statements import SQL

# A claim that must choose waits until the whole tail has joined, about 10 us an entry: a second or two, once, after an
# outage in which clients wrote hundreds a second without a pause. In any other the tail joins by itself.
TAIL_AT_MOST: Final = 131_072
# How many join within one transaction: about 10 ms.
JOINED_AT_ONCE: Final = 1024


def join_tail(db: sqlite3.Connection, queues: Queues, upstream: Upstream, limit: int) -> None:
    """Puts up to `limit` of the tail's oldest entries into their queues. They have been written."""
    if upstream.tail == 0:
        return
    rows = [
        (ident, priority, decode_heads(heads))
        for ident, priority, heads in db.execute(SQL["tail"], (upstream.id, upstream.joined, limit))
    ]
    queues.preload([head for _, _, heads in rows for head in heads])
    for ident, priority, heads in rows:
        queues.join(heads, upstream.id, ident, priority)
    upstream.joined = rows[-1][0]
    upstream.tail -= len(rows)
    upstream.changed = True


def take_tail(db: sqlite3.Connection, upstream: Upstream, limits: Limits, held: dict[int, int]) -> list[Entry] | None:
    """The next batch, where it is known without queues; None where it is not. Nothing is in flight.

    That is so where all that waits is in the tail, and all of it fits into the batch or is equally urgent.
    """
    if upstream.tail < upstream.pending or held:
        return None
    rows = db.execute(SQL["tail_entries"], (upstream.id, upstream.joined))
    by_age = Limits(limits.max_writes, limits.max_bytes, urgent_share=0.0)
    try:
        entries = select(by_age, iter(()), lambda *_: [], (entry_of(row) for row in rows))
    finally:
        # A statement that is not reset would hold this transaction's snapshot open.
        rows.close()
    if len(entries) < upstream.tail and len(upstream.by_priority) > 1:
        return None
    upstream.joined = entries[-1].id
    upstream.tail -= len(entries)
    upstream.changed = True
    return entries


def entry_of(row: tuple[int, int, int, int, int, int | str, bytes]) -> Entry:
    """An entry from its columns."""
    ident, number, commit_no, priority, writes, heads, payload = row
    return Entry(ident, number, commit_no, priority, writes, decode_heads(heads), payload)
