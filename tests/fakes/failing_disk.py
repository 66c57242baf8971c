"""A disk that fails: `tests/faults/disk.c`, built here and preloaded into a process, steered through a mapped file.

And what a power cut leaves of it: from the journal of what was written and synced, `power_cut` works out the files as
they would be found, with all, none or some of what was not synced.
"""

from __future__ import annotations

import mmap
import os
import random
import shutil
import struct
import subprocess
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Final

import pytest

SOURCE: Final = Path(__file__).resolve().parent.parent / "faults" / "disk.c"
_PLAN: Final = struct.Struct("=QQQQq")
_RECORD: Final = struct.Struct("=IIQQ")
_NAME_BYTES: Final = 1024
_SECTOR_BYTES: Final = 512


class Kind(IntEnum):
    """The calls that can be made to fail."""

    PWRITE = 0
    WRITE = 1
    FDATASYNC = 2
    FSYNC = 3
    FTRUNCATE = 4
    UNLINK = 5
    FALLOCATE = 6
    RENAME = 7


class Action(IntEnum):
    """What happens instead of a call: FAIL with an errno, KILL before it, TEAR: killed after half of a write."""

    NOTHING = 0
    FAIL = 1
    KILL = 2
    TEAR = 3
    DELAY = 4


class What(IntEnum):
    """The records of the journal."""

    WRITTEN = 0
    SYNCED = 1
    SYNC_FAILED = 2
    CUT = 3
    REMOVED = 4
    RENAMED = 5


class FailingDisk:
    """Builds the library into `folder`. Skips the test where there is no C compiler. Close it at the end."""

    def __init__(self, folder: Path) -> None:
        compiler = shutil.which("cc") or shutil.which("gcc")
        if compiler is None:
            pytest.skip("no C compiler: a disk that fails has to be built (Debian: apt-get install gcc libc6-dev)")
        self._library = folder / "disk.so"
        command = [
            compiler,
            "-shared",
            "-fPIC",
            "-O1",
            "-Wall",
            "-Werror",
            "-o",
            str(self._library),
            str(SOURCE),
            "-ldl",
        ]
        subprocess.run(command, check=True)
        self._control = folder / "control"
        self._control.write_bytes(bytes(len(Kind) * _PLAN.size + 2 * _NAME_BYTES))
        with self._control.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)

    def close(self) -> None:
        """Lets go of the mapped file."""
        self._map.close()

    def environment(self) -> dict[str, str]:
        """What a process's environment needs so that its disk can fail."""
        return {"LD_PRELOAD": str(self._library), "DISK_CONTROL": str(self._control)}

    def before(self) -> list[str]:
        """The program that becomes a process whose disk can fail."""
        return ["env", *(f"{name}={value}" for name, value in self.environment().items())]

    def watch(self, prefix: Path, journal: Path | None = None) -> None:
        """Meddles with files whose path begins so, and with no others; notes in `journal` what happens to them."""
        for number, name in enumerate((prefix, journal)):
            packed = os.fsencode(name) if name is not None else b""
            assert len(packed) < _NAME_BYTES
            at = len(Kind) * _PLAN.size + number * _NAME_BYTES
            self._map[at : at + _NAME_BYTES] = packed.ljust(_NAME_BYTES, b"\0")

    def plan(self, kind: Kind, action: Action, *, at: int = 1, every: int = 0, value: int = 0) -> None:
        """At the `at`th call of a kind from now on, and each `every`th behind it. `value`: errno, or microseconds."""
        self._map[kind * _PLAN.size : (kind + 1) * _PLAN.size] = _PLAN.pack(0, at, every, action, value)

    def heal(self) -> None:
        """From now on nothing fails, and all is counted from 0."""
        for kind in Kind:
            self.plan(kind, Action.NOTHING)

    def count(self, kind: Kind) -> int:
        """How many calls of a kind there were since its plan was made."""
        number: int = _PLAN.unpack_from(self._map, kind * _PLAN.size)[0]
        return number


# -- what a power cut leaves


@dataclass(slots=True)
class _File:
    """What the disk has of a file for sure, and what was written since: (offset, bytes), or (length, None) for a cut.

    What was in a sync that failed stays unsure: it may be there, and no later sync makes sure of it.
    """

    durable: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    doubtful: list[tuple[int, bytes | None]] = field(default_factory=list)


def power_cut(base: Path, journal: Path, into: Path, dice: random.Random | None = None) -> None:
    """Writes into a new folder the files that a power cut at the journal's end would leave, by their names.

    `base` holds the files as they were, durable, when the journal began. Of what was not synced nothing is left; with
    `dice` some of it is, by sectors, in any order. What lies in `-shm` is
    no matter of durability and is left out. A file's first sync makes its name durable, too, as a journaling file
    system does, and a file that was removed or renamed stays so.
    """
    files = {file.name: _File(bytearray(file.read_bytes())) for file in base.iterdir()}
    into.mkdir()
    for what, name, offset, data in _records(journal):
        file = files.setdefault(name, _File())
        if what == What.WRITTEN:
            file.pending.append((offset, data))
        elif what == What.CUT:
            file.pending.append((offset, None))
        elif what == What.SYNCED:
            for change in file.pending:
                _apply(file.durable, *change)
            file.pending.clear()
            file.doubtful.clear()
        elif what == What.SYNC_FAILED:
            file.doubtful += file.pending
            file.pending.clear()
        elif what == What.REMOVED:
            files[name] = _File()
        elif what == What.RENAMED:
            files[Path(os.fsdecode(data)).name] = files.pop(name)
    for name, file in files.items():
        if dice is not None:
            for change in file.doubtful + file.pending:
                _apply_some(file.durable, *change, dice)
        if not name.endswith("-shm") and file.durable:
            (into / name).write_bytes(file.durable)


def _records(journal: Path) -> list[tuple[int, str, int, bytes]]:
    content = memoryview(journal.read_bytes())
    found = []
    at = 0
    while at < len(content):
        what, path_bytes, offset, length = _RECORD.unpack_from(content, at)
        at += _RECORD.size
        path = Path(os.fsdecode(bytes(content[at : at + path_bytes])))
        at += path_bytes
        data = bytes(content[at : at + length])
        at += len(data)
        found.append((what, path.name, offset, data))
    return found


def _apply(content: bytearray, offset: int, data: bytes | None) -> None:
    if data is None:
        del content[offset:]
        content.extend(bytes(offset - len(content)))
        return
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


def _apply_some(content: bytearray, offset: int, data: bytes | None, dice: random.Random) -> None:
    if data is None:
        if dice.random() < 0.5:
            _apply(content, offset, None)
        return
    start = offset
    while start < offset + len(data):
        end = min(offset + len(data), (start // _SECTOR_BYTES + 1) * _SECTOR_BYTES)
        if dice.random() < 0.5:
            _apply(content, start, data[start - offset : end - offset])
        start = end
