"""What the replayer learned and what operators decide, applied to documents and outbox together."""

from __future__ import annotations

from deora.clock import Clock
from deora.documents.writes import decode_writes
from deora.errors import Problem
from deora.outbox.figures import Upstream
from deora.outbox.heads import decode_heads, document_of, head_id
from deora.outbox.selection import Entry
from deora.outbox.statements import SQL
from deora.outbox.states import Event, State, allowed, state_of
from deora.outbox.storage import OVERHEAD_BYTES, Outbox
from deora.store.identity import Progress
from deora.store.merging import Unsettled, replay_writes
from deora.store.view import Base, Document, Documents

PRIMARY = "primary"


class Settlements:
    """Settles batches, retries and drops dead entries. Works within the transaction that the store has begun."""

    def __init__(
        self, documents: Documents, outbox: Outbox, progress: Progress, clock: Clock, *, dead_holds: bool
    ) -> None:
        self._documents = documents
        self._outbox = outbox
        self._progress = progress
        self._clock = clock
        self.dead_holds = dead_holds
        self.notices: dict[str, None] = {}

    def applied(self, upstream: Upstream, batch_id: str) -> list[int]:
        """Upstream has the batch. Returns the commits that are replicated by it (the primary upstream's alone)."""
        entries = self._outbox.settle_done(upstream, batch_id, self._progress.running_s)
        if upstream.name != PRIMARY or not entries:
            return []
        payloads = _by_document(entries)
        counts, now_us = {ident: len(some) for ident, some in payloads.items()}, self._clock.wall_us()
        in_step, others = self._documents.settle(counts, upstream.seq, now_us)
        self.notices.update(dict.fromkeys(in_step))
        for document in self._documents.get_ids(others):
            document.pending -= len(payloads[document.id])
            if document.pending == 0 and document.dead == 0:
                self._documents.in_step(document)
            else:
                self._move_base(document, payloads[document.id])
                self._documents.changed(document.path, document)
            document.base_seq = upstream.seq
            if document.base_state != Base.LOST:
                document.checked_us = now_us
            self.notices[document.path] = None
        return [entry.commit_no for entry in entries]

    def _move_base(self, document: Document, payloads: list[bytes]) -> None:
        """Adds to the base what upstream has applied, where it is known what it was added to."""
        if document.base_state != Base.LOST:
            document.keep_base()
            document.base = replay_writes(document.base, document.path, payloads, applied=True)
            document.base_state = Base.HELD

    def refused(self, upstream: Upstream, batch_id: str, error: str) -> list[int]:
        """Upstream has refused the one entry of a batch for good: it is dead, and in the view until dropped.

        Returns its commit, as `applied` does.
        """
        entries = self._outbox.settle_dead(upstream, batch_id, self._progress.running_s, error, holds=self.dead_holds)
        if upstream.name != PRIMARY or not entries:
            return []
        payloads = _by_document(entries)
        for document in self._documents.get_ids(payloads):
            document.pending -= len(payloads[document.id])
            document.dead += len(payloads[document.id])
            self._documents.changed(document.path, document)
            self.notices[document.path] = None
        return [entry.commit_no for entry in entries]

    def retry(self, entry_id: int, *, force: bool) -> Upstream:
        """Sends a dead entry once more, at its old place and under a new number. Returns its upstream.

        One that was taken over keeps its number: new ones are its origin's to give, and the cursor that it belongs to
        tells by this one whether it has been applied.

        Raises Problem: no such entry, not dead, or its documents have later writes and `force` is not given.
        """
        upstream, entry, is_own = self._dead(entry_id, Event.RETRY)
        documents = self._documents.get_ids(document_of(head) for head in entry.heads)
        later = sorted(document.path for document in documents if document.commit_no > entry.commit_no)
        if later and not force and not self._holds_back(entry):
            raise Problem(
                "conflict",
                f"entry {entry_id} is older than other writes to {', '.join(later[:3])}",
                hint='look at the document first; {"force": true} sends it all the same, before what still waits',
                fields={"documents": later},
            )
        # Its queues must be whole before its place in them is looked for.
        self._outbox.join_all()
        db = self._outbox.database
        if is_own:
            upstream.number += 1
            db.execute(SQL["give_up_number_of"], (entry.id,))
        db.execute(SQL["revive"], (upstream.number if is_own else None, entry.id))
        db.execute(SQL["delete_dead_letters"], (entry.id,))
        self._outbox.queues.rejoin(entry.heads, upstream.id, entry.id, entry.priority)
        upstream.count(State.DEAD, State.PENDING, entry.priority, len(entry.payload) + OVERHEAD_BYTES)
        if upstream.name == PRIMARY:
            for document in documents:
                document.dead -= 1
                document.pending += 1
            self._review(documents)
        return upstream

    def drop(self, entry_id: int) -> Upstream:
        """Gives a dead entry up: it leaves the queue and the view. Returns its upstream. Raises Problem as `retry`."""
        upstream, entry, _ = self._dead(entry_id, Event.DROP)
        documents = self._documents.get_ids(document_of(head) for head in entry.heads)
        db = self._outbox.database
        db.execute(SQL["give_up_number_of"], (entry.id,))
        db.execute(SQL["delete_entry"], (entry.id,))
        if upstream.name == PRIMARY:
            # The entry was what told streams of its commit.
            paths = list(dict.fromkeys(write.path for write in decode_writes(entry.payload)))
            self._documents.log.note(entry.commit_no, paths, self._progress.running_s)
        db.execute(SQL["delete_dead_letters"], (entry.id,))
        upstream.dead -= 1
        upstream.live_bytes -= len(entry.payload) + OVERHEAD_BYTES
        upstream.changed = True
        if upstream.name == PRIMARY:
            for document in documents:
                document.dead -= 1
            self._review(documents)
        return upstream

    def dead_ids(self, upstream: Upstream, after: int, limit: int) -> list[int]:
        """The oldest dead entries of an upstream whose id comes behind `after`."""
        rows = self._outbox.database.execute(SQL["dead_ids"], (upstream.id, after, limit))
        return [row[0] for row in rows]

    def _dead(self, entry_id: int, event: Event) -> tuple[Upstream, Entry, bool]:
        """A dead entry with its upstream, and whether it is this store's own. Raises Problem."""
        row = self._outbox.database.execute(SQL["entry"], (entry_id,)).fetchone()
        if row is None:
            raise Problem(
                "entry-not-found",
                f"the queue has no entry {entry_id}",
                hint="GET /v1/queue/entries lists them; done ones are pruned after retention_hours",
            )
        upstream_id, stored, commit_no, priority, writes, heads, origin, payload = row
        state = state_of(stored, entry_id in self._outbox.inflight_ids())
        if allowed(state, event) is None:
            raise Problem(
                "conflict",
                f"entry {entry_id} is {state.value}; only a dead one can be retried or dropped",
                hint="a pending or inflight entry is sent without your help",
            )
        for upstream in self._outbox.upstreams.values():
            if upstream.id == upstream_id:
                entry = Entry(entry_id, 0, commit_no, priority, writes, decode_heads(heads), payload)
                return upstream, entry, origin is None
        raise Problem(
            "conflict",
            f"entry {entry_id} is for an upstream that database.json no longer has",
            hint="configure that upstream again",
        )

    def _holds_back(self, entry: Entry) -> bool:
        """Whether later writes wait for this entry (on_dead "hold"), so that retrying it reorders nothing."""
        [(holding,)] = self._outbox.database.execute(
            "SELECT count(*) FROM dead_letters WHERE entry = ? AND holds = 1", (entry.id,)
        ).fetchall()
        return bool(holding)

    def _review(self, documents: list[Document]) -> None:
        """Works the views out again from the bases, as one new commit; where a base is lost, a copy will do it."""
        self._progress.commit_no += 1
        version, now_us = self._progress.version(), self._clock.wall_us()
        paths = [document.path for document in documents]
        self._documents.log.note(self._progress.commit_no, paths, self._progress.running_s)
        for document in documents:
            document.keep_base()
            if document.base_state != Base.LOST:
                payloads = [entry.payload for entry in self.unsettled(document)]
                view = replay_writes(document.base, document.path, payloads)
                # The commit of the last client's write stays: it tells whether an entry has later writes.
                document.show(view, version, document.commit_no, now_us)
            self._documents.changed(document.path, document)
            if document.pending == 0 and document.dead == 0:
                self._documents.in_step(document)
            self.notices[document.path] = None

    @property
    def takes_long(self) -> bool:
        """Whether `unsettled` would keep clients waiting: much has to join its queues first."""
        return self._outbox.has_long_tail()

    def unsettled(self, document: Document) -> list[Unsettled]:
        """The document's live and dead entries of the primary upstream, in the order in which they count."""
        self._outbox.join_all()
        primary = self._outbox.upstreams[PRIMARY]
        rows = self._outbox.database.execute(SQL["unsettled_of"], {"head": head_id(document.id, primary.id)})
        return _in_order(rows.fetchall(), self._outbox.inflight_ids())


def _in_order(rows: list[tuple[int, int, bytes]], inflight: set[int]) -> list[Unsettled]:
    """A document's unsettled entries (id, stored state, payload) in the order in which they count.

    That is the order of their ids, but for an entry that was retried while later ones are in flight: their batch is
    fixed, so it comes after them.
    """
    last = max((row[0] for row in rows if row[0] in inflight), default=0)

    def place(row: tuple[int, int, bytes]) -> tuple[int, int]:
        ident, stored, _ = row
        overtaken = ident < last and state_of(stored, ident in inflight) is State.PENDING
        return (last, ident) if overtaken else (ident, 0)

    return [Unsettled(row[2], row[0] in inflight) for row in sorted(rows, key=place)]


def _by_document(entries: list[Entry]) -> dict[int, list[bytes]]:
    payloads: dict[int, list[bytes]] = {}
    for entry in entries:
        for head in entry.heads:
            payloads.setdefault(document_of(head), []).append(entry.payload)
    return payloads
