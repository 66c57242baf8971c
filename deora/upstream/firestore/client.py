"""Cloud Firestore as an upstream. `tests/contracts` holds it to `Upstream`.

A batch is one `:commit`: the cursor's document first, guarded by the `updateTime` at which it was last seen, then the
entries' writes. What follows a commit that failed for good is decided by one read of the cursor and of the documents
with preconditions: a cursor that is elsewhere means Moved, a document that contradicts names the entry.

Changes of a collection are found by listing its names (see `queries`): that costs one read of each document's name for
each pull, and never misses one. Firestore's commit times are those of its snapshots, so none becomes visible late.
"""

from __future__ import annotations

import heapq
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import orjson

from deora.documents.paths import split
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
from deora.upstream.firestore import queries
from deora.upstream.firestore.cursors import (
    FIELDS,
    Position,
    cursor_path,
    cursor_write,
    expected,
    moves,
    read_position,
    stands_at,
)
from deora.upstream.firestore.errors import ApiError, Meaning
from deora.upstream.firestore.limits import MAX_REQUEST_BYTES
from deora.upstream.firestore.rest import ORIGIN, Rest
from deora.upstream.firestore.values import Json, documents_root, path_of
from deora.upstream.firestore.writes import Plan, first_fault, plan

NAMES_PER_QUERY: Final = 5_000
# Putting a marker into a cursor that its source still moves.
TAKE_ATTEMPTS: Final = 8
# What an answer of another shape than Firestore's raises where it is taken apart.
UNREADABLE: Final = (ValueError, TypeError, LookupError, AttributeError)


