"""Upstream was restored from a backup: what its cursor no longer covers is queued again.

The replayer finds that upstream's cursor went back, and asks twice, each an errand (see `store.errands`):

1. `survey`. The upstream is LOST from here on: nothing is claimed for it and nothing of it is pruned, whatever crashes.
   The answer is how many entries are neither upstream nor kept here, nor given up. Where there are any, a person must
   decide: `accept` gives their numbers up, and the next survey finds none missing.
2. The replayer moves upstream's cursor past every seq that it ever had, so that no late copy of anything can land.
3. `requeue`. Batches are taken apart: none of them can land any more. Done entries that the cursor does not cover are
   pending again, at their old place and under their old number; pending and dead ones that it covers (a second restore,
   of a newer backup) are done. With the last step the known cursor is upstream's.

Each step is one transaction and leaves every entry right or untouched, so all of it can begin anew at any point: until
the last step the known cursor matches none that upstream could have, and nothing is sent.

What is said here of this store's own entries goes for those of its earlier lives, too (see `store.lives`).

Documents. The base of each document whose writes wait again is LOST (see `store.view`): the view stands. Only copies of
a snapshot behind the moved cursor replace it, and those have these writes put on top, once.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, Final

from deora.clock import Clock
from deora.documents.writes import decode_writes
from deora.errors import Problem
from deora.outbox import judged
from deora.outbox.figures import LOST, Upstream
from deora.outbox.heads import document_of, head_id
from deora.outbox.numbers import Covered, Spans, extend, joined, size, without
from deora.outbox.selection import Entry
from deora.outbox.statements import SQL
from deora.outbox.states import Event, State, allowed, state_of
from deora.outbox.storage import Outbox
from deora.store.adoption import Adoption
from deora.store.errands import Steps
from deora.store.identity import Progress
from deora.store.merging import replay_writes
from deora.store.settlements import PRIMARY, Settlements
from deora.store.view import Document, Documents

_log = logging.getLogger("deora.store")

# What one step looks at, and what it changes: as much as the settlement of a small batch does.
ROWS_AT_ONCE: Final = 2000
WRITES_AT_ONCE: Final = 100

REFUSED: Final = "upstream had refused this entry before its queue was taken over"


Cursors = dict[int | None, Covered]
"""What upstream's cursors cover: this store's own under None, those that were taken over under their origins."""


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found for these cursors. `missing`: numbers of this life's entries (0) and of earlier ones' (by origin).
    `before_us`: when the oldest of the entries was accepted that are kept and that upstream lacks; what is missing is
    older."""

    covered: Cursors
    missing: dict[int, Spans]
    before_us: int | None

    @property
    def count(self) -> int:
        """How many entries are missing."""
        return sum(map(size, self.missing.values()))


