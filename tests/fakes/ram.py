"""Folders in memory, for tests of logic that write thousands of small files: a sync costs nothing there.

What survives a power cut is no question of theirs; tests of that use a real disk (tests/faults).
"""

from __future__ import annotations

import os
from tempfile import TemporaryDirectory

IN_MEMORY = "/dev/shm"


def ram_directory() -> TemporaryDirectory[str]:
    """A new folder, in memory where the machine has room for such."""
    return TemporaryDirectory(prefix="deora-", dir=IN_MEMORY if os.access(IN_MEMORY, os.W_OK) else None)
