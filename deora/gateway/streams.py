"""Change streams: the client's end of each, kept through the deaths of workers and of the store.

A worker reads the changes and makes their text; here it goes to the clients, and it is remembered up to which event
each of them has been sent. All streams are served by one worker, since what is new is read and formatted once for all.
When that worker ends, the next one goes on behind that event: nothing twice, nothing left out.

    WITHOUT A WORKER --STREAM to a worker--> SERVED --worker gone--> WITHOUT A WORKER
                                               |  ^
       more than BUFFER_BYTES are not taken    v  | the client has taken them all: a resync
                                             SLOW --not within GIVE_UP_S--> closed
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import count
from typing import Final

from deora.errors import Problem
from deora.gateway.incoming import Incoming
from deora.gateway.outflow import HIGH_BYTES, Outflow, Part
from deora.gateway.records import Records
from deora.gateway.requests import Request, Worker
from deora.observe.metrics import Metrics
from deora.wire.answers import problem_answer, stream_head
from deora.wire.frames import Frame, Kind, encode, pack, unpack

# What may wait for a client in this process; the kernel's buffer comes on top (`outflow.SNDBUF_BYTES`).
BUFFER_BYTES: Final = 256 * 1024
KEEP_ALIVE_S: Final = 15.0
GIVE_UP_S: Final = 60.0
# What several clients get waits so long for the slowest of them; then that one is slow.
PATIENCE_S: Final = 1.0
RETRY: Final = b"retry: 1000\n\n"
SLOW: Final = "slow"


@dataclass(slots=True, eq=False)
class Stream:
    """One client's stream. `event_id`: the last event that it was sent; `id` names it while one worker serves it."""

    streams: Streams
    collections: list[str] | None
    event_id: str
    wrote_s: float
    outflow: Outflow = field(init=False)
    id: int = 0
    slow_since_s: float | None = None

    def drained(self) -> None:
        """The client has taken what waited for it."""
        self.streams.drained(self)

    def lost(self) -> None:
        """The client has gone."""
        self.streams.lost(self)


@dataclass(slots=True)
class _Page:
    """What a worker has sent and waits for: the clients that have not taken it yet, and until when they may."""

    worker: Worker
    due_s: float
    left: set[Stream] = field(default_factory=set)


