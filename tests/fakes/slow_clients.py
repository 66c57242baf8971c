"""`python -m tests.fakes.slow_clients URL KIND COUNT`: clients that hold connections by being slow, in one process.

`heads` drip a head that never ends, `bodies` a body, `readers` ask for a large document over and over and take a few
bytes of it at a time. A connection that is ended for that is opened again. Prints `all are here` once all of them have
begun, and runs until it is ended; a process of its own, so that it takes no turn of the client that is measured.
"""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from bench.instance import PROJECT
from bench.processes import Process

KINDS: Final = ("heads", "bodies", "readers")
LARGE: Final = "slow/large"
HERE: Final = "all are here"
# Each of them moves so often: well within what keeps a head or a body alive for as long as it may be.
PAUSE_S: Final = 0.5
# One address may have 200 connections, those included that linger behind a refusal.
SOURCES: Final = ("127.0.0.2", "127.0.0.3")
BEGINNINGS: Final = {
    "heads": b"GET /v1/documents/%b HTTP/1.1\r\nHost: localhost\r\nX-Slow: " % LARGE.encode(),
    "bodies": b"PUT /v1/documents/slow/small HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: 100000\r\n\r\n",
    "readers": b"GET /v1/documents/%b HTTP/1.1\r\nHost: localhost\r\n\r\n" % LARGE.encode() * 3,
}


@contextmanager
def slow_clients(url: str, kind: str, count: int, directory: Path) -> Iterator[Process]:
    """So many of them while the `with` block runs."""
    command = [sys.executable, "-m", "tests.fakes.slow_clients", url, kind, str(count)]
    with Process(f"slow-{kind}", command, directory, {"PYTHONPATH": str(PROJECT)}) as clients:
        clients.wait_until(lambda: HERE in clients.printed())
        yield clients


class SlowClient:
    """One of them."""

    def __init__(self, address: tuple[str, int], kind: str, source: str) -> None:
        self._address = address
        self._source = source
        self._kind = kind
        self.begin()

    def begin(self) -> None:
        """Connects and sends the beginning."""
        self._sock = socket.socket()
        if self._kind == "readers":
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._sock.settimeout(20)
        self._sock.bind((self._source, 0))
        self._sock.connect(self._address)
        self._sock.sendall(BEGINNINGS[self._kind])
        if self._kind == "readers":
            # One after the other: two hundred large answers at once would be work, and not slowness.
            self._sock.recv(512)
        self._sock.setblocking(False)

    def move(self) -> None:
        """One small step; from the beginning again where the connection was ended."""
        if self._kind != "readers":
            with suppress(ConnectionError):  # what came before the end is read first
                self._sock.send(b"x")
        try:
            ended = not self._sock.recv(512)
        except BlockingIOError:
            return
        except ConnectionError:
            ended = True
        if ended:
            self._sock.close()
            self.begin()


def main() -> None:
    """See the module's docstring."""
    url, kind, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    address = urlsplit(url)
    host, port = address.hostname or "", address.port or 80
    clients = [SlowClient((host, port), kind, SOURCES[number % len(SOURCES)]) for number in range(count)]
    print(HERE, flush=True)
    while True:
        # One after the other, so that they do not come as a burst.
        for client in clients:
            time.sleep(PAUSE_S / count)
            client.move()


if __name__ == "__main__":
    main()
