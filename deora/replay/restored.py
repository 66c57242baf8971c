"""A cursor that went back: upstream was restored from a backup, or replaced by an empty one. And a store that was
restored itself (`deora.store.lives`): its cursor is a new one, and those of its earlier lives are taken over first.

What its cursor covers tells which entries it has. The store queues again what it lacks and this box still keeps
(`deora.store.restored`); where it lacks what this box no longer keeps, nothing is sent and a person decides.

In between the cursor is moved, by a commit of its own, to a seq behind all that it ever had. From then on

* no batch and no fence of before can land, however late a copy of it comes, and so what the cursor covers is final;
* a copy of a document tells by its seq whether it was read before the restore or after;
* every other backup of this upstream has a lower seq, and is known for what it is if it should be put in place.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

from deora.documents.values import timestamp_text
from deora.errors import DeoraError
from deora.replay.batches import LOST, RESTORED_TWICE, STOPS, Verdict
from deora.replay.coverage import Coverage
from deora.replay.takeover import Read, Take, taken_over
from deora.upstream.base import Applied, Cursor, CursorKey, Delivery, Outcome, Refused

RESTORED: Final = "restored"
"""The id under which the cursor is moved. One is enough: its seq is taken once."""

# The last batch that was sent may have landed at the seq behind the known one. This is the one behind that.
STEP: Final = 2


@dataclass(frozen=True, slots=True)
class Known:
    """Where upstream's cursor stood when the store last knew. `lost`: it went back, and the queue is not in step.

    `origins` are id, node and epoch of the cursors that were taken over.
    """

    seq: int
    lost: bool
    paused: bool
    origins: list[tuple[int, str, str]]


class RestoreCalls(Protocol):
    """What is asked of the store."""

    async def known(self, upstream: str) -> Known:
        """What the store knows of an upstream now."""

    async def survey(self, upstream: str, covered: list[Any]) -> tuple[int, int | None]:
        """How many entries upstream lacks that are not kept either, and when the oldest was accepted that is kept."""

    async def requeue(self, upstream: str, seq: int, cursor_id: str, covered: list[Any]) -> int:
        """Queues again what upstream lacks; how many entries that were."""


class Restored:
    """Comes to terms with one upstream. `apply` sends a delivery, as the lane does; `take` puts the marker of this box
    into a cursor, and `read` reads one."""

    def __init__(
        self,
        name: str,
        store: RestoreCalls,
        apply: Callable[[Delivery], Awaitable[Outcome]],
        take: Take,
        read: Read,
    ) -> None:
        self._name = name
        self._store = store
        self._apply = apply
        self._take = take
        self._read = read

    async def is_due(self, cursor: Cursor | None) -> bool:
        """Whether this cursor went back. While the upstream is paused that is nobody's business: a restore may be under
        way."""
        if cursor is not None and cursor.taken_by is not None:
            return False
        known = await self._store.known(self._name)
        return not known.paused and (known.lost or (cursor.seq if cursor is not None else 0) < known.seq)

    async def settle(self, key: CursorKey, cursor: Cursor | None) -> bool:
        """Brings the queue in step with the cursor; False where that is to be tried again, from a cursor read anew.

        Raises DeoraError where a person must decide.
        """
        known = await self._store.known(self._name)
        if known.paused:
            return False
        cursor = cursor or Cursor(0, "", b"")
        target = known.seq + STEP
        is_moved = known.lost and (cursor.seq, cursor.batch_id) == (target, RESTORED)
        if cursor.seq >= target and not is_moved:
            raise DeoraError(STOPS[Verdict.MOVED])
        coverage = Coverage.decode(cursor.applied)
        others = await self._others(known, key.box)
        if others is None:
            return False
        covered = [[None, coverage.watermark, coverage.ranges, coverage.refused], *others]
        missing, before_us = await self._store.survey(self._name, covered)
        if missing:
            raise self._beyond_reach(cursor if known.seq else None, missing, before_us)
        if not is_moved and not await self._move(key, cursor, coverage, target):
            return False
        await self._store.requeue(self._name, target, RESTORED, covered)
        return True

    async def _others(self, known: Known, box: str) -> list[Any] | None:
        """What the cursors cover that were taken over, which went back as well, perhaps to before the marker was in
        them; None where that cannot be read now. A batch that moves one of them moves the own one, too, so what is read
        here is final once that one is moved from where it was read.

        The youngest first: it is the last life of a restored store, through which it has those before. So of two boxes
        that are restored from one backup, one has all of them."""
        covered = []
        for origin, node, epoch in sorted(known.origins, reverse=True):
            cursor = await taken_over(CursorKey(node, epoch, 0), box, self._take, self._read)
            if not isinstance(cursor, Cursor):
                return None
            if cursor.taken_by != box:
                is_former = node == box.partition(".")[0]
                reason = RESTORED_TWICE if is_former else LOST
                raise DeoraError(reason.format(box=f"{node}.{epoch}", holder=cursor.taken_by))
            coverage = Coverage.decode(cursor.applied)
            covered.append([origin, coverage.watermark, coverage.ranges, coverage.refused])
        return covered

    async def _move(self, key: CursorKey, cursor: Cursor, coverage: Coverage, target: int) -> bool:
        outcome = await self._apply(
            Delivery(key, cursor.seq, cursor.batch_id, RESTORED, coverage.encode(), [], step=target - cursor.seq)
        )
        if isinstance(outcome, Refused):
            raise DeoraError(
                f"upstream was restored, and its cursor cannot be written: {outcome.message}",
                hint="it is tried again by itself; nothing is lost meanwhile",
            )
        return isinstance(outcome, Applied)

    def _beyond_reach(self, cursor: Cursor | None, missing: int, before_us: int | None) -> DeoraError:
        """`cursor`: None where this store was restored and has none yet."""
        if cursor is None:
            found = "is not as the backup of this store knew it: it was restored, too, or it is another one"
        else:
            found = (
                "was restored from a backup" if cursor.seq else "was replaced by an empty one, or its cursor deleted"
            )
        when = f", accepted before {timestamp_text(before_us)}," if before_us is not None else ""
        return DeoraError(
            f"upstream {found}, and of the entries that it lacks {missing}{when} are no longer kept on this box"
            " (queue.json, retention_hours). Nothing is sent until a person has decided; what is kept stays",
            hint="put a younger backup in place, and it goes on by itself; or go on without them:"
            f" deora upstream resume {self._name} --accept-loss",
        )
