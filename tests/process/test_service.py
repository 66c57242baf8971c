"""The instance as systemd sees it: a socket of the test's own in the place of systemd's (sd_notify(3))."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bench.instance import PROJECT, Instance

Start = Callable[..., Instance]


class Manager:
    """Hears what the main process of a service tells."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.told: list[str] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))

    def wait_for(self, begin: str, timeout_s: float = 30.0) -> str:
        """The next message that begins so; what came before it is in `told`."""
        self._socket.settimeout(timeout_s)
        while True:
            message = self._socket.recv(4096).decode()
            self.told.append(message)
            if message.startswith(begin):
                return message

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path / "notify")
    yield made
    made.close()


def test_a_life_as_it_is_told(instance: Start, manager: Manager) -> None:
    one = instance(before=("env", f"NOTIFY_SOCKET={manager.path}", "WATCHDOG_USEC=2000000"))
    manager.wait_for("READY=1")
    # The line is there with the readiness, not a second after it.
    [status, ready] = [text for text in manager.told if text.startswith(("STATUS=", "READY="))][-2:]
    assert not status.startswith("STATUS=0 ")
    assert (status.partition(" workers up; ")[2], ready) == ("0 entries wait for upstream", "READY=1")
    manager.wait_for("WATCHDOG=1")
    manager.wait_for("WATCHDOG=1")
    one.post("/admin/upstreams/primary:pause")
    assert one.request("PUT", "/v1/documents/a/b", json={}).status == 201
    manager.wait_for("STATUS=2 workers up; 1 entries wait for upstream (paused)")
    os.kill(one.pid, signal.SIGHUP)
    assert "\nMONOTONIC_USEC=" in manager.wait_for("RELOADING=1")
    manager.wait_for("READY=1")
    # An upgrade is the same process: not ready for a moment, and the watchdog of before is still its own.
    os.kill(one.pid, signal.SIGUSR2)
    manager.wait_for("RELOADING=1")
    manager.wait_for("READY=1")
    manager.wait_for("WATCHDOG=1")
    os.kill(one.pid, signal.SIGTERM)
    manager.wait_for("STOPPING=1")
    one.wait_for_end(15)


def test_a_loop_that_hangs_is_not_said_to_be_alive(tmp_path: Path, manager: Manager) -> None:
    """The keep-alive comes from the loop that serves: nothing else goes on telling it where that stands still."""
    hang = tmp_path / "sitecustomize.py"
    # A while after the loop has begun to sweep it stands still for ever.
    hang.write_text(
        "import asyncio, time\n"
        "from deora.supervisor.main import Supervisor\n"
        "sweep = Supervisor._sweep\n"
        "async def hanging(self):\n"
        "    asyncio.get_running_loop().call_later(1.8, time.sleep, 600)\n"
        "    await sweep(self)\n"
        "Supervisor._sweep = hanging\n"
    )
    before = ("env", f"NOTIFY_SOCKET={manager.path}", "WATCHDOG_USEC=2000000", f"PYTHONPATH={tmp_path}:{PROJECT}")
    with Instance(tmp_path / "one", before=before) as one:
        manager.wait_for("WATCHDOG=1")
        # It is told every second else; a second one may have been on its way.
        with suppress(TimeoutError):
            manager.wait_for("WATCHDOG=1", timeout_s=2.5)
        with pytest.raises(TimeoutError):
            manager.wait_for("WATCHDOG=1", timeout_s=2.5)
        assert one.ended() is None
        os.kill(one.pid, signal.SIGKILL)


def test_as_many_as_ever_wait_in_the_kernel_while_it_stands_still(instance: Start) -> None:
    """A stopped or upgrading process takes no connection; each that does not fit in the kernel's queue waits a second
    and more for its next try."""
    one = instance()
    address = ("127.0.0.1", int(one.url.rpartition(":")[2]))
    os.kill(one.pid, signal.SIGSTOP)
    waiting = []
    try:
        for _ in range(180):
            waiting.append(socket.create_connection(address, timeout=0.9))
    finally:
        os.kill(one.pid, signal.SIGCONT)
        for each in waiting:
            each.close()
    assert len(waiting) == 180
