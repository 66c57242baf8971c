"""What an earlier store left visible is made durable before anything is answered from it.

A row in the WAL that a killed writer had not synced is visible, and a power cut could still take it away. An fsync is
enough for it. After an I/O error it is not: Linux may have marked the pages that it failed to write as clean, so that
a later fsync succeeds and writes nothing. Whether there was such an error nobody can tell for sure, since a store may
be killed before it says so. So wherever a WAL is left, its bytes are written again in place, the same ones, and then
synced. A store that ended in peace leaves none, and a WAL has its limit, so this takes well under a second.
"""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path
from typing import Final

from deora.errors import StoreError

ATTEMPTS: Final = 5
_MAGIC: Final = (0x377F0682, 0x377F0683)  # https://sqlite.org/fileformat2.html#walformat
_HEADER_BYTES: Final = 32
_FRAME_HEADER_BYTES: Final = 24
_FRAMES_AT_ONCE: Final = 256


def wal_of(path: Path) -> Path:
    """The WAL of a SQLite file."""
    return Path(f"{path}-wal")


def sync_files(path: Path) -> None:
    """Makes a SQLite file, its WAL and their names durable, where they exist. Nobody else may write meanwhile.

    Raises StoreError where the disk does not take it.
    """
    for file in (path, wal_of(path)):
        try:
            descriptor = os.open(file, os.O_RDWR)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StoreError(
                f"{file} cannot be opened for writing: {error.strerror}",
                hint="the data directory and its files must belong to the user that runs DEORA",
            ) from error
        try:
            _insist(file, descriptor, rewriting=file != path)
        finally:
            os.close(descriptor)
    if path.parent.exists():
        # SQLite syncs the folder with the first commit of a new WAL only; its writer may have been killed before.
        descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            _insist(path.parent, descriptor, rewriting=False)
        finally:
            os.close(descriptor)


def _insist(file: Path, descriptor: int, *, rewriting: bool) -> None:
    """Syncs, several times where that fails: each failure may have marked pages clean, so they are written again."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            if rewriting:
                rewrite(descriptor)
            os.fsync(descriptor)
        except OSError as error:
            if attempt == ATTEMPTS:
                raise StoreError(
                    f"the disk does not keep {file}: {error}",
                    hint="look after the disk; DEORA tries again by itself, and writes wait meanwhile",
                ) from error
        else:
            return


def rewrite(descriptor: int) -> int:
    """Writes the frames of a WAL again, the same bytes in place, as far as they are of its present run.

    What lies behind them is of an earlier run and in the database file already. Returns how many bytes it wrote; 0 for
    what is no WAL, of which SQLite reads nothing either.
    """
    header = os.pread(descriptor, _HEADER_BYTES, 0)
    if len(header) < _HEADER_BYTES:
        return 0
    magic, _, page_bytes = struct.unpack_from(">III", header)
    if magic not in _MAGIC or not 512 <= page_bytes <= 65536:
        return 0
    salts = header[16:24]
    frame_bytes = page_bytes + _FRAME_HEADER_BYTES
    os.pwrite(descriptor, header, 0)
    offset = _HEADER_BYTES
    while True:
        chunk = os.pread(descriptor, frame_bytes * _FRAMES_AT_ONCE, offset)
        frames = 0
        while chunk[frames * frame_bytes + 8 : frames * frame_bytes + 16] == salts:
            frames += 1
        kept = chunk[: frames * frame_bytes]
        if kept and os.pwrite(descriptor, kept, offset) < len(kept):
            # Nothing grows here, but the process may have a lower limit for files than the one that wrote this.
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        offset += len(kept)
        if frames < _FRAMES_AT_ONCE:
            return offset
