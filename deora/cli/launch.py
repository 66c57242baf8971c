"""A detached start: `deora start` once more as the leader of a new session, watched until it serves.

Its output goes to `logs/start.log` in the data directory; the log of the start before stays beside it as `start.log.1`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from deora.cli.client import ControlClient, ControlError
from deora.cli.instance import ended
from deora.clock import Clock, SystemClock
from deora.errors import NotRunningError, StartError
from deora.supervisor.options import program

READY_TIMEOUT_S: Final = 30.0
_UNIT_VARIABLES: Final = ("INVOCATION_ID", "SYSTEMD_EXEC_PID", "NOTIFY_SOCKET")
_GLANCE_S: Final = 0.05
_PROBE_TIMEOUT_S: Final = 2.0


class EndedEarlyError(StartError):
    """The detached instance ended before it served. `output` is what it wrote."""

    def __init__(self, message: str, *, output: str, hint: str) -> None:
        super().__init__(message, hint=hint)
        self.output = output


def refuse_second(data: Path) -> None:
    """Raises StartError where an instance runs on `data` already."""
    try:
        pid = ControlClient(data).peer_pid()
    except NotRunningError:
        return
    raise StartError(
        f"an instance runs on {data.absolute()} already, as pid {pid}",
        hint="end it with `deora stop`, or `deora restart`",
    )


def prepare_data(data: Path) -> None:
    """Makes the data directory, for its owner alone. Raises StartError where that cannot be."""
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StartError(
            f"the data directory {data.absolute()} cannot be made: {error.strerror}",
            hint="name another one with --data, or make it and give it to this user",
        ) from error


def launch(argv: Sequence[str], data: Path, *, directory: Path | None = None) -> subprocess.Popen[bytes]:
    """Starts `deora start ARGV` detached, in the working directory `directory` (where its `.env` is looked for)."""
    prepare_data(data)
    log = start_log(data)
    try:
        log.parent.mkdir(mode=0o700, exist_ok=True)
        if log.exists():
            log.replace(log.with_name(log.name + ".1"))
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    except OSError as error:
        raise StartError(
            f"{log.absolute()} cannot be written: {error.strerror}",
            hint="name another data directory with --data, or give this one to this user",
        ) from error
    try:
        return subprocess.Popen(
            [*program(), "start", *argv],
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            cwd=directory,
            # A shell or a timer may itself be part of a unit. systemd does not look after what is detached from it.
            env={name: value for name, value in os.environ.items() if name not in _UNIT_VARIABLES},
            start_new_session=True,
        )
    finally:
        os.close(descriptor)


def start_log(data: Path) -> Path:
    """Where a detached instance writes what would go to its terminal."""
    return data / "logs" / "start.log"


def wait_ready(
    process: subprocess.Popen[bytes], data: Path, *, clock: Clock | None = None, timeout_s: float = READY_TIMEOUT_S
) -> None:
    """Returns once `process` serves: its own control socket answers `/health/ready` with 200.

    Raises EndedEarlyError where it ended before, and StartError where it is not ready after `timeout_s` (it runs on).
    """
    clock = clock or SystemClock()
    client = ControlClient(data, timeout_s=_PROBE_TIMEOUT_S)
    deadline_s = clock.monotonic_s() + timeout_s
    pidfd = os.pidfd_open(process.pid)
    try:
        while not _is_ready(client, process.pid):
            if ended(pidfd, _GLANCE_S):
                code = process.wait()
                raise EndedEarlyError(
                    f"the instance ended before it was ready ({_ending(code)})",
                    output=_written(data),
                    hint=f"the above is in {start_log(data).absolute()}",
                )
            if clock.monotonic_s() >= deadline_s:
                raise StartError(
                    f"pid {process.pid} runs but is not ready after {timeout_s:g} s",
                    hint=f"see `deora health` and {start_log(data).absolute()}; `deora stop` ends it",
                )
    finally:
        os.close(pidfd)


def _is_ready(client: ControlClient, pid: int) -> bool:
    """Whether the process that was launched serves, not another that won the race for this data directory.

    Only that process leads its session; the session is what is compared since a one-file executable forks once more.
    """
    try:
        listener = client.peer_pid()
        return os.getsid(listener) == pid and client.ask("GET", "/health/ready").status == 200
    except (NotRunningError, ControlError, ProcessLookupError):
        return False


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"signal {-code}"


def _written(data: Path) -> str:
    try:
        return start_log(data).read_text(encoding="utf-8", errors="replace").rstrip()
    except OSError:
        return ""


def listening_port(pid: int) -> int:
    """The TCP port that a process took where it was to take any free one; 0 where that cannot be known."""
    import psutil

    ports = (
        connection.laddr.port
        for connection in psutil.net_connections("tcp")
        if connection.pid == pid and connection.status == psutil.CONN_LISTEN and connection.laddr
    )
    return next(ports, 0)


def url(host: str, port: int, *, tls: bool = False) -> str:
    """Where a client on this box reaches an instance that listens on `host`."""
    if host in ("0.0.0.0", "::", ""):
        host = "127.0.0.1"
    scheme = "https" if tls else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def working_directory(pid: int) -> Path | None:
    """The working directory of a process; None where it cannot be known."""
    try:
        directory = Path(os.readlink(f"/proc/{pid}/cwd"))
    except OSError:
        return None
    return directory if directory.is_dir() else None
