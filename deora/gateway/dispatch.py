"""One request from its pick to its answer, through whatever dies on the way.

    AT_WORKER --ANSWER--> answered
      |  ^  \\--COMMIT--> at the store, see `gateway.commits`
      |  |
      |  +-- worker drained, and out of time: to another one
      +----- worker lost: a suspect, see `gateway.suspects`

A request is kept, with the bytes that came, until it is answered; while no worker may take it, it waits. Once its
writes have gone to a store it is never given to a worker again: the next store judges the same writes by the same key.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Final

from deora.errors import Problem
from deora.gateway.balancer import Balancer, Server
from deora.gateway.commits import Commits
from deora.gateway.incoming import Incoming
from deora.gateway.records import Records
from deora.gateway.replies import Replies
from deora.gateway.requests import Patience, Request, Worker, worker_lost
from deora.gateway.runs import Runs
from deora.gateway.sticky import Sticky
from deora.gateway.streams import Streams
from deora.gateway.suspects import Suspects
from deora.observe.metrics import Metrics
from deora.wire.frames import Frame, Kind, encode

_log = logging.getLogger("deora.gateway")

RUN_SHIFT: Final = 32


Said = tuple[int, bytes, bytes]
"""What the supervisor says itself: status, content type, content."""

Local = Callable[[Incoming], "Said | asyncio.Future[Said] | bytes | None"]
"""Answers what the supervisor answers itself, at once or once something has been done; or gives the body of a COMMIT
that changes the queue; or None where a worker is to take the request. A Problem refuses it."""


class Dispatch:
    """The table of requests. Implements `gateway.incoming.Front`. `commits` has those that are at the store."""

    def __init__(
        self,
        balancer: Balancer,
        patience: Patience,
        metrics: Metrics,
        now_s: Callable[[], float],
        local: Local,
        sticky: Sticky | None = None,
        streams: Streams | None = None,
        records: Records | None = None,
    ) -> None:
        self._metrics = metrics
        self.records = records if records is not None else Records()
        self._runs = Runs(balancer, sticky)
        self._patience = patience
        self._now_s = now_s
        self._local = local
        self.streams = streams if streams is not None else Streams(0, metrics, now_s)
        self.streams.records = self.records
        # Run and count together name a request for ever: a later supervisor must not reuse what a store remembers.
        self.run = int.from_bytes(os.urandom(4), "big") & 0x7FFF_FFFF
        self._ids = count(1)
        self._stopping = False
        self._replies = Replies(metrics, now_s, self._runs, self.records)
        self.commits = Commits(self._replies, now_s, self._next_ident)
        self._workers = self._runs.workers
        self._leaving: list[Worker] = []
        self._servers: list[Server] = []
        self._open: list[Server] = []
        self._suspects: Suspects[Request] = Suspects(patience.max_retries, patience.trial_s)
        self._waiting: deque[Request] = deque()
        self._later: dict[asyncio.Future[Said], Request] = {}

    # -- figures

    def inflight(self, slot: str) -> int:
        """Requests that the workers of a slot hold, those that leave it included."""
        workers = [worker for worker in (*self._workers.values(), *self._leaving) if worker.slot == slot]
        return sum(len(worker.held) for worker in workers)

    def open_requests(self) -> int:
        """All requests that have no answer yet."""
        held = sum(len(worker.held) for worker in (*self._workers.values(), *self._leaving))
        return held + len(self._waiting) + len(self._suspects.waiting) + len(self.commits) + len(self._later)

    @property
    def has_workers(self) -> bool:
        """Whether any worker takes requests."""
        return bool(self._servers)

    # -- requests in

    def next_request_id(self) -> bytes:
        """An X-Request-Id."""
        return b"%x-%x" % (self.run, next(self._ids))

    def _next_ident(self) -> int:
        return self.run << RUN_SHIFT | next(self._ids)

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
            self._replies.refuse(request, incoming.problem)
            return
        try:
            local = self._local(incoming)
        except Exception as error:
            # This may have been called for a worker's frame: its link must not end for a fault that is not its own.
            self._refuse_for(request, error)
            return
        if local is None:
            self._to_worker(request)
        elif isinstance(local, bytes):
            request.commit = local
            self.commits.add(request)
        elif isinstance(local, tuple):
            self._say(request, local)
        else:
            self._later[local] = request
            local.add_done_callback(self._said)

    def _said(self, future: asyncio.Future[Said]) -> None:
        """What was to be done for a request of an operator's has been done, or has failed."""
        request = self._later.pop(future, None)
        if request is None or future.cancelled():
            return
        error = future.exception()
        if error is not None:
            self._refuse_for(request, error)
        else:
            self._say(request, future.result())

    def _say(self, request: Request, said: Said) -> None:
        status, content_type, content = said
        self._metrics.said += 1
        if status >= 500:
            self._metrics.unwell += 1
        self._replies.reply(request, status, content, b"Cache-Control: no-store\r\n", content_type)

    def _refuse_for(self, request: Request, error: BaseException) -> None:
        if not isinstance(error, Problem):
            request_id = request.request_id.decode()
            _log.error("a request failed", exc_info=error, extra={"requestId": request_id})
            error = Problem.internal(request_id)
        self._replies.refuse(request, error)

    def _to_worker(self, request: Request) -> None:
        worker = self._runs.pick(request.incoming.client)
        if worker is None:
            self._waiting.append(request)
        else:
            self._send(request, worker)

    def _send(self, request: Request, worker: Worker) -> None:
        incoming = request.incoming
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

    # -- frames from workers

    def on_answer(self, worker: Worker, frame: Frame) -> None:
        """A worker's ANSWER: the HTTP answer as it goes to the client."""
        _, _, status, generation, ident, body = frame
        # What comes from an earlier life of the slot must not take the request from the present one.
        request = worker.held.pop(ident, None) if generation == worker.generation else None
        if request is not None:
            self._replies.finish(request, status, body)
            if self._suspects.are_there:
                self._let_go(worker, request)

    def on_commit(self, worker: Worker, frame: Frame) -> None:
        """A worker's COMMIT: the request now belongs to the store."""
        _, _, wait_s, generation, ident, body = frame
        request = worker.held.pop(ident, None) if generation == worker.generation else None
        if request is not None:
            request.commit = body
            request.wait_s = wait_s
            self.commits.add(request)
            if self._suspects.are_there:
                self._let_go(worker, request)

    def on_stream(self, worker: Worker, frame: Frame) -> None:
        """A worker's STREAM: the answer goes on as long as its client stays."""
        request = self.streams.on_stream(worker, frame)
        if request is not None and self._suspects.are_there:
            self._let_go(worker, request)

    # -- workers come and go

    def worker_up(self, worker: Worker, servers: list[Server]) -> None:
        """A worker said HELLO; one that was in its slot finishes what it holds. `servers`: as `serve` has them."""
        former = self._workers.get(worker.slot)
        if former is not None:
            self._suspects.acquit(worker.slot)
            self._leaving.append(former)
        self._workers[worker.slot] = worker
        self.serve(servers)

    def worker_lost(self, worker: Worker, servers: list[Server]) -> None:
        """A worker ended: what it held goes to others, or is given up where it has ended too many alone."""
        held, worker.held = list(worker.held.values()), {}
        guilty = None
        if self._workers.get(worker.slot) is worker:
            del self._workers[worker.slot]
            guilty = self._suspects.died(worker.slot, held)
        elif worker in self._leaving:
            self._leaving.remove(worker)
            self._suspects.waiting.extend(held)
        self.serve(servers)
        if guilty is not None:
            _log.error(
                "a request has ended %d workers, and is given up", guilty.deaths + 1, extra=guilty.named_in_logs()
            )
            self._replies.refuse(guilty, worker_lost(guilty))

    def serve(self, servers: list[Server]) -> None:
        """From now on these workers take requests, and no others. What others hold stays with them."""
        self._servers = servers
        self.streams.update([self._workers[server.slot] for server in servers])
        self._open = []
        self._runs.update([])
        self._place()

    def configure(self, balancer: Balancer, patience: Patience, sticky: Sticky | None) -> None:
        """Spreads requests in this way from now on, and has this patience with them."""
        self._patience = patience
        self._suspects.configure(patience.max_retries, patience.trial_s)
        self._runs.update([])
        self._runs.change(balancer, sticky)
        self.serve(self._servers)

    def take_back(self, worker: Worker) -> int:
        """Gives what a worker still holds to others, and says how much that was. What it answers now is ignored."""
        held, worker.held = list(worker.held.values()), {}
        self._suspects.acquit(worker.slot)
        for request in held:
            self._to_worker(request)
        if self._suspects.are_there:
            self._place()
        return len(held)

    # -- suspects

    def _let_go(self, worker: Worker, request: Request) -> None:
        """A worker has given back a request, while there are suspects."""
        if self._suspects.is_on_trial(worker.slot, request):
            self._suspects.acquit(worker.slot)
            self._place()
        elif worker.slot in self._suspects.reserved and not _load(worker):
            self._place()

    def _place(self) -> None:
        """Sends suspects to where they are alone, and what waits to the workers that are open to all."""
        loads = {server.slot: _load(self._workers[server.slot]) for server in self._servers}
        for slot, suspect in self._suspects.plan(loads, self._now_s()):
            self._send(suspect, self._workers[slot])
        open_to_all = [server for server in self._servers if server.slot not in self._suspects.reserved]
        if open_to_all != self._open:
            self._open = open_to_all
            self._runs.update(open_to_all)
        if self._waiting and open_to_all:
            waiting, self._waiting = self._waiting, deque()
            for request in waiting:
                self._to_worker(request)

    # -- ends

    def take_leave(self) -> None:
        """From now on each answer is the last of its connection, and says so."""
        self._stopping = True

    def stop(self) -> None:
        """The same for what is at work already; and nobody waits for upstream."""
        self.take_leave()
        for request in (*self._waiting, *self._suspects.waiting, *self._later.values()):
            request.incoming.close = True
        self.commits.stop()
        self.streams.end()

    def give_up(self) -> None:
        """Refuses what has no answer yet: the instance ends."""
        self._patience = Patience(0.0, self._patience.max_retries, ended="before this instance ended")
        self.sweep()
        later, self._later = self._later, {}
        for request in later.values():
            self._replies.refuse(request, Problem("unavailable", "the instance ends", hint="start it again first"))

    def sweep(self) -> None:
        """Answers what has waited long enough. Called a few times a second."""
        now_s = self._now_s()
        oldest_s = now_s - self._patience.request_timeout_s
        self.commits.sweep(now_s, self._patience)
        self.streams.sweep()
        for queue in (self._waiting, self._suspects.waiting):
            for request in [request for request in queue if request.started_s < oldest_s]:
                queue.remove(request)
                self._refuse_late(request, "no worker is up")
        for worker in (*self._workers.values(), *self._leaving):
            for request in [request for request in worker.held.values() if request.started_s < oldest_s]:
                del worker.held[request.id]
                if self._suspects.is_on_trial(worker.slot, request):
                    self._suspects.acquit(worker.slot)
                self._refuse_late(request, "the worker has not answered")
        if self._suspects.are_there:
            self._suspects.expire(now_s)
            self._place()

    def _refuse_late(self, request: Request, reason: str) -> None:
        self.commits.refuse_late(request, f"{reason} {self._patience.over}")


def _load(worker: Worker) -> int:
    """How many requests stand in the way of a trial: not those that were let go on after one, which may take long."""
    return sum(not request.trials for request in worker.held.values())
