"""Any stream of bytes: what the gateway takes for requests is what workers get, and what another strict parser sees.

The other parser is h11. Where the gateway is stricter it takes fewer requests; it must never take one that h11 does not
see at the same place, with the same method, target and content: whoever stands in front of DEORA might see that one.
"""

from __future__ import annotations

import asyncio
from itertools import pairwise

import h11
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deora.gateway.balancer import RoundRobin
from deora.gateway.balancer import Server as Balanced
from deora.gateway.dispatch import Dispatch
from deora.gateway.door import Door
from deora.gateway.requests import Patience, Worker
from deora.gateway.server import Server
from deora.observe.metrics import Metrics
from deora.wire.answers import answer
from deora.wire.frames import Kind
from deora.worker.requests import parse
from tests.fakes.clock import ManualClock
from tests.fakes.front import LIMITS, Client, statuses
from tests.fakes.loop import run
from tests.fakes.star import KeptLink

Seen = list[tuple[bytes, bytes, bytes]]

PIECES = [
    b"GET /a HTTP/1.1\r\n", b"POST /b HTTP/1.1\r\n", b"PUT /c?d=e HTTP/1.1\r\n", b"GET /z HTTP/1.0\r\n",
    b"Host: here\r\n", b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"Content-Length: 35\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Connection: close\r\n", b"Connection: keep-alive\r\n",
    b"Expect: 100-continue\r\n", b"X: y\r\n", b" folded\r\n", b"\r\n", b"\n", b"\r", b"\0", b" ", b":", b"hello",
    b"5\r\nhello\r\n", b"0\r\n\r\n", b"0\r\n", b";ext=1", b"+", b"0x5\r\n",
    b"GET /hidden HTTP/1.1\r\nHost: here\r\n\r\n",
    b"POST /b HTTP/1.1\r\nHost: here\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /b HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n",
]  # fmt: skip
STREAMS = st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=6)), min_size=1, max_size=12).map(b"".join)


class Behind:
    """A real dispatch with one worker behind it, which answers everything and keeps what it was given."""

    def __init__(self) -> None:
        balancer, patience = RoundRobin(), Patience(30, 2)
        self.dispatch = Dispatch(balancer, patience, Metrics(), asyncio.get_running_loop().time, lambda _: None)
        self._link = KeptLink()
        self._worker = Worker("primary", b"primary", 1, self._link)
        self.dispatch.worker_up(self._worker, [Balanced("primary", 1, 1)])
        self.worked: Seen = []

    def work(self) -> None:
        """Answers what the worker has."""
        for _, flags, head_bytes, generation, ident, body in self._link.take(Kind.REQUEST):
            request = parse(ident, flags, head_bytes, body, b"")
            target = request.path + (b"?" + request.query if request.query else b"")
            self.worked.append((request.method, target, request.content))
            content = answer(200, b"", server=b"primary", request_id=b"r", close=request.close)
            self.dispatch.on_answer(self._worker, (Kind.ANSWER, 0, 200, generation, ident, content))


def taken(sent: bytes, cuts: list[int]) -> Seen:
    """What reaches a worker of the stream, cut at these places; each has an answer."""

    async def main() -> Seen:
        behind = Behind()
        server = Server(behind.dispatch, LIMITS, Door(), lambda: b"refused", asyncio.get_running_loop().time)
        async with await Client.connect(server) as client:
            places = sorted({0, len(sent), *(cut % (len(sent) + 1) for cut in cuts)})
            received = b""
            for start, end in pairwise(places):
                await client.send(sent[start:end])
                for _ in range(len(sent) // 16 + 1):
                    behind.work()
                    received += await client.receive()
        answered = statuses(received)
        assert answered.count(200) == len(behind.worked)
        return behind.worked

    return run(main(), ManualClock())


def seen_by_h11(sent: bytes) -> Seen:
    """The requests that h11 sees, up to the first that it refuses."""
    peer = h11.Connection(h11.SERVER)
    peer.receive_data(sent)
    found: Seen = []
    while True:
        try:
            if not _next_of_h11(peer, found):
                return found
        except h11.RemoteProtocolError as error:
            if str(error) != "no request line received":
                return found
            # An empty line before a request is to be passed over (RFC 9112, 2.2), which h11 does not.
            rest, _ = peer.trailing_data
            peer = h11.Connection(h11.SERVER)
            peer.receive_data(rest)


def _next_of_h11(peer: h11.Connection, found: Seen) -> bool:
    """Adds the next whole request and answers it; False where there is none."""
    request = peer.next_event()
    if not isinstance(request, h11.Request):
        return False
    content = b""
    while not isinstance(event := peer.next_event(), h11.EndOfMessage):
        if not isinstance(event, h11.Data):
            return False
        content += event.data
    found.append((b"GET" if request.method == b"HEAD" else request.method, request.target, content))
    peer.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
    peer.send(h11.EndOfMessage())
    if peer.our_state is not h11.DONE or peer.their_state is not h11.DONE:
        return False
    peer.start_next_cycle()
    return True


@settings(max_examples=400)
@given(STREAMS, st.lists(st.integers(0, 10_000), max_size=4))
@example(b"\r\nGET /hidden HTTP/1.1\r\nHost: here\r\n\r\n", [])
@example(b"POST /b HTTP/1.1\r\nHost: here\r\nContent-Length: 35\r\n\r\nGET /hidden HTTP/1.1\r\nHost: here\r\n\r\n", [])
def test_another_strict_parser_sees_the_same(sent: bytes, cuts: list[int]) -> None:
    requests = taken(sent, [])
    assert requests == seen_by_h11(sent)[: len(requests)]
    assert taken(sent, cuts) == requests
