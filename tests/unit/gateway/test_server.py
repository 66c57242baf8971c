"""What the connections of one listener share."""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
from dataclasses import replace

import pytest

from deora.config.schema import Token
from deora.gateway.access import Access
from deora.gateway.clients import Proxies
from deora.gateway.door import Door
from deora.gateway.origins import Origins
from tests.fakes.clock import ManualClock
from tests.fakes.front import LIMITS, Client, Front, make_server, statuses, turns
from tests.fakes.loop import run

HEAD = b"HTTP/1.1 200 OK\r\n\r\n"
GET = b"GET /a HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def token(name: str) -> Token:
    """A token whose secret is its name."""
    return Token(name=name, hash="sha256:" + hashlib.sha256(name.encode()).hexdigest(), scope="read")


def test_an_address_has_so_many_connections() -> None:
    async def main() -> None:
        server = make_server(Front(), replace(LIMITS, connections=2))
        first, second = [await Client.connect_by_tcp(server) for _ in range(2)]
        async with await Client.connect_by_tcp(server) as third:
            received = await third.receive()
            assert statuses(received) == [429]
            assert b"Retry-After: 1\r\n" in received
            assert third.ended
        assert not server.connections
        for client in (first, second):
            client.close()
        await turns()
        async with await Client.connect_by_tcp(server) as again:
            assert statuses(await again.ask(GET)) == [200]

    run(main(), ManualClock())


def test_a_proxy_and_the_control_socket_have_as_many_as_they_need() -> None:
    async def main() -> None:
        server = make_server(Front(), replace(LIMITS, connections=1), door=Door(proxies=Proxies(["127.0.0.0/8"])))
        for connect in (Client.connect, Client.connect_by_tcp):
            async with await connect(server) as first, await connect(server) as second:
                assert statuses(await first.ask(GET)) == statuses(await second.ask(GET)) == [200]

    run(main(), ManualClock())


def test_a_page_of_another_origin_gets_its_lines_with_each_answer() -> None:
    async def main() -> None:
        server = make_server(Front(), door=Door(origins=Origins(["https://venue.example"])))
        page = GET.replace(b"\r\n\r\n", b"\r\nOrigin: https://venue.example\r\n\r\n")
        async with await Client.connect(server) as client:
            received = await client.ask(page + GET)
            first, second = received.split(b"HTTP/1.1 ")[1:]
            assert b"Access-Control-Allow-Origin: https://venue.example\r\n" in first
            assert b"Access-Control-Allow-Origin" not in second
            assert first.endswith(b"GET /a")

    run(main(), ManualClock())


def test_options_of_the_server_names_its_methods_and_claims_nothing_of_a_path() -> None:
    async def main() -> None:
        async with await Client.connect(make_server(Front())) as client:
            received = await client.ask(b"OPTIONS * HTTP/1.1\r\nHost: here\r\n\r\n")
            assert b"\r\nAllow: GET, HEAD, POST, PUT, PATCH, DELETE\r\n" in received
            received = await client.ask(b"OPTIONS /v1/queue:pause HTTP/1.1\r\nHost: here\r\n\r\n")
            assert b" 200 " in received
            assert b"\r\nAllow:" not in received

    run(main(), ManualClock())

    run(main(), ManualClock())


class Told:
    """Who is told what becomes of a stream."""

    def __init__(self) -> None:
        self.is_lost = False

    def drained(self) -> None:
        """Nothing waits for anybody here."""

    def lost(self) -> None:
        self.is_lost = True


def test_another_door_ends_the_streams_of_tokens_that_it_does_not_know() -> None:
    async def main() -> None:
        front = Front(at_once=False)
        server = make_server(front, tokens=[token("till"), token("kitchen")])
        async with await Client.connect(server) as till, await Client.connect(server) as kitchen:
            told = []
            for client, name in ((till, b"till"), (kitchen, b"kitchen")):
                await client.send(b"GET /v1/changes HTTP/1.1\r\nHost: v\r\nAuthorization: Bearer %b\r\n\r\n" % name)
                told.append(Told())
                assert front.accepted[-1].connection.begin_stream(HEAD, told[-1]) is not None
            server.enter_by(Door(Access([token("till")])))
            assert [one.is_lost for one in told] == [False, True]
            assert (await kitchen.receive()).endswith(b"\r\n\r\n0\r\n\r\n")
            assert kitchen.ended
            assert not till.ended

    run(main(), ManualClock())


