"""Group commit: many requests judged one after the other, made durable by one fsync.

Only this code judges, inside the transaction: first the idempotency key, then room, then preconditions, then operators.
A request that is refused leaves nothing behind. So a write that is sent twice, because a worker or the store died with
the answer, has the first one's answer and neither a second effect nor a false 409 or 412.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson

from deora.clock import Clock
from deora.documents.apply import apply
from deora.documents.values import timestamp_text
from deora.documents.writes import Write, encode_writes, resolve
from deora.errors import Problem
from deora.outbox.storage import OVERHEAD_BYTES, Outbox
from deora.store.answers import Answers
from deora.store.identity import Progress
from deora.store.space import full
from deora.store.view import Document, Documents
from deora.wire.frames import pack, unpack


@dataclass(frozen=True, slots=True)
class QueueLimits:
    """When a write is refused with 507 because too much waits. Bytes count the outbox's share of the file."""

    max_entries: int
    max_bytes: int


# Not frozen, as Result and Write are not: a frozen dataclass takes three times as long to make, and these are made for
# each request.
@dataclass(slots=True)
class CommitRequest:
    """The writes of one client request. `key` and `fingerprint` belong to its Idempotency-Key, where it has one.

    Without a key `fingerprint` is the request's identity. `repeats` are the number and the identity of the request that
    this one may repeat, where a refusal has named the key (see `wire.keys`). `payload` is the writes as the worker
    packed them.
    """

    key: bytes | None
    fingerprint: bytes
    priority: int
    payload: bytes
    writes: list[Write]
    single: bool
    representation: bool
    repeats: list[Any]

    @classmethod
    def from_wire(cls, parts: list[Any]) -> CommitRequest:
        """What a worker packed."""
        key, fingerprint, priority, payload, single, representation, *repeats = parts
        writes = [Write.from_wire(part) for part in unpack(payload)]
        return cls(key, fingerprint, priority, payload, writes, single, representation, repeats)


@dataclass(slots=True)
class Result:
    """What became of a commit. `packed` is the RESULT's body, and what is kept under the request's key:

    [status, commit, version, path, body], where body is the JSON answer without its last member (`replication`), which
    the supervisor adds. Version and path are None where the request had a list of writes.
    """

    status: int
    commit_no: int
    packed: bytes

    @classmethod
    def known(cls, packed: bytes) -> Result:
        """The result that was kept under a key."""
        status, commit_no, *_ = unpack(packed)
        return cls(status, commit_no, packed)


@dataclass(slots=True)
class _Touched:
    """A document that a request would change, until it is known that all of the request holds."""

    document: Document
    view: bytes | None


