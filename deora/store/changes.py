"""The part of the order of changes that the outbox does not keep, and how far back that order reaches.

The entries of the primary upstream are the log of what clients wrote: one for each commit, in order, kept for a while
after they are done. The few commits that change documents without an entry are noted here. Streams are served by the
workers, from the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

_NOTE: Final = "INSERT OR REPLACE INTO changes (commit_no, place, running_s, path) VALUES (?, ?, ?, ?)"
_OLDEST: Final = "SELECT commit_no, running_s FROM changes ORDER BY commit_no LIMIT ?"
_PRUNED: Final = "UPDATE progress SET pruned_commit = ?1 WHERE pruned_commit < ?1"


class ChangeLog:
    """Works within the transaction that the store has begun."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._rows: dict[int, list[tuple[int, int, int, str]]] = {}

    def note(self, commit_no: int, paths: Sequence[str], running_s: int) -> None:
        """These documents were changed by a commit that has no entry; more of the same commit may follow."""
        rows = self._rows.setdefault(commit_no, [])
        rows += [(commit_no, len(rows) + place, running_s, path) for place, path in enumerate(paths, 1)]

    def flush(self) -> None:
        """Writes what was noted in this transaction."""
        for rows in self._rows.values():
            self._db.executemany(_NOTE, rows)
        self._rows.clear()

    def pruned(self, commit_no: int) -> None:
        """The entries of commits up to this one are going: nobody is to be told of them as if they were all."""
        self._db.execute(_PRUNED, (commit_no,))

    def prune(self, limit: int, before_s: int) -> int:
        """Removes up to `limit` rows from before this running time, or of commits that are pruned anyway. How many."""
        [(pruned,)] = self._db.execute("SELECT pruned_commit FROM progress").fetchall()
        gone = 0
        last = pruned
        for commit_no, running_s in self._db.execute(_OLDEST, (limit,)).fetchall():
            if commit_no > pruned and running_s > before_s:
                break
            gone, last = gone + 1, max(last, commit_no)
        if gone:
            self.pruned(last)
            self._db.execute("DELETE FROM changes WHERE commit_no <= ?", (last,))
        return gone
