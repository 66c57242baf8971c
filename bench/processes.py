"""Programs that a run starts: found, started on free ports, waited for, and ended by their pids, whatever happens."""

from __future__ import annotations

import http.client
import os
import random
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Self
from urllib.parse import urlsplit

import psutil

STOP_TIMEOUT_S: Final = 12.0  # DEORA ends within 10 s of SIGTERM
START_TIMEOUT_S: Final = 30.0
# Debian keeps daemons here, and leaves it out of a user's PATH.
DAEMON_FOLDERS: Final = ("/usr/sbin", "/usr/local/sbin", "/sbin")


class BenchError(Exception):
    """A measurement that failed: a program that did not start, or requests that were refused."""


class NotMeasuredError(Exception):
    """A figure that cannot be measured here, and why."""


def find_program(name: str) -> str:
    """The path of an installed program. Raises NotMeasuredError with what to install."""
    path = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *DAEMON_FOLDERS]))
    if path is None:
        raise NotMeasuredError(f"{name} is not installed (Debian: apt-get install {name})")
    return path


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def lasting_port() -> int:
    """A port that stays free while nobody listens on it: the kernel gives none of these to clients' ends."""
    ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    while True:
        port = random.randrange(1024, ephemeral)
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


class Process:
    """A program that runs in `directory` until its `with` block ends; what it prints goes to `directory`/`name`.log.

    It has a session of its own, so that a Ctrl-C on the terminal reaches it only through `stop`.
    """

    def __init__(self, name: str, argv: Sequence[str], directory: Path, env: Mapping[str, str] | None = None) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        with self.log.open("wb") as output:
            self._popen = subprocess.Popen(
                argv,
                cwd=directory,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.pid = self._popen.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def printed(self) -> str:
        """The end of what the program has printed."""
        return self.log.read_text(errors="replace")[-4000:]

    def tree(self) -> list[psutil.Process]:
        """This process and all that it has started, as they are now: its descendants, and who is in its session."""
        found = [process for process in psutil.process_iter() if session_of(process) == self.pid]
        with suppress(psutil.NoSuchProcess):
            found += psutil.Process(self.pid).children(recursive=True)
        return list(dict.fromkeys(found))

    def ended(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._popen.poll()

    def terminate(self, timeout_s: float = STOP_TIMEOUT_S) -> int | None:
        """Send SIGTERM and wait; returns the exit code, or None if it still runs after `timeout_s`."""
        if self._popen.poll() is None:
            self._popen.terminate()
        try:
            return self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def wait_for_end(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Return once it has ended. Raises subprocess.TimeoutExpired."""
        self._popen.wait(timeout_s)

    def stop(self) -> None:
        """End the process and its descendants: by SIGTERM, and by SIGKILL what is left after that."""
        tree = self.tree()
        self.terminate()
        for process in tree:
            with suppress(psutil.NoSuchProcess):
                process.kill()  # psutil compares the start time: a pid that was given away again is left alone
        self._popen.wait()

    def wait_until(self, is_so: Callable[[], bool], timeout_s: float = START_TIMEOUT_S) -> None:
        """Return once `is_so()`. Raises BenchError with the end of what the program printed."""
        deadline = time.monotonic() + timeout_s
        while not is_so():
            code = self.ended()
            if code is not None or time.monotonic() > deadline:
                state = f"is not ready after {timeout_s:g} s" if code is None else f"ended with {code}"
                raise BenchError(f"{self.name} {state}; it printed:\n{self.printed()}")
            time.sleep(0.01)


def session_of(process: psutil.Process) -> int | None:
    """The session of a process; None where it has ended."""
    try:
        return os.getsid(process.pid)
    except ProcessLookupError:
        return None


def answers(url: str) -> bool:
    """Whether a GET of `url` is answered with 200 at this moment."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=5)
    try:
        connection.request("GET", address.path or "/")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def listens(port: int) -> bool:
    """Whether somebody accepts connections on this port of 127.0.0.1."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            return True
    except OSError:
        return False
