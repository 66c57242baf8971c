"""What upstream holds, taken over into the store: documents by path, and collections that are kept whole."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any, Final

from deora.clock import Clock
from deora.documents.paths import split
from deora.documents.versions import copy_version
from deora.documents.writes import Write
from deora.outbox.figures import Upstream
from deora.store.identity import Progress
from deora.store.merging import Unfit, merge
from deora.store.settlements import PRIMARY, Settlements
from deora.store.view import Base, Document, Documents

_HELD: Final = """SELECT collection || '/' || name FROM documents
  WHERE collection = ? AND name > ?
  AND ((base_state IN (1, 3) AND view IS NOT NULL) OR (base_state = 2 AND base IS NOT NULL))
  ORDER BY name LIMIT ?"""
_SYNCED: Final = "INSERT OR REPLACE INTO replicas (collection, source, since, synced_us) VALUES (?, ?, ?, ?)"


class Unheld(Exception):
    """Writes cannot be judged by what this box holds: these documents are to be read through first."""

    def __init__(self, paths: list[str]) -> None:
        super().__init__(", ".join(paths))
        self.paths = paths


class Adoption:
    """Works within the transaction that the store has begun.

    `fresh_us`: how long it is believed that a document which upstream did not have is still not there. `replicate`: the
    collections that are kept whole; what the file knows of others is forgotten.
    """

    def __init__(
        self,
        db: sqlite3.Connection,
        documents: Documents,
        settlements: Settlements,
        progress: Progress,
        clock: Clock,
        *,
        fresh_us: int,
        replicate: tuple[str, ...],
    ) -> None:
        self._db = db
        self._documents = documents
        self._settlements = settlements
        self._progress = progress
        self._clock = clock
        self._fresh_us = fresh_us
        self._replicas: dict[str, tuple[str, str]] = {
            collection: (source, since)
            for collection, source, since in db.execute("SELECT collection, source, since FROM replicas").fetchall()
        }
        for collection in set(self._replicas) - set(replicate):
            del self._replicas[collection]
            db.execute("DELETE FROM replicas WHERE collection = ?", (collection,))
        self._pulling: set[str] = set()
        self.calls: dict[str, Callable[..., Any]] = {
            "adopt": self.adopt,
            "replica": self.replica,
            "synced": self.synced,
            "held": self.held,
        }

    # -- calls of the replayer

    def adopt(self, upstream: Upstream, seq: int, copies: list[tuple[str, bytes | None]]) -> list[str]:
        """Takes copies (path, canonical text or None) of one snapshot over, and returns the paths to be read again.

        Those of another upstream than the primary one stand in only for documents that this box knows nothing of.
        """
        self._documents.preload(path for path, _ in copies)
        commit_no = self._progress.commit_no
        again = []
        for path, data in copies:
            document = self._documents.get(path)
            if document is None:
                if data is not None:
                    self._show_first(path, data, seq if upstream.name == PRIMARY else 0, commit_no + 1)
            elif upstream.name == PRIMARY and not self._replace_base(upstream, document, data, seq, commit_no + 1):
                again.append(path)
        return again

    def replica(self, _: Upstream, collection: str, source: str) -> str | None:
        """Where the pull that begins now goes on; None where it has not been listed, or of another source."""
        self._pulling.add(collection)
        known_source, since = self._replicas.get(collection, (None, None))
        return since if known_source == source else None

    def synced(self, _: Upstream, collection: str, source: str, since: str) -> None:
        """Notes that a collection is whole now, unless upstream was restored since its pull began."""
        if collection not in self._pulling:
            return
        self._replicas[collection] = (source, since)
        self._db.execute(_SYNCED, (collection, source, since, self._clock.wall_us()))

    def held(self, _: Upstream, collection: str, after: str, limit: int) -> list[str]:
        """The paths of documents that upstream is believed to hold, in order, whose id comes behind `after`."""
        # What this transaction has in hand is not in the file yet.
        self._documents.flush()
        return [path for (path,) in self._db.execute(_HELD, (collection, after, limit))]

    def forget_replicas(self) -> None:
        """Upstream was restored: marks of changes mean nothing any more, and every collection is to be listed anew."""
        self._pulling.clear()
        self._replicas.clear()
        self._db.execute("DELETE FROM replicas")

    # -- judging writes

    def check_held(self, writes: list[Write]) -> None:
        """Raises Unheld where a write is to be judged by a document that this box does not hold."""
        told: set[str] = set()
        unheld = []
        for write in writes:
            judged = write.if_version is not None or (write.op == "update" and not write.upsert)
            if judged and write.path not in told and not self._is_held(write.path):
                unheld.append(write.path)
            told.add(write.path)
        if unheld:
            raise Unheld(unheld)

    def _is_held(self, path: str) -> bool:
        document = self._documents.get(path)
        if document is None:
            return split(path)[0] in self._replicas
        if document.view is not None or document.pending or document.dead:
            return True
        # After the clock was put back, what was noted before seems to be from the future; it is not fresh for that.
        age_us = abs(self._clock.wall_us() - document.checked_us)
        return age_us <= self._fresh_us or document.collection in self._replicas

    # -- inside

    def _show_first(self, path: str, data: bytes, seq: int, commit_no: int) -> None:
        """A document that this box holds from now on. Its version is that of the copy, by which clients may guard."""
        document = self._documents.create(path)
        self._begin_commit(commit_no, path)
        document.show(data, copy_version(data), document.commit_no, self._clock.wall_us())
        self._note_base(document, data, seq, in_step=True)
        self._settlements.notices[document.path] = None

    def _replace_base(
        self, upstream: Upstream, document: Document, data: bytes | None, seq: int, commit_no: int
    ) -> bool:
        """Puts a copy under what waits; False where it is to be read again."""
        if upstream.lost:
            # What upstream lacks is about to be queued again, on top of a copy that comes behind that.
            return False
        waiting = document.pending + document.dead > 0
        if waiting and self._settlements.takes_long:
            return False
        unsettled = self._settlements.unsettled(document) if waiting else []
        merged = merge(
            document.path,
            data,
            copy_seq=seq,
            base_seq=document.base_seq,
            settled_seq=upstream.seq,
            unsettled=unsettled,
        )
        if isinstance(merged, Unfit):
            return False
        if document.base_state != Base.LOST and data == document.known_base():
            # Nothing new, which is the common case: no row is written, and so nothing has to be synced.
            return True
        if merged.view != document.view:
            self._begin_commit(commit_no, document.path)
            document.show(merged.view, self._progress.version(), document.commit_no, self._clock.wall_us())
            self._settlements.notices[document.path] = None
        self._note_base(document, data, seq, in_step=not waiting)
        return True

    def _begin_commit(self, commit_no: int, path: str) -> None:
        """All that one call changes is one commit, and streams tell of it."""
        self._progress.commit_no = commit_no
        self._documents.log.note(commit_no, [path], self._progress.running_s)

    def _note_base(self, document: Document, data: bytes | None, seq: int, *, in_step: bool) -> None:
        document.base_state, document.base = (Base.SAME, None) if in_step else (Base.HELD, data)
        document.base_seq, document.checked_us = seq, self._clock.wall_us()
        self._documents.changed(document.path, document)
