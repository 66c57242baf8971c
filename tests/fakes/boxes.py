"""Stand-ins for a box behind a balancer: one ends connections in place of answering, one switches protocols."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

READY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


class FakeBox:
    """Serves on a free port while its `with` block lasts. A health check is answered with 200, any other request by
    `answer(handler, head)`, and then the connection ends. `heads` are those other requests' heads."""

    def __init__(self, answer: Callable[[socketserver.StreamRequestHandler, bytes], None]) -> None:
        self.heads: list[bytes] = []
        box = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    line = self.rfile.readline()
                    if not line:
                        return
                    head += line
                if head.startswith(b"GET /health/ready "):
                    self.wfile.write(READY)
                    return
                box.heads.append(head)
                answer(self, head)

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def address(self) -> str:
        """Host and port."""
        return "{}:{}".format(*self._server.server_address[:2])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def says_nothing(_: socketserver.StreamRequestHandler, __: bytes) -> None:
    """Has taken the request, and nobody knows what became of it."""


def echoes(handler: socketserver.StreamRequestHandler, _: bytes) -> None:
    """Switches protocols, and sends back what comes until the other side ends. The accept is RFC 6455's example."""
    handler.wfile.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
    )
    while data := handler.request.recv(4096):
        handler.request.sendall(data)
