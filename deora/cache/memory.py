"""The first tier: in a worker's memory, bounded by bytes, least recently used goes first.

A copy is dropped when a change notice names it. A read that began before a notice must not put back what the notice
dropped, so a read announces itself with `begin`, and `fill` keeps its result only where no notice came in between.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

# What Python takes for an entry beside its content: two strings, a tuple, a slot in the table. By sys.getsizeof.
OVERHEAD_BYTES: Final = 300


class MemoryCache(Generic[T]):
    """Path -> value, with the value's size in bytes and the time until which it may be used (monotonic seconds)."""

    def __init__(self, max_bytes: int, ttl_s: float) -> None:
        self._max_bytes = max_bytes
        self._ttl_s = ttl_s
        self._entries: OrderedDict[str, tuple[T, int, float]] = OrderedDict()
        self._reading: dict[str, int] = {}
        self._tickets = 0
        self.size_bytes = 0
        self.hits = 0
        self.misses = 0

    def get(self, path: str, now_s: float) -> T | None:
        """The copy, or None."""
        entry = self._entries.get(path)
        if entry is None or entry[2] < now_s:
            self.misses += 1
            return None
        self._entries.move_to_end(path)
        self.hits += 1
        return entry[0]

    def begin(self, path: str) -> int:
        """Announces a read of `path`; its ticket goes to `fill`. The latest read of a path is the one that may fill."""
        self._tickets += 1
        self._reading[path] = self._tickets
        return self._tickets

    def fill(self, path: str, ticket: int, value: T, size_bytes: int, now_s: float) -> bool:
        """Keeps what a read found, unless a notice came since its `begin`. Returns whether it was kept."""
        if self._reading.get(path) != ticket:
            return False
        del self._reading[path]
        size_bytes += OVERHEAD_BYTES
        if size_bytes > self._max_bytes // 8:
            return False
        self._drop(path)
        self._entries[path] = (value, size_bytes, now_s + self._ttl_s)
        self.size_bytes += size_bytes
        while self.size_bytes > self._max_bytes:
            _, (_, dropped_bytes, _) = self._entries.popitem(last=False)
            self.size_bytes -= dropped_bytes
        return True

    def give_up(self, path: str, ticket: int) -> None:
        """Ends a read that found nothing to keep."""
        if self._reading.get(path) == ticket:
            del self._reading[path]

    def invalidate(self, paths: Iterable[str]) -> None:
        """Drops the copies of these, and what is being read of them."""
        for path in paths:
            self._drop(path)
            self._reading.pop(path, None)

    def clear(self) -> None:
        """Drops everything."""
        self._entries.clear()
        self._reading.clear()
        self.size_bytes = 0

    def _drop(self, path: str) -> None:
        entry = self._entries.pop(path, None)
        if entry is not None:
            self.size_bytes -= entry[1]
