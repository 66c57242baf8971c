"""Processes as the kernel shows them."""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress
from pathlib import Path


def await_end(pid: int, timeout_s: float = 5) -> int:
    """Waits for the end of a child of this process and reaps it; its exit code, or minus the signal."""
    pidfd = os.pidfd_open(pid)
    try:
        assert has_ended(pidfd, timeout_s), f"process {pid} has not ended within {timeout_s} s"
        result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED)
        assert result is not None
        return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status
    finally:
        os.close(pidfd)


def has_ended(pidfd: int, timeout_s: float) -> bool:
    """Whether the process of a pidfd, anybody's, has ended or does within a time."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))


def name_of(pid: int) -> str:
    """The name that `ps` shows."""
    return Path(f"/proc/{pid}/comm").read_text().strip()


def await_name(pid: int, name: str, timeout_s: float = 5) -> None:
    """Waits until a process has given itself this name; the system keeps 15 characters of it."""
    deadline_s = time.monotonic() + timeout_s
    while name_of(pid) != name[:15]:
        assert time.monotonic() < deadline_s, f"process {pid} is called {name_of(pid)}, not {name}"
        os.sched_yield()


def parent_of(pid: int) -> int:
    """The parent's process id."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def descriptors_of(pid: int) -> dict[int, str]:
    """The open descriptors of a process and what they lead to."""
    found = {}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found[int(entry.name)] = os.readlink(entry)
    return found