class FirestoreUpstream:
    """One database of one project.

    `begins_apart`: a read's transaction is begun by a call of its own. Firestore needs no such call. Its emulator shows
    a commit document by document: of 450 reads while commits landed, 3 saw half of one in the call that began them.
    """

    def __init__(self, rest: Rest, project: str, database: str = "(default)", *, begins_apart: bool = False) -> None:
        self._rest = rest
        self._begins_apart = begins_apart
        self._root = documents_root(project, database)
        # Where each lane's cursor was last seen to stand. Only ever a hint: the guard judges.
        self._positions: dict[CursorKey, Position] = {}

    @classmethod
    def connect(cls, project: str, database: str, key_file: Path, emulator_host: str | None) -> FirestoreUpstream:
        """A database of Cloud Firestore, with a service account's key; or of an emulator, which needs none."""
        if emulator_host is not None:
            return cls(Rest(f"http://{emulator_host}", None), project, database, begins_apart=True)
        return cls(Rest.with_key_file(ORIGIN, key_file), project, database)

    async def read_cursor(self, key: CursorKey) -> Cursor | Unclear | Unauthorised | None:
        """See `Upstream.read_cursor`."""
        position = await self._read_position(key)
        return position.cursor if isinstance(position, Position) else position

    async def apply(self, delivery: Delivery) -> Outcome:
        """See `Upstream.apply`."""
        positions = await self._expected_positions(delivery)
        if isinstance(positions, Moved | Unclear | Unauthorised):
            return positions
        planned = plan(delivery.payloads, self._root)
        if planned.fault is not None:
            return await self._refused(delivery, planned, planned.fault.message)
        moved = [self._move(key, cursor, positions[key]) for key, cursor in moves(delivery).items()]
        body = orjson.dumps({"writes": [*moved, *planned.writes]})
        if len(body) > MAX_REQUEST_BYTES:
            return await self._refused(
                delivery, planned, f"the request has {len(body)} bytes; Firestore takes {MAX_REQUEST_BYTES}"
            )
        answer = await self._rest.call(self._root, "commit", body)
        if isinstance(answer, ApiError):
            return await self._explained(delivery, planned, answer)
        if isinstance(answer, Unclear | Unauthorised):
            return answer
        return self._landed(delivery, answer, len(moved) + len(planned.writes))

    async def take_over(self, key: CursorKey, taker: str, predecessor: str | None = None) -> Cursor | Failure:
        """See `Upstream.take_over`. The source may still be moving its cursor, so it may take several attempts."""
        for _ in range(TAKE_ATTEMPTS):
            position = await self._read_position(key)
            if isinstance(position, Unclear | Unauthorised):
                return position
            cursor = position.cursor if position is not None else Cursor(0, "", b"")
            if cursor.taken_by not in (None, predecessor) or cursor.taken_by == taker:
                return cursor
            taken = replace(cursor, taken_by=taker)
            self._positions.pop(key, None)
            body = orjson.dumps({"writes": [self._move(key, taken, position)]})
            answer = await self._rest.call(self._root, "commit", body)
            if isinstance(answer, Unclear | Unauthorised):
                return answer
            if not isinstance(answer, ApiError):
                return taken
            if answer.meaning is not Meaning.REFUSED:
                return _unread(answer)
        return Unclear(f"the cursor of {key.box} moves; tried {TAKE_ATTEMPTS} times to put a marker into it")

    async def read_documents(self, key: CursorKey, paths: list[str]) -> Page | Failure:
        """See `Upstream.read_documents`: one `:batchGet` in a read-only transaction of its own."""
        cursor = cursor_path(key)
        answer = await self._read_first([cursor, *paths])
        if isinstance(answer, Unclear | Unauthorised):
            return answer
        try:
            found = queries.found_documents(answer, self._root)
            copies = [queries.copy_of(path, found[path], self._root) for path in paths]
            return Page(_seq(found[cursor]), copies)
        except UNREADABLE as error:
            return _unreadable(error)

    async def list_documents(self, key: CursorKey, collection: str, after: str | None, limit: int) -> Page | Failure:
        """See `Upstream.list_documents`. `after` and `next` are document paths."""
        begun = await self._begin(key)
        if not isinstance(begun, tuple):
            return begun
        seq, transaction = begun
        documents = await self._query(collection, after, limit + 1, names=False, transaction=transaction)
        if not isinstance(documents, list):
            return documents
        try:
            copies = [self._copy(document) for document in documents[:limit]]
        except UNREADABLE as error:
            return _unreadable(error)
        return Page(seq, copies, copies[-1].path if len(documents) > limit else None)

    async def list_changes(self, key: CursorKey, collection: str, since: str, limit: int) -> Page | Failure:
        """See `Upstream.list_changes`. `next` is the mark of the page's last document."""
        begun = await self._begin(key)
        if not isinstance(begun, tuple):
            return begun
        seq, transaction = begun
        marked = await self._marks(collection, since, limit + 1, transaction)
        if not isinstance(marked, list):
            return marked
        paths = [path for _, path in marked[:limit]]
        if not paths:
            return Page(seq, [])
        answer = await self._read("batchGet", queries.batch_get(paths, self._root, transaction=transaction))
        if isinstance(answer, Unclear | Unauthorised):
            return answer
        try:
            found = queries.found_documents(answer, self._root)
            copies = [queries.copy_of(path, found[path], self._root) for path in paths]
        except UNREADABLE as error:
            return _unreadable(error)
        return Page(seq, copies, copies[-1].mark if len(marked) > limit else None)

    async def list_names(self, collection: str, after: str | None, limit: int) -> Names | Failure:
        """See `Upstream.list_names`. `after` and `next` are document paths."""
        documents = await self._query(collection, after, limit + 1, names=True)
        if not isinstance(documents, list):
            return documents
        paths = [path_of(document["name"], self._root) for document in documents[:limit]]
        return Names(paths, paths[-1] if len(documents) > limit else None)

    async def close(self) -> None:
        """Closes the connections."""
        self._positions.clear()
        await self._rest.close()

    # -- what a commit came to

    def _landed(self, delivery: Delivery, answer: Any, writes: int) -> Outcome:
        """Applied, if this is indeed the answer to a commit of so many writes."""
        moved = moves(delivery)
        try:
            times = [result["updateTime"] for result in answer["writeResults"][: len(moved)]]
            complete = len(answer["writeResults"]) == writes
        except (LookupError, TypeError):
            complete, times = False, []
        if not complete:
            return _foreign("commit")
        for (key, cursor), update_time in zip(moved.items(), times, strict=True):
            self._positions[key] = Position(cursor, update_time)
        return Applied()

    async def _explained(self, delivery: Delivery, planned: Plan, error: ApiError) -> Outcome:
        """What a failed commit means. Unless it is passing trouble, the cursor is read first."""
        if error.meaning is Meaning.TRANSIENT:
            return error.unclear()
        if error.meaning is Meaning.DENIED and not delivery.payloads:
            return Unauthorised(error.text)
        return await self._refused(delivery, planned, error.text)

    async def _refused(self, delivery: Delivery, planned: Plan, message: str) -> Outcome:
        """Moved or Refused, by what the cursors and the documents with preconditions say now."""
        places = {cursor_path(key): place for key, place in expected(delivery).items()}
        paths = [*places, *(guard.path for guard in planned.guards)]
        answer = await self._read("batchGet", queries.batch_get(paths, self._root, mask=FIELDS))
        if isinstance(answer, Unclear | Unauthorised):
            return answer
        try:
            found = queries.found_documents(answer, self._root)
            stands = all(stands_at(_position(found[path]), place) for path, place in places.items())
        except UNREADABLE as error:
            return _unreadable(error)
        if not stands:
            return Moved()
        fault = first_fault(planned, {path: document is not None for path, document in found.items()})
        if fault is None:
            return Refused(message)
        return Refused(fault.message if fault.message in message else f"{fault.message} ({message})", fault.index)

    # -- reading

    async def _read_position(self, key: CursorKey) -> Position | Failure | None:
        positions = await self._read_positions([key])
        return positions[key] if isinstance(positions, dict) else positions

    async def _read_positions(self, keys: list[CursorKey]) -> dict[CursorKey, Position | None] | Failure:
        paths = {key: cursor_path(key) for key in keys}
        answer = await self._read("batchGet", queries.batch_get([*paths.values()], self._root))
        if isinstance(answer, Unclear | Unauthorised):
            return answer
        for key in keys:
            self._positions.pop(key, None)
        try:
            found = queries.found_documents(answer, self._root)
            positions = {key: _position(found[path]) for key, path in paths.items()}
        except UNREADABLE as error:
            return _unreadable(error)
        self._positions.update({key: position for key, position in positions.items() if position is not None})
        return positions

    async def _expected_positions(self, delivery: Delivery) -> dict[CursorKey, Position | None] | Moved | Failure:
        """Where the cursors stand, if that is where the delivery expects them: as remembered, else as read.

        They are forgotten until the delivery has landed, so that a call which is cancelled leaves no belief behind.
        """
        places = expected(delivery)
        known = {key: self._positions.pop(key, None) for key in places}
        if all(known[key] is not None and stands_at(known[key], place) for key, place in places.items()):
            return known
        positions = await self._read_positions([*places])
        if not isinstance(positions, dict):
            return positions
        for key in places:
            self._positions.pop(key, None)
        return positions if all(stands_at(positions[key], place) for key, place in places.items()) else Moved()

    def _move(self, key: CursorKey, cursor: Cursor, position: Position | None) -> Json:
        return cursor_write(key, cursor, position.update_time if position is not None else None, self._root)

    async def _begin(self, key: CursorKey) -> tuple[int, str] | Failure:
        """The cursor's seq, and the read-only transaction of that moment."""
        path = cursor_path(key)
        answer = await self._read_first([path])
        if isinstance(answer, Unclear | Unauthorised):
            return answer
        try:
            return _seq(queries.found_documents(answer, self._root)[path]), queries.transaction_of(answer)
        except UNREADABLE as error:
            return _unreadable(error)

    async def _read_first(self, paths: list[str]) -> list[Json] | Failure:
        """The first read of a new read-only transaction; the answer names it."""
        if not self._begins_apart:
            return await self._read("batchGet", queries.batch_get(paths, self._root, begin=True))
        begun = await self._rest.call(self._root, "beginTransaction", orjson.dumps(queries.BEGIN))
        if isinstance(begun, Unclear | Unauthorised):
            return begun
        if isinstance(begun, ApiError):
            return _unread(begun)
        if not isinstance(begun, dict) or not isinstance(begun.get("transaction"), str):
            return _foreign("beginTransaction")
        answer = await self._read("batchGet", queries.batch_get(paths, self._root, transaction=begun["transaction"]))
        return [begun, *answer] if isinstance(answer, list) else answer

    async def _marks(
        self, collection: str, since: str, limit: int, transaction: str
    ) -> list[tuple[str, str]] | Failure:
        """Mark and path of the `limit` oldest changes from `since` on, oldest first."""
        kept: list[tuple[str, str]] = []
        after: str | None = None
        while True:
            names = await self._query(collection, after, NAMES_PER_QUERY, names=True, transaction=transaction)
            if not isinstance(names, list):
                return names
            marked = (
                (queries.mark_of(document, self._root), path_of(document["name"], self._root)) for document in names
            )
            kept = heapq.nsmallest(limit, [*kept, *(pair for pair in marked if pair[0] >= since)])
            if len(names) < NAMES_PER_QUERY:
                return kept
            after = path_of(names[-1]["name"], self._root)

    async def _query(
        self, collection: str, after: str | None, limit: int, *, names: bool, transaction: str | None = None
    ) -> list[Json] | Failure:
        parent = f"{self._root}/{split(collection)[0]}" if "/" in collection else self._root
        body = queries.run_query(collection, self._root, after, limit, names=names, transaction=transaction)
        answer = await self._read("runQuery", body, parent)
        if isinstance(answer, Unclear | Unauthorised):
            return answer
        try:
            return queries.listed_documents(answer)
        except UNREADABLE as error:
            return _unreadable(error)

    async def _read(self, method: str, body: Json, parent: str | None = None) -> list[Json] | Failure:
        """The answer of a read, a list."""
        answer = await self._rest.call(parent or self._root, method, orjson.dumps(body))
        if isinstance(answer, ApiError):
            return _unread(answer)
        if isinstance(answer, Unclear | Unauthorised):
            return answer
        if not isinstance(answer, list) or not all(isinstance(part, dict) for part in answer):
            return _foreign("read")
        return answer

    def _copy(self, document: Json) -> Copy:
        return queries.copy_of(path_of(document["name"], self._root), document, self._root)


def _position(document: Json | None) -> Position | None:
    return read_position(document) if document is not None else None


def _seq(document: Json | None) -> int:
    return read_position(document).cursor.seq if document is not None else 0


def _foreign(call: str) -> Unclear:
    return Unclear(f"an answer that is no {call}'s: something stands between this box and Firestore")


def _unread(error: ApiError) -> Failure:
    """What a failed read means. One that is refused for good is refused for our credentials' sake."""
    return error.unclear() if error.meaning is Meaning.TRANSIENT else Unauthorised(error.text)


def _unreadable(error: Exception) -> Unauthorised:
    return Unauthorised(f"what upstream holds cannot be read: {error}")
