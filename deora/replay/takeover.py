"""Taking the cursor of another box over, or that of an earlier life of this one, before its entries come in.

The marker is a compare-and-set: of two boxes that import the same file, one has it, and the other is told which. From
then on the source's batches fail the comparison, so what the cursor covers is final: it can be read, and what it does
not cover can be sent by this box.

A marker passes on with the queue of the box that it names: whoever has taken that box's cursor over may put its own
name in the marker's place. So a store that was restored goes on with what its earlier lives had taken over.
"""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

from deora.clock import Clock
from deora.errors import DeoraError, Problem
from deora.replay.breaker import State
from deora.replay.coverage import Coverage
from deora.replay.reads import Opener, Source
from deora.upstream.base import Cursor, CursorKey, Failure, Unauthorised, Unclear

# An operator waits, and two calls to each upstream make a page of an import.
TAKE_DEADLINE_S: Final = 10.0


Take = Callable[[CursorKey, str | None], Awaitable[Cursor | Failure]]
"""`Upstream.take_over` for one taker: the cursor's key and the predecessor."""
Read = Callable[[CursorKey], Awaitable[Cursor | Failure | None]]


async def taken_over(
    key: CursorKey, box: str, take: Take, read: Read, predecessor: str | None = None
) -> Cursor | Failure:
    """Takes a cursor over for `box`, also from a box whose own cursor `box` has: that one sends nothing any more. The
    cursor as it stands then; whoever its marker names has it."""
    cursor = await take(key, predecessor)
    while isinstance(cursor, Cursor) and cursor.taken_by is not None and cursor.taken_by != box:
        has = await _has(box, cursor.taken_by, read)
        if isinstance(has, Unclear | Unauthorised):
            return has
        if not has:
            return cursor
        cursor = await take(key, cursor.taken_by)
    return cursor


async def _has(box: str, other: str, read: Read) -> bool | Failure:
    """Whether `box` has the cursor of the box named `other`: from it, or from who had it before."""
    passed: set[str] = set()
    while other not in passed:
        passed.add(other)
        node, _, epoch = other.partition(".")
        cursor = await read(CursorKey(node, epoch, 0))
        if isinstance(cursor, Unclear | Unauthorised):
            return cursor
        if cursor is None or cursor.taken_by is None:
            return False
        if cursor.taken_by == box:
            return True
        other = cursor.taken_by
    return False


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose entries are to come in. `seq`: where the source last knew its cursor; `sender`: who wrote the file."""

    upstream: str
    node: str
    epoch: str
    seq: int
    sender: str

    @property
    def key(self) -> CursorKey:
        """The cursor."""
        return CursorKey(self.node, self.epoch, 0)


class Takeovers:
    """Puts markers into cursors, and says which entries are upstream."""

    def __init__(self, sources: list[Source], store: Opener, clock: Clock) -> None:
        self._sources = {source.name: source for source in sources}
        self._store = store
        self._clock = clock

    async def take(self, parts: list[Any], numbers: list[int]) -> tuple[list[int], list[int]]:
        """Takes a cursor over; `parts` are those of `Asked`. Which of the numbers upstream has applied, and which it
        has refused. Raises Problem: upstream is out, another box has the cursor, or this box is taken over itself."""
        asked = Asked(*parts)
        source = self._source(asked.upstream)
        own = CursorKey(*await self._store.open(source.name), 0)
        ours = await self._cursor(source, own)
        if ours is not None and ours.taken_by is not None:
            raise _conflict(
                f"this box's own queue for {source.name} was taken over by {ours.taken_by}; it takes over no other",
                "import the file there, or start here with a new data directory and import it then",
            )
        if asked.key == own:
            return _decided(ours, numbers)
        found = await self._cursor(source, asked.key)
        if found is not None and found.taken_by == own.box:
            return _decided(found, numbers)
        if asked.seq > (found.seq if found is not None else 0):
            at = f"at {found.seq}" if found is not None else "not there"
            raise _conflict(
                f"the file's box left its cursor in {source.name} at {asked.seq}, and here it is {at}: this is another"
                " upstream, or one that was restored from a backup",
                f"configure {source.name} as it was on the other box; nothing was changed",
            )
        return _decided(await self._marked(source, asked, own.box), numbers)

    async def _marked(self, source: Source, asked: Asked, box: str) -> Cursor:
        predecessor = asked.sender if asked.sender != asked.key.box else None
        marked = await taken_over(
            asked.key,
            box,
            lambda key, former: source.ask(source.upstream.take_over(key, box, former), TAKE_DEADLINE_S),
            lambda key: source.ask(source.upstream.read_cursor(key), TAKE_DEADLINE_S),
            predecessor,
        )
        cursor = self._answered(source, marked)
        assert cursor is not None
        if cursor.taken_by != box:
            raise _conflict(
                f"the queue of {asked.key.box} for {source.name} was taken over by {cursor.taken_by} already",
                "one box alone may have it: go on there; nothing was changed here",
            )
        return cursor

    async def _cursor(self, source: Source, key: CursorKey) -> Cursor | None:
        return self._answered(source, await source.ask(source.upstream.read_cursor(key), TAKE_DEADLINE_S))

    def _source(self, name: str) -> Source:
        source = self._sources.get(name)
        if source is None:
            raise _conflict(
                f"entries are for the upstream {name!r}; configured here: {', '.join(self._sources)}",
                "configure that upstream in database.json as it was on the other box",
            )
        if source.breaker.state is not State.CLOSED:
            raise self._out(source, "its breaker is open")
        return source

    def _answered(self, source: Source, answer: Cursor | Failure | None) -> Cursor | None:
        if answer is None or isinstance(answer, Cursor):
            return answer
        raise self._out(source, answer.message)

    def _out(self, source: Source, why: str) -> Problem:
        left_s = source.breaker.left_s(self._clock.monotonic_s())
        return Problem.out_of_reach(
            f"{source.name} cannot be asked who has this queue ({why})",
            max(1, math.ceil(left_s)),
            hint="a queue is taken over upstream first, or it could be sent twice: import again once upstream answers",
        )


def _decided(cursor: Cursor | None, numbers: list[int]) -> tuple[list[int], list[int]]:
    """Which of the numbers are applied, and which are refused."""
    try:
        coverage = Coverage.decode(cursor.applied) if cursor is not None else Coverage()
    except DeoraError as error:
        raise _conflict(error.message, error.hint) from None
    refused = set(coverage.refused)
    return [number for number in numbers if coverage.covers(number)], [each for each in numbers if each in refused]


def _conflict(detail: str, hint: str | None) -> Problem:
    return Problem("conflict", detail, hint=hint)