class Committer:
    """Judges and stages commits within the transaction that the store has begun."""

    def __init__(
        self,
        documents: Documents,
        outbox: Outbox,
        answers: Answers,
        progress: Progress,
        limits: QueueLimits,
        clock: Clock,
    ) -> None:
        self._documents = documents
        self._outbox = outbox
        self._progress = progress
        self._limits = limits
        self._clock = clock
        self.answers = answers
        self._now_us = 0
        self._entries_left = 0
        self._bytes_left = 0
        self.notices: dict[str, None] = {}
        self.refusal: str | None = None
        """why the disk has no room for new writes; None where it has"""
        self.check_held: Callable[[list[Write]], None] | None = None

    def commit(self, request: CommitRequest, request_id: int, *, resent: bool, read_through: bool = False) -> Result:
        """Applies a request's writes, or raises the Problem that refuses them, leaving nothing behind.

        `request_id` names the request in the supervisor's numbering; `resent` says that an earlier store may have
        committed it, `read_through` that what it is to be judged by has been read from upstream. Raises what
        `check_held` raises.
        """
        known = self._known_answer(request, request_id, resent=resent)
        if known is not None:
            return known
        self._check_room()
        if self.check_held is not None and not read_through:
            self.check_held(request.writes)
        touched, payload = self._stage(request)
        self._progress.commit_no += 1
        result = self._accept(request, touched, payload)
        if request.key is not None:
            self.answers.keep_under_key(request.key, request.fingerprint, result.packed)
        else:
            self.answers.keep(request_id, request.fingerprint, result.packed)
        return result

    def begin(self, requests: list[CommitRequest]) -> None:
        """Prepares for a group: its time, how much room is left, and what its requests will touch, read at once."""
        self._now_us = self._clock.wall_us()
        self._entries_left = self._limits.max_entries - self._outbox.live_entries()
        self._bytes_left = self._limits.max_bytes - self._outbox.live_bytes()
        self._documents.preload({write.path for request in requests for write in request.writes})

    def reserve(self, entries: int, size_bytes: int) -> None:
        """Counts entries that are imported against the room that is left. Raises Problem where it is too little."""
        if self._entries_left < entries:
            left, allowed = max(0, self._entries_left), self._limits.max_entries
            raise _queue_full(f"{entries} entries are to come in; queue.json allows max_entries {allowed}, {left} more")
        if self._bytes_left < size_bytes:
            left, allowed = max(0, self._bytes_left), self._limits.max_bytes
            raise _queue_full(f"{size_bytes} bytes are to come in; queue.json allows max_bytes {allowed}, {left} more")
        self._entries_left -= entries
        self._bytes_left -= size_bytes

    def _known_answer(self, request: CommitRequest, request_id: int, *, resent: bool) -> Result | None:
        """What this request was answered before. Raises Problem("key-reused")."""
        kept = None
        if request.key is not None:
            kept = self.answers.under_key(request.key, request.fingerprint)
            if kept is None and request.repeats:
                number, identity = request.repeats
                self.answers.hold(number, identity, request.key, request.fingerprint)
                kept = self.answers.under_key(request.key, request.fingerprint)
        elif resent:
            kept = self.answers.of_request(request_id, request.fingerprint)
        return Result.known(kept) if kept is not None else None

    # -- room

    def _check_room(self) -> None:
        if self.refusal is not None:
            raise full(self.refusal)
        if self._entries_left < len(self._outbox.upstreams):
            entries, allowed = self._outbox.live_entries(), self._limits.max_entries
            raise _queue_full(f"{entries} entries wait for upstream; queue.json allows max_entries {allowed}")
        if self._bytes_left < 0:
            size_bytes, allowed = self._outbox.live_bytes(), self._limits.max_bytes
            raise _queue_full(f"the queue holds {size_bytes} bytes; queue.json allows max_bytes {allowed}")

    # -- judging

    def _stage(self, request: CommitRequest) -> tuple[dict[str, _Touched], bytes]:
        """What a request would change, by path, and its writes with their times resolved. Changes nothing yet."""
        touched: dict[str, _Touched] = {}
        resolved: list[Write] = []
        as_packed = True
        for index, write in enumerate(request.writes):
            one = touched.get(write.path)
            if one is None:
                # A row that is made here and then not used is not written: only `changed` rows are.
                document = self._documents.get(write.path) or self._documents.create(write.path)
                one = touched[write.path] = _Touched(document, document.view)
            try:
                if write.if_absent or write.if_version is not None:
                    as_packed = False
                    self._check_preconditions(write, one)
                final = resolve(write, self._now_us)
                one.view = apply(one.view, final)
            except Problem as problem:
                if len(request.writes) > 1:
                    problem.fields = {**problem.fields, "write": index}
                raise
            as_packed = as_packed and final is write
            resolved.append(final)
        return touched, request.payload if as_packed else encode_writes(resolved)

    def _check_preconditions(self, write: Write, touched: _Touched) -> None:
        document, view = touched.document, touched.view
        if write.if_absent and view is not None:
            raise Problem(
                "precondition-failed",
                f"the document {write.path} exists; If-None-Match: * creates only",
                hint="read it, and set it with If-Match if it is to be replaced",
                fields={"version": document.version},
            )
        if write.if_version is None:
            return
        current = document.version if view is not None else None
        if view is None or (write.if_version != "*" and (write.if_version != current or view is not document.view)):
            found = f"its version is {current}" if current is not None else "it does not exist"
            raise Problem(
                "precondition-failed",
                f"the document {write.path} was to have version {write.if_version}; {found}",
                hint="read the document again and decide on what it holds now",
                fields={"version": current},
            )

    # -- accepting

    def _accept(self, request: CommitRequest, touched: dict[str, _Touched], payload: bytes) -> Result:
        progress = self._progress
        version = progress.version()
        created = False
        ids = []
        for path, one in touched.items():
            document = one.document
            created = created or (one.view is not None and document.view is None)
            document.keep_base()
            document.pending += 1
            document.show(one.view, version, progress.commit_no, self._now_us)
            self._documents.changed(path, document)
            self.notices[path] = None
            ids.append(document.id)
        for upstream in self._outbox.upstreams.values():
            progress.entry_id += 1
            self._outbox.enqueue(
                upstream,
                progress.entry_id,
                ids,
                request.priority,
                payload,
                len(request.writes),
                progress.commit_no,
                self._now_us,
                progress.running_s,
            )
            self._entries_left -= 1
            self._bytes_left -= len(payload) + OVERHEAD_BYTES
        return self._result(request, touched, created=created)

    def _result(self, request: CommitRequest, touched: dict[str, _Touched], *, created: bool) -> Result:
        commit_no = self._progress.commit_no
        if not request.single:
            writes = [{"path": write.path, "version": touched[write.path].document.version} for write in request.writes]
            body = orjson.dumps({"commit": commit_no, "writes": writes})
            return Result(200, commit_no, pack([200, commit_no, None, None, body[:-1]]))
        [write] = request.writes
        document = touched[write.path].document
        answer: dict[str, Any] = {"path": write.path, "version": document.version, "commit": commit_no}
        if request.representation and document.view is not None:
            answer["document"] = represent(document)
        status = 201 if created and write.op in ("set", "create") else 200
        body = orjson.dumps(answer)
        return Result(status, commit_no, pack([status, commit_no, document.version, write.path, body[:-1]]))


def _queue_full(detail: str) -> Problem:
    return Problem(
        "queue-full",
        detail,
        hint="nothing was lost: repeat the request with its Idempotency-Key when the queue has drained",
        retry_after_s=5,
    )


def represent(document: Document) -> dict[str, Any]:
    """A document as a read shows it."""
    assert document.view is not None
    return {
        "path": document.path,
        "version": document.version,
        "createTime": timestamp_text(document.created_us),
        "updateTime": timestamp_text(document.updated_us),
        "pending": document.pending > 0,
        "data": orjson.Fragment(document.view),
    }
