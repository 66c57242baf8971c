"""Reading a log while it is written and put away: its last lines, then whatever follows, each line once.

A file that is put away keeps its inode, so the reader finds the one that it has come to among NAME.1, NAME.2, ..., and
reads on from there to the newest.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, Final

from deora.observe.log_files import put_away

_BLOCK_BYTES: Final = 64 * 1024


class LogReader:
    """One log. It may not be there yet, or be gone for a moment."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._rest = b""

    def last(self, number: int) -> list[bytes]:
        """The last lines, oldest first; `read` goes on behind them."""
        self.close()
        self._file = _open(self._path)
        lines: list[bytes] = []
        if self._file is not None:
            lines, self._rest = _last(self._file, number)
        older = 1
        while len(lines) < number:
            file = _open(put_away(self._path, older))
            if file is None:
                break
            with file:
                lines = _last(file, number - len(lines))[0] + lines
            older += 1
        return lines

    def read(self) -> list[bytes]:
        """The whole lines that have come since the last time."""
        lines: list[bytes] = []
        if self._file is None:
            self._file = _open(self._path)
        while self._file is not None:
            lines += self._lines(self._file)
            following = self._following(self._file)
            if following is None:
                break
            # What came between the first look and its putting away.
            lines += self._lines(self._file)
            self._file.close()
            self._file, self._rest = following, b""
        return lines

    def close(self) -> None:
        """Closes what is open."""
        if self._file is not None:
            self._file.close()
        self._file, self._rest = None, b""

    def _lines(self, file: BinaryIO) -> list[bytes]:
        if os.fstat(file.fileno()).st_size < file.tell():
            # Somebody has emptied it.
            file.seek(0)
            self._rest = b""
        *lines, self._rest = (self._rest + file.read()).split(b"\n")
        return lines

    def _following(self, file: BinaryIO) -> BinaryIO | None:
        """The file that was begun after this one; None where this one is the newest, or there is no other."""
        if _is_at(file, self._path):
            return None
        number, following = 1, self._path
        while (older := put_away(self._path, number)).exists():
            if _is_at(file, older):
                return _open(following)
            following, number = older, number + 1
        # It was deleted meanwhile: the oldest that is left is as near as can be.
        return _open(following)


def _open(path: Path) -> BinaryIO | None:
    try:
        return path.open("rb")
    except FileNotFoundError:
        return None


def _is_at(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _last(file: BinaryIO, number: int) -> tuple[list[bytes], bytes]:
    """The last whole lines of a file, and what stands behind them; the file is read to its end."""
    end = start = file.seek(0, os.SEEK_END)
    data = b""
    while start and data.count(b"\n") <= number:
        begin = max(0, start - _BLOCK_BYTES)
        file.seek(begin)
        data = file.read(start - begin) + data
        start = begin
    file.seek(end)
    *lines, rest = data.split(b"\n")
    if start:
        del lines[:1]
    return (lines[-number:] if number else []), rest
