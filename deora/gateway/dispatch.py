"""One request from its pick to its answer, through whatever dies on the way.

    AT_WORKER --ANSWER--------------------------------------------> answered
        |  \\--COMMIT--> AT_STORE --RESULT--> answered, or AWAITING (`Prefer: wait`) --replicated or late--> answered
        |                   ^  |
        |  worker lost      |  | store lost: sent again to the next store, marked RESENT
        v                   |  v
    WAITING (no worker up) -+  WAITING_FOR_STORE

A store that lacks a document by which it must judge a write says so (UNHELD): the request waits until the replayer has
read it through, and goes to the store once more.

A request is kept, with the bytes that came, until it is answered. Once its writes have gone to a store it is never
given to a worker again: the next store judges the same writes by the same key.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any, Final

import orjson

from deora.errors import Problem
from deora.gateway.balancer import Balancer, Server
from deora.gateway.incoming import Incoming
from deora.gateway.requests import (
    SUPERVISOR,
    UNHELD_HINT,
    Patience,
    Request,
    Worker,
    hold,
    location,
    too_late,
    worker_lost,
)
from deora.gateway.runs import Runs
from deora.gateway.sticky import Sticky
from deora.observe.metrics import Metrics
from deora.wire.answers import JSON, answer, problem_answer
from deora.wire.frames import UNHELD, Frame, Kind, encode, pack, unpack
from deora.wire.link import Link

_log = logging.getLogger("deora.gateway")

RUN_SHIFT: Final = 32


Local = Callable[[Incoming], tuple[int, bytes, bytes] | bytes | None]
"""Answers what the supervisor answers itself: (status, content type, content); or the body of a COMMIT that changes the
queue; or None where a worker is to take the request."""


class Dispatch:
    """The table of requests. Implements `gateway.incoming.Front`."""

    def __init__(
        self,
        balancer: Balancer,
        patience: Patience,
        metrics: Metrics,
        now_s: Callable[[], float],
        local: Local,
        sticky: Sticky | None = None,
    ) -> None:
        self._runs = Runs(balancer, sticky)
        self._patience = patience
        self._metrics = metrics
        self._now_s = now_s
        self._local = local
        self._workers = self._runs.workers
        self._store: Link | None = None
        # Run and count together name a request for ever: a later supervisor must not reuse what a store remembers.
        self.run = int.from_bytes(os.urandom(4), "big") & 0x7FFF_FFFF
        self._ids = count(1)
        self._stopping = False
        self._at_store: dict[int, Request] = {}
        self._unheld: dict[int, Request] = {}
        self.read_through: Callable[[int, list[str]], None] = lambda ident, _: self.on_read_through(ident, None)
        self._waiting: deque[Request] = deque()
        self._awaiting: dict[int, list[Request]] = {}

    # -- figures

    def inflight(self, slot: str) -> int:
        """Requests that a worker holds."""
        worker = self._workers.get(slot)
        return len(worker.held) if worker is not None else 0

    def open_requests(self) -> int:
        """All requests that have no answer yet."""
        lists = (worker.held for worker in self._workers.values())
        kept = (*lists, *self._awaiting.values(), self._at_store, self._unheld, self._waiting)
        return sum(len(requests) for requests in kept)

    @property
    def has_workers(self) -> bool:
        """Whether any worker is up."""
        return bool(self._workers)

    @property
    def has_store(self) -> bool:
        """Whether a store is up."""
        return self._store is not None

    # -- requests in

    def next_request_id(self) -> bytes:
        """An X-Request-Id."""
        return b"%x-%x" % (self.run, next(self._ids))

    def accept(self, incoming: Incoming) -> None:
        """See `gateway.incoming.Front`."""
        incoming.close = incoming.close or self._stopping
        number = next(self._ids)
        ident = self.run << RUN_SHIFT | number
        request_id = incoming.fields.get(b"x-request-id")
        if request_id is None:
            request_id = incoming.fields[b"x-request-id"] = b"%x-%x" % (self.run, number)
        request = Request(ident, incoming, request_id, self._now_s())
        if incoming.problem is not None:
            self._refuse(request, incoming.problem)
            return
        try:
            local = self._local(incoming)
        except Problem as problem:
            self._refuse(request, problem)
            return
        except Exception:
            # This may have been called for a worker's frame: its link must not end for a fault that is not its own.
            _log.exception("a request failed", extra={"requestId": request_id.decode()})
            self._refuse(request, Problem.internal(request_id.decode()))
            return
        if local is None:
            self._to_worker(request)
        elif isinstance(local, bytes):
            request.commit = local
            self._to_store(request)
        else:
            status, content_type, content = local
            self._reply(request, status, content, b"Cache-Control: no-store\r\n", content_type)

    def _to_worker(self, request: Request, avoid: str | None = None) -> None:
        incoming = request.incoming
        worker = self._runs.pick(avoid, incoming.client)
        if worker is None:
            self._waiting.append(request)
            return
        request.server = worker.role
        request.slot = worker.slot
        head = b"%b %b" % (incoming.method, incoming.target)
        for name, value in incoming.fields.items():
            head += b"\n%b:%b" % (name, value)
        worker.link.send(
            encode(
                Kind.REQUEST,
                request.id,
                head + incoming.content,
                flags=incoming.flags,
                aux=len(head),
                generation=worker.generation,
            )
        )
        worker.held[request.id] = request

    def _to_store(self, request: Request, *, resent: bool = False) -> None:
        assert request.commit is not None
        self._at_store[request.id] = request
        if self._store is not None:
            flags = request.commit_flags(resent=resent)
            self._store.send(encode(Kind.COMMIT, request.id, request.commit, flags=flags, aux=request.wait_s))

    # -- frames from workers and store

    def on_answer(self, worker: Worker, frame: Frame) -> None:
        """A worker's ANSWER: the HTTP answer as it goes to the client."""
        _, _, status, generation, ident, body = frame
        # What comes from an earlier life of the slot must not take the request from the present one.
        request = worker.held.pop(ident, None) if generation == worker.generation else None
        if request is not None:
            self._finish(request, status, body)

    def on_commit(self, worker: Worker, frame: Frame) -> None:
        """A worker's COMMIT: the request now belongs to the store."""
        _, _, wait_s, generation, ident, body = frame
        request = worker.held.pop(ident, None) if generation == worker.generation else None
        if request is not None:
            request.commit = body
            request.wait_s = wait_s
            self._to_store(request)

    def on_result(self, frame: Frame) -> None:
        """The store's RESULT: what became of a COMMIT."""
        _, _, status, _, ident, body = frame
        request = self._at_store.pop(ident, None)
        if request is None:
            return
        if status == UNHELD:
            self._unheld[ident] = request
            self.read_through(ident, unpack(body))
            return
        if status >= 400:
            self._refuse(request, Problem.from_wire(unpack(body)))
            return
        parts: Any = unpack(body)
        if isinstance(parts, dict):
            self._reply(request, status, orjson.dumps(parts))
        elif request.wait_s:
            if not request.result:
                request.deadline_s = self._now_s() + request.wait_s
                request.result = parts
            self._awaiting.setdefault(parts[1], []).append(request)
        else:
            self._reply_write(request, parts, b"pending")

    def on_read_through(self, ident: int, problem: Problem | None) -> None:
        """The store has been given what it lacked to judge a request, or that cannot be read now."""
        request = self._unheld.pop(ident, None)
        if request is None:
            return
        if problem is None:
            request.is_read_through = True
            self._to_store(request)
        else:
            refusal = Problem.out_of_reach(problem.detail, problem.retry_after_s or 1, hint=UNHELD_HINT)
            self._refuse(request, refusal)

    def on_replicated(self, commits: list[tuple[int, bool]]) -> None:
        """The primary upstream has these commits (True), or has refused them (False)."""
        for commit, applied in commits:
            for request in self._awaiting.pop(commit, []):
                self._end_wait(request, applied=applied)

    def _end_wait(self, request: Request, *, applied: bool) -> None:
        if not applied:
            request.result[0] = 202
        self._reply_write(request, request.result, b"done" if applied else b"pending")

    # -- children come and go

    def worker_up(self, worker: Worker, servers: list[Server]) -> None:
        """A worker said HELLO; `servers` are all that are up now."""
        self._workers[worker.slot] = worker
        self._runs.update(servers)
        waiting, self._waiting = self._waiting, deque()
        for request in waiting:
            self._to_worker(request)

    def worker_lost(self, slot: str, servers: list[Server]) -> None:
        """A worker ended: what it held goes to others, or is given up where it has ended too many."""
        worker = self._workers.pop(slot, None)
        self._runs.update(servers)
        if worker is None:
            return
        for request in worker.held.values():
            request.deaths += 1
            if request.deaths > self._patience.max_retries:
                self._refuse(request, worker_lost(request))
            else:
                self._to_worker(request, avoid=slot)

    def store_up(self, link: Link) -> None:
        """A store said HELLO: what the last one may not have committed is sent to it, and it judges by the keys."""
        self._store = link
        again = list(self._at_store.values())
        awaiting, self._awaiting = self._awaiting, {}
        for commit, requests in awaiting.items():
            for request in requests:
                # Its answer is here; the new store does not know who waits for upstream, and says what it knows of it.
                request.commit = pack(["await", commit])
                again.append(request)
        for request in again:
            self._to_store(request, resent=True)

    def store_lost(self) -> None:
        """The store ended. Its commits wait for the next one."""
        self._store = None

    def end_waits(self) -> None:
        """Answers those who wait for upstream with what is known: their writes are durable, and pending."""
        awaiting, self._awaiting = self._awaiting, {}
        for requests in awaiting.values():
            for request in requests:
                self._end_wait(request, applied=False)

    def stop(self) -> None:
        """From now on each answer is the last of its connection, and says so."""
        self._stopping = True
        awaiting = (request for requests in self._awaiting.values() for request in requests)
        for request in (*awaiting, *self._at_store.values(), *self._unheld.values(), *self._waiting):
            request.incoming.close = True
        self.end_waits()

    def give_up(self) -> None:
        """Refuses what has no answer yet: the instance ends."""
        self._patience = Patience(0.0, self._patience.max_retries, "before this instance ended")
        self.sweep()

    # -- time

    def sweep(self) -> None:
        """Answers what has waited long enough. Called a few times a second."""
        now_s = self._now_s()
        oldest_s = now_s - self._patience.request_timeout_s
        for commit, requests in list(self._awaiting.items()):
            late = [request for request in requests if request.deadline_s <= now_s]
            for request in late:
                requests.remove(request)
                self._end_wait(request, applied=False)
            if not requests:
                del self._awaiting[commit]
        late_here = [request for request in self._waiting if request.started_s < oldest_s]
        for request in late_here:
            self._waiting.remove(request)
            self._refuse_late(request, "no worker is up")
        for request in list(self._at_store.values()):
            if request.result and request.deadline_s <= now_s:
                del self._at_store[request.id]
                self._end_wait(request, applied=False)
            elif not request.result and request.started_s < oldest_s:
                del self._at_store[request.id]
                self._refuse_late(request, "the store has not confirmed the write")
        for request in [request for request in self._unheld.values() if request.started_s < oldest_s]:
            del self._unheld[request.id]
            self._refuse_late(request, "upstream has not shown the document that the write needs")
        for worker in self._workers.values():
            for request in [request for request in worker.held.values() if request.started_s < oldest_s]:
                del worker.held[request.id]
                self._refuse_late(request, "the worker has not answered")

    def _refuse_late(self, request: Request, reason: str) -> None:
        held = hold(request)
        if held is not None and self._store is not None:
            # Behind its COMMIT. Where no store is up, or this one ends before it reads this, it leaves the answer.
            self._store.send(encode(Kind.COMMIT, self.run << RUN_SHIFT | next(self._ids), held))
        request.server = SUPERVISOR
        self._refuse(request, too_late(request, f"{reason} {self._patience.over}"))

    # -- answers out

    def _reply_write(self, request: Request, parts: list[Any], replication: bytes) -> None:
        status, _, version, path, body = parts
        headers = b""
        if version is not None:
            headers = b'ETag: "%b"\r\n' % version.encode()
            if status == 201:
                headers += b"Location: %b\r\n" % location(request.incoming, path)
        self._reply(request, status, b'%b,"replication":"%b"}' % (body, replication), headers)

    def _reply(
        self, request: Request, status: int, content: bytes, headers: bytes = b"", content_type: bytes = JSON
    ) -> None:
        incoming = request.incoming
        self._finish(
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

    def _refuse(self, request: Request, problem: Problem) -> None:
        incoming = request.incoming
        self._finish(
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

    def _finish(self, request: Request, status: int, answer_bytes: bytes) -> None:
        self._metrics.answered(request.slot, status, self._now_s() - request.started_s)
        incoming = request.incoming
        if incoming.client is not None and request.slot in self._workers:
            incoming.lines += self._runs.lines(incoming.client, request.slot)
        incoming.connection.send(answer_bytes, close=incoming.close)
