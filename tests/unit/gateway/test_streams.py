"""The clients' ends of change streams: workers are links by hand, clients take what they are told to take."""

from __future__ import annotations

from typing import Any

import pytest

from deora.gateway.access import Scope
from deora.gateway.incoming import Incoming
from deora.gateway.outflow import HIGH_BYTES, Client, Outflow, Part
from deora.gateway.requests import Request, Worker
from deora.gateway.streams import BUFFER_BYTES, GIVE_UP_S, KEEP_ALIVE_S, PATIENCE_S, RETRY, Streams
from deora.observe.metrics import Metrics
from deora.wire.frames import Decoder, Frame, Kind, encode, pack, unpack
from tests.fakes.clock import ManualClock
from tests.fakes.star import KeptConnection, KeptLink


class KeptOutflow(Outflow):
    """A client that takes all it is sent, but while it is `deaf`."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.text = b""
        self.unsent = 0
        self.deaf = False
        self.ended: str | None = None

    def send(self, part: Part) -> None:
        self.text += part.text
        self.unsent += len(part.text) if self.deaf else 0

    def unsent_bytes(self) -> int:
        return self.unsent

    def end(self) -> None:
        self.ended = "ended"

    def abort(self) -> None:
        self.ended = "aborted"

    def take(self) -> bytes:
        """What has come since the last time."""
        text, self.text = self.text, b""
        return text

    def wake(self) -> None:
        """The client takes what waits for it."""
        self.deaf, self.unsent = False, 0
        self.client.drained()


class StreamConnection(KeptConnection):
    """A connection whose answer may be a stream; `gone`: its client has left before."""

    gone = False
    outflow: KeptOutflow

    def begin_stream(self, head: bytes, client: Client) -> Outflow | None:
        if self.gone:
            return None
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        self.outflow = KeptOutflow(client)
        return self.outflow


class Bench:
    """Streams with their workers."""

    def __init__(self, most: int = 10) -> None:
        self.clock = ManualClock()
        self.metrics = Metrics()
        self.streams = Streams(most, self.metrics, self.clock.monotonic_s)
        self.generation = 0

    def worker(self, slot: str) -> Worker:
        """A worker that is up."""
        self.generation += 1
        return Worker(slot, slot.encode(), self.generation, KeptLink())

    def ask(self, worker: Worker, *, head: bool = False, gone: bool = False, start: str = "e-0") -> StreamConnection:
        """A request that the worker answers with a stream."""
        connection = StreamConnection()
        connection.gone = gone
        incoming = Incoming(connection, b"GET", b"/v1/changes", {}, b"", Scope.READ, False, head)
        worker.held[7] = Request(7, incoming, b"r-1", self.clock.monotonic_s())
        body = pack([None, start, b"id: %b\n\n" % start.encode()])
        self.streams.on_stream(worker, decoded(encode(Kind.STREAM, 7, body, generation=worker.generation)))
        return connection

    def open(self, worker: Worker, start: str = "e-0") -> KeptOutflow:
        """A stream; its beginning is taken."""
        outflow = self.ask(worker, start=start).outflow
        outflow.take()
        return outflow

    def events(self, worker: Worker, streams: list[int], event_id: str, text: bytes, page: int = 0) -> None:
        """What a worker sends."""
        frame = encode(
            Kind.EVENTS, page, pack([streams, event_id, text]), aux=int(page > 0), generation=worker.generation
        )
        self.streams.on_events(worker, decoded(frame))


def decoded(frame: bytes) -> Frame:
    [found] = Decoder().feed(frame)
    return found


def sent(worker: Worker, kind: Kind) -> list[tuple[int, Any]]:
    """Id and body of the frames of this kind that the worker got since the last time."""
    assert isinstance(worker.link, KeptLink)
    return [(frame[4], unpack(frame[5]) if frame[5] else None) for frame in worker.link.take(kind)]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_stream_begins_and_is_served_by_the_first_worker(bench: Bench) -> None:
    one, two = bench.worker("primary"), bench.worker("secondary")
    bench.streams.update([one, two])
    outflow = bench.ask(two).outflow
    assert outflow.take() == RETRY + b"id: e-0\n\n"
    assert sent(one, Kind.STREAM) == [(1, [None, "e-0", None])]
    assert sent(two, Kind.STREAM) == []
    bench.events(one, [1], "e-1", b"event")
    assert outflow.take() == b"event"
    assert two.held == {}


def test_head_shows_the_head_alone(bench: Bench) -> None:
    one = bench.worker("primary")
    bench.streams.update([one])
    [answer] = bench.ask(one, head=True).received
    assert (answer.status, answer.headers["content-type"], answer.content) == (200, "text/event-stream", b"")
    assert answer.closes
    assert len(bench.streams) == 0


def test_more_than_may_be_are_refused_until_one_has_gone(bench: Bench) -> None:
    bench = Bench(most=1)
    one = bench.worker("primary")
    bench.streams.update([one])
    first = bench.open(one)
    [answer] = bench.ask(one).received
    assert (answer.status, answer.headers["retry-after"]) == (503, "5")
    assert "limits.streams 1" in answer.json["detail"]
    first.client.lost()
    assert sent(one, Kind.UNSTREAM) == [(1, None)]
    assert bench.ask(one).outflow.text
    assert len(bench.streams) == 1


def test_who_has_left_before_the_answer_counts_for_nothing(bench: Bench) -> None:
    one = bench.worker("primary")
    bench.streams.update([one])
    bench.ask(one, gone=True)
    assert len(bench.streams) == 0


def test_an_answer_of_an_earlier_life_is_nobodys(bench: Bench) -> None:
    one = bench.worker("primary")
    frame = decoded(encode(Kind.STREAM, 7, pack([None, "e-0", b""]), generation=one.generation + 1))
    bench.streams.on_stream(one, frame)
    assert len(bench.streams) == 0


def test_another_worker_goes_on_behind_what_was_sent(bench: Bench) -> None:
    one, two = bench.worker("primary"), bench.worker("secondary")
    bench.streams.update([one, two])
    first, second = bench.open(one), bench.open(one)
    bench.events(one, [1, 2], "e-1", b"1")
    bench.events(one, [2], "e-2", b"2")
    bench.events(one, [1], "e-5", b"")
    bench.streams.update([two])
    assert sorted(body for _, body in sent(two, Kind.STREAM)) == [[None, "e-2", None], [None, "e-5", None]]
    # The late word of the old worker is not heard, not even where it is the one that serves again.
    bench.events(one, [1, 2], "e-6", b"late")
    bench.streams.update([one])
    bench.events(one, [1, 2], "e-6", b"late")
    assert (first.text, second.text) == (b"1", b"12")
    assert len(sent(one, Kind.STREAM)) == 4
    assert len(sent(two, Kind.UNSTREAM)) == 2


def test_without_a_worker_streams_wait(bench: Bench) -> None:
    one = bench.worker("primary")
    bench.streams.update([one])
    outflow = bench.open(one, "e-4")
    bench.streams.update([])
    bench.clock.advance(KEEP_ALIVE_S)
    bench.streams.sweep()
    assert outflow.take() == b": still here\nid: e-4\n\n"
    two = bench.worker("secondary")
    bench.streams.update([two])
    assert sent(two, Kind.STREAM) == [(2, [None, "e-4", None])]


def test_a_quiet_stream_is_kept_alive_and_knows_its_place(bench: Bench) -> None:
    one = bench.worker("primary")
    bench.streams.update([one])
    outflow = bench.open(one)
    bench.events(one, [1], "e-9", b"")
    bench.clock.advance(KEEP_ALIVE_S - 0.1)
    bench.streams.sweep()
    assert outflow.take() == b""
    bench.clock.advance(0.1)
    bench.streams.sweep()
    bench.streams.sweep()
    assert outflow.take() == b": still here\nid: e-9\n\n"
    bench.clock.advance(10)
    bench.events(one, [1], "e-10", b"event")
    bench.clock.advance(10)
    bench.streams.sweep()
    assert outflow.take() == b"event"


def test_who_does_not_read_gets_a_resync_once_he_does(bench: Bench) -> None:
    one = bench.worker("primary")
    bench.streams.update([one])
    slow, other = bench.open(one), bench.open(one)
    sent(one, Kind.STREAM)
    slow.deaf = True
    bench.events(one, [1, 2], "e-1", b"x" * (BUFFER_BYTES + 1))
    assert sent(one, Kind.UNSTREAM) == []
    bench.events(one, [1, 2], "e-2", b"y")
    bench.events(one, [1, 2], "e-3", b"z")
    assert sent(one, Kind.UNSTREAM) == [(1, None)]
    assert (slow.text[-1:], other.text[-2:]) == (b"x", b"yz")
    slow.wake()
    assert sent(one, Kind.STREAM) == [(3, [None, "e-1", "slow"])]
    bench.events(one, [3], "e-3", b"resync")
    assert slow.text.endswith(b"xresync")
    # Drained again without having been slow: nothing is to be done.
    slow.wake()
    assert sent(one, Kind.STREAM) == []


def test_who_never_reads_is_given_up(bench: Bench) -> None:
    one = bench.worker("primary")
    bench.streams.update([one])
    slow = bench.open(one)
    slow.unsent = BUFFER_BYTES + 1
    bench.events(one, [1], "e-1", b"x")
    bench.clock.advance(GIVE_UP_S)
    bench.streams.sweep()
    assert (slow.ended, slow.text) == (None, b"")
    bench.clock.advance(1)
    bench.streams.sweep()
    assert slow.ended == "aborted"


def test_a_slow_one_is_not_given_to_the_next_worker_before_it_reads(bench: Bench) -> None:
    one, two = bench.worker("primary"), bench.worker("secondary")
    bench.streams.update([one])
    slow = bench.open(one)
    slow.unsent = BUFFER_BYTES + 1
    bench.events(one, [1], "e-1", b"x")
    bench.streams.update([two])
    assert sent(two, Kind.STREAM) == []
    slow.wake()
    assert sent(two, Kind.STREAM) == [(2, [None, "e-0", "slow"])]


def test_a_page_is_followed_once_all_its_clients_have_taken_it(bench: Bench) -> None:
    one = bench.worker("primary")
    bench.streams.update([one])
    first, second, third = (bench.open(one) for _ in range(3))
    bench.events(one, [1, 2, 3], "e-1", b"x", page=4)
    assert sent(one, Kind.EVENTS) == [(4, None)]
    first.deaf = second.deaf = True
    bench.events(one, [1, 2, 3], "e-2", b"x" * (HIGH_BYTES + 1), page=5)
    assert sent(one, Kind.EVENTS) == []
    third.wake()
    first.wake()
    assert sent(one, Kind.EVENTS) == []
    second.client.lost()
    assert sent(one, Kind.EVENTS) == [(5, None)]


def test_several_wait_for_one_only_so_long(bench: Bench) -> None:
    one = bench.worker("primary")
    bench.streams.update([one])
    slow, _ = bench.open(one), bench.open(one)
    slow.deaf = True
    bench.events(one, [1, 2], "e-1", b"x" * (HIGH_BYTES + 1), page=5)
    bench.clock.advance(PATIENCE_S)
    bench.streams.sweep()
    assert sent(one, Kind.EVENTS) == []
    bench.clock.advance(0.1)
    bench.streams.sweep()
    assert sent(one, Kind.EVENTS) == [(5, None)]
    assert sent(one, Kind.UNSTREAM) == [(1, None)]


def test_who_is_alone_on_a_page_has_his_time(bench: Bench) -> None:
    one = bench.worker("primary")
    bench.streams.update([one])
    slow = bench.open(one)
    slow.deaf = True
    bench.events(one, [1], "e-1", b"x" * (HIGH_BYTES + 1), page=5)
    bench.clock.advance(GIVE_UP_S)
    bench.streams.sweep()
    assert sent(one, Kind.UNSTREAM) == []
    slow.wake()
    assert sent(one, Kind.EVENTS) == [(5, None)]


def test_at_the_end_streams_end_and_none_begins(bench: Bench) -> None:
    one = bench.worker("primary")
    bench.streams.update([one])
    outflow = bench.open(one)
    bench.streams.end()
    assert outflow.ended == "ended"
    [answer] = bench.ask(one).received
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
