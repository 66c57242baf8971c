"""A control socket that answers from a table: real HTTP/1.1 over a real Unix socket, from a thread.

Routes map `"METHOD /path"` (with the query, where one is expected) to `(status, JSON)`; what has no route is a 404
problem. Every request is kept in `requests` as `(method, target, JSON body or None)`.
"""

from __future__ import annotations

import json
import os
import socketserver
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

Routes = dict[str, tuple[int, Any]]


class ControlServer(socketserver.ThreadingUnixStreamServer):
    """Serves `routes` on `socket_path` until the context ends."""

    daemon_threads = True

    def __init__(self, socket_path: str, routes: Routes) -> None:
        self.routes = routes
        self.requests: list[tuple[str, str, Any]] = []
        super().__init__(socket_path, _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away early, as one that only asks for the process id does, is no error."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: ControlServer
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append((self.command, self.path, json.loads(body) if body else None))
        missing = (404, {"title": "There is nothing at this address", "detail": f"no route for {self.path}"})
        status, answer = self.server.routes.get(f"{self.command} {self.path}", missing)
        content = answer if isinstance(answer, bytes) else b"" if answer is None else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/problem+json" if status >= 400 else "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815  (the names are the base class's)

    def address_string(self) -> str:
        return "control"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the name is the base class's)
        """Says nothing: a test prints what it needs."""


@contextmanager
def control_server(data: Path, routes: Routes) -> Iterator[ControlServer]:
    """A control socket at `data/control.sock`; the socket file goes with the context."""
    data.mkdir(parents=True, exist_ok=True)
    path = data / "control.sock"
    directory_fd = os.open(data, os.O_PATH | os.O_DIRECTORY)  # a socket's path is at most 107 bytes long
    try:
        server = ControlServer(f"/proc/self/fd/{directory_fd}/control.sock", routes)
    finally:
        os.close(directory_fd)
    with server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
            path.unlink(missing_ok=True)
