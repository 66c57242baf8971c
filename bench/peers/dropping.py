"""An HTTP proxy that lets each request take effect and then loses some answers: the worst that a network does."""

from __future__ import annotations

import http.client
import random
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class DroppingProxy:
    """In front of `host`. Of the answers to a method (such as `:commit`) that is in `methods`, `share` is lost."""

    def __init__(self, host: str, share: float, seed: int, methods: tuple[str, ...] = (":commit",)) -> None:
        self.upstream = host
        self.counts: Counter[str] = Counter()
        """passed and lost answers"""
        self._share = share
        self._dice = random.Random(seed)
        self._methods = methods
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"proxy": self}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="dropping-proxy")
        self.host = f"127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def loses(self, path: str, status: int) -> bool:
        """Whether the answer to this request is lost. Only what took effect is."""
        with self._lock:
            lost = status == 200 and path.endswith(self._methods) and self._dice.random() < self._share
            self.counts["lost" if lost else "passed"] += 1
            return lost


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: two would wait 40 ms for each other (Nagle and delayed ACK)
    proxy: DroppingProxy
    connection_upstream: http.client.HTTPConnection

    def setup(self) -> None:
        """One connection upstream for each of ours."""
        super().setup()
        self.connection_upstream = http.client.HTTPConnection(self.proxy.upstream, timeout=30)

    def finish(self) -> None:
        """Ends both."""
        self.connection_upstream.close()
        super().finish()

    def do_POST(self) -> None:
        """Every call of the REST interface is one."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name: self.headers[name] for name in ("Authorization", "Content-Type") if name in self.headers}
        try:
            self.connection_upstream.request("POST", self.path, body, headers)
            response = self.connection_upstream.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException):
            self.close_connection = True
            return
        if self.proxy.loses(self.path, response.status):
            self.close_connection = True
            return
        self.send_response(response.status)
        self.send_header("Content-Type", response.headers.get("Content-Type", "application/json"))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""
