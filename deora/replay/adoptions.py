"""Copies on their way to the store, in an order that loses nothing.

Two reads of one document may overlap, and neither upstream's answers nor their seq tell which is the newer one where
another program changed the document in between. So a copy is handed over only if no other copy of its document was
handed over since its read began; else it is to be read again.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final, Protocol

# A frame holds 64 MiB; a group of the store should not be held up by much more than this.
CHUNK_BYTES: Final = 4 * 1024 * 1024

# Of so many documents it is known when they were handed over last. A read that is older than what was forgotten counts
# as overtaken: its documents are only read again.
REMEMBERED: Final = 20_000

Copies = list[tuple[str, bytes | None]]


class Adopting(Protocol):
    """What is asked of the store."""

    async def adopt(self, upstream: str, seq: int, copies: Copies) -> list[str]:
        """Takes copies of one snapshot over; the paths to be read again."""


class Adoptions:
    """Numbers reads and hand-overs with one counter."""

    def __init__(self, store: Adopting) -> None:
        self._store = store
        self._last = 0
        self._handed_over: OrderedDict[str, int] = OrderedDict()
        self._forgotten = 0

    def begin(self) -> int:
        """The ticket of a read that begins now."""
        self._last += 1
        return self._last

    async def hand_over(self, upstream: str, ticket: int, seq: int, copies: Copies) -> list[str]:
        """Gives a read's copies to the store, a frame at a time; the paths that are to be read again."""
        overtaken = {path for path, _ in copies if self._is_overtaken(path, ticket)}
        again = sorted(overtaken)
        chunk: Copies = []
        size_bytes = 0
        for path, data in copies:
            if path in overtaken:
                continue
            chunk.append((path, data))
            size_bytes += len(path) + len(data or b"")
            if size_bytes >= CHUNK_BYTES:
                again += await self._send(upstream, seq, chunk)
                chunk, size_bytes = [], 0
        return again + (await self._send(upstream, seq, chunk) if chunk else [])

    async def _send(self, upstream: str, seq: int, chunk: Copies) -> list[str]:
        for path, _ in chunk:
            self._last += 1
            self._handed_over[path] = self._last
            self._handed_over.move_to_end(path)
        while len(self._handed_over) > REMEMBERED:
            _, self._forgotten = self._handed_over.popitem(last=False)
        return await self._store.adopt(upstream, seq, chunk)

    def _is_overtaken(self, path: str, ticket: int) -> bool:
        return self._handed_over.get(path, self._forgotten) > ticket
