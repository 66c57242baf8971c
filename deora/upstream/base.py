"""What an upstream must do, and the words in which it says how it went.

The contract (`tests/contracts` holds every upstream to it):

* `apply` takes effect whole or not at all, entries in order, and moves this box's cursor in the same transaction, from
  exactly the cursor that the batch names. Where the cursor stands elsewhere nothing is applied: the answer is `Moved`.
* So a batch that is sent twice, or by two replayers, takes effect once.
* `apply` never raises for what a network, a server or a document can do: it returns an outcome.
* An `Unclear` outcome promises nothing: the batch may have landed, or may land yet. Only the cursor tells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class CursorKey:
    """Whose cursor: this box, this life of its store, this sequence of batches."""

    node: str
    epoch: str
    lane: int


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where upstream says that this lane is. `applied` is a packed `Coverage`; `taken_by` names a takeover."""

    seq: int
    batch_id: str
    applied: bytes
    taken_by: str | None = None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A batch as it is sent. With no payloads it only moves the cursor: a fence."""

    key: CursorKey
    expected_seq: int
    expected_batch_id: str
    batch_id: str
    applied: bytes
    payloads: list[bytes]

    @property
    def seq(self) -> int:
        """The cursor's seq when the batch has landed."""
        return self.expected_seq + 1


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


class Upstream(Protocol):
    """One upstream. Its methods run on the replayer's loop and must not block it."""

    async def read_cursor(self, key: CursorKey) -> Cursor | Unclear | Unauthorised | None:
        """The cursor, None where there is none yet, or why it cannot be read."""

    async def apply(self, delivery: Delivery) -> Outcome:
        """Applies a batch and moves the cursor, in one transaction."""

    async def close(self) -> None:
        """Lets go of connections and threads."""
