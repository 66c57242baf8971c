"""Reading rows out of a SQLite file some of whose pages cannot be read. Pure: pages in, rows out.

SQLite gives a whole tree up where one of its pages is damaged. Here what a page says is taken page by page: a page that
is missing costs the rows in it, or the way to those below it, which may be found among the pages that no tree reaches.
The format is that of https://www.sqlite.org/fileformat2.html, sections 1.5 and 2.1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

Page = Callable[[int], bytes | None]
"""number of a page, from 1 -> its bytes; None where it cannot be read, or not believed"""

Values = tuple[Any, ...]

HEADER_BYTES: Final = 100
_INTERIOR_INDEX: Final = 2
_INTERIOR_TABLE: Final = 5
_LEAF_INDEX: Final = 10
_LEAF_TABLE: Final = 13
_INTERIORS: Final = (_INTERIOR_INDEX, _INTERIOR_TABLE)
_INTEGER_BYTES: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}


class _Unreadable(Exception):
    """A cell that runs out of its page, or into a page that cannot be read."""


@dataclass(slots=True)
class Reading:
    """What was met on the way. `reached`: every page that belongs to a tree that was walked, overflow pages too.

    `lost_pages` could not be read; `lost_cells` could not, on pages that could.
    """

    page: Page
    usable_bytes: int
    reached: set[int] = field(default_factory=set)
    lost_pages: set[int] = field(default_factory=set)
    lost_cells: int = 0

    def rows(self, root: int) -> Iterator[tuple[int, Values]]:
        """(rowid, values) of each row of the tree at `root` that can be read; the rowid is 0 where there is none."""
        pending = [root]
        while pending:
            number = pending.pop()
            if number in self.reached or number in self.lost_pages:
                # A pointer that leads back: taking the rows twice would be worse than not at all.
                continue
            data = self.page(number)
            kind = data[_start(number)] if data is not None else 0
            if data is None or kind not in (*_INTERIORS, _LEAF_INDEX, _LEAF_TABLE):
                self.lost_pages.add(number)
                continue
            self.reached.add(number)
            if kind in _INTERIORS:
                pending += self._children(number, data)
            if kind != _INTERIOR_TABLE:
                yield from self._cells(number, data, kind)

    def leaf_rows(self, number: int) -> Iterator[tuple[int, Values]]:
        """The rows of one page, where it is a leaf of a table that no walk has reached."""
        data = self.page(number)
        if number not in self.reached and data is not None and data[_start(number)] == _LEAF_TABLE:
            yield from self._cells(number, data, _LEAF_TABLE)

    def free_pages(self, trunk: int) -> set[int] | None:
        """The pages on the list of free ones; None where that cannot be read to its end."""
        found: set[int] = set()
        while trunk:
            data = self.page(trunk)
            if data is None or trunk in found:
                return None
            found.add(trunk)
            count = int.from_bytes(data[4:8], "big")
            if 8 + 4 * count > len(data):
                return None
            found.update(int.from_bytes(data[8 + 4 * at : 12 + 4 * at], "big") for at in range(count))
            trunk = int.from_bytes(data[:4], "big")
        return found

    def _children(self, number: int, data: bytes) -> list[int]:
        start = _start(number)
        children = [int.from_bytes(data[start + 8 : start + 12], "big")]
        for at in reversed(_pointers(number, data)):
            if at + 4 <= len(data):
                children.append(int.from_bytes(data[at : at + 4], "big"))
            else:
                self.lost_cells += 1
        return children

    def _cells(self, number: int, data: bytes, kind: int) -> Iterator[tuple[int, Values]]:
        for at in _pointers(number, data):
            try:
                yield self._cell(data, at, kind)
            except (_Unreadable, IndexError, UnicodeDecodeError):
                self.lost_cells += 1

    def _cell(self, data: bytes, at: int, kind: int) -> tuple[int, Values]:
        if kind == _INTERIOR_INDEX:
            at += 4
        size, at = _varint(data, at)
        rowid = 0
        if kind == _LEAF_TABLE:
            rowid, at = _varint(data, at)
        return _signed(rowid), _record(self._payload(data, at, size, kind))

    def _payload(self, data: bytes, at: int, size: int, kind: int) -> bytes:
        """A cell's content, which goes on in overflow pages where it is long."""
        usable = self.usable_bytes
        most = usable - 35 if kind == _LEAF_TABLE else (usable - 12) * 64 // 255 - 23
        if size <= most:
            return _slice(data, at, size)
        least = (usable - 12) * 32 // 255 - 23
        here = least + (size - least) % (usable - 4)
        here = here if here <= most else least
        parts = [_slice(data, at, here)]
        following = int.from_bytes(_slice(data, at + here, 4), "big")
        left = size - here
        while left > 0:
            page = self.page(following) if following else None
            if page is None or following in self.reached:
                if following and page is None:
                    self.lost_pages.add(following)
                raise _Unreadable
            self.reached.add(following)
            parts.append(page[4 : 4 + min(left, usable - 4)])
            left -= usable - 4
            following = int.from_bytes(page[:4], "big")
        return b"".join(parts)


def _start(number: int) -> int:
    return HEADER_BYTES if number == 1 else 0


def _pointers(number: int, data: bytes) -> list[int]:
    """Where the cells of a page begin."""
    start = _start(number)
    at = start + (12 if data[start] in _INTERIORS else 8)
    count = min(int.from_bytes(data[start + 3 : start + 5], "big"), (len(data) - at) // 2)
    return [int.from_bytes(data[at + 2 * index : at + 2 * index + 2], "big") for index in range(count)]


def _record(payload: bytes) -> Values:
    end, at = _varint(payload, 0)
    kinds = []
    while at < end:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    values = []
    at = end
    for kind in kinds:
        value, size = _value(payload, at, kind)
        values.append(value)
        at += size
    return tuple(values)


def _value(payload: bytes, at: int, kind: int) -> tuple[Any, int]:
    """A value and how many bytes it takes. No column of ours holds a floating-point number."""
    if kind in _INTEGER_BYTES:
        size = _INTEGER_BYTES[kind]
        return int.from_bytes(_slice(payload, at, size), "big", signed=True), size
    if kind in (0, 8, 9):
        return {0: None, 8: 0, 9: 1}[kind], 0
    if kind < 12:
        raise _Unreadable
    size = (kind - 12) // 2
    data = _slice(payload, at, size)
    return (data if kind % 2 == 0 else data.decode()), size


def _slice(data: bytes, at: int, size: int) -> bytes:
    if size < 0 or at + size > len(data):
        raise _Unreadable
    return data[at : at + size]


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index in range(9):
        byte = data[at + index]
        if index == 8:
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + index + 1
    raise _Unreadable


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value
