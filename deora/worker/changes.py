"""The change streams that this worker serves: what is new is read once and formatted once for all of them.

Streams at the same place go together. Those that have come to the end of the order are the front: each notice of the
store has the front read on. Whoever is behind, after a break or from an old `since` on, follows in pages, each of which
waits until its clients have taken the one before; so a long way back costs neither the others' time nor memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from deora.documents.positions import Position, parse_event_id
from deora.wire.frames import Frame, Kind, encode, pack, unpack
from deora.worker.change_log import Head, read_documents, read_page
from deora.worker.events import Change, Now, change_event, resync_event, shows
from deora.worker.reader import Reader

_log = logging.getLogger("deora.worker")

Filter = frozenset[str] | None

# To write to one client takes the supervisor about 10 us: the front pauses so long that this is a fifth of its time.
PAUSE_S: Final = 0.002
PAUSE_PER_STREAM_S: Final = 50e-6
AGAIN_S: Final = 1.0
# More than this at once, a commit of many documents, even the front waits for: it would fill what waits for a client.
PACED_BYTES: Final = 64 * 1024


@dataclass(slots=True)
class Cohort:
    """Streams at the same place. `unsent`: changes of its present page; `end`, `next_id`: where that page ends.

    `is_last`: whether it ends at the end of the order. `told`: whether the supervisor knows the place. `pages`: numbers
    of what clients have not taken yet. `reason`: why they must read again.
    """

    epoch: str
    position: Position
    streams: dict[int, Filter] = field(default_factory=dict)
    unsent: list[Change] = field(default_factory=list)
    end: int = 0
    next_id: int | None = None
    told: bool = True
    is_last: bool = False
    pages: set[int] = field(default_factory=set)
    reason: str = ""


class Changes:
    """All streams of one worker. `send` is set once the worker has its link."""

    def __init__(self, reader: Reader, generation: int, now_s: Callable[[], float]) -> None:
        self._reader = reader
        self._generation = generation
        self._now_s = now_s
        self._pages = count(1)
        self._cohorts: list[Cohort] = []
        self._front: Cohort | None = None
        self._is_new = False
        self._due_s = 0.0
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.send: Callable[[bytes], None] = lambda _: None

    # -- in

    def on_frame(self, frame: Frame) -> None:
        """The supervisor's word on a stream."""
        kind, _, _, _, ident, body = frame
        if kind == Kind.STREAM:
            self._add(ident, *unpack(body))
        elif kind == Kind.UNSTREAM:
            self._remove(ident)
        else:
            for cohort in self._cohorts:
                cohort.pages.discard(ident)
            self._wake.set()

    def noticed(self) -> None:
        """Something may be new."""
        if self._cohorts:
            self._is_new = True
            self._wake.set()

    def tell(self) -> None:
        """Tells where streams stand that were shown nothing of late, so that another worker need not look again."""
        for cohort in self._cohorts:
            if not cohort.told:
                cohort.told = True
                self._emit(cohort, list(cohort.streams), b"")

    async def stop(self) -> None:
        """Ends the reading."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def _add(self, ident: int, collections: list[str] | None, event_id: str, reason: str | None) -> None:
        place = parse_event_id(event_id)
        assert place is not None
        shown = frozenset(collections) if collections is not None else None
        for cohort in self._cohorts:
            if not reason and (cohort.epoch, cohort.position) == place and not cohort.reason:
                cohort.streams[ident] = shown
                break
        else:
            self._cohorts.append(Cohort(*place, {ident: shown}, reason=reason or ""))
        self._is_new = True
        self._wake.set()
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run())

    def _remove(self, ident: int) -> None:
        for cohort in self._cohorts:
            if cohort.streams.pop(ident, self) is not self and not cohort.streams:
                self._drop(cohort)
                return

    def _drop(self, cohort: Cohort) -> None:
        self._cohorts.remove(cohort)
        if self._front is cohort:
            self._front = None

    # -- reading on

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                while self._cohorts and await self._turn():
                    pass
            except sqlite3.Error as error:
                self._is_new = True
                _log.warning("the changes cannot be read now: %s", error)
                asyncio.get_running_loop().call_later(AGAIN_S, self._wake.set)
            except Exception:
                self._is_new = True
                _log.exception("a change could not be shown")
                asyncio.get_running_loop().call_later(AGAIN_S, self._wake.set)

    async def _turn(self) -> bool:
        """One page of the front and one of a cohort behind it, where there is one; whether there was either."""
        worked = await self._front_turn()
        behind = next((cohort for cohort in self._cohorts if self._is_ready(cohort)), None)
        if behind is None:
            return worked
        # Whoever has had a turn goes to the end of the line.
        self._cohorts.remove(behind)
        self._cohorts.append(behind)
        await self._advance(behind)
        return True

    async def _front_turn(self) -> bool:
        front = self._front
        if front is None or front.pages or not (self._is_new or front.unsent):
            return False
        if not front.unsent:
            wait_s = self._due_s - self._now_s()
            if wait_s > 0:
                asyncio.get_running_loop().call_later(wait_s, self._wake.set)
                return False
            self._due_s = self._now_s() + PAUSE_S + PAUSE_PER_STREAM_S * len(front.streams)
            self._is_new = False
        await self._advance(front)
        return True

    def _is_ready(self, cohort: Cohort) -> bool:
        """Whether a cohort behind the front can go on."""
        front = self._front
        if cohort is front or cohort.pages:
            return False
        if cohort.unsent or front is None:
            return True
        if front.unsent or front.next_id is None:
            return False
        return bool(cohort.reason) or cohort.epoch != front.epoch or cohort.position < front.position

    async def _advance(self, cohort: Cohort) -> None:
        if cohort.unsent or await self._read_page(cohort):
            if cohort.unsent:
                good, found = await read_documents(self._reader, cohort.unsent)
                shown, cohort.unsent = cohort.unsent[:good], cohort.unsent[good:]
                self._show(cohort, shown, found)
            if not cohort.unsent:
                self._page_ended(cohort)

    async def _read_page(self, cohort: Cohort) -> bool:
        """Reads the cohort's next page; False where its clients must read anew instead."""
        front = self._front if self._front is not cohort else None
        until = None
        if front is not None and cohort.epoch == front.epoch:
            assert front.next_id is not None
            until = front.position.commit, front.next_id
        page = await read_page(self._reader, cohort.position, cohort.next_id, until)
        reason = cohort.reason or page.head.missed(cohort.epoch, cohort.position)
        if reason:
            self._begin_anew(cohort, page.head, reason)
            return False
        cohort.unsent, cohort.end, cohort.next_id, cohort.is_last = page.changes, page.end, page.next_id, page.is_last
        return True

    def _page_ended(self, cohort: Cohort) -> None:
        if cohort not in self._cohorts:
            return
        position = Position(cohort.end)
        cohort.told = cohort.told and position == cohort.position
        cohort.position = position
        if self._front is None and cohort.is_last:
            self._front = cohort
        if cohort is self._front:
            self._is_new = self._is_new or not cohort.is_last
        self._gather()

    def _gather(self) -> None:
        """Those who stand where the front stands are of it."""
        front = self._front
        if front is None or front.unsent:
            return
        here = (front.epoch, front.position)
        for cohort in [each for each in self._cohorts if each is not front and not each.unsent and not each.reason]:
            if (cohort.epoch, cohort.position) == here:
                self._join(cohort, front)

    def _join(self, cohort: Cohort, front: Cohort) -> None:
        front.streams.update(cohort.streams)
        front.told = False
        self._cohorts.remove(cohort)

    def _begin_anew(self, cohort: Cohort, head: Head, reason: str) -> None:
        """Its clients read again what they show, and go on from where the front stands, or from the order's end."""
        front = self._front
        if cohort not in self._cohorts:
            return
        if front is not None and front is not cohort and front.epoch == head.epoch:
            cohort.position = front.position
        else:
            cohort.position = Position(head.commit)
        cohort.epoch, cohort.unsent, cohort.next_id, cohort.reason = head.epoch, [], None, ""
        self._emit(cohort, list(cohort.streams), resync_event(cohort.epoch, cohort.position, reason))
        cohort.told = True
        self._is_new = True
        self._front = self._front or cohort
        self._gather()

    # -- out

    def _show(self, cohort: Cohort, changes: list[Change], found: dict[str, Now]) -> None:
        events = [(change.path, change_event(cohort.epoch, change, found.get(change.path))) for change in changes]
        cohort.position = changes[-1].position
        cohort.told = True
        by_filter: dict[Filter, list[int]] = {}
        for ident, shown in cohort.streams.items():
            by_filter.setdefault(shown, []).append(ident)
        for shown, streams in by_filter.items():
            text = b"".join(event for path, event in events if shows(shown, path))
            if text:
                self._emit(cohort, streams, text, paced=cohort is not self._front or len(text) > PACED_BYTES)
            else:
                cohort.told = False

    def _emit(self, cohort: Cohort, streams: list[int], text: bytes, *, paced: bool = False) -> None:
        body = pack([streams, cohort.position.event_id(cohort.epoch), text])
        page = 0
        if paced:
            page = next(self._pages)
            cohort.pages.add(page)
        self.send(encode(Kind.EVENTS, page, body, aux=int(paced), generation=self._generation))
