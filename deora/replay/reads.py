"""Reading through: documents that this box does not hold, or holds and is not sure of, from the first upstream that
answers.

Only the primary one, the first, is believed that a document is not there: the others have what this box wrote, and lack
what other programs did.

One read of a document is under way at a time, whoever asks: callers that come meanwhile share its answer. Readers make
no probes: while an upstream's breaker is not CLOSED it is passed over at once, and its lane finds out when it is back.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol, TypeVar

from deora.clock import Clock
from deora.errors import Problem
from deora.replay.adoptions import Adoptions
from deora.replay.breaker import Breaker, State
from deora.upstream.base import CursorKey, Page, Unclear, Upstream

# A client waits for this: less than the lane's own deadline, and short enough that the next upstream still gets a try.
READ_DEADLINE_S: Final = 3.0
PATHS_AT_ONCE: Final = 100
# What one reply may hold; a frame may have four times as much.
REPLY_BYTES: Final = 16 * 1024 * 1024

T = TypeVar("T")


class Opener(Protocol):
    """What readers ask of the store before their first read."""

    async def open(self, upstream: str) -> tuple[str, str]:
        """This store's node and epoch."""


@dataclass(frozen=True, slots=True)
class Source:
    """An upstream that can be read. `note` is told how each read went (see `Lane.note_read`)."""

    name: str
    upstream: Upstream
    breaker: Breaker
    note: Callable[[object], None]

    async def ask(self, call: Awaitable[T], deadline_s: float) -> T | Unclear:
        """A read with a deadline, counted by the breaker."""
        try:
            async with asyncio.timeout(deadline_s):
                result: T | Unclear = await call
        except TimeoutError:
            result = Unclear(f"no answer within {deadline_s:g} s")
        self.note(result)
        return result


@dataclass(frozen=True, slots=True)
class Found:
    """What one read showed. `ticket` tells when it began (see `Adoptions`).

    `failures`: why the upstreams before this one did not answer; empty where it is the primary one.
    """

    source: str
    seq: int
    ticket: int
    data: dict[str, bytes | None]
    failures: tuple[str, ...]


class Reads:
    """The reads under way. `sources` are asked in their order."""

    def __init__(self, sources: list[Source], store: Opener, adoptions: Adoptions, clock: Clock) -> None:
        self._sources = sources
        self._store = store
        self._adoptions = adoptions
        self._clock = clock
        self._key: CursorKey | None = None
        self._under_way: dict[str, asyncio.Future[Found]] = {}
        self._gathered: list[str] = []
        self._tasks: set[asyncio.Task[Found]] = set()

    async def serve(self, operation: str, paths: list[str]) -> Any:
        """A CALL: `read` gives [[path, text or None], ..], `adopt` hands the documents to the store, `adoptReadable`
        those of them that are documents. Raises Problem."""
        if operation == "read":
            return await self.read(paths)
        if operation == "adopt":
            return await self.adopt(paths)
        if operation == "adoptReadable":
            return await self.adopt(paths, readable=True)
        raise Problem("bad-request", f"the replayer knows no call {operation!r}")

    async def read(self, paths: list[str]) -> list[tuple[str, bytes | None]]:
        """The documents as upstream holds them. Raises Problem("unavailable") while no upstream answers."""
        copies = [copy for _, copies in await self._found(paths) for copy in copies]
        if sum(len(data or b"") for _, data in copies) > REPLY_BYTES:
            raise Problem(
                "too-large", f"the documents have more than {REPLY_BYTES} bytes together", hint="ask for fewer at once"
            )
        return copies

    async def adopt(self, paths: list[str], *, readable: bool = False) -> None:
        """Has the store take the documents over. What it would rather see read again it holds already.

        `readable`: what another program has made of a document, which is none, is passed over.
        """
        for found, copies in await self._found(paths, readable=readable):
            await self._adoptions.hand_over(found.source, found.ticket, found.seq, copies)

    async def _found(
        self, paths: list[str], *, readable: bool = False
    ) -> list[tuple[Found, list[tuple[str, bytes | None]]]]:
        """The reads that hold these documents, each with those of them that it holds."""
        for path in dict.fromkeys(paths):
            if path not in self._under_way:
                self._gather(path)
        futures = {path: self._under_way[path] for path in paths}
        # Shielded: that one caller goes must not take the answer from the others.
        await asyncio.gather(*(asyncio.shield(future) for future in futures.values()))
        reads: dict[int, tuple[Found, list[tuple[str, bytes | None]]]] = {}
        for path, future in futures.items():
            found = future.result()
            if readable and path not in found.data:
                continue
            reads.setdefault(found.ticket, (found, []))[1].append((path, self._data(found, path)))
        return list(reads.values())

    def _gather(self, path: str) -> None:
        """Has the document read together with all others that are asked for within this turn of the loop."""
        loop = asyncio.get_running_loop()
        if not self._gathered:
            loop.call_soon(self._begin)
        self._gathered.append(path)
        future: asyncio.Future[Found] = loop.create_future()
        self._under_way[path] = future

    def _begin(self) -> None:
        paths, self._gathered = self._gathered, []
        for start in range(0, len(paths), PATHS_AT_ONCE):
            chunk = paths[start : start + PATHS_AT_ONCE]
            task = asyncio.ensure_future(self._fetch(chunk))
            self._tasks.add(task)
            task.add_done_callback(partial(self._end, chunk))

    def _end(self, paths: list[str], task: asyncio.Task[Found]) -> None:
        self._tasks.discard(task)
        for path in paths:
            future = self._under_way.pop(path)
            if task.cancelled():
                future.cancel()
            elif (error := task.exception()) is not None:
                future.set_exception(error)
                future.exception()  # whoever waited has it; nobody may be left to hear of it
            else:
                future.set_result(task.result())

    async def _fetch(self, paths: list[str]) -> Found:
        if self._key is None:
            self._key = CursorKey(*await self._store.open(self._sources[0].name), 0)
        failures: list[str] = []
        for source in self._sources:
            if source.breaker.state is not State.CLOSED:
                failures.append(f"{source.name} is out")
                continue
            ticket = self._adoptions.begin()
            page = await source.ask(source.upstream.read_documents(self._key, paths), READ_DEADLINE_S)
            if isinstance(page, Page):
                return Found(
                    source.name, page.seq, ticket, {copy.path: copy.data for copy in page.copies}, tuple(failures)
                )
            failures.append(f"{source.name}: {page.message}")
        raise out_of_reach(failures, self._retry_after_s())

    def _data(self, found: Found, path: str) -> bytes | None:
        """The text of a document. Raises Problem where the read does not tell: what is there is none, or only an
        upstream that need not have it says that it is not there."""
        if path not in found.data:
            raise out_of_reach([f"what {found.source} holds as {path} is no document"], 60)
        data = found.data[path]
        if data is None and found.failures:
            now_s = self._clock.monotonic_s()
            retry_after_s = max(1, math.ceil(self._sources[0].breaker.left_s(now_s)))
            raise out_of_reach([*found.failures, f"{found.source} does not have it"], retry_after_s)
        return data

    def _retry_after_s(self) -> int:
        now_s = self._clock.monotonic_s()
        return max(1, math.ceil(min(source.breaker.left_s(now_s) for source in self._sources)))


def out_of_reach(failures: Iterable[str], retry_after_s: int) -> Problem:
    """The refusal of a read that needs an upstream while none answers."""
    return Problem.out_of_reach(
        f"this box does not hold the document, and upstream cannot be read now ({'; '.join(failures)})",
        retry_after_s,
        hint="documents that this box holds are served; repeat the request later",
    )
