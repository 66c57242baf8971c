"""A restored store begins a new life: a new epoch, with a cursor and numbers of its own.

What it accepted before keeps the old epoch and its numbers, as the entries of another box do (`outbox.origins`):
upstream's old cursor goes on being their judge. Each upstream is LOST until the replayer has taken that cursor over and
brought the queue in step with what it covers (`replay.restored`, `store.restored`); until then nothing is sent. So a
restore is the same case as an upstream that was restored, seen from the other side, and goes the same way.

Documents. What upstream holds of them is not known: it may have got writes that came after the backup. Their views
stand, and the next copy of each, from behind the new cursor, replaces them, with what still waits on top.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final

from deora.outbox.figures import LOST
from deora.store.identity import new_epoch
from deora.store.view import Base

# Farther than a store comes between a backup and its end: so commits, which name backups in their order, only rise.
LEAP: Final = 10**9


@dataclass(frozen=True, slots=True)
class Life:
    """A node, the epoch that ended with the backup, and the one that begins."""

    node: str
    former: str
    epoch: str


def begin_life(db: sqlite3.Connection) -> Life:
    """Within a transaction on the file of the newest schema, which nobody else has open."""
    [(node, former)] = db.execute("SELECT node, epoch FROM identity").fetchall()
    life = Life(node, former, new_epoch())
    db.execute("UPDATE identity SET epoch = ?", (life.epoch,))
    db.execute("UPDATE progress SET commit_no = commit_no + ?", (LEAP,))
    for upstream, number in db.execute("SELECT id, number FROM upstreams").fetchall():
        [(origin,)] = db.execute(
            "INSERT INTO origins (upstream, node, epoch, upto) VALUES (?, ?, ?, ?) RETURNING id",
            (upstream, node, former, number),
        )
        db.execute("UPDATE entries SET origin = ? WHERE upstream = ? AND origin IS NULL", (origin, upstream))
        db.execute("UPDATE given_up SET origin = ? WHERE upstream = ? AND origin = 0", (origin, upstream))
    db.execute("UPDATE upstreams SET seq = 0, batch_id = ?, number = 0", (LOST,))
    # A tombstone's time says when it may go; all others are to be compared as soon as somebody asks for them.
    db.execute(
        "UPDATE documents SET base_state = ?, base = NULL, base_seq = 0,"
        " checked_us = CASE WHEN view IS NULL THEN checked_us ELSE 0 END",
        (Base.LOST,),
    )
    db.execute("DELETE FROM replicas")
    return life
