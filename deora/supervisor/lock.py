"""One instance for each data directory: an flock, which ends with its holder, so no stale file can hurt anybody."""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

from deora.errors import StartError
from deora.supervisor.listeners import control_directory

LOCK_NAME: Final = "deora.lock"
HOLDER_S: Final = 0.5


class InstanceLock:
    """Held from start to end. The descriptor is not inherited by an exec, so no child can outlive it as the holder."""

    def __init__(self, data: Path, argv: list[str]) -> None:
        _prepare(data)
        self._path = data / LOCK_NAME
        try:
            self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise _not_writable(data, error) from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _holder(self._descriptor)
            os.close(self._descriptor)
            raise StartError(
                f"another instance runs on {data}{holder}",
                hint="`deora status` shows it and `deora stop` ends it; a second one needs its own --data",
            ) from None
        self._say(argv)

    @classmethod
    def adopt(cls, descriptor: int, data: Path, argv: list[str]) -> InstanceLock:
        """The lock that this process holds already, as the program that it was before."""
        lock = cls.__new__(cls)
        lock._path, lock._descriptor = data / LOCK_NAME, descriptor
        lock._say(argv)
        return lock

    @property
    def descriptor(self) -> int:
        """The open file that holds the lock."""
        return self._descriptor

    def _say(self, argv: list[str]) -> None:
        data = self._path.parent
        control = control_directory(data)
        told = {
            "pid": os.getpid(),
            "argv": argv,
            "systemd": "INVOCATION_ID" in os.environ,
            "control": str(control) if control != data else None,
        }
        content = json.dumps(told)
        # A full disk keeps no box from starting: the lock holds without its content. What an earlier instance has left
        # is overwritten in place, which needs no room.
        with suppress(OSError):
            os.pwrite(self._descriptor, content.encode(), 0)
            os.ftruncate(self._descriptor, len(content))

    def release(self) -> None:
        """Gives the data directory free."""
        os.ftruncate(self._descriptor, 0)
        os.close(self._descriptor)


def _prepare(data: Path) -> None:
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StartError(
            f"the data directory {data} cannot be made: {error.strerror}",
            hint="name another one with --data, or make it and give it to this user",
        ) from error
    if not os.access(data, os.W_OK | os.X_OK):
        raise StartError(
            f"the data directory {data} cannot be written to by this user",
            hint=f"chown it to the user that runs DEORA (uid {os.getuid()}), or name another one with --data",
        )


def _not_writable(data: Path, error: OSError) -> StartError:
    return StartError(
        f"the data directory {data} cannot be written to: {error.strerror}",
        hint="check its owner, its permissions and whether its file system is mounted read-only",
    )


def _holder(descriptor: int) -> str:
    """Who holds the lock. It writes its id right after it has won; until then the file may name its predecessor."""
    deadline_s = time.monotonic() + HOLDER_S
    while True:
        pid = _named(os.pread(descriptor, 1024 * 1024, 0))
        if pid is not None and Path(f"/proc/{pid}").exists():
            return f" (pid {pid})"
        if time.monotonic() >= deadline_s:
            return ""
        time.sleep(0.005)


def _named(content: bytes) -> int | None:
    try:
        pid = json.loads(content)["pid"]
    except (ValueError, KeyError, TypeError):
        return None
    return pid if isinstance(pid, int) else None
