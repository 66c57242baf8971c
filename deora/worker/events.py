"""Changes as server-sent events (WHATWG HTML, 9.2). Pure.

    event: change
    id: <epoch>-<commit>
    data: {"path": .., "version": .., "commit": .., "updateTime": .., "data": {..} or null}

Data is what the document holds at delivery. Where a later commit has changed it by then, the event of the earlier one
says so, {"path": .., "commit": .., "superseded": true}, and that of the later one has the data.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import orjson

from deora.documents.positions import WHOLE, Position
from deora.documents.values import timestamp_text

# Why a client must read again what it shows.
REASONS: Final = {
    "pruned": "changes of that time are not kept any more",
    "epoch": "the event is of another life of this store",
    "future": "this store has not come so far",
    "unknown": "this is no event id of DEORA",
    "slow": "the client did not take its events in time",
}


class Change(NamedTuple):
    """A document of a commit, at its place among that commit's documents. `deleted`: None where that is not told."""

    commit: int
    place: int
    path: str
    deleted: bool | None

    @property
    def position(self) -> Position:
        """Behind this change."""
        return Position(self.commit, self.place)


class Now(NamedTuple):
    """What a document holds; `view` is None where it is deleted."""

    version: str
    updated_us: int
    view: bytes | None


def changes_of(commit: int, documents: dict[str, bool | None]) -> list[Change]:
    """A commit's documents (path -> whether it deleted them) as changes. The last one ends the commit."""
    last = len(documents)
    return [
        Change(commit, place if place < last else WHOLE, path, deleted)
        for place, (path, deleted) in enumerate(documents.items(), 1)
    ]


def change_event(epoch: str, change: Change, now: Now | None) -> bytes:
    """The event of a change; `now` is None where the box has let go of the document since, which is deleted then."""
    head = b'event: change\nid: %b\ndata: {"path":%b' % (
        change.position.event_id(epoch).encode(),
        orjson.dumps(change.path),
    )
    if is_superseded(epoch, change, now):
        return b'%b,"commit":%d,"superseded":true}\n\n' % (head, change.commit)
    version = b'"%b"' % now.version.encode() if now is not None else b"null"
    updated = b'"%b"' % timestamp_text(now.updated_us).encode() if now is not None else b"null"
    data = now.view if now is not None and now.view is not None else b"null"
    return b'%b,"version":%b,"commit":%d,"updateTime":%b,"data":%b}\n\n' % (head, version, change.commit, updated, data)


def is_superseded(epoch: str, change: Change, now: Now | None) -> bool:
    """Whether a later commit has changed the document: then an event of that commit comes, too."""
    if now is None:
        return change.deleted is False
    found, _, number = now.version.partition("-")
    # A version that is no commit's of this epoch is older than this epoch's commits.
    return found == epoch and number.isdigit() and int(number) > change.commit


def resync_event(epoch: str, position: Position, reason: str) -> bytes:
    """The client has missed something: it reads again what it shows, and goes on behind this event."""
    event_id = position.event_id(epoch).encode()
    data = orjson.dumps({"commit": position.commit, "reason": reason, "detail": REASONS[reason]})
    return b"event: resync\nid: %b\ndata: %b\n\n" % (event_id, data)


def place_event(event_id: str) -> bytes:
    """No event, but a place: who connects again goes on behind it."""
    return b"id: %b\n\n" % event_id.encode()


def shows(collections: frozenset[str] | None, path: str) -> bool:
    """Whether a stream of these collections shows a document: named by its whole path, or by that path's last part."""
    if collections is None:
        return True
    collection = path.rpartition("/")[0]
    return collection in collections or collection.rpartition("/")[2] in collections
