"""A dispatch whose workers and stores are links by hand: what they would say, the test says in their place."""

from __future__ import annotations

from typing import Any

from deora.gateway.balancer import RoundRobin, Server, Weighted
from deora.gateway.dispatch import Dispatch
from deora.gateway.incoming import Incoming
from deora.gateway.requests import Patience, Worker
from deora.observe.metrics import Metrics
from deora.wire.answers import answer
from deora.wire.frames import (
    Frame,
    Kind,
    pack,
)
from tests.fakes.clock import ManualClock
from tests.fakes.star import KeptLink, Received, incoming, received

SERVERS = {"primary": Server("primary", 70, 1), "secondary": Server("secondary", 30, 2)}
TIMEOUT_S = 30
RETRIES = 2


class Bench:
    """A dispatch with its children."""

    def __init__(self, mode: type[Weighted] = RoundRobin) -> None:
        self.clock = ManualClock()
        self.metrics = Metrics()
        self.local: Any = None
        self.dispatch = Dispatch(
            mode(),
            Patience(TIMEOUT_S, RETRIES),
            self.metrics,
            self.clock.monotonic_s,
            lambda request: self._ask(request),
        )
        self.workers: dict[str, Worker] = {}
        self.links: dict[str, KeptLink] = {}
        self.generation = 0

    def _ask(self, request: Incoming) -> Any:
        return self.local(request) if self.local is not None else None

    def up(self, *slots: str) -> None:
        """Workers say HELLO."""
        for slot in slots:
            self.generation += 1
            link = self.links[slot] = KeptLink()
            self.workers[slot] = Worker(slot, slot.encode(), self.generation, link)
            self.dispatch.worker_up(self.workers[slot], [SERVERS[each] for each in self.workers])

    def down(self, slot: str) -> None:
        """A worker dies."""
        worker = self.workers.pop(slot)
        self.dispatch.worker_lost(worker, [SERVERS[each] for each in self.workers])

    def store(self) -> KeptLink:
        """A new store says HELLO."""
        link = KeptLink()
        self.dispatch.commits.store_up(link)
        return link

    def accept(self, method: str = "GET", target: str = "/v1/documents/a/b", **more: Any) -> Incoming:
        request = incoming(method, target, **more)
        self.dispatch.accept(request)
        return request

    def asked(self, slot: str) -> list[Frame]:
        """The REQUESTs that a worker has got since the last time."""
        return self.links[slot].take(Kind.REQUEST)

    def asked_has(self, slot: str, text: bytes) -> bool:
        """Whether a worker holds a REQUEST with this in it."""
        return any(frame[0] == Kind.REQUEST and text in frame[5] for frame in self.links[slot].frames)

    def answer(self, slot: str, frame: Frame, content: bytes = b"{}", generation: int | None = None) -> None:
        """A worker answers the request of a REQUEST frame."""
        worker = self.workers[slot]
        sent = answer(200, content, server=worker.role, request_id=b"r")
        made = worker.generation if generation is None else generation
        self.dispatch.on_answer(worker, (Kind.ANSWER, 0, 200, made, frame[4], sent))

    def answer_all(self, slot: str) -> list[Frame]:
        """A worker answers whatever it is asked, until nothing more comes: suspects come one by one."""
        answered: list[Frame] = []
        while asked := self.asked(slot):
            for frame in asked:
                self.answer(slot, frame)
            answered += asked
        return answered

    def commit(self, slot: str, frame: Frame, wait_s: int = 0, body: bytes = b"writes") -> None:
        """A worker answers with writes to commit."""
        worker = self.workers[slot]
        self.dispatch.on_commit(worker, (Kind.COMMIT, 0, wait_s, worker.generation, frame[4], body))

    def result(self, frame: Frame, status: int = 200, commit: int = 7, path: str | None = "a/b") -> None:
        """The store answers a COMMIT frame."""
        version = "e-7" if path is not None else None
        body = pack([status, commit, version, path, b'{"commit":%d' % commit])
        self.dispatch.commits.on_result((Kind.RESULT, 0, status, 0, frame[4], body))

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.dispatch.sweep()


def only(request: Incoming) -> Received:
    """The one answer of a request."""
    [answered] = received(request)
    return answered


def waiting(bench: Bench, wait_s: int = 5, status: int = 201) -> Incoming:
    """A committed write whose client waits for upstream, as commit 7."""
    bench.store()
    bench.up("primary")
    request = bench.accept("PUT")
    [frame] = bench.asked("primary")
    bench.commit("primary", frame, wait_s=wait_s)
    bench.result(frame, status)
    assert not received(request)
    return request
