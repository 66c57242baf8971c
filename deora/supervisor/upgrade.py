"""An upgrade in place: this process becomes the program that is installed now, and keeps what clients hold on to.

    checked: the new program says that it would start   --no--> nothing is changed, and the reason is told
        |
    held: no new request is read; those at work are answered
        |
    the children end, the store last
        |
    exec: same process id, with the lock, the listeners and the clients' connections as open descriptors
        |
    the new program starts its children; what clients have sent meanwhile waits in the kernel, and is answered

The process id stays, so systemd, a container's runtime and a terminal see the same process go on. The lock is held by
an open file, which an exec keeps, so there is no moment in which another starter could win. From the exec on there is
no way back, which is why everything that can be found out is found out before.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import MutableMapping
from dataclasses import asdict, dataclass
from typing import Final

from deora.errors import StartError
from deora.supervisor.options import program

VARIABLE: Final = "_DEORA_HANDOVER"
CHECK_S: Final = 60.0
WOULD_START: Final = "would start: "


@dataclass(frozen=True, slots=True)
class Handover:
    """The descriptors that go from one program to the next: lock, listener, control socket, clients' connections."""

    pid: int
    lock: int
    listener: int
    control: int
    clients: list[int]

    @property
    def descriptors(self) -> list[int]:
        """All of them."""
        return [self.lock, self.listener, self.control, *self.clients]

    def sockets(self) -> tuple[socket.socket, socket.socket, list[socket.socket]]:
        """The listener, the control socket, and the connections."""
        listener, control, *clients = (socket.socket(fileno=number) for number in self.descriptors[1:])
        return listener, control, clients


def taken_over(environ: MutableMapping[str, str] = os.environ) -> Handover | None:
    """What the program before has handed over; None where this is an ordinary start."""
    number = environ.pop(VARIABLE, "")
    if not number.isdecimal():
        return None
    try:
        with open(int(number), encoding="ascii") as file:
            handover = Handover(**json.load(file))
    except (OSError, ValueError, TypeError):
        return None
    if handover.pid != os.getpid():
        return None
    for descriptor in handover.descriptors:
        os.set_inheritable(descriptor, False)
    return handover


def become_new(handover: Handover, argv: list[str]) -> None:
    """Becomes `deora start ARGV` as it is installed now. Returns only by an OSError: then nothing has happened."""
    note = os.memfd_create("handover")
    try:
        os.write(note, json.dumps(asdict(handover)).encode("ascii"))
        os.lseek(note, 0, os.SEEK_SET)
        for descriptor in (note, *handover.descriptors):
            os.set_inheritable(descriptor, True)
        sys.stdout.flush()
        sys.stderr.flush()
        command = [*program(), "start", *argv]
        os.execve(command[0], command, {**os.environ, VARIABLE: str(note)})
    finally:
        os.close(note)
        for descriptor in handover.descriptors:
            os.set_inheritable(descriptor, False)


def check(argv: list[str]) -> str:
    """Asks the program that is installed now whether it would start so; what it says. Raises StartError if not."""
    command = [*program(), "start", "--check", *argv]
    try:
        ended = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=CHECK_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise StartError(f"the program that is installed now cannot be asked: {error}") from error
    # Said in words, since a status may be lost to whoever reaps first.
    if ended.returncode != 0 or not ended.stdout.startswith(WOULD_START):
        reason = (ended.stderr or ended.stdout).strip()[-4000:]
        raise StartError(f"the program that is installed now would not start:\n{reason}")
    return ended.stdout.removeprefix(WOULD_START).strip()
