"""A log file that several processes append to, and that is put away when it is full: no line is lost, none is torn.

Whoever writes holds the file's lock (flock), so that between its look at the size and its write nobody else writes,
renames or truncates. Under the lock:

1. If the path names another file by now, or none, that one is opened: somebody has put this one away.
2. If it is full it becomes NAME.1, NAME.1 becomes NAME.2, and so on up to `keep`.
3. The lines are written. If the disk takes a part only, the file is cut behind the last whole line.

Who waits for the lock longer than LOCK_S (its holder is stopped, or the disk hangs) writes without it: then a line may
be torn, which is better than none.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

LOCK_S: Final = 1.0
_LOOK_S: Final = 0.001


class LogFile:
    """One log. It is opened at the first write, or by `open`."""

    def __init__(self, path: Path, max_bytes: int, keep: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._descriptor = -1

    def open(self) -> None:
        """Opens the file that the path names now. Raises OSError; then the one that was open stays so."""
        former, self._descriptor = (
            self._descriptor,
            os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640),
        )
        if former >= 0:
            os.close(former)

    def close(self) -> None:
        """Closes it."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def write(self, lines: Sequence[bytes]) -> int:
        """Appends whole lines, and returns how many: fewer where the disk has no room for the others. Raises OSError
        where it takes none."""
        if self._descriptor < 0:
            self.open()
        is_locked = self._lock()
        try:
            if os.fstat(self._descriptor).st_size >= self._max_bytes and is_locked:
                self._put_away()
                self.open()
                is_locked = self._lock()
            return self._append(lines)
        finally:
            if is_locked:
                fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    def _append(self, lines: Sequence[bytes]) -> int:
        data = b"".join(lines)
        before = os.fstat(self._descriptor).st_size
        written = os.write(self._descriptor, data)
        if written == len(data):
            return len(lines)
        whole = data.rfind(b"\n", 0, written) + 1
        if os.fstat(self._descriptor).st_size == before + written:
            os.ftruncate(self._descriptor, before + whole)
        if not whole:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return data.count(b"\n", 0, whole)

    def _lock(self) -> bool:
        """Locks the file that the path names; whether it could within LOCK_S."""
        end_s = time.monotonic() + LOCK_S
        while True:
            try:
                fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() >= end_s:
                    return False
                time.sleep(_LOOK_S)
                continue
            if self._is_current():
                return True
            # The next one is open before the lock of this one goes with its descriptor.
            self.open()

    def _is_current(self) -> bool:
        try:
            named = os.stat(self._path)
        except FileNotFoundError:
            return False
        ours = os.fstat(self._descriptor)
        return (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)

    def _put_away(self) -> None:
        """Only its last step takes the name from the file, so nobody begins the next one before all is done."""
        if self._keep == 0:
            self._path.unlink()
            return
        for number in range(self._keep - 1, 0, -1):
            older = put_away(self._path, number)
            if older.exists():
                older.rename(put_away(self._path, number + 1))
        self._path.rename(put_away(self._path, 1))


def put_away(path: Path, number: int) -> Path:
    """The name of a log's `number`th file that was put away; 1 is the youngest."""
    return path.with_name(f"{path.name}.{number}")