class Streams:
    """All change streams. `most`: how many there may be."""

    def __init__(self, most: int, metrics: Metrics, now_s: Callable[[], float]) -> None:
        self._most = most
        self._metrics = metrics
        self.records = Records()
        self._now_s = now_s
        self._ids = count(1)
        self._all: set[Stream] = set()
        self._served: dict[int, Stream] = {}
        self._pages: dict[int, _Page] = {}
        self._worker: Worker | None = None
        self._stopping = False

    def __len__(self) -> int:
        return len(self._all)

    def configure(self, most: int) -> None:
        """So many there may be from now on; those that are open stay."""
        self._most = most

    # -- clients

    def on_stream(self, worker: Worker, frame: Frame) -> Request | None:
        """A worker's STREAM: the answer to a request goes on as long as its client stays. Returns that request."""
        _, _, _, generation, ident, body = frame
        request = worker.held.pop(ident, None) if generation == worker.generation else None
        if request is None:
            return None
        incoming, server, request_id = request.incoming, request.server, request.request_id
        problem = self._refusal()
        status = 200 if problem is None else problem.status
        now_s = self._now_s()
        self._metrics.answered(request.slot, status, now_s - request.started_s)
        if self.records.note is not None:
            # It is written down when it begins: it may last for days.
            self.records.note(request, status, 0, now_s)
        if problem is not None:
            answer = problem_answer(
                problem, server=server, request_id=request_id, close=incoming.close, head=incoming.head
            )
            incoming.connection.send(answer, close=incoming.close)
        elif incoming.head:
            incoming.connection.send(stream_head(server=server, request_id=request_id), close=True)
        else:
            self._open(incoming, stream_head(server=server, request_id=request_id), *unpack(body))
        return request

    def _refusal(self) -> Problem | None:
        if self._stopping:
            return Problem("unavailable", "this instance is stopping", hint="connect again", retry_after_s=1)
        if len(self._all) < self._most:
            return None
        return Problem(
            "unavailable",
            f"there are {len(self._all)} change streams; security.json allows limits.streams {self._most}",
            hint="close streams that nobody reads, or allow more",
            retry_after_s=5,
        )

    def _open(
        self, incoming: Incoming, head: bytes, collections: list[str] | None, event_id: str, first: bytes
    ) -> None:
        stream = Stream(self, collections, event_id, self._now_s())
        outflow = incoming.connection.begin_stream(head, stream)
        if outflow is not None:
            stream.outflow = outflow
            self._all.add(stream)
            outflow.send(Part.of(RETRY + first))
            self._serve(stream)

    def drained(self, stream: Stream) -> None:
        """See `Stream`."""
        if stream.slow_since_s is not None:
            stream.slow_since_s = None
            self._serve(stream, SLOW)
        self._taken([stream])

    def lost(self, stream: Stream) -> None:
        """See `Stream`."""
        self._all.discard(stream)
        self._withdraw(stream)

    # -- workers

    def on_events(self, worker: Worker, frame: Frame) -> None:
        """A worker's EVENTS."""
        _, _, paced, generation, page, body = frame
        if worker is not self._worker or generation != worker.generation:
            return
        idents, event_id, text = unpack(body)
        now_s = self._now_s()
        part = Part.of(text) if text else None
        late = set()
        for ident in idents:
            stream = self._served.get(ident)
            if stream is None:
                continue
            if part is not None:
                unsent = stream.outflow.unsent_bytes()
                if unsent > BUFFER_BYTES:
                    self._falls_behind(stream, now_s)
                    continue
                stream.outflow.send(part)
                stream.wrote_s = now_s
                if paced and stream.outflow.unsent_bytes() > HIGH_BYTES:
                    late.add(stream)
            stream.event_id = event_id
        if late:
            patience_s = PATIENCE_S if len(idents) > 1 else GIVE_UP_S
            self._pages[page] = _Page(worker, now_s + patience_s, late)
        elif paced:
            worker.link.send(encode(Kind.EVENTS, page, generation=worker.generation))

    def update(self, workers: Iterable[Worker]) -> None:
        """These workers take requests. Where the one that served is not among them, another takes all streams over."""
        up = list(workers)
        if self._worker in up:
            return
        for stream in self._served.values():
            self._unserve(stream)
        self._served.clear()
        self._pages.clear()
        self._worker = min(up, key=lambda worker: len(worker.held), default=None)
        for stream in self._all:
            if stream.slow_since_s is None:
                self._serve(stream)

    # -- time

    def sweep(self) -> None:
        """Keeps quiet connections alive, and gives those up that take nothing. Called a few times a second."""
        now_s = self._now_s()
        for stream in list(self._all):
            if stream.slow_since_s is not None:
                if now_s - stream.slow_since_s > GIVE_UP_S:
                    stream.outflow.abort()
            elif now_s - stream.wrote_s >= KEEP_ALIVE_S:
                stream.wrote_s = now_s
                # With its place, which an EventSource keeps: a quiet stream that breaks has nothing to look through.
                stream.outflow.send(Part.of(b": still here\nid: %b\n\n" % stream.event_id.encode()))
        for page in [page for page in self._pages.values() if now_s > page.due_s]:
            for stream in list(page.left):
                self._falls_behind(stream, now_s)

    def end(self) -> None:
        """Ends all streams, so that clients connect again with the id of their last event. None is opened any more."""
        self._stopping = True
        for stream in list(self._all):
            self.lost(stream)
            stream.outflow.end()

    # -- inside

    def _serve(self, stream: Stream, reason: str | None = None) -> None:
        worker = self._worker
        if worker is None:
            return
        stream.id = next(self._ids)
        self._served[stream.id] = stream
        body = pack([stream.collections, stream.event_id, reason])
        worker.link.send(encode(Kind.STREAM, stream.id, body, generation=worker.generation))

    def _unserve(self, stream: Stream) -> None:
        worker = self._worker
        if worker is not None:
            worker.link.send(encode(Kind.UNSTREAM, stream.id, generation=worker.generation))

    def _withdraw(self, stream: Stream) -> None:
        if self._served.pop(stream.id, None) is not None:
            self._unserve(stream)
        self._taken([stream])

    def _falls_behind(self, stream: Stream, now_s: float) -> None:
        stream.slow_since_s = now_s
        self._withdraw(stream)

    def _taken(self, streams: Iterable[Stream]) -> None:
        """These clients keep no page waiting any more."""
        for number, page in list(self._pages.items()):
            page.left.difference_update(streams)
            if not page.left:
                del self._pages[number]
                page.worker.link.send(encode(Kind.EVENTS, number, generation=page.worker.generation))
