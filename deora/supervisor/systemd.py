"""What systemd is told, and what it hands over: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3).

Without systemd none of its variables is set, and all of this does nothing.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import MutableMapping
from typing import Final

FIRST_DESCRIPTOR: Final = 3


class Notifier:
    """Tells systemd what this instance is doing. A message that does not get through is lost, and hurts nobody."""

    def __init__(self, environ: MutableMapping[str, str] = os.environ) -> None:
        path = environ.get("NOTIFY_SOCKET", "")
        # A name that begins with @ is of the abstract namespace, where a zero byte stands in its place (unix(7)).
        self._address = f"\0{path[1:]}" if path.startswith("@") else path
        self._status = ""
        self._watchdog_s = _watchdog_s(environ)
        self._alive_due_s = 0.0

    def ready(self) -> None:
        """It serves; also the end of a reload."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """A reload begins. systemd asks for the moment, so as to tell this reload's end from an earlier one's."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """It ends."""
        self._tell("STOPPING=1")

    def status(self, text: str) -> None:
        """The line that `systemctl status` shows. Told only where it has changed."""
        if text != self._status:
            self._status = text
            self._tell(f"STATUS={text}")

    def alive(self, now_s: float) -> None:
        """The loop goes round: told twice within the time after which systemd would kill it (WatchdogSec=)."""
        if self._watchdog_s and now_s >= self._alive_due_s:
            self._alive_due_s = now_s + self._watchdog_s / 2
            self._tell("WATCHDOG=1")

    def _tell(self, text: str) -> None:
        if self._address:
            with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
                sock.setblocking(False)
                sock.sendto(text.encode(), self._address)


def _watchdog_s(environ: MutableMapping[str, str]) -> float:
    if environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return 0.0
    usec = environ.get("WATCHDOG_USEC", "")
    return int(usec) / 1e6 if usec.isdecimal() else 0.0


def passed_sockets(environ: MutableMapping[str, str] = os.environ) -> list[socket.socket]:
    """The sockets that systemd has opened for this process (`ListenStream=` of a .socket unit); none without it.

    They are taken once, and no child gets them: the variables go, and an exec closes the descriptors.
    """
    pid, count = environ.pop("LISTEN_PID", ""), environ.pop("LISTEN_FDS", "")
    environ.pop("LISTEN_FDNAMES", None)
    if pid != str(os.getpid()) or not count.isdecimal():
        return []
    found = []
    for descriptor in range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + int(count)):
        os.set_inheritable(descriptor, False)
        found.append(socket.socket(fileno=descriptor))
    return found
