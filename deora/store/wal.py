"""Reading a WAL and its index without SQLite: which frames hold, which pages they carry, what stands behind a break.

SQLite takes the frames of a WAL up to the first that does not hold and says nothing of the rest. That is right for what
a power cut left half written, and wrong for a frame that was synced long ago: so what follows the break is looked at.
The format is that of https://www.sqlite.org/fileformat2.html#walformat and walformat.html.
"""

from __future__ import annotations

import os
import struct
from array import array
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

HEADER_BYTES: Final = 32
FRAME_HEADER_BYTES: Final = 24
_MAGIC: Final = 0x377F0682
_WORDS: Final = 0xFFFFFFFF
_HEADER: Final = struct.Struct(">IIIIIIII")
_FRAME: Final = struct.Struct(">IIIIII")
# The index's first header: what stands before the frame count, frame count and pages in native order, the salts as the
# WAL has them; then, behind the header's second copy, how many frames have been copied into the file.
_INDEX: Final = struct.Struct("=16xIIII8s")
_PUBLISHED_BYTES: Final = 48
_BACKFILLED: Final = struct.Struct("=I")
_BACKFILLED_AT: Final = 96
INDEX_HEADERS_BYTES: Final = 96
_BLOCK_BYTES: Final = 32768
_BLOCK_FRAMES: Final = 4096
_HEADER_PLACES: Final = 34  # 136 bytes, in the places of as many frames

Salts = tuple[int, int]
NO_SALTS: Final[Salts] = (0, 0)


@dataclass(frozen=True, slots=True)
class Index:
    """What the index says: whose frames (salts), how many hold, how many of them the file has."""

    salts: Salts
    frames: int
    backfilled: int


@dataclass(frozen=True, slots=True)
class Published:
    """What the index says to other processes: whose frames (salts), how many, and the file's size with them."""

    salts: Salts
    frames: int
    size_pages: int


@dataclass(slots=True)
class Wal:
    """What a WAL holds. `frames` counts those of whole transactions, `pages` maps a page to its last frame among them.

    `size_pages` is the file's size after them. `broken` says that synced frames follow which cannot be read any more.
    `mended`: the pages of frames in which one bit was wrong, put right; -1 is the header.
    """

    salts: Salts = NO_SALTS
    page_bytes: int = 4096
    frames: int = 0
    size_pages: int = 0
    broken: bool = False
    pages: dict[int, int] = field(default_factory=dict)
    mended: dict[int, bytes] = field(default_factory=dict)


def read_index(descriptor: int) -> Index | None:
    """The index behind this descriptor of a `-shm` file; None where it holds none yet."""
    data = os.pread(descriptor, _BACKFILLED_AT + _BACKFILLED.size, 0)
    if len(data) < _BACKFILLED_AT + _BACKFILLED.size:
        return None
    frames, _, _, _, salts = _INDEX.unpack_from(data)
    first, second = struct.unpack(">II", salts)
    [backfilled] = _BACKFILLED.unpack_from(data, _BACKFILLED_AT)
    return Index((first, second), frames, backfilled)


def page_numbers(descriptor: int, first: int, last: int) -> set[int]:
    """The pages in the frames `first` (from 0) up to `last` (not counted in), by the index behind this descriptor."""
    return set(frame_pages(descriptor, first, last))


def frame_pages(descriptor: int, first: int, last: int) -> array[int]:
    """The page of each of these frames, in their order.

    The index comes in blocks: the pages of its frames, then a table of hashes. The first begins with the header.
    """
    found = array("I")
    while first < last:
        block, place = divmod(first + _HEADER_PLACES, _BLOCK_FRAMES)
        count = min(last - first, _BLOCK_FRAMES - place)
        found.frombytes(os.pread(descriptor, 4 * count, _BLOCK_BYTES * block + 4 * place))
        first += count
    return found