class Restored:
    """Works within the transaction that the store has begun."""

    def __init__(
        self,
        db: sqlite3.Connection,
        documents: Documents,
        outbox: Outbox,
        settlements: Settlements,
        adoption: Adoption,
        progress: Progress,
        clock: Clock,
    ) -> None:
        self._db = db
        self._documents = documents
        self._outbox = outbox
        self._settlements = settlements
        self._adoption = adoption
        self._progress = progress
        self._clock = clock
        self._surveys: dict[str, Survey] = {}
        self.errands: dict[str, Callable[..., Steps]] = {"survey": self.survey, "requeue": self.requeue}

    # -- what is missing

    def survey(self, upstream: Upstream, covered: list[Any]) -> Steps:
        """The errand before anything is moved; returns [missing, before_us]."""
        if not upstream.lost:
            _log.warning("the cursor of upstream %s went back from seq %d", upstream.name, upstream.seq)
            self._outbox.moved(upstream, upstream.seq, LOST)
        cursors = _cursors(covered)
        found = self._surveys.get(upstream.name)
        if found is None or found.covered != cursors:
            found = yield from self._look(upstream, cursors)
            self._surveys[upstream.name] = found
        return [found.count, found.before_us]

    def _look(self, upstream: Upstream, cursors: Cursors) -> Generator[None, None, Survey]:
        """Own entries alone are counted, of all lives: what another box accepted, that box may have as well."""
        upto: dict[int | None, int] = {None: upstream.number}
        upto.update((life.id, life.upto) for life in self._outbox.origins.lives(upstream.id) if life.id in cursors)
        kept: dict[int, Spans] = {origin or 0: [] for origin in upto}
        before_us = None
        position, last = 0, self._progress.entry_id
        while rows := self._rows(position, last):
            for ident, owner, origin, number, _, _, created_us in rows:
                position = ident
                if owner == upstream.id and origin in upto:
                    extend(kept[origin or 0], number)
                    if before_us is None and not cursors[origin].holds(number):
                        before_us = created_us
            yield
        for origin, first, number in self._db.execute(SQL["given_up"], (upstream.id,)):
            kept.setdefault(origin, []).append((first, number))
        missing = {
            origin or 0: without(cursors[origin].undecided(number), joined(kept[origin or 0]))
            for origin, number in upto.items()
        }
        return Survey(cursors, missing, before_us)

    def _rows(self, position: int, last: int) -> list[tuple[Any, ...]]:
        """The next entries behind `position`, with all that this transaction has gathered."""
        self._outbox.flush()
        return self._db.execute(SQL["entries_between"], (position, last, ROWS_AT_ONCE)).fetchall()

    def accept(self, upstream: Upstream) -> dict[str, Any]:
        """An operator gives up what is missing; an operation. Raises Problem where nothing is known to be missing."""
        found = self._surveys.get(upstream.name)
        if not upstream.lost or found is None or not found.count:
            raise Problem(
                "conflict",
                f"no entries of upstream {upstream.name} are missing",
                hint="after a start it takes some seconds until they are counted; /status says what is the matter",
            )
        spans = [
            (upstream.id, origin, first, last) for origin, missing in found.missing.items() for first, last in missing
        ]
        _log.warning(
            "an operator accepted the loss of entries that upstream %s lacks and this box no longer keeps",
            upstream.name,
            extra={"entries": found.count, "numbers": [[first, last] for _, _, first, last in spans[:100]]},
        )
        self._db.executemany(SQL["give_up_numbers"], spans)
        del self._surveys[upstream.name]
        upstream.paused, upstream.changed = False, True
        return {"upstream": upstream.name, "accepted": found.count}

    # -- in step again

    def requeue(self, upstream: Upstream, seq: int, cursor_id: str, covered: list[Any]) -> Steps:
        """The errand behind the moved cursor, which stands at (seq, cursor_id); returns how many wait again."""
        if not upstream.lost or seq <= upstream.seq:
            # It was done, and the answer was lost; or a replayer that was left behind asks for what is long past.
            return 0
        cursors = _cursors(covered)
        released = self._outbox.release_all(upstream)
        if upstream.name == PRIMARY:
            for document in self._documents.get_ids({document_of(head) for one in released for head in one.heads}):
                self._lose(document, seq)
        count = position = 0
        # What comes from now on waits in any case; to look at that, too, would be to run after clients that write.
        last = self._progress.entry_id
        while rows := self._rows(position, last):
            position, changing = _part(rows, upstream.id, cursors)
            for entry in self._outbox.load(list(changing)):
                state, becomes = changing[entry.id]
                if becomes is State.PENDING:
                    self._requeue(upstream, entry, seq)
                    count += 1
                else:
                    self._found(upstream, entry, state, becomes, seq)
            yield
        self._outbox.moved(upstream, seq, cursor_id)
        self._surveys.pop(upstream.name, None)
        if upstream.name == PRIMARY:
            self._adoption.forget_replicas()
        _log.warning("upstream %s was restored: %d entries wait again", upstream.name, count)
        return count

    def _requeue(self, upstream: Upstream, entry: Entry, seq: int) -> None:
        paths = list(dict.fromkeys(write.path for write in decode_writes(entry.payload)))
        # The row of a document that is gone may have been swept since, and a younger one have its place.
        documents = [self._documents.get(path) or self._documents.create(path) for path in paths]
        heads = tuple(head_id(document.id, upstream.id) for document in documents)
        placed = Entry(entry.id, entry.number, entry.commit_no, entry.priority, entry.writes, heads, entry.payload)
        judged.requeue(self._outbox, upstream, placed)
        for document in documents:
            self._documents.changed(document.path, document)
            if upstream.name == PRIMARY:
                document.pending += 1
                if document.commit_no < entry.commit_no:
                    self._show_again(document, entry)
                self._lose(document, seq)

    def _show_again(self, document: Document, entry: Entry) -> None:
        """Puts an entry into the view of a row that is younger than it: this row's view was never told of it."""
        view = replay_writes(document.view, document.path, [entry.payload])
        self._progress.commit_no += 1
        document.show(view, self._progress.version(), entry.commit_no, self._clock.wall_us())

    def _found(self, upstream: Upstream, entry: Entry, state: State, becomes: State, seq: int) -> None:
        running_s = self._progress.running_s
        if becomes is State.DEAD:
            holds = self._settlements.dead_holds
            judged.found_refused(self._outbox, upstream, entry, running_s, REFUSED, holds=holds)
        else:
            judged.found(self._outbox, upstream, entry, state, running_s)
        if upstream.name == PRIMARY:
            for document in self._documents.get_ids({document_of(head) for head in entry.heads}):
                document.pending -= int(state is not State.DEAD)
                document.dead += int(becomes is State.DEAD) - int(state is State.DEAD)
                self._lose(document, seq)

    def _lose(self, document: Document, seq: int) -> None:
        document.lose_base(seq)
        self._documents.changed(document.path, document)
        self._settlements.notices[document.path] = None


def _cursors(covered: list[Any]) -> Cursors:
    """What the replayer packed: [origin, watermark, spans, refused] of each cursor."""
    return {origin: Covered.from_wire(*parts) for origin, *parts in covered}


def _part(rows: list[tuple[Any, ...]], upstream: int, cursors: Cursors) -> tuple[int, dict[int, tuple[State, State]]]:
    """Which entries of these rows (in no batch any more) have another state upstream, with the state that they have
    here and that one; no more than one step may change. And the last row that was looked at."""
    changing: dict[int, tuple[State, State]] = {}
    left = WRITES_AT_ONCE
    position = 0
    for ident, owner, origin, number, stored, writes, _ in rows:
        state = state_of(stored, in_batch=False)
        # Of a cursor that was taken over since nothing is known, and nothing of its entries was ever lost.
        covered = cursors.get(origin) if owner == upstream else None
        becomes = _fate(covered, number, state, is_own=origin is None) if covered is not None else state
        if becomes is not state:
            if changing and writes > left:
                break
            changing[ident] = state, becomes
            left -= writes
        position = ident
    return position, changing


def _fate(covered: Covered, number: int, state: State, *, is_own: bool) -> State:
    """The state of an entry by what a cursor covers. One that waits, was accepted in another life and is refused there
    is dead: it may have been retried since under another number, which only that life knew."""
    event = Event.REQUEUE
    if covered.holds(number):
        event = Event.FOUND
    elif number in covered.refused and not is_own and state is State.PENDING:
        event = Event.FOUND_REFUSED
    return allowed(state, event) or state
