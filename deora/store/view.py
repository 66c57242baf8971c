"""Documents in the store: what clients see (the view) and what the primary upstream is known to hold (the base).

    view = base, with the document's live and dead entries of the primary upstream applied in order

While nothing is live or dead the two are equal and stored once. A write changes the view and, where it is the first
since then, keeps the old view as the base. A settlement moves the base on; dropping a dead entry works the view out
again from the base.

Where upstream was restored, the base of a document whose writes it has lost is LOST: it holds them, upstream does not.
Until a copy comes the view stands as it is, with all that clients were told, and nothing is worked out from the base.
So it is with every document of a store that was restored from a backup.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

import orjson

from deora.documents.paths import split
from deora.store.changes import ChangeLog

_COLUMNS: Final = """id, collection, name, version, commit_no, created_us, updated_us, pending, dead, base_state,
  CAST(view AS BLOB), CAST(base AS BLOB), base_seq, checked_us"""
_SELECT: Final = f"SELECT {_COLUMNS} FROM documents WHERE collection = ? AND name = ?"
_SELECT_IDS: Final = f"SELECT {_COLUMNS} FROM documents WHERE id IN (SELECT value FROM json_each(?))"
_SELECT_STATES: Final = """SELECT id, collection, name, pending, dead FROM documents
  WHERE id IN (SELECT value FROM json_each(?))"""
_PATHS_AT_ONCE: Final = 16
_SELECT_MANY: Final = f"""WITH wanted (c, n) AS (VALUES {", ".join(["(?, ?)"] * _PATHS_AT_ONCE)})
  SELECT {_COLUMNS} FROM wanted CROSS JOIN documents ON collection = c AND name = n"""
_INSERT: Final = """INSERT INTO documents (id, collection, name, version, commit_no, created_us, updated_us, pending,
  dead, base_state, view, base, base_seq, checked_us)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, CAST(? AS TEXT), CAST(? AS TEXT), ?, ?)"""
_UPDATE: Final = """UPDATE documents SET version = ?2, commit_no = ?3, created_us = ?4, updated_us = ?5, pending = ?6,
  dead = ?7, base_state = ?8, view = CAST(?9 AS TEXT), base = CAST(?10 AS TEXT), base_seq = ?11, checked_us = ?12
  WHERE id = ?1"""
_IN_STEP: Final = """UPDATE documents SET pending = 0, base_state = CASE base_state WHEN 3 THEN 3 ELSE 1 END,
  base = NULL, base_seq = ?2, checked_us = CASE base_state WHEN 3 THEN checked_us ELSE ?3 END WHERE id = ?1"""
_EARLIEST_US: Final = -(2**63)
_LATEST_US: Final = 2**63 - 1
_GONE: Final = """SELECT id FROM documents INDEXED BY documents_gone
  WHERE view IS NULL AND checked_us > ? AND checked_us <= ? AND pending = 0 AND dead = 0
  AND NOT EXISTS (SELECT 1 FROM heads WHERE heads.id BETWEEN 4 * documents.id AND 4 * documents.id + 3)
  AND NOT EXISTS (SELECT 1 FROM dead_letters WHERE head BETWEEN 4 * documents.id AND 4 * documents.id + 3)
  LIMIT ?"""


class Base(IntEnum):
    """What is known of the primary upstream's copy."""

    NONE = 0
    SAME = 1
    HELD = 2
    LOST = 3


@dataclass(slots=True)
class Document:
    """A row of `documents`. `view` is None while the document does not exist (deleted, or only ever named)."""

    id: int
    collection: str
    name: str
    version: str
    commit_no: int
    created_us: int
    updated_us: int
    pending: int
    dead: int
    base_state: int
    view: bytes | None
    base: bytes | None
    base_seq: int = 0
    checked_us: int = 0
    is_new: bool = False

    @property
    def path(self) -> str:
        """collection/name"""
        return f"{self.collection}/{self.name}"

    def show(self, view: bytes | None, version: str, commit_no: int, now_us: int) -> None:
        """Gives the document another view. Version and update time change only where the data does."""
        if view != self.view:
            if self.view is None:
                self.created_us = now_us
            self.updated_us = now_us
            self.version = version
        elif not self.version:
            # Deleted without ever having been here: that it is gone has a version, too.
            self.version = version
        self.view = view
        self.commit_no = commit_no

    def keep_base(self) -> None:
        """Before the view changes: what equals it now is kept as the base."""
        if self.base_state == Base.SAME:
            self.base = self.view
            self.base_state = Base.HELD

    def lose_base(self, seq: int) -> None:
        """Upstream was restored, and what it holds is not known. Only copies from this seq on will tell."""
        self.base_state, self.base, self.base_seq = Base.LOST, None, seq

    def known_base(self) -> bytes | None:
        """The base's text; None where upstream has no such document, or is not known to."""
        return self.view if self.base_state == Base.SAME else self.base