def read_published(descriptor: int) -> Published | None:
    """The last commit that the index behind this descriptor of a `-shm` file tells of; None at the moment at which its
    writer, another process, puts the next one there."""
    data = os.pread(descriptor, 2 * _PUBLISHED_BYTES, 0)
    if len(data) < 2 * _PUBLISHED_BYTES or data[:_PUBLISHED_BYTES] != data[_PUBLISHED_BYTES:]:
        return None
    frames, size_pages, _, _, salts = _INDEX.unpack_from(data)
    first, second = struct.unpack(">II", salts)
    return Published((first, second), frames, size_pages)


def read_frame(descriptor: int, published: Published, number: int, page: int, page_bytes: int) -> bytes | None:
    """The page in a frame (from 0) of the WAL behind this descriptor; None where it is not that page's any more."""
    at = HEADER_BYTES + number * (FRAME_HEADER_BYTES + page_bytes)
    frame = os.pread(descriptor, FRAME_HEADER_BYTES + page_bytes, at)
    if len(frame) < FRAME_HEADER_BYTES + page_bytes:
        return None
    found, _, salt1, salt2, _, _ = _FRAME.unpack_from(frame)
    return frame[FRAME_HEADER_BYTES:] if (found, (salt1, salt2)) == (page, published.salts) else None


def read_wal(path: Path) -> Wal:
    """The WAL of this file. One that is missing, empty or has no valid header holds nothing.

    One wrong bit in its header, or in a frame, is put right, where one change of one bit alone gives the sums.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Wal()
    header = mend_header(data[:HEADER_BYTES])
    if header is None:
        return Wal()
    magic, _, page_bytes, _, salt1, salt2, *start = _HEADER.unpack(header)
    wal = Wal((salt1, salt2), page_bytes)
    if header != data[:HEADER_BYTES]:
        wal.mended[-1] = header
    frames = _Frames(wal, ">" if magic & 1 else "<", (start[0], start[1]))
    frame_bytes = FRAME_HEADER_BYTES + page_bytes
    staged: dict[int, int] = {}
    for number in range((len(data) - HEADER_BYTES) // frame_bytes):
        at = HEADER_BYTES + number * frame_bytes
        taken = frames.take(number, data[at : at + frame_bytes])
        if taken is None:
            break
        page, size_pages = taken
        staged[page] = number
        if size_pages:
            wal.pages.update(staged)
            staged.clear()
            wal.frames, wal.size_pages = number + 1, size_pages
    for number in [number for number in wal.mended if number >= wal.frames]:
        del wal.mended[number]
    wal.broken = synced_behind(data, HEADER_BYTES + wal.frames * frame_bytes, wal.salts, page_bytes)
    return wal


class _Frames:
    """Takes the frames of a WAL one after the other, each of which carries on the sums of the one before."""

    def __init__(self, wal: Wal, order: str, sums: Salts) -> None:
        self._wal = wal
        self._order = order
        self._sums = sums

    def take(self, number: int, frame: bytes) -> tuple[int, int] | None:
        """The frame's page and, where it ends a transaction, the size of the file in pages; None where it is none."""
        _, _, salt1, salt2, first, second = _FRAME.unpack_from(frame)
        content = frame[:8] + frame[FRAME_HEADER_BYTES:]
        wrong = _bits(salt1 ^ self._wal.salts[0]) + _bits(salt2 ^ self._wal.salts[1])
        sums = _checksum(content, self._sums, self._order)
        if sums != (first, second):
            if wrong:
                return None
            fixed = mend_content(content, sums, (first, second), self._order)
            if fixed is None:
                return None
            if fixed != content:
                sums = (first, second)
            content, wrong = fixed, 1
        if wrong > 1:
            return None
        if wrong:
            self._wal.mended[number] = content[8:]
        self._sums = sums
        page, size_pages = struct.unpack_from(">II", content)
        return page, size_pages


