"""What the connections of one listener share."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from deora.gateway.clients import Proxies
from deora.gateway.door import Door
from deora.gateway.origins import Origins
from tests.fakes.clock import ManualClock
from tests.fakes.front import LIMITS, Client, Front, make_server, statuses, turns
from tests.fakes.loop import run

GET = b"GET /a HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


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


def test_options_says_what_may_be_asked() -> None:
    async def main() -> None:
        async with await Client.connect(make_server(Front())) as client:
            for target in (b"*", b"/v1/documents/orders"):
                received = await client.ask(b"OPTIONS %b HTTP/1.1\r\nHost: here\r\n\r\n" % target)
                assert b"\r\nAllow: GET, HEAD, POST, PUT, PATCH, DELETE\r\n" in received

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
