"""The pages of a damaged store: from its WAL, from its file where they are as their sums say, or mended.

One flipped bit is found again by trying: only one change of one bit gives the page the sum that it had.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Final

from deora.store.sums import Sums, refresh
from deora.store.wal import FRAME_HEADER_BYTES, HEADER_BYTES, Wal

# More than these are no flipped bits, and looking for one takes 0.1 s a page.
MENDED_AT_MOST: Final = 32


class Image:
    """Reads a file and its WAL, and changes neither. `sums`: None where none are known to hold; then every page counts.

    `bad`: pages that are not as they were and could not be mended, or are not there. `mended`: those that could.
    """

    def __init__(self, path: Path, sums: Sums | None, wal: Wal, page_bytes: int) -> None:
        self._sums = sums
        self._wal = wal
        self.page_bytes = page_bytes
        self._file = path.read_bytes() if path.exists() else b""
        self._log = b""
        if wal.pages:
            self._log = path.with_name(path.name + "-wal").read_bytes()
        self._mended: dict[int, bytes] = {}
        self.bad: set[int] = set()
        known = len(sums.crcs) if sums is not None else -(-len(self._file) // page_bytes)
        self.size_pages = wal.size_pages or known
        for number in range(1, self.size_pages + 1):
            self._judge(number)

    @property
    def mended(self) -> int:
        """In how many pages and frames one bit was put right."""
        return len(self._mended) + len(self._wal.mended)

    def page(self, number: int) -> bytes | None:
        """The page, from 1; None where it cannot be believed."""
        if not 1 <= number <= self.size_pages or number in self.bad:
            return None
        return self._mended.get(number) or self._raw(number)

    def doubtful(self, number: int) -> bytes | None:
        """The page as the file has it, believed or not; None where it is not there."""
        data = self._raw(number)
        return data if len(data) == self.page_bytes else None

    def write(self, target: Path) -> None:
        """The whole file as it was, durably. There are no bad pages."""
        with open(target, "wb") as file:
            for number in range(1, self.size_pages + 1):
                file.write(self.page(number) or b"")
            file.flush()
            os.fsync(file.fileno())

    def _raw(self, number: int) -> bytes:
        frame = self._wal.pages.get(number)
        if frame is not None and frame in self._wal.mended:
            return self._wal.mended[frame]
        if frame is not None:
            at = HEADER_BYTES + frame * (FRAME_HEADER_BYTES + self.page_bytes) + FRAME_HEADER_BYTES
            return self._log[at : at + self.page_bytes]
        return self._file[(number - 1) * self.page_bytes : number * self.page_bytes]

    def _judge(self, number: int) -> None:
        data = self._raw(number)
        if len(data) < self.page_bytes:
            self.bad.add(number)
            return
        if number in self._wal.pages or self._sums is None:
            return
        if number > len(self._sums.crcs):
            # Neither in the WAL nor known: the file was never so long.
            self.bad.add(number)
            return
        expected = self._sums.crcs[number - 1]
        if zlib.crc32(data) == expected:
            return
        mended = mend(data, expected) if len(self._mended) < MENDED_AT_MOST else None
        if mended is None:
            self.bad.add(number)
        else:
            self._mended[number] = mended


def mend(data: bytes, crc: int) -> bytes | None:
    """The page with the one bit put right that makes its sum `crc`; None where no single bit does."""
    page = bytearray(data)
    for at in range(len(page)):
        for bit in range(8):
            page[at] ^= 1 << bit
            if zlib.crc32(page) == crc:
                return bytes(page)
            page[at] ^= 1 << bit
    return None


def sums_of(path: Path, page_bytes: int) -> Sums:
    """The sums of a file that was just written and has no WAL."""
    sums = Sums(page_bytes)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        refresh(sums, descriptor, ())
    finally:
        os.close(descriptor)
    return sums
