"""An upstream in memory that keeps the contract (it passes the suite in tests/contracts) and can be made to fail.

What a network or a server does is a `Fault` for one call, or an outcome to give instead of doing anything. A test says
which calls meet which fault by `upstream.faults`: a function from the call to its fault, or to None.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum

from deora.documents.apply import apply
from deora.documents.paths import split
from deora.documents.writes import decode_writes
from deora.errors import DeoraError
from deora.upstream.base import (
    Applied,
    Copy,
    Cursor,
    CursorKey,
    Delivery,
    Failure,
    Moved,
    Names,
    Outcome,
    Page,
    Refused,
    Unauthorised,
    Unclear,
)


class Fault(Enum):
    """What can happen to a call on its way."""

    LOST = "the request is lost, and nothing of it comes later"
    LATE = "the request is held up by the network: the caller gives up, and `release` lets it arrive"
    UNANSWERED = "the request takes effect and its answer is lost"
    SILENT = "neither an effect nor an answer; only a deadline ends the call"


@dataclass(frozen=True, slots=True)
class Call:
    """One call, as a test's faults see it. `delivery` is None where something is read."""

    index: int
    delivery: Delivery | None
    of: str = "read"

    @property
    def kind(self) -> str:
        """read (the cursor's or a reader's), take over, fence (a delivery without payloads) or apply"""
        if self.delivery is None:
            return self.of
        return "apply" if self.delivery.payloads else "fence"


@dataclass(frozen=True, slots=True)
class Backup:
    """What `FakeUpstream.backup` copied."""

    documents: dict[str, bytes]
    marks: dict[str, str]
    changes: int
    cursors: dict[CursorKey, Cursor]
    applied: list[tuple[str, bytes]]


Faults = Callable[[Call], Fault | Refused | Unclear | Unauthorised | None]


def no_faults(_: Call) -> None:
    """Everything goes well."""


