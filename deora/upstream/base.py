"""What an upstream must do, and the words in which it says how it went.

The contract (`tests/contracts` holds every upstream to it):

* `apply` takes effect whole or not at all, entries in order, and moves this box's cursor in the same transaction, from
  exactly the cursor that the batch names. Where the cursor stands elsewhere nothing is applied: the answer is `Moved`.
* So a batch that is sent twice, or by two replayers, takes effect once.
* A batch may carry entries that another box, or an earlier life of this one, accepted, and whose cursor this box has
  taken over: it moves that cursor too, in the same transaction, and only while the marker in it names this box.
* A cursor with a marker (`taken_by`) is moved by nobody but the taker that it names.
* `apply` never raises for what a network, a server or a document can do: it returns an outcome.
* An `Unclear` outcome promises nothing: the batch may have landed, or may land yet. Only the cursor tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class CursorKey:
    """Whose cursor: this box, this life of its store, this sequence of batches."""

    node: str
    epoch: str
    lane: int

    @property
    def box(self) -> str:
        """The name that a takeover's marker gives this box."""
        return f"{self.node}.{self.epoch}"


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where upstream says that this lane is. `applied` is a packed `Coverage`; `taken_by` names a takeover."""

    seq: int
    batch_id: str
    applied: bytes
    taken_by: str | None = None


@dataclass(frozen=True, slots=True)
class CarriedMove:
    """The move of a cursor that was taken over, within a batch of its taker: from exactly here, to the next seq, under
    the batch's id. `applied` is what that cursor covers then."""

    key: CursorKey
    expected_seq: int
    expected_batch_id: str
    applied: bytes


@dataclass(frozen=True, slots=True)
class Delivery:
    """A batch as it is sent. With no payloads it only moves the cursor: a fence.

    `step`: how far it moves the cursor; more than one only to pass what a cursor had come to before it went back.
    `carried`: the cursors that were taken over and whose entries it carries, each once, sorted by key.
    """

    key: CursorKey
    expected_seq: int
    expected_batch_id: str
    batch_id: str
    applied: bytes
    payloads: list[bytes]
    carried: tuple[CarriedMove, ...] = ()
    step: int = 1

    @property
    def seq(self) -> int:
        """The cursor's seq when the batch has landed."""
        return self.expected_seq + self.step


@dataclass(frozen=True, slots=True)
class Applied:
    """The batch has landed."""


@dataclass(frozen=True, slots=True)
class Moved:
    """The cursor was not where the batch expects it; nothing was applied."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Upstream refuses the batch for good. `index` is the payload that it names, where it names one."""

    message: str
    index: int | None = None


@dataclass(frozen=True, slots=True)
class Unclear:
    """Transient: no connection, a time-out, a busy or failing server. `retry_after_s` is what upstream asked for."""

    message: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Unauthorised:
    """The credentials are refused. Nothing is lost by waiting for better ones."""

    message: str


Outcome = Applied | Moved | Refused | Unclear | Unauthorised


@dataclass(frozen=True, slots=True)
class Copy:
    """A document as upstream holds it. `data` is canonical JSON text, None where upstream has no such document.

    `mark` is upstream's own mark of the document's last change, opaque, empty where there is no document; marks of one
    collection sort as text in the order of the changes.
    """

    path: str
    data: bytes | None
    mark: str


@dataclass(frozen=True, slots=True)
class Page:
    """What one snapshot of upstream holds, or a part of it.

    `seq` is where this lane's cursor stood in that very snapshot (0 where there is none): what the batches up to it did
    is in the copies, what later ones do is not. `next` goes on behind this page (given as `after`, or as `since` where
    changes are listed); None where nothing is behind it. What another program wrote and is no document is left out.
    """

    seq: int
    copies: list[Copy]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class Names:
    """The paths of a part of a collection in order, and where to go on, as in `Page`."""

    paths: list[str]
    next: str | None = None


Failure = Unclear | Unauthorised


@dataclass(frozen=True, slots=True)
class PoolFigures:
    """How many connections an upstream's pool has, and how many calls wait for one."""

    total: int
    idle: int
    active: int
    waiting: int


@runtime_checkable
class Pooled(Protocol):
    """An upstream that keeps a pool of connections."""

    @property
    def figures(self) -> PoolFigures:
        """The pool as it is now."""


class Upstream(Protocol):
    """One upstream. Its methods run on the replayer's loop and must not block it."""

    async def read_cursor(self, key: CursorKey) -> Cursor | Unclear | Unauthorised | None:
        """The cursor, None where there is none yet, or why it cannot be read."""

    async def apply(self, delivery: Delivery) -> Outcome:
        """Applies a batch and moves the cursor, with those that it carries, in one transaction."""

    async def take_over(self, key: CursorKey, taker: str, predecessor: str | None = None) -> Cursor | Failure:
        """Puts a takeover's marker into a cursor that has none, or that of `predecessor`; makes the cursor where it is
        missing, so that a source which has sent nothing yet is fenced as well.

        Returns the cursor as it stands then: with `taker` in it, also where that was so before; or with whoever has
        taken it over already.
        """

    async def read_documents(self, key: CursorKey, paths: list[str]) -> Page | Failure:
        """One copy for each path, in their order, all from one snapshot."""

    async def list_documents(self, key: CursorKey, collection: str, after: str | None, limit: int) -> Page | Failure:
        """Up to `limit` documents of a collection (not of those below it), ordered by id, from behind `after`."""

    async def list_changes(self, key: CursorKey, collection: str, since: str, limit: int) -> Page | Failure:
        """Up to `limit` documents of a collection whose mark is `since` or later, oldest change first.

        None is ever passed over: one that changes meanwhile may be left to the next call, and its mark is later then.
        """

    async def list_names(self, collection: str, after: str | None, limit: int) -> Names | Failure:
        """Up to `limit` paths of a collection's documents, ordered by id, from behind `after`; cheaper than reading."""

    async def close(self) -> None:
        """Lets go of connections and threads."""
