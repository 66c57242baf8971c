"""The client of the control socket: HTTP/1.1 over a Unix socket, one connection for each request.

The socket is `control.sock` in the data directory, or, under systemd, in its runtime directory, as the lock file says.
A Unix socket path is at most 107 bytes long (sun_path, unix(7)), so the client connects through a descriptor of the
directory, `/proc/self/fd/N/control.sock`, and data directories of any length work.

`http.client` would cost 25 to 35 ms of import where httptools costs 2.5 ms; click itself takes 50.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from deora.cli.lock import read_lock
from deora.errors import DeoraError, NotRunningError

SOCKET_NAME: Final = "control.sock"
# A request that a worker answers ends after request_timeout_s (30 s by default); the server's own answer, which says
# why, is better than a time-out on this side.
ANSWER_TIMEOUT_S: Final = 35.0
_UCRED: Final = struct.Struct("3i")  # struct ucred of SO_PEERCRED, unix(7): pid, uid, gid


class ControlError(DeoraError):
    """The instance refused the request (`status` is its HTTP status) or gave no readable answer (`status` is None).

    `fields` are the members of its answer.
    """

    def __init__(
        self, message: str, *, hint: str | None = None, status: int | None = None, fields: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.fields = fields or {}


@dataclass(slots=True)
class Answer:
    """A whole HTTP answer."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    complete: bool = False

    def json(self) -> Any:
        """The body as JSON; None for an empty one. Raises ControlError where it is something else."""
        if not self.body:
            return None
        try:
            return json.loads(self.body)
        except ValueError as error:
            raise ControlError(f"the instance's answer is not JSON: {self.body[:80]!r}", status=self.status) from error


class _Parser:
    """Collects one answer; httptools calls these methods."""

    def __init__(self) -> None:
        import httptools

        self.answer = Answer()
        self._parts: list[bytes] = []
        self._parser = httptools.HttpResponseParser(self)

    def feed(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.answer.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._parts.append(body)

    def on_message_complete(self) -> None:
        self.answer.status = self._parser.get_status_code()
        self.answer.body = b"".join(self._parts)
        self.answer.complete = True


def control_directory(data: Path) -> Path:
    """Where the control socket of the instance on `data` is: where its lock file says, since a command of an operator
    has none of the unit's variables; where that says nothing (a full disk), `$RUNTIME_DIRECTORY`, else `data`."""
    lock = read_lock(data)
    if lock is not None and lock.control is not None:
        return lock.control
    runtime = os.environ.get("RUNTIME_DIRECTORY")
    return Path(runtime.split(":")[0]) if runtime else data


class ControlClient:
    """Speaks to the instance that runs on one data directory. `timeout_s` bounds each wait for its bytes."""

    def __init__(self, data: Path, *, timeout_s: float = ANSWER_TIMEOUT_S) -> None:
        self.data = data
        self.timeout_s = timeout_s
        self.directory = control_directory(data)

    def get(self, path: str) -> Any:
        """The JSON of a GET. Errors: as `request`."""
        return self.request("GET", path)

    def post(self, path: str, json: Any = None) -> Any:
        """The JSON answer to a POST; without `json` the body is empty, bytes are JSON text. Errors: as `request`."""
        return self.request("POST", path, json)

    def delete(self, path: str) -> Any:
        """The JSON answer to a DELETE. Errors: as `request`."""
        return self.request("DELETE", path)

    def request(self, method: str, path: str, payload: Any = None) -> Any:
        """The JSON of a 2xx answer, None where it is empty.

        Raises NotRunningError where nothing listens, and ControlError with the problem's detail and hint for any
        other status.
        """
        answer = self.ask(method, path, payload)
        if 200 <= answer.status < 300:
            return answer.json()
        raise _refusal(answer)

    def ask(self, method: str, path: str, payload: Any = None) -> Answer:
        """The answer, whatever its status. Raises NotRunningError, and ControlError where there is no whole answer."""
        body = b"" if payload is None else payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\nConnection: close\r\n"
        if payload is not None:
            head += "Content-Type: application/json\r\n"
        if method != "GET":
            head += f"Content-Length: {len(body)}\r\n"
        with self._connection() as connection:
            try:
                return _exchange(connection, head.encode("ascii") + b"\r\n" + body)
            except TimeoutError as error:
                raise ControlError(
                    f"the instance on {self.data.absolute()} gave no answer within {self.timeout_s:g} s",
                    hint=_LOGS_HINT,
                ) from error
            except OSError as error:
                raise ControlError(
                    f"the instance on {self.data.absolute()} broke off the connection: {error.strerror}",
                    hint=_LOGS_HINT,
                ) from error

    def peer_pid(self) -> int:
        """The process id of the supervisor that listens on the control socket, as the kernel knows it (SO_PEERCRED)."""
        with self._connection() as connection:
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
        pid: int = _UCRED.unpack(credentials)[0]
        if pid <= 0:
            raise ControlError(
                f"the instance on {self.data.absolute()} runs in another PID namespace",
                hint="run the command inside the container that runs the instance",
            )
        return pid

    @contextmanager
    def _connection(self) -> Iterator[socket.socket]:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(self.timeout_s)
            self._connect(connection)
            yield connection

    def _connect(self, connection: socket.socket) -> None:
        try:
            directory_fd = os.open(self.directory, os.O_PATH | os.O_DIRECTORY)
            try:
                connection.connect(f"/proc/self/fd/{directory_fd}/{SOCKET_NAME}")
            finally:
                os.close(directory_fd)
        except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError) as error:
            raise NotRunningError(
                f"no instance runs on {self.data.absolute()}",
                hint="start one with `deora start`, or name its data directory with --data",
            ) from error
        except PermissionError as error:
            raise ControlError(
                f"this user may not use the control socket in {self.directory}",
                hint="run the command as the user that runs the instance, for example with sudo -u",
            ) from error
        except BlockingIOError as error:  # the listener's backlog is full: nobody accepts
            raise ControlError(
                f"the instance on {self.data.absolute()} accepts no connections on its control socket", hint=_LOGS_HINT
            ) from error


_LOGS_HINT: Final = "it may be overloaded or hang: look at its logs, then try again"


def _exchange(connection: socket.socket, request: bytes) -> Answer:
    import httptools

    parser = _Parser()
    connection.sendall(request)
    try:
        while not parser.answer.complete:
            data = connection.recv(65536)
            if not data:
                raise ControlError("the instance closed the connection before its answer was whole", hint=_LOGS_HINT)
            parser.feed(data)
    except httptools.HttpParserError as error:
        raise ControlError(f"the control socket's answer is not HTTP: {error}") from error
    return parser.answer


def _refusal(answer: Answer) -> ControlError:
    """The problem+json of a refusal as an error (RFC 9457: detail, else title), or its status line alone."""
    try:
        problem = answer.json()
    except ControlError:
        problem = None
    if not isinstance(problem, dict):
        return ControlError(f"the instance answered with status {answer.status}", status=answer.status)
    message = problem.get("detail") or problem.get("title") or f"the instance answered with status {answer.status}"
    hint = problem.get("hint")
    return ControlError(str(message), hint=None if hint is None else str(hint), status=answer.status, fields=problem)
