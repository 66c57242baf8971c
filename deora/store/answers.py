"""What requests were answered, kept for when one is sent again: under its Idempotency-Key, or under its own number.

A client's key is good for KEPT_ANSWERS_S of running time. A request without a key is sent again in two ways:

* by the supervisor, to the next store, for want of its answer. A store sends a group's answers before it begins the
  next group, so what is wanting is the last group's. Several are kept, since what is sent again may come in more than
  one group.
* by its client, under the key that a 503 has named (`wire.keys`). Such a key is as good as a client's own: what a store
  still has when the supervisor gives a request up is kept under that key (`hold`), and what a store leaves behind
  when it ends stays, since whoever was to hold it may have died as well.

So a number that is not known here has taken no effect, or was answered.
"""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from deora.errors import Problem
from deora.store.identity import Progress
from deora.wire.frames import pack, unpack

KEPT_ANSWERS_S: Final = 24 * 3600
KEPT_GROUPS: Final = 256
# How often what is too old is looked for. It takes room until then, and is not an answer any more.
PASS_S: Final = 3600


class Answers:
    """The answers of earlier transactions, and those of this one until `flush` writes them."""

    def __init__(self, db: sqlite3.Connection, progress: Progress) -> None:
        self._db = db
        self._progress = progress
        self._under_keys: list[tuple[bytes, bytes, int, bytes]] = []
        self._group: list[Any] = []
        self._read: dict[int, tuple[bytes, bytes]] = {}
        self._position: bytes | None = None
        self._next_pass_s = 0
        [(self._groups,)] = db.execute("SELECT coalesce(max(id), 0) FROM requests").fetchall()
        self._before = self._groups

    def under_key(self, key: bytes, fingerprint: bytes) -> bytes | None:
        """The answer that a key was given. Raises Problem("key-reused") where that was to another request."""
        # An answer of this very transaction may still be in memory: two requests with one key in one group.
        self._flush_keys()
        row = self._db.execute(
            "SELECT request, answer FROM answers WHERE key = ? AND running_s > ?",
            (key, self._progress.running_s - KEPT_ANSWERS_S),
        ).fetchone()
        if row is None:
            return None
        if row[0] != fingerprint:
            raise Problem(
                "key-reused",
                "this Idempotency-Key was used with another body or other headers within the last 24 hours",
                hint="use a new key for a new request; repeat a request with its key and exactly its content",
            )
        answer: bytes = row[1]
        return answer

    def keep_under_key(self, key: bytes, fingerprint: bytes, answer: bytes) -> None:
        """Keeps what a request with a key was answered."""
        self._under_keys.append((key, fingerprint, self._progress.running_s, answer))

    def of_request(self, number: int, identity: bytes) -> bytes | None:
        """What an earlier store answered to the request of this number, if it is this one."""
        if number not in self._read:
            rows = self._db.execute("SELECT answers FROM requests WHERE ? BETWEEN lowest AND highest", (number,))
            for (packed,) in rows:
                flat = unpack(packed)
                self._read.update(zip(flat[::3], zip(flat[1::3], flat[2::3], strict=True), strict=True))
        known, answer = self._read.get(number, (None, b""))
        return answer if known == identity else None

    def keep(self, number: int, identity: bytes, answer: bytes) -> None:
        """Keeps what a request without a key was answered, should it be sent again."""
        self._group += (number, identity, answer)

    def hold(self, number: int, identity: bytes, key: bytes, fingerprint: bytes) -> None:
        """Keeps under a key what a request without one was answered: its client is told the key to repeat it with.

        Nothing where it has no answer: it has not been committed, or was another request.
        """
        # It may have been answered in this very transaction.
        self._flush_group()
        answer = self.of_request(number, identity)
        if answer is not None:
            self.keep_under_key(key, fingerprint, answer)

    def flush(self) -> None:
        """Writes the answers of this transaction."""
        self._flush_keys()
        self._flush_group()
        self._read.clear()

    def prune(self, limit: int) -> int:
        """Removes what is too old among the next `limit` answers; how many it looked at or removed."""
        oldest_kept_s = self._progress.running_s - KEPT_ANSWERS_S
        # Groups are in the order of their time: if the first one stays, all do.
        groups = self._db.execute(
            "DELETE FROM requests WHERE running_s <= ? AND id IN (SELECT id FROM requests ORDER BY id LIMIT ?)",
            (oldest_kept_s, limit),
        )
        return max(self._prune_keys(limit, oldest_kept_s), groups.rowcount)

    def _prune_keys(self, limit: int, oldest_kept_s: int) -> int:
        """Answers are in the order of their keys: one statement that seeks the old ones would read all of them each
        time (measured: 160 ms at 1,000,000), and an index on their age would cost each write more."""
        running_s = self._progress.running_s
        if self._position is None:
            if running_s < self._next_pass_s:
                return 0
            self._position = b""
        rows = self._db.execute(
            "SELECT key, running_s FROM answers WHERE key > ? ORDER BY key LIMIT ?", (self._position, limit)
        ).fetchall()
        self._db.executemany(
            "DELETE FROM answers WHERE key = ?", [(key,) for key, kept_s in rows if kept_s <= oldest_kept_s]
        )
        if len(rows) < limit:
            self._position, self._next_pass_s = None, running_s + PASS_S
        else:
            self._position = rows[-1][0]
        return len(rows)

    def _flush_keys(self) -> None:
        if self._under_keys:
            self._db.executemany(
                "INSERT OR REPLACE INTO answers (key, request, running_s, answer) VALUES (?, ?, ?, ?)",
                self._under_keys,
            )
            self._under_keys.clear()

    def _flush_group(self) -> None:
        if self._group:
            self._groups += 1
            numbers = self._group[::3]
            self._db.execute(
                "INSERT INTO requests (id, running_s, lowest, highest, answers) VALUES (?, ?, ?, ?, ?)",
                (self._groups, self._progress.running_s, min(numbers), max(numbers), pack(self._group)),
            )
            self._db.execute(
                "DELETE FROM requests WHERE id > ? AND id <= ?", (self._before, self._groups - KEPT_GROUPS)
            )
            self._group.clear()
