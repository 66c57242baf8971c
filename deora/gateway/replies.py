"""Answers on their way out: what the supervisor says itself, and the count of what anybody has said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from deora.errors import Problem
from deora.gateway.records import Records, audit
from deora.gateway.requests import DOCUMENTS, Request, location
from deora.gateway.runs import Runs
from deora.observe.metrics import Metrics
from deora.wire.answers import JSON, answer, problem_answer


class Replies:
    """Ends requests, each once. `runs` tells a client that sticks to its worker which one that is."""

    def __init__(self, metrics: Metrics, now_s: Callable[[], float], runs: Runs, records: Records) -> None:
        self._records = records
        self._metrics = metrics
        self._now_s = now_s
        self._runs = runs

    def write(self, request: Request, parts: list[Any], replication: bytes) -> None:
        """Answers a write by the store's result."""
        status, request.commit_no, version, path, body = parts
        headers = b""
        if version is not None:
            headers = b'ETag: "%b"\r\n' % version.encode()
            if status == 201:
                headers += b"Location: %b\r\n" % location(request.incoming, path)
        self.reply(request, status, b'%b,"replication":"%b"}' % (body, replication), headers)

    def reply(
        self, request: Request, status: int, content: bytes, headers: bytes = b"", content_type: bytes = JSON
    ) -> None:
        """Answers with a content."""
        incoming = request.incoming
        self.finish(
            request,
            status,
            answer(
                status,
                content,
                server=request.server,
                request_id=request.request_id,
                content_type=content_type,
                headers=headers,
                close=incoming.close,
                head=incoming.head,
            ),
        )

    def refuse(self, request: Request, problem: Problem) -> None:
        """Answers with a problem."""
        incoming = request.incoming
        self.finish(
            request,
            problem.status,
            problem_answer(
                problem,
                server=request.server,
                request_id=request.request_id,
                close=incoming.close,
                head=incoming.head,
            ),
        )

    def finish(self, request: Request, status: int, answer_bytes: bytes) -> None:
        """Sends a whole answer to the client."""
        now_s = self._now_s()
        self._metrics.answered(request.slot, status, now_s - request.started_s)
        incoming = request.incoming
        if self._records.note is not None:
            self._records.note(request, status, len(answer_bytes), now_s)
        if incoming.method != b"GET" and not incoming.target.startswith(DOCUMENTS):
            audit(request, status, answer_bytes)
        if incoming.client is not None:
            incoming.lines += self._runs.lines(incoming.client, request.slot)
        incoming.connection.send(answer_bytes, close=incoming.close)
