"""What is known of the store's file beside it: a checksum of each page, and how far the WAL had come.

SQLite has no checksum of its pages: a bit that flips inside a row leaves a valid file with a wrong value in it. And it
drops the end of a WAL that does not hold without a word. So two small files stand beside the store's:

    store.db-sums   CRC-32 of each page of the file, as of a checkpoint, and whose frames that one copied
    store.db-mark   the last transaction that was durable: the WAL's salts and frames, and how far the counters had come

A page is either as its sum says or in the WAL, which has checksums of its own. The sums are written, whole and by a
rename, after a checkpoint and before the next transaction, which is the first that may overwrite the WAL. The mark is
written after each transaction and never synced: after a power cut it may be older than the file, never newer. Either
file may be missing, or belong to an older copy: then it says nothing, and nobody is alarmed.
"""

from __future__ import annotations

import os
import struct
import zlib
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from deora.store.wal import NO_SALTS, Salts

_SUMS: Final = struct.Struct("<8sIIQIIII")
_MARK: Final = struct.Struct("<8sQIIIQQ16s16s")
_CHECK: Final = struct.Struct("<I")
_SUMS_MAGIC: Final = b"DEORASUM"
_MARK_MAGIC: Final = b"DEORAMRK"
PAGES_AT_ONCE: Final = 256


@dataclass(slots=True)
class Sums:
    """The sums of all pages, the first page's first. `salts` and `frames`: up to where a WAL was copied into the file.

    `number` counts the sums of one file, so that a mark tells whether it is of their time.
    """

    page_bytes: int = 4096
    number: int = 0
    salts: Salts = NO_SALTS
    frames: int = 0
    crcs: array[int] = field(default_factory=lambda: array("I"))


@dataclass(frozen=True, slots=True)
class Mark:
    """The last durable transaction. `sums`: the number of the sums that its WAL stands on."""

    sums: int
    salts: Salts
    frames: int
    commit_no: int
    entry_id: int
    node: str
    epoch: str


def sums_path(path: Path) -> Path:
    """Where the sums of a store's file are."""
    return path.with_name(path.name + "-sums")


def mark_path(path: Path) -> Path:
    """Where the mark of a store's file is."""
    return path.with_name(path.name + "-mark")


def load_sums(path: Path) -> Sums | None:
    """The sums beside a store's file; None where there are none, or none that hold."""
    data = _read(sums_path(path))
    if len(data) < _SUMS.size + _CHECK.size or not _holds(data):
        return None
    magic, page_bytes, count, number, salt1, salt2, frames, _ = _SUMS.unpack_from(data)
    crcs = array("I", data[_SUMS.size : -_CHECK.size])
    if magic != _SUMS_MAGIC or len(crcs) != count:
        return None
    return Sums(page_bytes, number, (salt1, salt2), frames, crcs)


def save_sums(path: Path, sums: Sums) -> None:
    """Puts the sums in the place of the last ones, durably. Raises OSError; then either may be there."""
    body = _SUMS.pack(_SUMS_MAGIC, sums.page_bytes, len(sums.crcs), sums.number, *sums.salts, sums.frames, 0)
    body += sums.crcs.tobytes()
    target = sums_path(path)
    temporary = target.with_name(target.name + ".next")
    try:
        with open(temporary, "wb") as file:
            file.write(body)
            file.write(_CHECK.pack(zlib.crc32(body)))
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(target)
    except OSError:
        # On a full disk, half of it would be in the way.
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def drop_sums(path: Path) -> None:
    """From now on nothing is known of the pages, durably: before the file is changed and its sums cannot follow."""
    sums_path(path).unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Makes renames in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def load_mark(path: Path) -> Mark | None:
    """The mark beside a store's file; None where there is none, or none that holds."""
    data = _read(mark_path(path))
    if len(data) != _MARK.size + _CHECK.size or not _holds(data):
        return None
    magic, number, salt1, salt2, frames, commit_no, entry_id, node, epoch = _MARK.unpack_from(data)
    if magic != _MARK_MAGIC:
        return None
    return Mark(number, (salt1, salt2), frames, commit_no, entry_id, _name(node), _name(epoch))


def pack_mark(mark: Mark) -> bytes:
    """The mark's file, always of one size, so that it is overwritten in place."""
    body = _MARK.pack(
        _MARK_MAGIC,
        mark.sums,
        *mark.salts,
        mark.frames,
        mark.commit_no,
        mark.entry_id,
        mark.node.encode()[:16],
        mark.epoch.encode()[:16],
    )
    return body + _CHECK.pack(zlib.crc32(body))


def crcs_of(descriptor: int, page_bytes: int, first: int, last: int) -> Iterator[int]:
    """The sums of the pages `first` (from 0) up to `last` (not counted in) as the file has them, up to its end."""
    for start in range(first, last, PAGES_AT_ONCE):
        data = memoryview(os.pread(descriptor, min(PAGES_AT_ONCE, last - start) * page_bytes, start * page_bytes))
        for at in range(0, len(data) - page_bytes + 1, page_bytes):
            yield zlib.crc32(data[at : at + page_bytes])


def refresh(sums: Sums, descriptor: int, pages: Iterable[int]) -> None:
    """Takes the sums of these pages (numbered from 1) anew, and of all that the file is longer by."""
    count = os.fstat(descriptor).st_size // sums.page_bytes
    known = len(sums.crcs)
    del sums.crcs[count:]
    sums.crcs.extend(crcs_of(descriptor, sums.page_bytes, known, count))
    for page in sorted(pages):
        if page <= min(known, count):
            sums.crcs[page - 1] = zlib.crc32(os.pread(descriptor, sums.page_bytes, (page - 1) * sums.page_bytes))


def mismatches(sums: Sums, descriptor: int, spared: set[int], first: int, last: int) -> list[int]:
    """The pages (numbered from 1) from index `first` to `last` that are not as their sums say, or not there.

    `spared` are in the WAL, which is what counts for them.
    """
    last = min(last, len(sums.crcs))
    found = []
    index = first
    for index, crc in enumerate(crcs_of(descriptor, sums.page_bytes, first, last), first):
        if crc != sums.crcs[index] and index + 1 not in spared:
            found.append(index + 1)
    there = os.fstat(descriptor).st_size // sums.page_bytes
    found += [page for page in range(max(first, there) + 1, last + 1) if page not in spared]
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _holds(data: bytes) -> bool:
    return _CHECK.unpack(data[-_CHECK.size :]) == (zlib.crc32(data[: -_CHECK.size]),)


def _name(packed: bytes) -> str:
    return packed.rstrip(b"\0").decode("ascii", "replace")
