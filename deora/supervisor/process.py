"""The system calls that Python has no name for: prctl(2), by ctypes."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15
_PR_SET_CHILD_SUBREAPER: Final = 36


def _prctl(option: int, argument: int | bytes) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, argument, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")


def become_subreaper() -> None:
    """Makes this process the parent of its descendants' orphans: what the zygote's middle process leaves behind."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def name_process(name: str) -> None:
    """The name that `ps` and `top` show, 15 characters at most."""
    _prctl(_PR_SET_NAME, name.encode()[:15])


def die_with(parent: int, *, after: int | None = None) -> None:
    """Ties this process's life to `parent`, which is its parent process, or is once the process `after` has ended.

    PR_SET_PDEATHSIG must be set after the re-parenting, else it fires when the middle process ends; and the parent may
    die before it is set, hence the second look. Exits where the parent has gone.
    """
    while os.getppid() == after:
        time.sleep(0.0002)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)
