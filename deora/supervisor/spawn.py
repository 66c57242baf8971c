"""Starting the zygote, and asking it for children."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from collections import deque

import msgpack

from deora.errors import StartError
from deora.supervisor.options import ZYGOTE, program

BOOT_S = 20.0


def zygote_command(descriptor: int) -> list[str]:
    """How the zygote is exec'd."""
    return [*program(), ZYGOTE, str(descriptor)]


class Zygote:
    """A running zygote. `spawn` may be called many times at once; it answers in order."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket) -> None:
        self._process = process
        self._control = control
        self._waiting: deque[asyncio.Future[int]] = deque()
        self.pidfd = os.pidfd_open(process.pid)
        asyncio.get_running_loop().add_reader(control.fileno(), self._on_readable)

    @classmethod
    async def start(cls) -> Zygote:
        """Executes a new zygote and waits until it has imported everything. Raises StartError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        process = subprocess.Popen(
            zygote_command(theirs.fileno()),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            # Ctrl-C at a terminal goes to the supervisor alone; children are ended by it, in order.
            start_new_session=True,
        )
        theirs.close()
        ours.setblocking(False)
        zygote = cls(process, ours)
        try:
            await asyncio.wait_for(zygote._expect(), BOOT_S)
        except BaseException as error:
            zygote.close()
            if not isinstance(error, TimeoutError | ConnectionError):
                raise
            raise StartError(
                "the zygote, the process that starts all others, did not come up",
                hint="its own message stands above; check that the installation is complete (`deora version`)",
            ) from error
        return zygote

    @property
    def pid(self) -> int:
        """The zygote's process id."""
        return self._process.pid

    async def spawn(self, slot: str) -> tuple[int, socket.socket]:
        """A new child: its process id and our end of its socket.

        Raises OSError: ConnectionError when the zygote has gone, BlockingIOError while it has too much to do.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Only what was sent is answered: a request that did not fit into the socket must not wait for an answer,
            # or it would take that of the next one.
            socket.send_fds(self._control, [msgpack.packb([slot])], [theirs.fileno()])
            return await self._expect(), ours
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()

    def close(self) -> None:
        """Ends the zygote. Its children are not its own and stay."""
        if self._control.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            self._control.close()
        self._fail_waiting()
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        self._process.wait()
        os.close(self.pidfd)

    def _expect(self) -> asyncio.Future[int]:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        return future

    def _on_readable(self) -> None:
        try:
            message = self._control.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            asyncio.get_running_loop().remove_reader(self._control.fileno())
            self._fail_waiting()
            # One that has closed its socket is of no use; who watches the pidfd starts another.
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            return
        [pid] = msgpack.unpackb(message)
        future = self._waiting.popleft()
        if not future.done():
            future.set_result(pid)

    def _fail_waiting(self) -> None:
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(ConnectionError("the zygote has ended"))
