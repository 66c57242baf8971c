"""Clients that write and read while a test does harm, and what must hold when they have ended.

Each client increments counters of its own and shared ones, with an Idempotency-Key, and reads back what it wrote. It
keeps what was acknowledged. A dropped connection or a 5xx is counted as `failed`; the same request is then sent again
with the same key until it is answered, as a till would.
"""

from __future__ import annotations

import http.client
import json
import sqlite3
import threading
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

SHARED = "counters/shared"


@dataclass(slots=True)
class History:
    """What a client saw."""

    acknowledged: int = 0
    reads: int = 0
    failed: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)


class Clients:
    """`count` threads against one instance. Use as a context manager; leaving it ends the load."""

    def __init__(self, url: str, count: int, *, patience_s: float = 20.0) -> None:
        self._url = urlsplit(url)
        self._patience_s = patience_s
        self._stop = threading.Event()
        self.histories = [History() for _ in range(count)]
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(count)]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(self._patience_s + 10)

    @property
    def acknowledged(self) -> int:
        """Increments that were acknowledged, all clients together; each counts on its own and the shared counter."""
        return sum(history.acknowledged for history in self.histories)

    @property
    def failed(self) -> list[str]:
        """Requests that got no answer, or one of 5xx."""
        return [failure for history in self.histories for failure in history.failed]

    @property
    def stale(self) -> list[str]:
        """Reads that did not show what was acknowledged before they began."""
        return [read for history in self.histories for read in history.stale]

    def _run(self, number: int) -> None:
        with _Till(self._url.hostname or "", self._url.port or 80, self._patience_s, self.histories[number]) as till:
            own = f"counters/own-{number}"
            increment = {"n": {"$increment": 1}}
            writes = [{"update": {"path": path, "data": increment, "upsert": True}} for path in (own, SHARED)]
            while not self._stop.is_set():
                status, _ = till.send("POST", "/v1/documents:commit", {"writes": writes})
                if status is None:
                    return
                assert status == 200, f"a commit was answered with {status}"
                till.history.acknowledged += 1
                status, body = till.send("GET", f"/v1/documents/{own}", None)
                if status is None:
                    return
                till.check(own, json.loads(body)["data"]["n"] if status == 200 else None)


class _Till:
    """One keep-alive connection, made again when it breaks."""

    def __init__(self, host: str, port: int, patience_s: float, history: History) -> None:
        self.history = history
        self._patience_s = patience_s
        self._connection = http.client.HTTPConnection(host, port, timeout=patience_s)

    def __enter__(self) -> _Till:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def check(self, path: str, shown: int | None) -> None:
        """Compares what a read showed with what was acknowledged before it."""
        self.history.reads += 1
        if shown != self.history.acknowledged:
            self.history.stale.append(f"{path} showed {shown} after {self.history.acknowledged}")

    def send(self, method: str, path: str, body: object) -> tuple[int | None, bytes]:
        """One request until it is answered below 500; (None, b"") when the instance stays away too long."""
        headers = {"Content-Type": "application/json", "Idempotency-Key": uuid.uuid4().hex}
        content = json.dumps(body) if body is not None else None
        deadline_s = time.monotonic() + self._patience_s
        while time.monotonic() < deadline_s:
            try:
                self._connection.request(method, path, content, headers)
                response = self._connection.getresponse()
                answer = response.read()
            except (OSError, http.client.HTTPException) as error:
                self._connection.close()
                self.history.failed.append(f"{method} {path}: {type(error).__name__}")
            else:
                if response.status < 500:
                    return response.status, answer
                self.history.failed.append(f"{method} {path}: {response.status}")
            time.sleep(0.02)
        return None, b""


def upstream_counters(file: Path) -> dict[str, int]:
    """Path -> `n` of every document of the embedded upstream's file."""
    db = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)
    try:
        rows = db.execute("SELECT path, data FROM deora_documents").fetchall()
    finally:
        db.close()
    return {path: json.loads(data)["n"] for path, data in rows}


def expected_counters(clients: Clients) -> dict[str, int]:
    """What upstream must hold when all that was acknowledged has arrived once."""
    counters = {f"counters/own-{number}": one.acknowledged for number, one in enumerate(clients.histories)}
    return {**{path: n for path, n in counters.items() if n}, SHARED: clients.acknowledged}
