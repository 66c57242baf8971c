"""One document, from wherever it can be had.

    the store's file          what this box holds: its own writes, and the collections that it keeps whole
    Redis, the disk cache     copies of other documents, while they are fresh (`interval_s`)
    upstream, by the replayer what neither holds, or holds no fresh copy of
    Redis, the disk cache     an older copy, marked with its age, where upstream is out of reach

A document that this box holds is answered with what it holds. Where upstream has not confirmed that for longer than
`interval_s`, the answer is marked with its age, and a document of a collection that is not kept whole is read again in
the background. So a document that is read stays up to date within `interval_s`, and no answer waits for it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import replace
from typing import Any, Final, Protocol

from deora.cache.copies import CachedCopy, Moment, copy_of
from deora.cache.memory import MemoryCache
from deora.cache.tiered import Tiers
from deora.documents.paths import split
from deora.errors import Problem
from deora.wire.frames import Role
from deora.worker.reader import Reader, Stored
from deora.worker.showing import Shown, document_json

# While upstream is out of reach it is not asked again for a document within this.
RETRY_S: Final = 1.0
# Where an older copy can be shown, upstream has this long to give a newer one.
PATIENCE_S: Final = 1.0
# The replayer gives up before this, even with two upstreams that hang.
LIMIT_S: Final = 10.0

REPLAYER_PAUSE_S: Final = 0.05

NEVER_S: Final = math.inf


class Asking(Protocol):
    """Calls to other processes (see `wire.calls.Caller`)."""

    async def ask(self, role: Role, *parts: Any) -> Any:
        """What the process of this role replies. Raises Problem."""


class ReadThrough:
    """Reads for one worker. `moment` reads this box's clocks; `start` runs a coroutine in the background."""

    def __init__(
        self,
        reader: Reader,
        memory: MemoryCache[Shown],
        tiers: Tiers,
        caller: Asking,
        interval_s: float,
        now_s: Callable[[], float],
        moment: Callable[[], Moment],
        start: Callable[[Coroutine[Any, Any, None]], None],
    ) -> None:
        self.tiers = tiers
        self._reader = reader
        self._memory = memory
        self._caller = caller
        self._interval_s = interval_s
        self._now_s = now_s
        self._moment = moment
        self._start = start
        self._refreshing: set[str] = set()
        self._keeping: set[str] = set()

    async def document(self, path: str) -> Shown:
        """The document. Raises Problem: there is none, or it cannot be had now."""
        ticket = self._memory.begin(path)
        try:
            stored = await self._reader.stored(*split(path))
            shown = self._held(path, stored) or await self._beyond(path, stored)
        except BaseException:
            self._memory.give_up(path, ticket)
            raise
        kept = replace(shown, source=b"cache") if shown.source == b"upstream" else shown
        self._memory.fill(path, ticket, kept, len(shown.content), self._now_s())
        return shown

    async def unheld(self, paths: list[str]) -> tuple[dict[str, Shown], list[str]]:
        """Of documents that the store does not show: by path those that upstream or a tier has, and the paths of which
        it is not known now whether they exist."""
        found: dict[str, Shown] = {}
        unknown: list[str] = []
        shown = await asyncio.gather(*(self.document(path) for path in paths), return_exceptions=True)
        for path, one in zip(paths, shown, strict=True):
            if isinstance(one, Shown):
                found[path] = one
            elif isinstance(one, Problem) and one.kind == "unavailable":
                unknown.append(path)
            elif not isinstance(one, Problem) or one.kind != "document-not-found":
                raise one
        return found, unknown

    def forget(self, paths: Iterable[str]) -> None:
        """These documents have changed: what is being read of them goes into no tier."""
        self._keeping.difference_update(paths)

    def forget_all(self) -> None:
        """The same for every document: a new store serves, and what it changed meanwhile is not known."""
        self._keeping.clear()

    # -- what this box holds

    def _held(self, path: str, stored: Stored) -> Shown | None:
        """What the store's file says; None where it does not know. Raises Problem("document-not-found")."""
        if stored.version is None or stored.view is None:
            if stored.pending or stored.dead or stored.synced_us is not None or self._age_s(stored) <= self._interval_s:
                raise _not_found(path)
            return None
        assert stored.view is not None
        content = document_json(path, stored.version, stored.created_us, stored.updated_us, stored.pending, stored.view)
        if stored.pending:
            # Upstream has yet to hear of it. The notice of its settlement drops this copy.
            return Shown(stored.version, content, NEVER_S)
        now_s, age_s = self._now_s(), self._age_s(stored)
        patience_s = self._interval_s if stored.synced_us is None else 2 * self._interval_s
        if age_s <= patience_s:
            return Shown(stored.version, content, now_s + patience_s - age_s)
        if stored.synced_us is None and path not in self._refreshing:
            self._refreshing.add(path)
            self._start(self._refresh(path))
        return Shown(stored.version, content, now_s + RETRY_S, b"store", now_s - age_s)

    def _age_s(self, stored: Stored) -> float:
        """Seconds since upstream last confirmed what is stored. After a jump of the clock, how far that went.

        A jump can so make the age of one look younger than it is, by chance and for `interval_s` at most.
        """
        if stored.version is None and stored.synced_us is None:
            return math.inf
        wall_us = self._moment().wall_us
        # The nearer one: what was noted while the clock was ahead must not outweigh all that is noted since.
        noted = [at_us for at_us in (stored.checked_us, stored.synced_us) if at_us is not None]
        return min(abs(wall_us - at_us) for at_us in noted) / 1e6

    async def _refresh(self, path: str) -> None:
        """Has the store compare a document with upstream. Where it changes, the notice of that drops the old one."""
        ticket = self._memory.begin(path)
        try:
            await self._ask("adopt", path)
            stored = await self._reader.stored(*split(path))
            if stored.version is not None and stored.view is not None:
                content = document_json(
                    path, stored.version, stored.created_us, stored.updated_us, stored.pending, stored.view
                )
                shown = Shown(stored.version, content, self._now_s() + self._interval_s)
                self._memory.fill(path, ticket, shown, len(content), self._now_s())
        except Problem:
            # It stays as it is, and is shown with its age.
            return
        finally:
            self._memory.give_up(path, ticket)
            self._refreshing.discard(path)

    # -- what it does not hold

    async def _beyond(self, path: str, stored: Stored) -> Shown:
        # Of what is known to be gone a tier may still have a copy from before.
        was_here = stored.version is not None
        now = self._moment()
        copy = None if was_here else await self.tiers.get(path, now)
        if copy is not None and copy.data is not None and copy.is_fresh(now, self._interval_s):
            return self._show_copy(copy, self._interval_s - copy.age_s(now))
        self._keeping.add(path)
        try:
            data = await self._fetch(path, PATIENCE_S if copy is not None else LIMIT_S)
        except Problem as problem:
            self._keeping.discard(path)
            if problem.kind != "unavailable" or (copy is None and not was_here):
                raise
            if copy is None:
                raise _not_found(path) from None
            return self._show_copy(copy, RETRY_S)
        fetched = copy_of(path, data, self._moment(), copy)
        self._start(self._keep(fetched))
        shown = self._show_copy(fetched, self._interval_s)
        return replace(shown, source=b"upstream", confirmed_s=None)

    async def _fetch(self, path: str, limit_s: float) -> bytes | None:
        [[_, data]] = await self._ask("read", path, limit_s)
        return bytes(data) if data is not None else None

    async def _ask(self, operation: str, path: str, limit_s: float = LIMIT_S) -> Any:
        return await self.ask(operation, [path], limit_s=limit_s)

    async def ask(self, *parts: Any, limit_s: float) -> Any:
        """What the replayer replies, the next one where one ends meanwhile. Raises Problem."""
        try:
            async with asyncio.timeout(limit_s):
                while True:
                    try:
                        return await self._caller.ask(Role.REPLAYER, *parts)
                    except Problem as problem:
                        if problem.kind != "unavailable" or problem.retry_after_s is not None:
                            raise
                    # The replayer itself is not up. The next one will be in a moment.
                    await asyncio.sleep(REPLAYER_PAUSE_S)
        except TimeoutError:
            raise Problem.out_of_reach(f"upstream has not answered within {limit_s:g} s", 1) from None

    async def _keep(self, copy: CachedCopy) -> None:
        """Puts what was fetched into the tiers, unless the document has changed since the fetch began."""
        if copy.path in self._keeping:
            await self.tiers.put(copy)
            if copy.path not in self._keeping:
                await self.tiers.drop(copy.path)
        self._keeping.discard(copy.path)

    def _show_copy(self, copy: CachedCopy, fresh_s: float) -> Shown:
        if copy.data is None:
            raise _not_found(copy.path)
        content = document_json(copy.path, copy.version, copy.updated_us, copy.updated_us, 0, copy.data)
        now_s = self._now_s()
        return Shown(copy.version, content, now_s + fresh_s, b"cache", now_s - copy.age_s(self._moment()))


def _not_found(path: str) -> Problem:
    return Problem("document-not-found", f"there is no document {path}")
