"""Entries that come in from another box: appended like new ones, but with what has become of them so far."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from deora.outbox.figures import Upstream
from deora.outbox.heads import encode_heads, head_id
from deora.outbox.origins import Origin
from deora.outbox.statements import SQL
from deora.outbox.states import STORED, State
from deora.outbox.storage import OVERHEAD_BYTES


@dataclass(slots=True)
class Arrival:
    """One entry. `number` is its origin's; `dead`: upstream has refused it, with `error`."""

    number: int
    dead: bool
    priority: int
    created_us: int
    attempts: int
    error: str | None
    writes: int
    payload: bytes


def take_in(
    db: sqlite3.Connection,
    upstream: Upstream,
    arrivals: Iterable[tuple[int, int, Origin, list[int], Arrival]],
    running_s: int,
    *,
    holds: bool,
) -> None:
    """Adds entries (id, commit, origin, documents, arrival) of one upstream behind all others, within the transaction.

    `holds`: what is younger waits for a dead one of its documents.
    """
    rows, letters = [], []
    for ident, commit_no, origin, documents, arrival in arrivals:
        heads = tuple(head_id(document, upstream.id) for document in documents)
        rows.append(
            (
                ident,
                upstream.id,
                arrival.number,
                STORED[State.DEAD if arrival.dead else State.PENDING],
                arrival.priority,
                commit_no,
                arrival.created_us,
                running_s,
                arrival.writes,
                arrival.attempts,
                arrival.error,
                encode_heads(heads),
                arrival.payload,
                origin.id,
            )
        )
        upstream.live_bytes += len(arrival.payload) + OVERHEAD_BYTES
        if arrival.dead:
            letters += [(head, ident, int(holds)) for head in heads]
            upstream.dead += 1
        else:
            upstream.pending += 1
            upstream.tail += 1
            upstream.by_priority[arrival.priority] = upstream.by_priority.get(arrival.priority, 0) + 1
    upstream.changed = True
    db.executemany(SQL["import_entry"], rows)
    db.executemany(SQL["insert_dead_letter"], letters)
