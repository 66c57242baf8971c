"""The cursors that this box has taken over and whose entries its batches carry: where they stand, and their next move.

This lane alone moves them, and only together with its own cursor, which is the judge of every batch: while that one has
not moved, neither have they. So it is enough to read them before the first batch that carries them, and again after
whatever was not `Applied`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from deora.replay.batches import LOST, Batch
from deora.replay.coverage import Coverage, Standing
from deora.upstream.base import CarriedMove, Cursor, CursorKey, Failure

Read = Callable[[CursorKey], Awaitable[Cursor | Failure | None]]


@dataclass(frozen=True, slots=True)
class Lost:
    """A cursor whose marker does not name this box any more. `reason` is what the lane stops with."""

    reason: str


class Carrying:
    """The cursors beside a lane's own. `read` asks upstream for one."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._places: dict[CursorKey, Standing] = {}

    @property
    def is_crowded(self) -> bool:
        """Whether one of them remembers so many exceptions that claims must go by age for a while."""
        return any(place.coverage.is_crowded for place in self._places.values())

    def forget(self) -> None:
        """What was sent may have moved them."""
        self._places.clear()

    async def prepare(self, batch: Batch, box: str) -> Failure | Lost | None:
        """Reads what is not known of the cursors whose entries a batch carries. `box` is this one's name in markers.

        Raises DeoraError where a cursor cannot be understood.
        """
        for key in batch.carried:
            if key in self._places:
                continue
            cursor = await self._read(key)
            if cursor is not None and not isinstance(cursor, Cursor):
                return cursor
            holder = cursor.taken_by if cursor is not None else None
            if cursor is None or holder != box:
                return Lost(LOST.format(box=key.box, holder=holder or "upstream knows of no takeover"))
            self._places[key] = Standing(cursor.seq, cursor.batch_id, Coverage.decode(cursor.applied))
        return None

    def moves(self, batch: Batch, *, refused: bool = False) -> tuple[CarriedMove, ...]:
        """How these cursors move with a batch: its entries applied, or its one entry refused."""
        moves = []
        for key, numbers in batch.carried.items():
            place = self._places[key]
            covered = place.coverage.with_refused(numbers[0]) if refused else place.coverage.with_applied(numbers)
            moves.append(CarriedMove(key, place.seq, place.batch_id, covered.encode()))
        return tuple(moves)

    def landed(self, batch_id: str, moves: tuple[CarriedMove, ...]) -> None:
        """The moves have taken effect, under this id."""
        for move in moves:
            covered = Coverage.decode(move.applied)
            self._places[move.key] = Standing(move.expected_seq + 1, batch_id, covered)
