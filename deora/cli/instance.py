"""The running instance as the operating system knows it: who started it, and its end.

It is known from its control socket, and its process from the kernel. So no stranger who inherited a process id is ever
signalled.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from deora.cli.client import ControlClient
from deora.cli.lock import read_lock
from deora.errors import DeoraError, NotRunningError

# The supervisor ends within 10 s of SIGTERM; the rest is for a busy box.
STOP_TIMEOUT_S: Final = 15.0
SERVICE: Final = "deora-backend"


def refuse_under_systemd(data: Path, verb: str) -> None:
    """Raises DeoraError where systemd started the instance: it would start again what this command ends."""
    lock = read_lock(data)
    if lock is not None and lock.systemd:
        raise DeoraError(f"systemd runs the instance on {data.absolute()}", hint=f"use `systemctl {verb} {SERVICE}`")


def stop_instance(client: ControlClient, *, timeout_s: float = STOP_TIMEOUT_S) -> int:
    """Ends the instance (SIGTERM) and returns its process id once its supervisor, the last of its processes, has ended.

    Raises NotRunningError where none runs, and DeoraError where it has not ended after `timeout_s`.
    """
    with _listening_process(client) as (pid, pidfd):
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        except ProcessLookupError:
            return pid
        except PermissionError as error:
            raise DeoraError(
                f"this user may not signal pid {pid}", hint="run the command as the user that runs the instance"
            ) from error
        if not ended(pidfd, timeout_s):
            raise DeoraError(
                f"pid {pid} has not ended {timeout_s:g} s after SIGTERM",
                hint=f"look at its logs; `kill -9 {pid}` ends it, and loses nothing that was acknowledged",
            )
    return pid


def ended(pidfd: int, timeout_s: float) -> bool:
    """Whether the process has ended, or does within `timeout_s`."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(timeout_s * 1000))


@contextmanager
def _listening_process(client: ControlClient) -> Iterator[tuple[int, int]]:
    """The supervisor's process id with a pidfd that is surely its own."""
    pid = client.peer_pid()
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError as error:
        raise NotRunningError(f"the instance on {client.data.absolute()} has just ended") from error
    try:
        # It still listens, so it has not ended in between, and its number has not become a stranger's.
        if client.peer_pid() != pid:
            raise DeoraError("the instance was started anew in this moment", hint="try again")
        yield pid, pidfd
    finally:
        os.close(pidfd)