class FakeUpstream:
    """Documents and cursors in memory. Several clients may share one: give them the same object."""

    def __init__(self) -> None:
        self.documents: dict[str, bytes] = {}
        self.marks: dict[str, str] = {}
        """document -> the mark of its last change"""
        self.changes = 0
        self.stable: str | None = None
        """changes from this mark on are not certain yet: a transaction that took a lower one is still under way"""
        self.cursors: dict[CursorKey, Cursor] = {}
        self.applied: list[tuple[str, bytes]] = []
        """(batch id, payload) of everything that took effect, in order"""
        self.calls: list[Call] = []
        self.held_up: list[Delivery] = []
        """what the network still holds (Fault.LATE)"""
        self.faults: Faults = no_faults
        self.refused: dict[str, str] = {}
        """document -> the message with which each write to it is refused"""
        self.names_index = True
        """whether a refusal names the payload, as not every upstream does"""
        self.delay_s = 0.0

    async def read_cursor(self, key: CursorKey) -> Cursor | Unclear | Unauthorised | None:
        """See `Upstream.read_cursor`."""
        return await self._begin_read() or self.cursors.get(key)

    async def apply(self, delivery: Delivery) -> Outcome:
        """See `Upstream.apply`."""
        fault = await self._begin(delivery)
        if isinstance(fault, Refused | Unclear | Unauthorised):
            return fault
        if fault is Fault.LATE:
            self.held_up.append(delivery)
        if fault in (Fault.LOST, Fault.LATE):
            return Unclear("the connection was lost")
        outcome = self._apply(delivery)
        return Unclear("the answer was lost") if fault is Fault.UNANSWERED else outcome

    async def take_over(self, key: CursorKey, taker: str, predecessor: str | None = None) -> Cursor | Failure:
        """See `Upstream.take_over`."""
        fault = await self._begin(None, of="take over")
        assert not isinstance(fault, Refused), "a marker cannot be refused for good"
        if isinstance(fault, Unclear | Unauthorised):
            return fault
        if fault in (Fault.LOST, Fault.LATE):
            return Unclear("the connection was lost")
        cursor = self.cursors.get(key, Cursor(0, "", b""))
        if cursor.taken_by in (None, predecessor):
            cursor = self.cursors[key] = replace(cursor, taken_by=taker)
        return Unclear("the answer was lost") if fault is Fault.UNANSWERED else cursor

    async def read_documents(self, key: CursorKey, paths: list[str]) -> Page | Failure:
        """See `Upstream.read_documents`."""
        return await self._begin_read() or self._page(key, paths)

    async def list_documents(self, key: CursorKey, collection: str, after: str | None, limit: int) -> Page | Failure:
        """See `Upstream.list_documents`."""
        failure = await self._begin_read()
        paths = self._paths(collection, after)
        following = split(paths[limit - 1])[1] if len(paths) > limit else None
        return failure or self._page(key, paths[:limit], following)

    async def list_changes(self, key: CursorKey, collection: str, since: str, limit: int) -> Page | Failure:
        """See `Upstream.list_changes`."""
        failure = await self._begin_read()
        paths = sorted(self._paths(collection, None), key=lambda path: self.marks.get(path, ""))
        paths = [path for path in paths if self.marks.get(path, "") >= since]
        paths = [path for path in paths if self.stable is None or self.marks.get(path, "") < self.stable]
        following = self.marks[paths[limit]] if len(paths) > limit else None
        return failure or self._page(key, paths[:limit], following)

    async def list_names(self, collection: str, after: str | None, limit: int) -> Names | Failure:
        """See `Upstream.list_names`."""
        failure = await self._begin_read()
        paths = self._paths(collection, after)
        return failure or Names(paths[:limit], split(paths[limit - 1])[1] if len(paths) > limit else None)

    async def close(self) -> None:
        """See `Upstream.close`."""

    # -- what a test does to it

    def put(self, path: str, data: bytes | None) -> None:
        """Changes a document as another program would; None deletes it."""
        self.changes += 1
        if data is None:
            self.documents.pop(path, None)
            self.marks.pop(path, None)
        else:
            self.documents[path], self.marks[path] = data, f"{self.changes:010d}"

    def release(self, index: int = 0) -> Outcome:
        """Lets a request that the network held up arrive now. Its answer reaches nobody; the test may look at it."""
        return self._apply(self.held_up.pop(index))

    def backup(self) -> Backup:
        """A copy of all that it holds now."""
        return Backup(dict(self.documents), dict(self.marks), self.changes, dict(self.cursors), list(self.applied))

    def restore(self, backup: Backup) -> None:
        """Puts a backup in place: what came after it has never been."""
        self.documents, self.marks, self.changes = dict(backup.documents), dict(backup.marks), backup.changes
        self.cursors, self.applied = dict(backup.cursors), list(backup.applied)

    def mark_taken(self, key: CursorKey, taker: str) -> None:
        """Puts a takeover's marker into a cursor."""
        self.cursors[key] = replace(self.cursors[key], taken_by=taker)

    def move_as_another_box(self, key: CursorKey) -> None:
        """Moves a cursor as a box with a cloned disk would."""
        cursor = self.cursors.get(key, Cursor(0, "", b""))
        self.cursors[key] = replace(cursor, seq=cursor.seq + 1, batch_id="of-another-box")

    def count(self, kind: str) -> int:
        """How many calls of a kind there were (see `Call.kind`)."""
        return sum(call.kind == kind for call in self.calls)

    # -- inside

    async def _begin_read(self) -> Failure | None:
        fault = await self._begin(None)
        assert not isinstance(fault, Refused), "a read cannot be refused for good"
        return Unclear("the connection was lost") if isinstance(fault, Fault) else fault

    def _paths(self, collection: str, after: str | None) -> list[str]:
        names = sorted(name for where, name in map(split, self.documents) if where == collection)
        return [f"{collection}/{name}" for name in names if after is None or name > after]

    def _page(self, key: CursorKey, paths: list[str], following: str | None = None) -> Page:
        copies = [Copy(path, self.documents.get(path), self.marks.get(path, "")) for path in paths]
        return Page(self.cursors[key].seq if key in self.cursors else 0, copies, following)

    async def _begin(
        self, delivery: Delivery | None, of: str = "read"
    ) -> Fault | Refused | Unclear | Unauthorised | None:
        call = Call(len(self.calls), delivery, of)
        self.calls.append(call)
        await asyncio.sleep(self.delay_s)
        fault = self.faults(call)
        if fault is Fault.SILENT:
            await asyncio.Event().wait()
        return fault

    def _apply(self, delivery: Delivery) -> Outcome:
        cursor = self.cursors.get(delivery.key, Cursor(0, "", b""))
        expected = (delivery.expected_seq, delivery.expected_batch_id)
        if (cursor.seq, cursor.batch_id) != expected or cursor.taken_by is not None:
            return Moved()
        moved = {delivery.key: Cursor(delivery.seq, delivery.batch_id, delivery.applied)}
        for move in delivery.carried:
            theirs = self.cursors.get(move.key, Cursor(0, "", b""))
            if replace(theirs, applied=b"") != Cursor(move.expected_seq, move.expected_batch_id, b"", delivery.key.box):
                return Moved()
            moved[move.key] = Cursor(theirs.seq + 1, delivery.batch_id, move.applied, theirs.taken_by)
        changes: dict[str, bytes | None] = {}
        for index, payload in enumerate(delivery.payloads):
            message = self._stage(payload, changes)
            if message is not None:
                return Refused(message, index if self.names_index else None)
        for path, data in changes.items():
            self.put(path, data)
        self.cursors.update(moved)
        self.applied += [(delivery.batch_id, payload) for payload in delivery.payloads]
        return Applied()

    def _stage(self, payload: bytes, changes: dict[str, bytes | None]) -> str | None:
        """Adds what an entry changes; why it is refused, where it is."""
        try:
            for write in decode_writes(payload):
                path = write.path
                if path in self.refused:
                    return self.refused[path]
                before = changes[path] if path in changes else self.documents.get(path)
                changes[path] = apply(before, write)
        except DeoraError as error:
            return error.message
        return None
