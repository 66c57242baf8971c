"""Frames in, frames out: one call is one transaction, whatever has arrived.

    COMMIT    judged and staged           -> RESULT (or a problem) to the supervisor
    CALL      from replayer or supervisor -> REPLY; a claim that finds nothing waits for the next group
    PING                                  -> PONG

All answers of a group leave after its COMMIT, and the NOTICE of what changed leaves before them, so that a worker has
forgotten a document before the client that wrote it can ask for it again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deora.clock import Clock
from deora.errors import Problem
from deora.outbox import pacing
from deora.outbox.figures import Upstream
from deora.outbox.selection import Limits
from deora.outbox.states import State
from deora.outbox.storage import Outbox
from deora.store.adoption import Adoption, Unheld
from deora.store.answers import Answers
from deora.store.ballast import Ballast
from deora.store.commits import CommitRequest, Committer, QueueLimits
from deora.store.errands import Errands
from deora.store.figures import Figures
from deora.store.housekeeping import Housekeeping
from deora.store.identity import load_identity, new_batch_id
from deora.store.imports import Imports
from deora.store.operations import Operations
from deora.store.refusals import refuse_group, reply_frame, result_frame
from deora.store.restored import Restored
from deora.store.settlements import PRIMARY, Settlements
from deora.store.space import Space, full
from deora.store.view import Documents
from deora.wire.frames import FLAG_READ_THROUGH, FLAG_RESENT, UNHELD, Frame, Kind, encode, pack, unpack


@dataclass(frozen=True, slots=True)
class Settings:
    """What the store takes from the configuration. `fresh_us`: see `Adoption`; None: nothing is read through."""

    upstreams: list[str]
    limits: QueueLimits
    retention_s: int
    dead_holds: bool
    fresh_us: int | None = None
    tombstones_us: int = 0  # how long a cached copy of what was deleted may live
    replicate: tuple[str, ...] = ()


class Service:
    """The store behind its socket. Not safe to use after an exception other than Problem: reopen the file instead."""

    def __init__(
        self,
        db: sqlite3.Connection,
        settings: Settings,
        clock: Clock,
        batch_ids: Callable[[], str] = new_batch_id,
        ballast: Ballast | None = None,
    ) -> None:
        self._db = db
        self.space = Space(db, Path(db.execute("PRAGMA database_list").fetchone()[2]), clock, ballast)
        self._settings = settings
        self._clock = clock
        self._new_batch_id = batch_ids
        self._awaited: set[int] = set()
        self._given_up: list[bytes] = []
        self._load()

    def _load(self) -> None:
        """Reads from the file what the store keeps in memory."""
        db, settings = self._db, self._settings
        db.execute("BEGIN IMMEDIATE")
        self.identity, self.progress = load_identity(db)
        self._base_running_s = self.progress.running_s
        self._started_s = self._clock.monotonic_s()
        self.outbox = Outbox(db, settings.upstreams, self._new_batch_id)
        db.execute("COMMIT")
        self._documents = documents = Documents(db)
        self._kept = Answers(db, self.progress)
        self._committer = Committer(documents, self.outbox, self._kept, self.progress, settings.limits, self._clock)
        self._settlements = Settlements(
            documents, self.outbox, self.progress, self._clock, dead_holds=settings.dead_holds
        )
        self._housekeeping = Housekeeping(
            db,
            documents,
            self.outbox,
            self._kept,
            self.progress,
            retention_s=settings.retention_s,
            max_bytes=settings.limits.max_bytes,
            tombstones_us=settings.tombstones_us,
            clock=self._clock,
        )
        self._adoption = Adoption(
            db,
            documents,
            self._settlements,
            self.progress,
            self._clock,
            fresh_us=settings.fresh_us or 0,
            replicate=settings.replicate,
        )
        self._restored = Restored(
            db, documents, self.outbox, self._settlements, self._adoption, self.progress, self._clock
        )
        imports = Imports(
            documents, self.outbox, self.progress, self._clock, self.identity[0], self._settlements, self._committer
        )
        self._operations = Operations(self._settlements, self.outbox, self._restored, imports)
        self._errands = Errands()
        if settings.fresh_us is not None:
            self._committer.check_held = self._adoption.check_held
        self._parked: dict[str, tuple[int, Limits]] = {}
        self._waited = self._parked
        self._put_off: dict[str, float] = {}
        self._paces = {name: pacing.Pace(commits=self.progress.commit_no) for name in settings.upstreams}
        self._replicated: list[tuple[int, bool]] = []
        self._out: list[bytes] = []
        self._known_commit = self.progress.commit_no
        self._queue_changed = True
        self._figures = Figures(db, self.outbox, self.progress, self.identity)

    # -- one group

    def handle(self, frames: list[Frame]) -> bytes:
        """Serves a group of frames within one transaction and returns the encoded answers.

        Raises sqlite3.Error when the transaction's end is unknown: the process must then end, answering nobody.
        """
        self._out = []
        self._replicated = []
        began_s = self._clock.monotonic_s()
        self._tick()
        self.space.look()
        self._committer.refusal = self.space.refusal
        self._db.execute("BEGIN IMMEDIATE")
        self._known_commit = self.progress.commit_no
        self._waited = dict(self._parked)
        commits = self._read_commits(frames)
        for frame in frames:
            kind, flags, aux, generation, ident, body = frame
            if kind == Kind.COMMIT:
                self._serve_commit(flags, aux, ident, *commits[ident])
            elif kind == Kind.CALL:
                self._serve_call(ident, body)
            elif kind == Kind.PING:
                self._figures.look_again()
                self._queue_changed = True
                self._out.append(encode(Kind.PONG, ident, pack(self.space.report()), generation=generation))
        self._out += self._errands.step()
        self._serve_parked()
        self._commit(began_s if commits else None)
        given_up, self._given_up = self._given_up, []
        self._out += given_up
        return self._answers()

    def make_room(self) -> None:
        """After a group, or a step of housekeeping, has found the disk full: SQLite has taken it back, and
        memory is read anew from the file. Claims that wait go on waiting; errands are given up."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")
        self.space.make_room()
        self._given_up += self._errands.give_up(Problem("unavailable", "the store has no room"))
        waited = self._waited
        self._load()
        self._parked = waited

    def refuse_full(self, frames: list[Frame]) -> bytes:
        """Answers a group that found the disk full even without its new writes. What was answered before stays so."""
        self.make_room()
        waited, self._parked = self._parked, {}
        self._tick()
        waiting = [ident for ident, _ in waited.values()]
        given_up, self._given_up = self._given_up, []
        return b"".join([*refuse_group(frames, waiting, self._kept, self.space.report()), *given_up])

    def housekeep(self, *, idle: bool = True) -> tuple[bytes, bool]:
        """A step of housekeeping in a transaction of its own; whether another should follow soon."""
        self._out = []
        self._replicated = []
        self._tick()
        self._waited = dict(self._parked)
        self.space.tend()
        if self.space.is_stalled:
            return b"", False
        self._db.execute("BEGIN IMMEDIATE")
        self._housekeeping.is_short = self.space.is_short
        more = self._housekeeping.step(idle=idle)
        self._commit()
        return self._answers(), more

    def _tick(self) -> None:
        running_s = self._base_running_s + int(self._clock.monotonic_s() - self._started_s)
        self.progress.running_s = max(running_s, self.progress.running_s)
        self._housekeeping.watch_clock()

    def _commit(self, began_s: float | None = None) -> None:
        self._documents.flush()
        self.outbox.flush()
        self._kept.flush()
        self._db.execute(
            "UPDATE progress SET commit_no = ?1, entry_id = ?2, running_s = ?3"
            " WHERE commit_no <> ?1 OR entry_id <> ?2 OR running_s < ?3 - 10",
            (self.progress.commit_no, self.progress.entry_id, self.progress.running_s),
        )
        self.space.commit(began_s)

    def _answers(self) -> bytes:
        notices = {**self._committer.notices, **self._settlements.notices}
        self._committer.notices.clear()
        self._settlements.notices.clear()
        first = []
        if notices:
            first.append(encode(Kind.NOTICE, 0, pack(list(notices))))
            self._queue_changed = True
        if self._queue_changed:
            self._queue_changed = False
            first.append(encode(Kind.EVENT, 0, pack(["queue", self.figures()])))
        if self._replicated:
            first.append(encode(Kind.EVENT, 0, pack(["replicated", self._replicated])))
        return b"".join(first + self._out)

    def figures(self) -> dict[str, Any]:
        """The queue's figures for status, metrics and GET /v1/queue."""
        return self._figures.show()

    # -- commits

    def _read_commits(self, frames: list[Frame]) -> dict[int, tuple[CommitRequest | None, list[Any]]]:
        """The COMMITs of a group by request, decoded: the writes of a client, or what an operator asks for."""
        commits: dict[int, tuple[CommitRequest | None, list[Any]]] = {}
        requests = []
        for kind, _, _, _, ident, body in frames:
            if kind == Kind.COMMIT:
                parts = unpack(body)
                if parts[0] == "write":
                    request = CommitRequest.from_wire(parts[1:])
                    requests.append(request)
                    commits[ident] = (request, [])
                else:
                    commits[ident] = (None, parts)
        self._committer.begin(requests)
        return commits

    def _serve_commit(
        self, flags: int, wait_s: int, ident: int, request: CommitRequest | None, operation: list[Any]
    ) -> None:
        try:
            resent = bool(flags & FLAG_RESENT)
            if request is not None:
                read_through = bool(flags & FLAG_READ_THROUGH)
                result = self._committer.commit(request, ident, resent=resent, read_through=read_through)
                self._out.append(encode(Kind.RESULT, ident, result.packed, aux=result.status))
                if wait_s:
                    self._await(result.commit_no)
            elif operation[0] == "await":
                # The supervisor has the answer to a commit of an earlier store; its client waits for upstream.
                self._out.append(encode(Kind.RESULT, ident, pack([200, operation[1]]), aux=200))
                self._await(operation[1])
            elif operation[0] == "hold":
                self._kept.hold(*operation[1:])
            else:
                self._operate(ident, operation, resent=resent)
        except Unheld as unheld:
            self._out.append(encode(Kind.RESULT, ident, pack(unheld.paths), aux=UNHELD))
        except Problem as problem:
            self._out.append(result_frame(ident, problem))

    def _await(self, commit_no: int) -> None:
        """Notes that a client waits for upstream. One that repeats a request may find it decided already: it is told so
        at once, after the result with which its wait begins."""
        state = State.PENDING
        if commit_no <= self._known_commit:
            state = self.outbox.state_for(self.outbox.upstreams[PRIMARY], commit_no)
        if state in (State.DONE, State.DEAD, State.GONE):
            self._out.append(encode(Kind.EVENT, 0, pack(["replicated", [(commit_no, state is State.DONE)]])))
        else:
            self._awaited.add(commit_no)

    def _operate(self, ident: int, parts: list[Any], *, resent: bool) -> None:
        """Does what an operator asks for, once: an earlier store may have done it and died with the answer."""
        if self.space.is_stalled:
            raise full(self.space.refusal or "the write-ahead log is full")
        known = self._kept.of_request(ident, b"") if resent else None
        if known is not None:
            self._out.append(encode(Kind.RESULT, ident, known, aux=200))
            return
        found = self._operations.run(parts[0], parts[1:])
        if isinstance(found, dict):
            self._out.append(self._operated(ident, found))
        else:
            self._errands.begin(found, lambda result: self._operated(ident, result))

    def _operated(self, ident: int, found: Any) -> bytes:
        self._queue_changed = True
        self._figures.look_again()
        if not isinstance(found, Problem):
            self._kept.keep(ident, b"", pack(found))
        return result_frame(ident, found)

    # -- the replayer's calls

    def _serve_call(self, ident: int, body: bytes) -> None:
        operation, name, *rest = unpack(body)
        try:
            [upstream] = self._operations.named(name)
            if self.space.is_stalled or (self.space.refusal is not None and operation == "adopt"):
                # What is left is for what was accepted; a copy of what upstream holds can wait.
                raise Problem("unavailable", "the store has no room")
            if operation == "open":
                self._reply(ident, [*self.identity, upstream.seq, upstream.batch_id])
            elif operation == "next":
                self._parked[name] = (ident, Limits(*rest))
            elif operation in ("paused", "attempted"):
                if rest:
                    self.outbox.attempted(*rest)
                self._reply(ident, upstream.paused)
            elif operation == "known":
                taken_over = self.outbox.origins.of_upstream(upstream.id)
                self._reply(ident, [upstream.seq, upstream.lost, upstream.paused, taken_over])
            elif operation in self._restored.errands:
                steps = self._restored.errands[operation](upstream, *rest)
                self._errands.begin(steps, lambda found: reply_frame(ident, found))
            elif operation == "split":
                self.outbox.split(upstream, *rest)
                self._reply(ident, None)
            elif operation == "settle":
                self._settle(upstream, *rest)
                self._reply(ident, None)
            elif operation in self._adoption.calls:
                self._reply(ident, self._adoption.calls[operation](upstream, *rest))
            else:
                raise Problem("bad-request", f"the store knows no call {operation!r}")
        except Problem as problem:
            self._out.append(reply_frame(ident, problem))

    def _settle(self, upstream: Upstream, batch_id: str, error: str | None, seq: int, cursor_id: str) -> None:
        self._queue_changed = True
        self._figures.look_again(upstream.name)
        self._paces[upstream.name].ended_s = self._clock.monotonic_s()
        if seq > upstream.seq:
            self.outbox.moved(upstream, seq, cursor_id)
        if error is None:
            commits = self._settlements.applied(upstream, batch_id)
        else:
            commits = self._settlements.refused(upstream, batch_id, error)
        self._replicated += [(commit, error is None) for commit in commits if commit in self._awaited]
        self._awaited.difference_update(commits)

    def _serve_parked(self) -> None:
        """Answers waiting claims for which something is there now."""
        self._put_off.clear()
        if self.space.is_stalled:
            return
        for name, (ident, limits) in list(self._parked.items()):
            upstream = self.outbox.upstreams[name]
            if upstream.paused or upstream.lost or upstream.pending == 0:
                continue
            due_s = self._due_s(upstream, limits)
            if due_s > self._clock.monotonic_s():
                self._put_off[name] = due_s
                continue
            batch = self.outbox.next_batch(upstream, limits)
            if batch is None and upstream.tail:
                self._put_off[name] = due_s
            elif batch is not None:
                del self._parked[name]
                pace = self._paces[name]
                pace.claimed_s, pace.commits = self._clock.monotonic_s(), self.progress.commit_no
                self._queue_changed = True
                self._reply(ident, batch.to_wire(upstream))

    def _due_s(self, upstream: Upstream, limits: Limits) -> float:
        now_s = self._clock.monotonic_s()
        if upstream.inflight:
            return now_s
        return pacing.due_s(
            self._paces[upstream.name], now_s, self.progress.commit_no, upstream.pending, limits.max_writes
        )

    def wait_s(self, longest_s: float) -> float:
        """How long the store may wait for frames before it must handle an empty group: an errand, a claim put off.

        One that found nothing does not count: what waits is held by a dead entry, and only a frame can change that.
        """
        now_s = self._clock.monotonic_s()
        left_s = min([longest_s, *(due_s - now_s for due_s in self._put_off.values())])
        return 0.0 if self._errands.is_busy else max(0.0, left_s)

    def _reply(self, ident: int, value: Any) -> None:
        self._out.append(reply_frame(ident, value))