class Documents:
    """The documents that one transaction touches, read once and written once."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._by_path: dict[str, Document] = {}
        self._changed: dict[str, Document] = {}
        self._absent: set[str] = set()
        self.log = ChangeLog(db)
        [(self._last_id,)] = db.execute("SELECT coalesce(max(id), 0) FROM documents").fetchall()

    def get(self, path: str) -> Document | None:
        """The document's row, also where its view is gone; None where the store has never heard of it."""
        document = self._by_path.get(path)
        if document is None:
            if path in self._absent:
                return None
            row = self._db.execute(_SELECT, split(path)).fetchone()
            if row is None:
                return None
            document = self._by_path[path] = Document(*row)
        return document

    def get_ids(self, ids: Iterable[int]) -> list[Document]:
        """The documents with these ids."""
        found = []
        for row in self._db.execute(_SELECT_IDS, (orjson.dumps(list(ids)),)):
            path = f"{row[1]}/{row[2]}"
            found.append(self._by_path.setdefault(path, Document(*row)))
        return found

    def create(self, path: str) -> Document:
        """A row for a path that has none; its view is empty until `show`."""
        self._last_id += 1
        collection, name = split(path)
        document = Document(self._last_id, collection, name, "", 0, 0, 0, 0, 0, Base.NONE, None, None, is_new=True)
        self._by_path[path] = document
        return document

    def preload(self, paths: Iterable[str]) -> list[Document]:
        """Reads the documents with these paths, in a few statements; those that have a row."""
        wanted = [path for path in paths if path not in self._by_path]
        found = []
        self._absent.update(wanted)
        for start in range(0, len(wanted), _PATHS_AT_ONCE):
            chunk = wanted[start : start + _PATHS_AT_ONCE]
            # One text for all sizes, so that the statement is compiled once: what is left over asks for nothing.
            parameters = [part for path in chunk for part in split(path)] + [None] * 2 * (_PATHS_AT_ONCE - len(chunk))
            for row in self._db.execute(_SELECT_MANY, parameters):
                document = Document(*row)
                self._by_path[f"{row[1]}/{row[2]}"] = document
                found.append(document)
        self._absent.difference_update(self._by_path)
        return found

    def changed(self, path: str, document: Document) -> None:
        """Notes that the row of `path` must be written."""
        self._changed[path] = document

    def in_step(self, document: Document) -> None:
        """Upstream holds what clients see: nothing is live or dead any more, and the base need not be stored."""
        document.pending, document.base = 0, None
        if document.base_state != Base.LOST:
            document.base_state = Base.SAME
        self.changed(document.path, document)

    def settle(self, settled: dict[int, int], seq: int, now_us: int) -> tuple[list[str], list[int]]:
        """Counts entries (document id -> how many) out that a batch of this seq has settled now.

        Returns the paths of documents that are in step with upstream now, which is written without reading their text,
        and the ids of those that are not yet.

        Documents that this transaction has in hand are left to the caller, since their rows are not up to date.
        """
        in_hand = {document.id for document in self._by_path.values() if document.id in settled}
        paths: list[str] = []
        rest = list(in_hand)
        ids = [ident for ident in settled if ident not in in_hand]
        in_step: list[tuple[int, int, int]] = []
        for ident, collection, name, pending, dead in self._db.execute(_SELECT_STATES, (orjson.dumps(ids),)):
            if pending == settled[ident] and not dead:
                in_step.append((ident, seq, now_us))
                paths.append(f"{collection}/{name}")
            else:
                rest.append(ident)
        self._db.executemany(_IN_STEP, in_step)
        return paths, rest

    def flush(self) -> None:
        """Writes all rows that changed, a statement for each kind, and forgets what was read."""
        inserts, updates = [], []
        for document in self._changed.values():
            state = (
                document.version,
                document.commit_no,
                document.created_us,
                document.updated_us,
                document.pending,
                document.dead,
                document.base_state,
                document.view,
                document.base,
                document.base_seq,
                document.checked_us,
            )
            if document.is_new:
                inserts.append((document.id, document.collection, document.name, *state))
            else:
                updates.append((document.id, *state))
        if inserts:
            self._db.executemany(_INSERT, inserts)
        if updates:
            self._db.executemany(_UPDATE, updates)
        self.log.flush()
        self._by_path.clear()
        self._absent.clear()
        self._changed.clear()

    def sweep(self, limit: int, before_us: int, after_us: int) -> int:
        """Removes up to `limit` rows whose document is gone, is stamped with a time up to `before_us` or from behind
        `after_us`, and that no entry speaks of; returns how many. Until then a row is a sign that it is gone, and no
        cached copy of it is shown.

        Every entry has joined its queues.
        """
        ids: list[tuple[int]] = []
        for bounds in ((_EARLIEST_US, before_us), (after_us, _LATEST_US)):
            ids += self._db.execute(_GONE, (*bounds, limit - len(ids))).fetchall()
        self._db.executemany("DELETE FROM documents WHERE id = ?", ids)
        return len(ids)
