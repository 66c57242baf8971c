"""A file that holds nothing but room: where a full disk keeps even a delete from running, it is given up."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


class Ballast:
    """The file at `path`; its blocks are allocated, so that giving it up gives room.

    A file that compresses itself away, as on ZFS, gives none; there the watermark has to do alone.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def size_bytes(self) -> int:
        """How much of the disk it is to hold; 0 where there is none."""
        try:
            return os.stat(self.path).st_size
        except OSError:
            return 0

    def make(self, size_bytes: int) -> bool:
        """Makes it, or makes it whole; whether that could be done. Where it could not, nothing is left of it."""
        try:
            if self.size_bytes() < size_bytes:
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
                try:
                    os.posix_fallocate(descriptor, 0, size_bytes)
                finally:
                    os.close(descriptor)
        except OSError:
            # No room, a quota, a limit of the process: half a ballast would be in the way of what it is for.
            self.release()
            return False
        return True

    def give(self, size_bytes: int) -> None:
        """Gives up so much of it. All at once would be there for whoever has filled the disk to take, too."""
        left_bytes = self.size_bytes() - size_bytes
        if left_bytes <= 0:
            self.release()
            return
        with suppress(OSError):
            os.truncate(self.path, left_bytes)

    def release(self) -> bool:
        """Gives all of it up; whether there was any."""
        held = self.size_bytes() > 0
        with suppress(OSError):
            os.unlink(self.path)
        return held
