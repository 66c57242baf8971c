"""Requests whose writes have gone to the store: each is the store's until it is answered, and no worker's again.

    AT_STORE --RESULT--> answered, or AWAITING (`Prefer: wait`) --replicated or late--> answered
       |  ^
       |  | store lost: sent again to the next store, marked RESENT
       v  |
    WAITING_FOR_STORE

A store that lacks a document by which it must judge a write says so (UNHELD): the request waits until the replayer has
read it through, and goes to the store once more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import orjson

from deora.errors import Problem
from deora.gateway.replies import Replies
from deora.gateway.requests import SUPERVISOR, UNHELD_HINT, Patience, Request, hold, too_late
from deora.wire.frames import UNHELD, Frame, Kind, encode, pack, unpack
from deora.wire.link import Link


class Commits:
    """The requests at the store, before it and behind it. `next_ident` names a frame that no request stands behind."""

    def __init__(self, replies: Replies, now_s: Callable[[], float], next_ident: Callable[[], int]) -> None:
        self._replies = replies
        self._now_s = now_s
        self._next_ident = next_ident
        self._store: Link | None = None
        self._at_store: dict[int, Request] = {}
        self._unheld: dict[int, Request] = {}
        self._awaiting: dict[int, list[Request]] = {}
        self.read_through: Callable[[int, list[str]], None] = lambda ident, _: self.on_read_through(ident, None)

    def __len__(self) -> int:
        """How many have no answer yet."""
        return len(self._at_store) + len(self._unheld) + sum(len(requests) for requests in self._awaiting.values())

    @property
    def has_store(self) -> bool:
        """Whether a store is up."""
        return self._store is not None

    def add(self, request: Request, *, resent: bool = False) -> None:
        """Sends a request's COMMIT to the store, or keeps it for the next one."""
        assert request.commit is not None
        self._at_store[request.id] = request
        if self._store is not None:
            flags = request.commit_flags(resent=resent)
            self._store.send(encode(Kind.COMMIT, request.id, request.commit, flags=flags, aux=request.wait_s))

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
            self._replies.refuse(request, Problem.from_wire(unpack(body)))
            return
        parts: Any = unpack(body)
        if isinstance(parts, dict):
            self._replies.reply(request, status, orjson.dumps(parts))
        elif request.wait_s:
            if not request.result:
                request.deadline_s = self._now_s() + request.wait_s
                request.result = parts
            self._awaiting.setdefault(parts[1], []).append(request)
        else:
            self._replies.write(request, parts, b"pending")

    def on_read_through(self, ident: int, problem: Problem | None) -> None:
        """The store has been given what it lacked to judge a request, or that cannot be read now."""
        request = self._unheld.pop(ident, None)
        if request is None:
            return
        if problem is None:
            request.is_read_through = True
            self.add(request)
        else:
            refusal = Problem.out_of_reach(problem.detail, problem.retry_after_s or 1, hint=UNHELD_HINT)
            self._replies.refuse(request, refusal)

    def on_replicated(self, commits: list[tuple[int, bool]]) -> None:
        """The primary upstream has these commits (True), or has refused them (False)."""
        for commit, applied in commits:
            for request in self._awaiting.pop(commit, []):
                self._end_wait(request, applied=applied)

    def _end_wait(self, request: Request, *, applied: bool) -> None:
        if not applied:
            request.result[0] = 202
        self._replies.write(request, request.result, b"done" if applied else b"pending")

    # -- stores come and go

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
            self.add(request, resent=True)

    def store_lost(self) -> None:
        """The store ended. Its commits wait for the next one."""
        self._store = None

    # -- ends

    def end_waits(self) -> None:
        """Answers those who wait for upstream with what is known: their writes are durable, and pending."""
        awaiting, self._awaiting = self._awaiting, {}
        for requests in awaiting.values():
            for request in requests:
                self._end_wait(request, applied=False)

    def stop(self) -> None:
        """From now on each answer is the last of its connection, and nobody waits for upstream."""
        awaiting = (request for requests in self._awaiting.values() for request in requests)
        for request in (*awaiting, *self._at_store.values(), *self._unheld.values()):
            request.incoming.close = True
        self.end_waits()

    def sweep(self, now_s: float, patience: Patience) -> None:
        """Answers what has waited long enough."""
        oldest_s = now_s - patience.request_timeout_s
        for commit, requests in list(self._awaiting.items()):
            late = [request for request in requests if request.deadline_s <= now_s]
            for request in late:
                requests.remove(request)
                self._end_wait(request, applied=False)
            if not requests:
                del self._awaiting[commit]
        for request in list(self._at_store.values()):
            if request.result and request.deadline_s <= now_s:
                del self._at_store[request.id]
                self._end_wait(request, applied=False)
            elif not request.result and request.started_s < oldest_s:
                del self._at_store[request.id]
                self.refuse_late(request, f"the store has not confirmed the write {patience.over}")
        for request in [request for request in self._unheld.values() if request.started_s < oldest_s]:
            del self._unheld[request.id]
            self.refuse_late(request, f"upstream has not shown the document that the write needs {patience.over}")

    def refuse_late(self, request: Request, detail: str) -> None:
        """Gives up a request, wherever it is, that has waited long enough."""
        held = hold(request)
        if held is not None and self._store is not None:
            # Behind its COMMIT. Where no store is up, or this one ends before it reads this, it leaves the answer.
            self._store.send(encode(Kind.COMMIT, self._next_ident(), held))
        request.server = SUPERVISOR
        self._replies.refuse(request, too_late(request, detail))