def test_a_stream_whose_token_went_while_it_was_asked_for_does_not_begin() -> None:
    async def main() -> None:
        front = Front(at_once=False)
        server = make_server(front, tokens=[token("till")])
        async with await Client.connect(server) as client:
            await client.send(b"GET /v1/changes HTTP/1.1\r\nHost: v\r\nAuthorization: Bearer till\r\n\r\n")
            server.enter_by(Door(Access([token("kitchen")])))
            assert front.accepted[0].connection.begin_stream(HEAD, Told()) is None
            assert await client.receive() == b""
            assert client.ended

    run(main(), ManualClock())


def test_all_that_is_open_ends_with_the_server() -> None:
    async def main() -> None:
        server = make_server(Front())
        async with await Client.connect(server) as client:
            assert statuses(await client.ask(GET)) == [200]
            server.close()
            await asyncio.sleep(0)
            assert await client.receive() == b""
            assert client.ended

    run(main(), ManualClock())


# -- what the next program goes on with


def test_between_two_requests_a_connection_is_handed_over_and_nothing_of_it_is_read() -> None:
    async def main() -> None:
        server = make_server(front := Front())
        async with await Client.connect_by_tcp(server) as client, await Client.connect_by_tcp(server) as fresh:
            assert statuses(await client.ask(GET)) == [200]
            assert server.hold() == 0
            assert await client.ask(GET) == await fresh.ask(GET) == b""
            descriptors = server.hand_over()
            await turns()
            assert (len(descriptors), len(front.accepted), server.connections) == (2, 1, set())
            following = make_server(Front())
            for descriptor in descriptors:
                await asyncio.get_running_loop().connect_accepted_socket(following, socket.socket(fileno=descriptor))
            # What was sent meanwhile is answered by who follows, on the same connections.
            assert statuses(await client.receive()) == statuses(await fresh.receive()) == [200]
            assert not client.ended
            following.close()

    run(main(), ManualClock())


def test_what_is_at_work_is_finished_first() -> None:
    async def main() -> None:
        server = make_server(front := Front(at_once=False))
        async with await Client.connect_by_tcp(server) as client:
            await client.send(GET + GET)
            # A request at work, and one that waits behind it.
            for answered in (0, 1):
                assert server.hold() == 1
                assert server.hand_over() == []
                front.answer()
                assert len(statuses(await client.receive())) == 1, answered
            assert server.hold() == 0
            [descriptor] = server.hand_over()
            os.close(descriptor)

    run(main(), ManualClock())


@pytest.mark.parametrize("half", [GET[:10], GET[:-2], b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nhalf"])
def test_half_a_request_is_read_to_its_end_and_never_handed_over(half: bytes) -> None:
    async def main() -> None:
        server = make_server(Front())
        async with await Client.connect_by_tcp(server) as client:
            await client.send(half)
            assert server.hold() == 1
            assert server.hand_over() == []
            rest = {GET[:10]: GET[10:], GET[:-2]: GET[-2:]}.get(half, b" more")
            assert statuses(await client.ask(rest)) == [200]
            assert server.hold() == 0

    run(main(), ManualClock())


def test_answers_that_a_client_has_not_taken_keep_its_connection() -> None:
    async def main() -> None:
        server = make_server(front := Front(at_once=False))
        async with await Client.connect_by_tcp(server) as client:
            await client.send(GET)
            front.answer(b"x" * 50_000_000)
            await turns()
            assert server.hold() == 1
            assert server.hand_over() == []

    run(main(), ManualClock())


def test_streams_and_handshakes_that_go_on_or_have_failed() -> None:
    async def main() -> None:
        clock = asyncio.get_running_loop()
        server = make_server(front := Front(at_once=False))
        async with await Client.connect_by_tcp(server) as client:
            [connection] = server.connections
            assert server.in_turns() == {connection}
            await client.send(GET)
            outflow = front.unanswered[0].connection.begin_stream(b"HTTP/1.1 200 OK\r\n\r\n", Watcher())
            assert outflow is not None
            assert server.in_turns() == set()
            # TLS makes a protocol, and says that it is connected only behind the handshake.
            began_s, opening = clock.time(), server()
            assert server.in_turns() == {opening}
            await asyncio.sleep(LIMITS.head_timeout_s - 1)
            server.sweep()
            assert server.in_turns() == {opening}
            await asyncio.sleep(2)
            server.sweep()
            assert server.in_turns() == set()
            assert clock.time() - began_s > LIMITS.head_timeout_s

    run(main(), ManualClock())


class Watcher:
    """See `gateway.outflow.Client`."""

    def drained(self) -> None:
        """Nothing waits here."""

    def lost(self) -> None:
        """It was only looked at."""
