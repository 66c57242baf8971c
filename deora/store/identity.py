"""Who a store is: its node and epoch, made up where its file is new, and how far its counters have come."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass


@dataclass(slots=True)
class Progress:
    """The counters of the store; see the schema."""

    epoch: str
    commit_no: int
    entry_id: int
    running_s: int

    def version(self) -> str:
        """The version of what the present commit changes."""
        return f"{self.epoch}-{self.commit_no}"


def load_identity(db: sqlite3.Connection) -> tuple[tuple[str, str], Progress]:
    """Who this store is, made up where the file is new, and how far it has come."""
    row = db.execute("SELECT node, epoch FROM identity").fetchone()
    if row is None:
        row = (_random_name(10), new_epoch())
        db.execute("INSERT INTO identity (node, epoch) VALUES (?, ?)", row)
    node, epoch = row
    commit_no, entry_id, running_s = db.execute("SELECT commit_no, entry_id, running_s FROM progress").fetchone()
    return (node, epoch), Progress(epoch, commit_no, entry_id, running_s)


def new_epoch() -> str:
    """The name of a life that begins."""
    return _random_name(8)


def new_batch_id() -> str:
    """12 random characters: two boxes made from one image must not name their batches alike."""
    return os.urandom(6).hex()


def _random_name(length: int) -> str:
    # Crockford's alphabet: no letter that is mistaken for a digit when an operator reads it out.
    alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
    return "".join(alphabet[byte % 32] for byte in os.urandom(length))
