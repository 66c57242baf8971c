"""Connections: real sockets on a loop whose clock is moved by hand."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from deora.config.schema import Token
from deora.errors import Problem
from deora.gateway.access import Scope
from deora.gateway.connection import LINGER_S, PIPELINE, Connection
from deora.gateway.hosts import Names
from deora.gateway.incoming import Incoming
from deora.gateway.limits import Limits
from tests.fakes.clock import ManualClock
from tests.fakes.front import LIMITS, Client, Front, make_server, statuses, turns
from tests.fakes.loop import run

T = TypeVar("T")

GET = b"GET /%b HTTP/1.1\r\nHost: venue\r\n\r\n"
GOOD = GET % b"a"
CHUNKED = b"POST /x HTTP/1.1\r\nHost: venue\r\nTransfer-Encoding: chunked\r\n\r\n"


def post(content: bytes, head: bytes = b"") -> bytes:
    """A POST of `content`, with more header lines."""
    return b"POST /x HTTP/1.1\r\nHost: venue\r\nContent-Length: %d\r\n%b\r\n%b" % (len(content), head, content)


def serve(talk: Callable[[Front, Client], Awaitable[T]], limits: Limits = LIMITS, *, at_once: bool = True) -> T:
    """What `talk` makes of one connection to a server with a `Front` behind it."""

    async def main() -> T:
        front = Front(at_once=at_once)
        async with await Client.connect(make_server(front, limits)) as client:
            return await talk(front, client)

    return run(main(), ManualClock())


def exchange(sent: bytes, limits: Limits = LIMITS) -> tuple[bytes, list[Incoming], bool]:
    """What came back for `sent`, what was accepted, and whether the connection has ended."""

    async def talk(front: Front, client: Client) -> tuple[bytes, list[Incoming], bool]:
        received = await client.ask(sent)
        return received, front.accepted, client.ended

    return serve(talk, limits)


def connection_of(front: Front) -> Connection:
    """Where the first request came from."""
    connection = front.accepted[0].connection
    assert isinstance(connection, Connection)
    return connection


def problem(received: bytes) -> dict[str, Any]:
    """The problem in the last answer."""
    head, _, content = received.rpartition(b"\r\n\r\n")
    assert b"Content-Type: application/problem+json" in head
    members: dict[str, Any] = json.loads(content)
    return members


# -- what is taken


def test_a_request_is_handed_on_with_what_workers_read() -> None:
    received, [request], ended = exchange(
        b'PUT /v1/documents/orders/o1?a=b HTTP/1.1\r\nHost: venue\r\nUser-Agent: till\r\nIF-MATCH: "v1"\r\n'
        b"Prefer: wait=1\r\nprefer: return=representation\r\nX-Request-Id: r-1\r\nContent-Type: application/json\r\n"
        b"Content-Length: 2\r\nCookie: a=b\r\n\r\n{}"
    )
    assert statuses(received) == [200]
    assert not ended
    assert (request.method, request.target, request.content) == (b"PUT", b"/v1/documents/orders/o1?a=b", b"{}")
    assert request.fields == {
        b"if-match": b'"v1"',
        b"prefer": b"wait=1, return=representation",
        b"x-request-id": b"r-1",
        b"content-type": b"application/json",
    }
    assert (request.close, request.head, request.scope, request.problem) == (False, False, Scope.ADMIN, None)


def test_head_is_a_get_without_content() -> None:
    received, [request], ended = exchange(b"HEAD /a HTTP/1.1\r\nHost: venue\r\n\r\n")
    assert (request.method, request.head) == (b"GET", True)
    assert b"Content-Length: 6\r\n" in received
    assert received.endswith(b"\r\n\r\n")
    assert not ended


@pytest.mark.parametrize("request_id", [b"a b", b"a" * 129, b"\xc3\xa4", b""])
def test_a_request_id_that_could_confuse_a_log_is_dropped(request_id: bytes) -> None:
    _, [request], _ = exchange(b"GET / HTTP/1.1\r\nHost: venue\r\nX-Request-Id: %b\r\n\r\n" % request_id)
    assert b"x-request-id" not in request.fields


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64])
def test_a_request_may_come_in_any_pieces(step: int) -> None:
    async def talk(front: Front, client: Client) -> None:
        sent = post(b'{"a": 1}', b"Content-Type: application/json\r\n") * 2
        for start in range(0, len(sent), step):
            await client.send(sent[start : start + step])
        assert statuses(await client.receive()) == [200, 200]
        for request in front.accepted:
            assert (request.target, request.content) == (b"/x", b'{"a": 1}')
            assert request.fields == {b"content-type": b"application/json"}

    serve(talk)


def test_keep_alive_serves_one_request_after_the_other() -> None:
    async def talk(front: Front, client: Client) -> None:
        for number in range(50):
            received = await client.ask(GET % str(number).encode())
            assert received.endswith(b"GET /%d" % number)
        assert not client.ended
        assert len(front.accepted) == 50

    serve(talk)


# -- HTTP versions and the end of a connection


@pytest.mark.parametrize(
    ("sent", "closes"),
    [
        (b"GET / HTTP/1.1\r\nHost: venue\r\n\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: venue\r\nConnection: close\r\n\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: venue\r\nConnection: keep-alive, close\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\n\r\n", True),
        (b"GET / HTTP/1.0\r\nHost: venue\r\nConnection: keep-alive\r\n\r\n", False),
    ],
)
def test_when_a_connection_ends(sent: bytes, closes: bool) -> None:
    received, [request], ended = exchange(sent)
    assert statuses(received) == [200]
    assert (request.close, ended) == (closes, closes)
    assert (b"Connection: close\r\n" in received) == closes


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
@pytest.mark.parametrize("length", [b"", b"Content-Length: 0\r\n"])
def test_an_upgrade_is_ignored_and_its_answer_is_the_last(protocol: bytes, length: bytes) -> None:
    # `curl --http2` asks for one with its first request.
    async def talk(front: Front, client: Client) -> None:
        upgrade = b"Host: venue\r\nConnection: Upgrade\r\nUpgrade: %b\r\n" % protocol
        await client.send(b"GET /1 HTTP/1.1\r\n" + upgrade + length + b"\r\n" + GET % b"2")
        assert await client.receive() == b""
        front.answer()
        received = await client.receive()
        assert statuses(received) == [200]
        assert received.endswith(b"GET /1")
        assert b"Connection: close\r\n" in received
        assert client.ended
        assert len(front.accepted) == 1

    serve(talk, at_once=False)


def test_an_upgrade_with_a_body_is_refused_since_the_parser_would_drop_the_body() -> None:
    for sent in (post(b"{}", UPGRADE), CHUNKED[:-2] + UPGRADE + b"\r\n" + CONTENT):
        received, accepted, ended = exchange(sent)
        assert statuses(received) == [400]
        assert ended
        assert not accepted


def test_a_client_that_has_ended_its_sending_gets_its_answers() -> None:
    async def talk(front: Front, client: Client) -> None:
        await client.send(GET % b"1" + GET % b"2")
        client.end_sending()
        await turns()
        front.answer()
        front.answer()
        received = await client.receive()
        assert statuses(received) == [200, 200]
        assert client.ended

    serve(talk, at_once=False)


def test_a_client_that_went_away_is_answered_no_more() -> None:
    async def talk(front: Front, client: Client) -> None:
        await client.send(GET % b"1" + GET % b"2")
        connection = connection_of(front)
        client.close()
        await turns()
        front.answer()
        await turns()
        if front.unanswered:  # the system tells of it with the first write or with the second
            front.answer()
            await turns()
        assert connection._transport is None

    serve(talk, at_once=False)


# -- pipelines


def test_a_pipeline_is_answered_in_order_one_at_a_time() -> None:
    async def talk(front: Front, client: Client) -> None:
        await client.send(b"".join(GET % str(number).encode() for number in range(10)))
        for number in range(10):
            assert [request.target for request in front.unanswered] == [b"/%d" % number]
            front.answer()
            await turns()
        received = await client.receive()
        assert [part[:1] for part in received.split(b"GET /")[1:]] == [b"%d" % number for number in range(10)]

    serve(talk, at_once=False)


def test_a_pipeline_may_be_as_long_as_a_client_likes() -> None:
    # What is answered at once behind a request that is not must not nest: 1,000 frames are all that Python has.
    async def talk(front: Front, client: Client) -> None:
        count = 3000
        await client.send(b"".join(GET % b"x" for _ in range(count)))
        front.at_once = True
        front.answer()
        received = b""
        while received.count(b"HTTP/1.1 200") < count:
            more = await client.receive()
            assert more
            received += more
        assert len(front.accepted) == count

    serve(talk, at_once=False)


def test_reading_stops_while_too_much_of_a_pipeline_waits() -> None:
    async def talk(front: Front, client: Client) -> None:
        sent = 0
        for _ in range(20 * PIPELINE):
            sent += client.send_some(GET % (b"a" * 7000)) > 0
            await turns(2)
        connection = connection_of(front)
        assert len(connection._waiting) < 3 * PIPELINE  # what one read has brought beyond it
        answered = 0
        while front.unanswered:
            front.answer()
            answered += 1
            await client.receive()
        assert answered == sent

    serve(talk, at_once=False)


def test_a_client_that_does_not_take_its_answers_is_given_no_more() -> None:
    async def talk(front: Front, client: Client) -> None:
        content = b"a" * 100_000
        sent = 0
        for _ in range(400):
            sent += client.send_some(GET % b"x") > 0
            await turns(1)
            if front.unanswered:
                front.answer(content)
        # The socket's buffer and ours hold a few answers; hundreds of them would fill the memory.
        assert 0 < len(front.accepted) < 20
        answered = len(statuses(await client.receive()))
        while front.unanswered:
            front.answer(content)
            answered += len(statuses(await client.receive()))
        assert answered == len(front.accepted) == sent > 200

    serve(talk, at_once=False)


@pytest.mark.parametrize(
    "before",
    [
        GOOD,
        GOOD + GOOD,
        GOOD + b"\r\n",
        post(GOOD),
        CHUNKED + b"3\r\n{ }\r\n0\r\n\r\n" + GOOD,
    ],
)
@pytest.mark.parametrize("cut", [0, 1, 9, 30])
def test_a_line_that_the_parser_mends_is_refused_behind_any_other_request(before: bytes, cut: int) -> None:
    """However the bytes are cut, and though the right line stands among those before."""
    sent = before + GOOD.replace(b"GET ", b"GET  ")

    async def talk(_: Front, client: Client) -> bytes:
        await client.send(sent[: len(sent) - cut])
        return await client.ask(sent[len(sent) - cut :])

    assert statuses(serve(talk))[-1] == 400


def test_a_fault_behind_answered_requests_is_answered_in_its_turn() -> None:
    async def talk(front: Front, client: Client) -> None:
        await client.send(GET % b"1" + GET % b"2" + b"nonsense\r\n\r\n" + GET % b"3")
        assert await client.receive() == b""
        front.answer()
        front.answer()
        assert front.unanswered[0].problem is not None
        front.answer()
        received = await client.receive()
        assert statuses(received) == [200, 200, 400]
        assert client.ended
        assert not front.unanswered

    serve(talk, at_once=False)


# -- bodies


def test_chunks_are_put_together() -> None:
    received, [request], _ = exchange(CHUNKED + b"1\r\na\r\n3;name=value\r\nbcd\r\nA\r\n0123456789\r\n0\r\n\r\n")
    assert statuses(received) == [200]
    assert request.content == b"abcd0123456789"


def test_many_chunks_are_no_long_head() -> None:
    async def talk(front: Front, client: Client) -> None:
        await client.send(CHUNKED)
        for _ in range(5000):  # size, content and line end in pieces of their own, as some clients send them
            for piece in (b"1\r\n", b"a", b"\r\n"):
                client.send_some(piece)
                await turns(1)
        assert statuses(await client.ask(b"0\r\n\r\n")) == [200]
        assert front.accepted[0].content == b"a" * 5000

    serve(talk)


def test_trailers_count_for_nothing() -> None:
    received, [request], ended = exchange(
        CHUNKED + b'2\r\n{}\r\n0\r\nIf-Match: "v"\r\nX-Deora-Priority: 9\r\nHost: other\r\n\r\n'
    )
    assert statuses(received) == [200]
    assert not ended
    assert request.fields == {}


@pytest.mark.parametrize("endless", [b"0\r\nA: ", b"1;"])
def test_what_stands_around_chunks_is_limited(endless: bytes) -> None:
    received, accepted, ended = exchange(CHUNKED + endless + b"a" * 500_000)
    assert statuses(received) == [431]
    assert ended
    assert not accepted


def test_100_continue_comes_before_the_body() -> None:
    async def talk(front: Front, client: Client) -> None:
        head, content = post(b"abc", b"Expect: 100-Continue\r\n").split(b"\r\n\r\n")
        assert await client.ask(head + b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert not front.accepted
        assert statuses(await client.ask(content)) == [200]
        assert front.accepted[0].content == b"abc"

    serve(talk)


def test_a_body_that_is_too_large_is_refused_instead_of_continued() -> None:
    received, accepted, _ = exchange(
        b"PUT /x HTTP/1.1\r\nHost: venue\r\nContent-Length: 4194305\r\nExpect: 100-continue\r\n\r\n"
    )
    assert statuses(received) == [413]
    assert not accepted


def test_http_1_0_knows_no_100_continue() -> None:
    head = b"POST / HTTP/1.0\r\nHost: venue\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n"
    received, [request], _ = exchange(head + b"a")
    assert statuses(received) == [200]
    assert request.content == b"a"


@pytest.mark.parametrize("size", [0, 1, 999, 1000])
def test_a_body_up_to_the_limit(size: int) -> None:
    received, [request], ended = exchange(post(b"a" * size), Limits(1000, 1000, 100, 10))
    assert statuses(received) == [200]
    assert len(request.content) == size
    assert not ended


def chunks(size: int) -> bytes:
    return b"".join(b"64\r\n%b\r\n" % (b"a" * 100) for _ in range(size // 100)) + b"0\r\n\r\n"


@pytest.mark.parametrize("sent", [post(b"a" * 1001), CHUNKED + chunks(1100), CHUNKED + b"3E9\r\n" + b"a" * 1001])
def test_a_body_over_the_limit_is_a_413(sent: bytes) -> None:
    received, accepted, ended = exchange(sent, Limits(1000, 1000, 100, 10))
    assert statuses(received) == [413]
    assert ended
    assert not accepted
    assert "1000" in problem(received)["detail"]
    assert "hint" in problem(received)


def test_a_client_that_is_still_sending_learns_why_it_was_refused() -> None:
    # A close at once would reset the connection, with the answer unread in the client's buffer.
    async def talk(front: Front, client: Client) -> None:
        sent = b"PUT /x HTTP/1.1\r\nHost: venue\r\nContent-Length: 50000000\r\n\r\n"
        left = 5_000_000
        while left > 0:
            count = client.send_some(sent)
            sent = b"a" * 60_000
            left -= count
            await turns(1)
            if not count:
                break
        assert left <= 0, "the server hung up on a client that was sending"
        assert statuses(await client.receive()) == [413]
        assert not front.accepted

    serve(talk)


# -- limits of the head


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /%b HTTP/1.1\r\nHost: venue\r\n\r\n" % (b"a" * 99), 200),
        (b"GET /%b HTTP/1.1\r\nHost: venue\r\n\r\n" % (b"a" * 100), 414),
        # However long it is, and whether or not it ever ends.
        (b"GET /%b HTTP/1.1\r\nHost: venue\r\n\r\n" % (b"a" * 300_000), 414),
        (b"GET /" + b"a" * 1_000_000, 414),
        (b"GET / HTTP/1.1\r\nHost: venue\r\nCookie: %b\r\n\r\n" % (b"a" * 900), 200),
        (b"GET / HTTP/1.1\r\nHost: venue\r\nCookie: %b\r\n\r\n" % (b"a" * 1000), 431),
        (b"GET / HTTP/1.1\r\nHost: venue\r\n" + b"A: b\r\n" * 170 + b"\r\n", 431),
        (b"GET / HTTP/1.1\r\nHost: venue\r\nCookie: " + b"a" * 1_000_000, 431),
    ],
)
def test_the_limits_of_a_head(sent: bytes, status: int) -> None:
    received, accepted, ended = exchange(sent, Limits(1000, 1000, 100, 10))
    assert statuses(received) == [status]
    assert ended == (status != 200)
    assert len(accepted) == (status == 200)


# -- what is refused

HOST = b"Host: venue\r\n"
LENGTH = b"Content-Length: 1\r\n"
TE = b"Transfer-Encoding: chunked\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: h2c\r\n"
CONTENT = b"1\r\na\r\n0\r\n\r\n"

MALFORMED = {
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "two Hosts in HTTP/1.0": b"GET / HTTP/1.0\r\n" + HOST + HOST + b"\r\n",
    "two Content-Lengths": b"POST / HTTP/1.1\r\n" + HOST + LENGTH + LENGTH + b"\r\na",
    "two Content-Lengths that differ": b"POST / HTTP/1.1\r\n" + HOST + LENGTH + b"Content-Length: 2\r\n\r\na",
    "a list of lengths": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1, 1\r\n\r\na",
    "a signed length": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +1\r\n\r\na",
    "a negative length": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\na",
    "an empty length": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length:\r\n\r\na",
    "a length with an underscore": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 1_0\r\n\r\n0123456789",
    "a length over 64 bits": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 18446744073709551617\r\n\r\na",
    "length and coding": b"POST / HTTP/1.1\r\n" + HOST + LENGTH + TE + b"\r\n" + CONTENT,
    "coding and length": b"POST / HTTP/1.1\r\n" + HOST + TE + LENGTH + b"\r\n" + CONTENT,
    "two codings": b"POST / HTTP/1.1\r\n" + HOST + TE + TE + b"\r\n" + CONTENT,
    "gzip": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n" + CONTENT,
    "identity": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: identity\r\n\r\n" + CONTENT,
    "xchunked": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: xchunked\r\n\r\n" + CONTENT,
    "an empty coding": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding:\r\n\r\n" + CONTENT,
    "a coding in HTTP/1.0": b"POST / HTTP/1.0\r\n" + HOST + TE + b"\r\n" + CONTENT,
    "a bare LF after a chunk's size": CHUNKED + b"1\na\r\n0\r\n\r\n",
    "a chunk's size with 0x": CHUNKED + b"0x1\r\na\r\n0\r\n\r\n",
    "a negative chunk": CHUNKED + b"-1\r\na\r\n0\r\n\r\n",
    "a chunk's size over 64 bits": CHUNKED + b"10000000000000001\r\na\r\n0\r\n\r\n",
    "a chunk longer than its size": CHUNKED + b"1\r\nab\r\n0\r\n\r\n",
    "a bare LF after the request line": b"GET / HTTP/1.1\n" + HOST + b"\r\n",
    "a bare LF after a field": b"GET / HTTP/1.1\r\nHost: venue\nA: b\r\n\r\n",
    "a bare LF at the end": b"GET / HTTP/1.1\r\n" + HOST + b"\n",
    "a bare CR": b"GET / HTTP/1.1\r\nHost: venue\rA: b\r\n\r\n",
    "a folded field": b"GET / HTTP/1.1\r\n" + HOST + b"A: b\r\n c\r\n\r\n",
    "a space before the colon": b"GET / HTTP/1.1\r\nHost : venue\r\n\r\n",
    "a space before the first field": b"GET / HTTP/1.1\r\n Host: venue\r\n\r\n",
    "NUL in a field": b"GET / HTTP/1.1\r\n" + HOST + b"A: b\0c\r\n\r\n",
    "a control byte in a field": b"GET / HTTP/1.1\r\n" + HOST + b"A: b\x01c\r\n\r\n",
    "DEL in a field": b"GET / HTTP/1.1\r\n" + HOST + b"A: b\x7fc\r\n\r\n",
    "a bad field name": b"GET / HTTP/1.1\r\n" + HOST + b"A(b: c\r\n\r\n",
    "no field name": b"GET / HTTP/1.1\r\n" + HOST + b": c\r\n\r\n",
    "two If-Matches": b"PUT / HTTP/1.1\r\n" + HOST + b'If-Match: "a"\r\nIf-Match: "b"\r\n\r\n',
    "two Idempotency-Keys": b"PUT / HTTP/1.1\r\n" + HOST + b"Idempotency-Key: a\r\nIdempotency-Key: a\r\n\r\n",
    "two Authorizations": b"PUT / HTTP/1.1\r\n" + HOST + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n",
    "absolute form of another scheme": b"GET ftp://venue/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "asterisk form": b"GET * HTTP/1.1\r\n" + HOST + b"\r\n",
    "authority form": b"CONNECT venue:443 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a fragment": b"GET /a#b HTTP/1.1\r\n" + HOST + b"\r\n",
    "NUL in the target": b"GET /a\0b HTTP/1.1\r\n" + HOST + b"\r\n",
    "bytes beyond ASCII in the target": b"GET /\xc3\xa4 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a space in the target": b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n",
    "a tab in the target": b"GET /a\tb HTTP/1.1\r\n" + HOST + b"\r\n",
    "an unknown method": b"BREW / HTTP/1.1\r\n" + HOST + b"\r\n",
    "a method in small letters": b"get / HTTP/1.1\r\n" + HOST + b"\r\n",
    "HTTP/2.0": b"GET / HTTP/2.0\r\n" + HOST + b"\r\n",
    "HTTP/0.9": b"GET /\r\n" + HOST + b"\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\n" + HOST + b"\r\n",
    "HTTP/2's preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "an unknown expectation": b"POST / HTTP/1.1\r\n" + HOST + LENGTH + b"Expect: wonders\r\n\r\na",
}


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed_requests_end_the_connection(sent: bytes) -> None:
    # Behind each a whole request, which must not be taken: where a fault began nobody can tell.
    received, accepted, ended = exchange(sent + GET % b"smuggled")
    assert statuses(received) == [400]
    assert ended
    assert not accepted
    assert b"Connection: close\r\n" in received
    assert b"X-Request-Id: " in received
    assert problem(received)["detail"]


@pytest.mark.parametrize("method", [b"TRACE", b"PROPFIND"])
def test_a_method_that_nobody_has_is_a_405(method: bytes) -> None:
    received, [request], ended = exchange(method + b" / HTTP/1.1\r\nHost: venue\r\n\r\n")
    assert statuses(received) == [405]
    assert not ended
    assert isinstance(request.problem, Problem)
    assert request.problem.kind == "method-not-allowed"
    assert "GET" in request.problem.fields["allow"]


def test_a_fault_behind_the_door_is_a_500_without_a_stack_trace(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Front):
        def accept(self, request: Incoming) -> None:
            raise RuntimeError(f"broken by {request.target!r}")

    async def main() -> None:
        async with await Client.connect(make_server(Broken())) as client:
            received = await client.ask(GET % b"x")
            assert statuses(received) == [500]
            assert client.ended
            assert b"broken" not in received
        assert "broken" in caplog.text

    run(main(), ManualClock())


# -- tokens

TOKEN = Token(
    name="till", hash="sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b", scope="write"
)


@pytest.mark.parametrize(
    ("header", "scope", "status", "name"),
    [
        (b"", Scope.NONE, 200, b""),
        (b"Authorization: Bearer secret\r\n", Scope.WRITE, 200, b"till"),
        (b"Authorization: Bearer wrong\r\n", Scope.NONE, 401, b""),
        # A name cannot be claimed.
        (b"Token: till\r\n", Scope.NONE, 200, b""),
    ],
)
def test_scope_and_name_of_the_token_go_with_the_request_and_the_token_stays(
    header: bytes, scope: Scope, status: int, name: bytes
) -> None:
    async def main() -> None:
        front = Front()
        async with await Client.connect(make_server(front, tokens=[TOKEN])) as client:
            received = await client.ask(b"GET / HTTP/1.1\r\nHost: venue\r\n" + header + b"\r\n")
            assert statuses(received) == [status]
            # A request that was read whole leaves the connection in order, refused or not.
            assert not client.ended
        [request] = front.accepted
        assert request.scope == scope
        assert request.fields == ({b"token": name} if name else {})

    run(main(), ManualClock())


# -- names


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"HTTP/1.1\r\nHost: till.local:3000\r\n", 200),
        (b"HTTP/1.1\r\nHost: till.local\r\nOrigin: http://till.local\r\n", 200),
        (b"HTTP/1.1\r\nHost: localhost\r\n", 200),
        (b"HTTP/1.0\r\n", 200),
        (b"HTTP/1.1\r\nHost: evil.example\r\n", 403),
        (b"HTTP/1.1\r\nHost:\r\n", 403),
        (b"HTTP/1.1\r\nHost: localhost\r\nOrigin: https://evil.example\r\n", 403),
        (b"HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\n", 403),
        (b"HTTP/1.0\r\nHost: evil.example\r\n", 403),
    ],
)
def test_who_calls_it_by_another_name_is_refused(head: bytes, status: int) -> None:
    async def main() -> None:
        front = Front()
        async with await Client.connect(make_server(front, names=Names(["till.local"]))) as client:
            received = await client.ask(b"GET / " + head + b"\r\n")
        assert statuses(received) == [status]
        [request] = front.accepted
        # Nobody is asked for a token under a false name.
        assert request.scope == (Scope.ADMIN if status == 200 else Scope.NONE)

    run(main(), ManualClock())


# -- time


class Watched:
    """One connection, its front and the hand on its clock."""

    def __init__(self, front: Front, client: Client, clock: ManualClock, sweep: Callable[[], None]) -> None:
        self.front = front
        self.client = client
        self._clock = clock
        self._sweep = sweep

    async def after(self, seconds: float) -> bytes:
        """Lets time pass, a sweep each second; what the client has been sent meanwhile."""
        received = b""
        for _ in range(round(seconds)):
            self._clock.advance(1)
            self._sweep()
            await turns()
            received += await self.client.receive()
        return received


def watch(talk: Callable[[Watched], Awaitable[None]], *, at_once: bool = True) -> None:
    """Runs `talk` with a head that has 10 s and an idle connection that has 75."""
    clock = ManualClock()

    async def main() -> None:
        front = Front(at_once=at_once)
        server = make_server(front)
        async with await Client.connect(server) as client:
            await talk(Watched(front, client, clock, server.sweep))

    run(main(), clock)


def test_a_head_that_does_not_come_is_a_408() -> None:
    async def talk(watched: Watched) -> None:
        await watched.client.send(b"GET / HTTP/1.1\r\nHost:")
        assert await watched.after(10) == b""
        received = await watched.after(1)
        assert statuses(received) == [408]
        assert watched.client.ended
        assert not watched.front.accepted

    watch(talk)


def test_a_head_that_drips_in_has_no_more_time() -> None:
    async def talk(watched: Watched) -> None:
        received = b""
        for byte in b"GET / HTTP/1.1\r\nHost: venue":
            if not received:
                await watched.client.send(bytes([byte]))
                received += await watched.after(1)
        assert statuses(received) == [408]

    watch(talk)


def test_the_second_head_of_a_connection_has_its_own_time() -> None:
    async def talk(watched: Watched) -> None:
        assert statuses(await watched.client.ask(GET % b"1")) == [200]
        assert await watched.after(60) == b""
        await watched.client.send(b"GET /2 HT")
        assert await watched.after(9) == b""
        assert statuses(await watched.client.ask(b"TP/1.1\r\nHost: venue\r\n\r\n")) == [200]
        await watched.client.send(b"G")
        assert statuses(await watched.after(11)) == [408]

    watch(talk)


@pytest.mark.parametrize(("first", "seconds"), [(b"", 10), (GET % b"1", 75)])
def test_an_idle_connection_is_closed_without_a_word(first: bytes, seconds: int) -> None:
    async def talk(watched: Watched) -> None:
        await watched.client.ask(first)
        assert await watched.after(seconds) == b""
        assert not watched.client.ended
        assert await watched.after(1) == b""
        assert watched.client.ended

    watch(talk)


def test_a_request_at_work_may_take_its_time() -> None:
    async def talk(watched: Watched) -> None:
        await watched.client.send(GET % b"1" + b"GET /2 HTTP")
        assert await watched.after(200) == b""
        watched.front.answer()
        # What is left of the next one has its time from now on.
        assert statuses(await watched.after(10)) == [200]
        assert statuses(await watched.client.ask(b"/1.1\r\nHost: venue\r\n\r\n")) == []
        watched.front.answer()
        assert statuses(await watched.client.receive()) == [200]

    watch(talk, at_once=False)


def test_a_body_must_come_at_a_kibibyte_a_second() -> None:
    async def talk(watched: Watched) -> None:
        whole = post(b"a" * 102_400)
        await watched.client.send(whole[:-92_160])
        for _ in range(9):
            assert await watched.after(2) == b""
            await watched.client.send(b"a" * 1024)
        assert await watched.after(10) == b""
        answer = await watched.after(11)
        assert statuses(answer) == [408]
        assert b"the body came too slowly" in answer
        assert not watched.front.accepted
        assert watched.client.ended

    watch(talk)


def test_a_body_that_comes_fast_enough_may_take_its_time() -> None:
    async def talk(watched: Watched) -> None:
        await watched.client.send(post(b"a" * 102_400)[:-102_400])
        for _ in range(50):
            await watched.client.send(b"a" * 2048)
            await watched.after(1)
        assert [len(request.content) for request in watched.front.accepted] == [102_400]

    watch(talk)


def test_a_refused_client_that_goes_on_sending_is_cut_off() -> None:
    async def talk(watched: Watched) -> None:
        assert statuses(await watched.client.ask(b"nonsense\r\n\r\n")) == [400]
        connections = 0
        for _ in range(round(LINGER_S) + 2):
            connections += watched.client.send_some(b"a" * 1000) > 0
            await watched.after(1)
        assert LINGER_S - 1 <= connections <= LINGER_S + 1

    watch(talk)


def test_a_client_that_never_takes_its_answer_is_let_go() -> None:
    clock = ManualClock()

    async def main() -> None:
        front = Front(at_once=False)
        server = make_server(front)
        async with await Client.connect(server) as client:
            await client.send(GET % b"x")
            front.answer(b"a" * 5_000_000)
            for _ in range(149):
                clock.advance(1)
                server.sweep()
                await turns(2)
            assert len(server.connections) == 1
            clock.advance(2)
            server.sweep()
            await turns()
            assert not server.connections

    run(main(), clock)


# -- the end of the server


def test_close_ends_idle_connections_at_once_and_others_with_their_answer() -> None:
    async def main() -> None:
        front = Front(at_once=False)
        server = make_server(front)
        async with await Client.connect(server) as idle, await Client.connect(server) as busy:
            await busy.send(GET % b"1")
            server.close()
            await idle.receive()
            assert idle.ended
            assert await busy.receive() == b""
            assert not busy.ended
            front.answer()
            assert statuses(await busy.receive()) == [200]
            assert busy.ended

    run(main(), ManualClock())


def test_connections_are_counted() -> None:
    async def main() -> None:
        server = make_server(Front())
        clients = [await Client.connect(server) for _ in range(5)]
        assert len(server.connections) == 5
        for client in clients:
            client.close()
        await turns()
        assert not server.connections

    run(main(), ManualClock())
