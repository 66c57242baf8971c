"""What an upstream's cursor says of a batch, and what to do next. Pure: two tables.

The cursor is the only judge. A batch expects it at (seq, batch id); when the batch has landed it stands at
(seq + 1, the batch's id). A fence is a batch without entries that takes the same seq under a name of its own: once it
has landed, no late copy of the batch can land any more, and only then may the batch be split or an entry be given up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from deora.upstream.base import Cursor, CursorKey

_FENCE: Final = "fence:"


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as the store hands it out. `known_*` is where upstream's cursor stood when the store last knew.

    `origins`: which entries, by index, came from a cursor that this box has taken over; their numbers are that one's.
    """

    id: str
    attempts: int
    known_seq: int
    known_batch_id: str
    numbers: list[int]
    payloads: list[bytes]
    origins: dict[int, CursorKey] = field(default_factory=dict)

    @property
    def own_numbers(self) -> list[int]:
        """The numbers of the entries that this store accepted itself."""
        if not self.origins:
            return self.numbers
        return [number for index, number in enumerate(self.numbers) if index not in self.origins]

    @property
    def carried(self) -> dict[CursorKey, list[int]]:
        """The numbers of the other entries, by the cursor that they belong to, in the order of the keys."""
        found: dict[CursorKey, list[int]] = {}
        for index, key in self.origins.items():
            found.setdefault(key, []).append(self.numbers[index])
        return dict(sorted(found.items(), key=lambda item: (item[0].node, item[0].epoch, item[0].lane)))

    @property
    def entries(self) -> list[tuple[CursorKey | None, int]]:
        """What tells each entry from all others: whose it is, None for this store's own, and its number there."""
        return [(self.origins.get(index), number) for index, number in enumerate(self.numbers)]

    @property
    def fence_id(self) -> str:
        """The name under which this batch's seq is taken away from it."""
        return _FENCE + self.id


class Verdict(Enum):
    """What the cursor says of a batch."""

    NOT_LANDED = "not landed"
    LANDED = "landed"
    FENCED = "fenced"
    WENT_BACK = "went back"
    TAKEN_OVER = "taken over"
    MOVED = "moved by another"


def judge(batch: Batch, cursor: Cursor | None) -> Verdict:
    """What upstream's cursor says of a batch that may have been sent."""
    if cursor is not None and cursor.taken_by is not None:
        return Verdict.TAKEN_OVER
    seq, batch_id = (cursor.seq, cursor.batch_id) if cursor is not None else (0, "")
    if (seq, batch_id) == (batch.known_seq, batch.known_batch_id):
        return Verdict.NOT_LANDED
    if seq == batch.known_seq + 1 and batch_id == batch.id:
        return Verdict.LANDED
    if seq == batch.known_seq + 1 and batch_id == batch.fence_id:
        return Verdict.FENCED
    return Verdict.WENT_BACK if seq < batch.known_seq else Verdict.MOVED


def cuts(size: int, index: int | None) -> list[int]:
    """Where to cut a refused batch of `size` entries, of which upstream named `index` where it named one."""
    if index is not None and 0 <= index < size:
        return [index, index + 1]
    return [size // 2]


STOPS: Final[dict[Verdict, str]] = {
    Verdict.TAKEN_OVER: "another box has taken this one's queue over: {taken_by}. This box sends nothing any more."
    " What it has accepted since can go there too: `deora queue export` here, `deora queue import` there. Then start"
    " here with a new data directory",
    Verdict.MOVED: "upstream's cursor was moved by another box that says it is this one: a cloned disk or a copied data"
    " directory. Nothing is sent until one of the two is stopped and its data directory is made new",
}
"""The verdicts with which a lane stops, and what it says then."""

LOST: Final = (
    "the queue of {box}, which this box had taken over, is in other hands: {holder}. This box sends nothing any more;"
    " its own queue can go there too: `deora queue export` here, `deora queue import` there"
)

RESTORED_TWICE: Final = (
    "the backup that this box was restored from is in use elsewhere: {holder} has the queue of {box}. One box alone may"
    " have it, so this one sends nothing. What it has accepted since can go there: `deora queue export` here,"
    " `deora queue import` there"
)
