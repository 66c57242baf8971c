"""The load: what it takes an answer for, and what it keeps of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from deora.drill.judge import Outcome, check
from deora.drill.tills import Tills, Timed, p99_ms


class Server(ThreadingHTTPServer):
    """Answers writes by `plan`, the last of it for ever; shows what it acknowledged unless it is forgetful."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.plan = [200]
        self.forgetful = False
        self.logs: dict[str, list[str]] = {}
        self.keys: list[str] = []
        self.commits = 0
        self.enough = threading.Event()
        """so many writes were answered as the plan has, and ten more"""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_PATCH(self) -> None:
        token = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["log"]["$arrayUnion"][0]
        mine = self.server
        mine.keys.append(self.headers["Idempotency-Key"])
        status = mine.plan[min(len(mine.keys), len(mine.plan)) - 1]
        if len(mine.keys) >= len(mine.plan) + 10:
            mine.enough.set()
        if status == 200:
            mine.commits += 1
            mine.logs.setdefault(self.path.removeprefix("/v1/documents/").partition("?")[0], []).append(token)
        self._send(status, {"commit": mine.commits})

    def do_GET(self) -> None:
        log = self.server.logs.get(self.path.removeprefix("/v1/documents/"))
        shown = [] if self.server.forgetful else log
        self._send(404 if log is None else 200, {"data": {"log": shown}})

    def _send(self, status: int, body: Any) -> None:
        content = json.dumps(body).encode()
        self.send_response_only(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as one:
        thread = threading.Thread(target=one.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield one
        finally:
            one.shutdown()
            thread.join()


def load(server: Server, **given: Any) -> Tills:
    with Tills(server.url, 1, **given) as tills:
        assert server.enough.wait(30)
    return tills


def test_what_is_acknowledged_is_in_the_history(server: Server) -> None:
    tills = load(server, reads=1)
    assert len(tills.history) >= 10
    assert all(sent.outcome is Outcome.OK for sent in tills.history)
    assert not check(tills.history, server.logs)
    assert (tills.errors, tills.stale, len(tills.reads)) == ([], [], len(tills.history))
    assert [sent.commit for sent in tills.history] == [*range(1, len(tills.history) + 1)]


def test_an_unclear_answer_is_asked_for_again_with_the_same_key(server: Server) -> None:
    server.plan = [503, 200]
    tills = load(server)
    assert server.keys[0] == server.keys[1] != server.keys[2]
    assert [timed.status for timed in tills.writes[:3]] == [503, 200, 200]
    assert len(tills.errors) == 1


def test_without_patience_it_stays_unclear(server: Server) -> None:
    server.plan = [503, 507, 200]
    tills = load(server, patience_s=0)
    assert [sent.outcome for sent in tills.history[:3]] == [Outcome.UNKNOWN, Outcome.FAIL, Outcome.OK]


def test_a_read_that_does_not_show_a_write_is_stale(server: Server) -> None:
    server.forgetful = True
    tills = load(server, reads=1)
    assert len(tills.stale) == len(tills.history)


def test_one_that_is_interrupted_waits_for_nothing(server: Server) -> None:
    tills = Tills(server.url, 1, patience_s=1000)
    server.plan = [503]
    with tills:
        assert server.enough.wait(30)
        tills.__exit__(KeyboardInterrupt)
        assert tills.history == []
        server.plan = [200]
    assert [sent.outcome for sent in tills.history] == [Outcome.OK]


def test_the_99th_percentile() -> None:
    assert p99_ms([Timed(0, number / 1000, 200) for number in range(100)]) == 99
    assert p99_ms([]) == 0
