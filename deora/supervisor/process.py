"""What the kernel knows of processes: the system calls that Python has no name for, by ctypes, and how one ended."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Collection
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_NAME: Final = 15
_PR_SET_CHILD_SUBREAPER: Final = 36
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")

# Every write waits for the store, and nobody for the replayer or a backup: on a busy machine they are served in that
# order. Less than 0 needs a right that only a service has (LimitNICE= or CAP_SYS_NICE).
_NICENESS: Final = {"store": -5, "replayer": 5, "backup": 15}


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


def set_niceness(role: str) -> None:
    """How this process's claim to the processor compares with the supervisor's; as it is where that is not allowed."""
    with contextlib.suppress(PermissionError):
        os.nice(_NICENESS.get(role, 0))


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


def exit_reason(pidfd: int) -> str:
    """Reaps a child that has ended, and says how it did.

    Raises BlockingIOError where a tracer (strace, gdb) has not been told of its end yet: it comes before the parent.
    """
    with contextlib.suppress(ChildProcessError):
        result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        if result is not None and result.si_code == os.CLD_EXITED:
            return f"exit code {result.si_status}"
        if result is not None:
            known = {number.value: number.name for number in signal.Signals}
            return f"killed by {known.get(result.si_status, f'signal {result.si_status}')}"
    return "its exit status is not known"


def reap_strangers(known: Collection[int | None]) -> None:
    """Reaps what has ended of this process's children, but for those that are `known`.

    A zygote that is killed between a fork and its answer leaves us children that nobody was told of.
    """
    own = os.getpid()
    with contextlib.suppress(FileNotFoundError):
        for pid in map(int, Path(f"/proc/{own}/task/{own}/children").read_text(encoding="ascii").split()):
            if pid not in known:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)


def resident_bytes(pid: int) -> int:
    """The memory that a process has at hand, shared pages included; 0 for one that has gone."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * _PAGE_BYTES
    return 0