def mend_header(header: bytes) -> bytes | None:
    """A WAL's header, with one wrong bit put right where it takes that; None where not exactly one bit does."""
    if _is_header(header):
        return header
    if len(header) < HEADER_BYTES:
        return None
    tried, found = bytearray(header), []
    for position in range(8 * HEADER_BYTES):
        tried[position // 8] ^= 1 << position % 8
        if _is_header(bytes(tried)):
            found.append(bytes(tried))
        tried[position // 8] ^= 1 << position % 8
    return found[0] if len(found) == 1 else None


def _is_header(header: bytes) -> bool:
    if len(header) < HEADER_BYTES:
        return False
    magic, *_, first, second = _HEADER.unpack(header)
    order = ">" if magic & 1 else "<"
    return magic | 1 == _MAGIC | 1 and _checksum(bytes(header[:-8]), (0, 0), order) == (first, second)


def mend_content(content: bytes, sums: Salts, expected: Salts, order: str) -> bytes | None:
    """What a frame's sums cover, with the one bit put right that makes its `sums` the `expected` ones; as it is, where
    the wrong bit is in these. None where no bit explains it, or several would: a high bit of many words does the same.

    The sums are linear: a change of a word adds that change, times a factor of its place, to each of them.
    """
    words = list(struct.unpack(f"{order}{len(content) // 4}I", content))
    wanted = (expected[0] - sums[0]) & _WORDS, (expected[1] - sums[1]) & _WORDS
    found = []
    even, odd = (1, 1), (0, 1)
    for place in range(len(words) - 2, -1, -2):
        for index, factors in ((place, even), (place + 1, odd)):
            word = words[index]
            for bit in range(32):
                change = -(1 << bit) if word >> bit & 1 else 1 << bit
                if (change * factors[0] & _WORDS, change * factors[1] & _WORDS) == wanted:
                    found.append((index, word + change))
        even, odd = _one_pair_earlier(even), _one_pair_earlier(odd)
    in_sums = _bits(sums[0] ^ expected[0]) + _bits(sums[1] ^ expected[1]) == 1
    if in_sums:
        return content if not found else None
    if len(found) != 1:
        return None
    words[found[0][0]] = found[0][1]
    return struct.pack(f"{order}{len(words)}I", *words)


def _one_pair_earlier(factors: tuple[int, int]) -> tuple[int, int]:
    first = (factors[0] + factors[1]) & _WORDS
    return first, (factors[1] + first) & _WORDS


def _bits(number: int) -> int:
    return number.bit_count()


def ends_behind(data: bytes, at: int, salts: Salts, page_bytes: int) -> bool:
    """Whether a transaction's end follows from byte `at` on, which is behind the frames that hold."""
    for start in range(at, len(data) - FRAME_HEADER_BYTES + 1, FRAME_HEADER_BYTES + page_bytes):
        _, size_pages, salt1, salt2, _, _ = _FRAME.unpack_from(data, start)
        if size_pages and (salt1, salt2) == salts:
            return True
    return False


def synced_behind(data: bytes, at: int, salts: Salts, page_bytes: int) -> bool:
    """Whether behind the frames that hold, from byte `at` on, a transaction had ended and another one had begun.

    The next one begins when the one before is on the disk: then what broke was synced, and is no torn end.
    """
    ended = False
    for start in range(at, len(data) - FRAME_HEADER_BYTES + 1, FRAME_HEADER_BYTES + page_bytes):
        _, size_pages, salt1, salt2, _, _ = _FRAME.unpack_from(data, start)
        ours = (salt1, salt2) == salts
        if ours and ended:
            return True
        ended = ended or (ours and size_pages != 0)
    return False


def _checksum(data: bytes, start: tuple[int, int], order: str) -> tuple[int, int]:
    first, second = start
    words = iter(struct.unpack(f"{order}{len(data) // 4}I", data))
    for word, following in zip(words, words, strict=True):
        first = (first + word + second) & _WORDS
        second = (second + following + first) & _WORDS
    return first, second
