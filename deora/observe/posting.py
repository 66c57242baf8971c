"""One HTTP POST, for what tells people of alerts. Blocking: for a thread of its own.

`http.client` in place of a library: it verifies certificates, follows no redirect and reads no proxy from the
environment, and a webhook wants no more. It is imported where something is to be sent.
"""

from __future__ import annotations

import base64
import socket
import threading
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from deora import __version__
from deora.errors import DeoraError

if TYPE_CHECKING:
    from http.client import HTTPConnection

TIMEOUT_S: Final = 10.0
# The answer is of no interest but to tell an operator why it was refused.
_SHOWN_BYTES: Final = 300
# What is wrong with this message, and will be so the next time.
_FINAL: Final = frozenset({400, 413, 422})


class Posted(NamedTuple):
    """What came back: the status, and the beginning of the content."""

    status: int
    content: str


class DeliveryError(DeoraError):
    """It did not arrive. `status` is that of the answer, None without one; `is_final`: no repetition will help."""

    def __init__(self, message: str, status: int | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after_s = retry_after_s
        self.is_final = status in _FINAL
        self.retryable = not self.is_final


def place(url: str) -> str:
    """Where a URL leads, without what may be secret in it: its user, path and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/***"


def post(url: str, body: bytes, headers: dict[str, str], timeout_s: float = TIMEOUT_S) -> Posted:
    """Posts to an http or https URL; a user in it is sent as Basic authorization. Raises DeliveryError for anything but
    an answer of 2xx within `timeout_s`. No message names more of the URL than its host."""
    from http.client import HTTPException

    parts = urlsplit(url)
    connection = _connection(parts, timeout_s)
    # Its time-out bounds each wait for a byte, and a server may send them one by one.
    deadline = threading.Timer(timeout_s, _break_off, [connection])
    deadline.daemon = True
    deadline.start()
    try:
        target = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
        connection.request("POST", target, body, {**_headers(parts), **headers})
        answer = connection.getresponse()
        content = answer.read(_SHOWN_BYTES).decode("utf-8", "replace")
    except (OSError, HTTPException, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DeliveryError(f"{place(url)} cannot be reached: {reason}") from None
    finally:
        deadline.cancel()
        connection.close()
    if 200 <= answer.status < 300:
        return Posted(answer.status, content)
    wait = answer.getheader("Retry-After", "")
    raise DeliveryError(
        f"{place(url)} answered {answer.status}: {content.strip() or answer.reason}",
        answer.status,
        float(wait) if wait.isdigit() else None,
    )


def _connection(parts: SplitResult, timeout_s: float) -> HTTPConnection:
    from http.client import HTTPConnection, HTTPSConnection

    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    return kind(parts.hostname or "", parts.port, timeout=timeout_s)


def _headers(parts: SplitResult) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "User-Agent": f"deora/{__version__}"}
    if parts.username is not None:
        user = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        headers["Authorization"] = f"Basic {base64.b64encode(user).decode()}"
    return headers


def _break_off(connection: HTTPConnection) -> None:
    sock = connection.sock
    if sock is not None:
        sock.shutdown(socket.SHUT_RDWR)
