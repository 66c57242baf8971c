"""Keeps the collections of `replicate` whole: pulls what changed upstream, and hands it to the store.

1. The first pull of a collection lists it, page by page. A document that changes behind the list's back is found by the
   changes since a mark that was certain before the list began. (A mark that a listing shows need not be: PostgreSQL
   gives numbers out before commits, so a lower one may become visible later. What `list_changes` shows is certain.)
2. From then on a pull asks for the changes since the last one. The store keeps where that was, so a restart goes on.
3. Changes tell of no deletions. So every NAMES_EVERY-th pull compares the names on both sides, and reads what only one
   side has: what is gone is then told by a snapshot that carries its seq, as any other change is.

What the store cannot take yet, since a batch of the document is on its way, is read again after a pause, and if need be
with the next pull.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

from deora.replay.adoptions import Adoptions
from deora.replay.breaker import State
from deora.replay.reads import Source
from deora.upstream.base import CursorKey, Names, Page, Unauthorised, Unclear

_log = logging.getLogger("deora.replay")

# Documents of a page; at most 1 MiB each, and one page at a time is in memory.
PAGE: Final = 100
# More documents than one batch can write at once: a mark that a whole batch shares must not fill a page of changes.
CHANGES: Final = 1000
NAMES: Final = 1000
NAMES_EVERY: Final = 10
DEADLINE_S: Final = 30.0
PAUSES_S: Final = (0.05, 0.2, 0.8)


class ReadCalls(Protocol):
    """What readers ask of the store."""

    async def open(self, upstream: str) -> tuple[str, str]:
        """This store's node and epoch."""

    async def replica(self, upstream: str, collection: str, source: str) -> str | None:
        """Where the next pull of a collection goes on; None where it has not been listed, or of another source."""

    async def synced(self, upstream: str, collection: str, source: str, since: str) -> None:
        """Notes that a collection is whole now, and where its next pull goes on."""

    async def held(self, upstream: str, collection: str, after: str, limit: int) -> list[str]:
        """The paths of documents that upstream is believed to hold, in order, whose id comes behind `after`."""


class OutOfReach(Exception):
    """Upstream does not answer a pull. The next one begins where this one did."""


class Puller:
    """Pulls from one upstream, the primary. `identity` names it across restarts: marks of another mean nothing here."""

    def __init__(
        self,
        source: Source,
        identity: str,
        collections: tuple[str, ...],
        store: ReadCalls,
        adoptions: Adoptions,
        interval_s: float,
        *,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._source = source
        self._identity = identity
        self.collections = collections
        self._store = store
        self._adoptions = adoptions
        self._interval_s = interval_s
        self._sleep = sleep
        self._key = CursorKey("", "", 0)
        self._pulls = dict.fromkeys(collections, 0)
        self._again: dict[str, set[str]] = {collection: set() for collection in collections}

    async def run(self) -> None:
        """Pulls for ever; an upstream that is out costs nothing but time."""
        self._key = CursorKey(*await self._store.open(self._source.name), 0)
        while True:
            for collection in self.collections:
                if self._source.breaker.state is State.CLOSED:
                    try:
                        await self.pull(collection)
                    except OutOfReach as error:
                        _log.warning("a pull ended early: %s", error, extra={"collection": collection})
            await self._sleep(self._interval_s)

    async def pull(self, collection: str) -> None:
        """One pull of one collection. Raises OutOfReach."""
        since = await self._store.replica(self._source.name, collection, self._identity)
        listed = since is None
        since = await self._list(collection) if since is None else since
        since = await self._changes(collection, since)
        # The first time the names are compared as well: what this box held before may be gone upstream.
        if listed or self._pulls[collection] % NAMES_EVERY == NAMES_EVERY - 1:
            await self._compare(collection)
        self._pulls[collection] += 1
        await self._settle(collection)
        await self._store.synced(self._source.name, collection, self._identity, since)

    # -- the steps of a pull

    async def _list(self, collection: str) -> str:
        """Hands over the whole collection. Returns the mark from which changes must be asked for."""
        since = await self._baseline(collection)
        after: str | None = None
        while True:
            ticket = self._adoptions.begin()
            page = await self._page(self._source.upstream.list_documents(self._key, collection, after, PAGE))
            await self._take(collection, ticket, page)
            if page.next is None:
                return since
            after = page.next

    async def _baseline(self, collection: str) -> str:
        """A mark below which nothing can become visible any more: as high as is cheap to find, empty where none is."""
        page = await self._page(self._source.upstream.list_documents(self._key, collection, None, PAGE))
        mark = max((copy.mark for copy in page.copies), default="")
        for pause_s in PAUSES_S if mark else ():
            changes = await self._page(self._source.upstream.list_changes(self._key, collection, mark, 1))
            if changes.copies:
                return mark
            await self._sleep(pause_s)
        return ""

    async def _changes(self, collection: str, since: str) -> str:
        """Hands over what changed. Returns where to go on the next time."""
        while True:
            ticket = self._adoptions.begin()
            page = await self._page(self._source.upstream.list_changes(self._key, collection, since, CHANGES))
            await self._take(collection, ticket, page)
            highest = max([since, *(copy.mark for copy in page.copies)])
            if page.next is None:
                return highest
            if page.next == since:
                raise OutOfReach(f"more than {CHANGES} documents have one mark of change, {since!r}")
            since = page.next

    async def _compare(self, collection: str) -> None:
        """Notes for reading what only one side has."""
        ours: set[str] = set()
        after = ""
        while paths := await self._store.held(self._source.name, collection, after, NAMES):
            ours.update(paths)
            after = paths[-1].rpartition("/")[2]
        theirs: set[str] = set()
        behind: str | None = None
        while True:
            names = await self._source.ask(self._source.upstream.list_names(collection, behind, NAMES), DEADLINE_S)
            if not isinstance(names, Names):
                raise OutOfReach(names.message)
            theirs.update(names.paths)
            if names.next is None:
                break
            behind = names.next
        self._again[collection] |= ours ^ theirs

    async def _settle(self, collection: str) -> None:
        """Reads again what is to be read again. What stays undecided waits for the next pull."""
        waiting = self._again[collection]
        for pause_s in (0.0, *PAUSES_S):
            if not waiting:
                return
            await self._sleep(pause_s)
            paths = sorted(waiting)
            for start in range(0, len(paths), PAGE):
                chunk = paths[start : start + PAGE]
                ticket = self._adoptions.begin()
                page = await self._page(self._source.upstream.read_documents(self._key, chunk))
                waiting.difference_update(chunk)
                await self._take(collection, ticket, page)

    # -- inside

    async def _take(self, collection: str, ticket: int, page: Page) -> None:
        copies = [(copy.path, copy.data) for copy in page.copies]
        self._again[collection].update(await self._adoptions.hand_over(self._source.name, ticket, page.seq, copies))

    async def _page(self, call: Awaitable[Page | Unclear | Unauthorised]) -> Page:
        page = await self._source.ask(call, DEADLINE_S)
        if not isinstance(page, Page):
            raise OutOfReach(page.message)
        return page
