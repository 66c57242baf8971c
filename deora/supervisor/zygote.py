"""The zygote: a small process that has everything imported and forks each child on request.

It is exec'd, single-threaded, and owns no loop, no database and no descriptor but its socket, so a fork of it is safe,
where a fork of the running supervisor is not: its event loop has threads, and a child that inherits a lock one of them
holds hangs. A fork takes about 10 ms where a new interpreter takes 180.

Over a SEQPACKET socket, one message each way, msgpack:

    supervisor -> zygote    [slot]  with the child's end of a socketpair by SCM_RIGHTS
    zygote -> supervisor    [pid]

The child is forked twice, so that the supervisor, a subreaper, becomes its parent and can wait for it by pidfd.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import random
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any, Final

import msgpack

import deora.backup.main
import deora.replay.main
import deora.store.main
import deora.worker.main
from deora.supervisor.process import die_with, name_process, set_niceness
from deora.wire.frames import Kind, unpack
from deora.wire.link import BlockingLink

Main = Callable[[socket.socket, dict[str, Any]], int]
MAINS: Final[dict[str, Main]] = {
    "worker": deora.worker.main.run,
    "store": deora.store.main.run,
    "replayer": deora.replay.main.run,
    "backup": deora.backup.main.run,
}
_PID_BYTES: Final = 8


def main(descriptor: int) -> int:
    """Serves fork requests on the socket `descriptor` until the supervisor closes it."""
    supervisor = os.getppid()
    die_with(supervisor)
    name_process("deora:zygote")
    # A terminal's Ctrl-C and a signal to the process group are the supervisor's to act on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    control = socket.socket(fileno=descriptor)
    gc.collect()
    gc.freeze()
    # A supervisor that is stopped while it starts goes away without a word.
    with contextlib.suppress(ConnectionError):
        _serve(control, supervisor)
    return 0


def _serve(control: socket.socket, supervisor: int) -> None:
    control.send(msgpack.packb([os.getpid()]))
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 4096, 1)
        if not message:
            return
        [slot] = msgpack.unpackb(message)
        pid = _spawn(control, descriptors[0], slot, supervisor)
        os.close(descriptors[0])
        control.send(msgpack.packb([pid]))


def _spawn(control: socket.socket, descriptor: int, slot: str, supervisor: int) -> int:
    read_end, write_end = os.pipe()
    middle = os.fork()
    if middle == 0:
        middle = os.getpid()
        child = os.fork()
        if child != 0:
            os.write(write_end, child.to_bytes(_PID_BYTES, "little"))
            os._exit(0)
        os.close(read_end)
        os.close(write_end)
        control.close()
        _become(slot, descriptor, supervisor, middle)
    os.close(write_end)
    pid = int.from_bytes(os.read(read_end, _PID_BYTES), "little")
    os.close(read_end)
    os.waitpid(middle, 0)
    return pid


def _become(slot: str, descriptor: int, supervisor: int, middle: int) -> None:
    """The child: never returns into the zygote's loop."""
    code = 1
    try:
        die_with(supervisor, after=middle)
        name_process(f"deora:{slot}")
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        random.seed()
        sock = socket.socket(fileno=descriptor)
        first = BlockingLink(sock).receive_one()
        if first is not None and first[0] == Kind.INIT:
            init = unpack(first[5])
            set_niceness(init["role"])
            code = MAINS[init["role"]](sock, init)
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(Exception):
            atexit._run_exitfuncs()
        sys.stderr.flush()
        os._exit(code)
