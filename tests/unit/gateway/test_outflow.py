"""A stream over a real connection: its head, its parts, its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from deora.gateway.outflow import HIGH_BYTES, Outflow, Part
from deora.wire.answers import stream_head
from tests.fakes.clock import ManualClock
from tests.fakes.front import Client, Front, make_server, turns
from tests.fakes.loop import run

T = TypeVar("T")
HEAD = stream_head(server=b"primary", request_id=b"r-1")


class Kept:
    """What a stream is told of its connection."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def drained(self) -> None:
        self.told.append("drained")

    def lost(self) -> None:
        self.told.append("lost")


def stream(talk: Callable[[Outflow, Kept, Client], Awaitable[T]], request: bytes | None = None) -> T:
    """What `talk` makes of a stream, whose head the client has asked for and not read."""

    async def main() -> T:
        front = Front(at_once=False)
        async with await Client.connect_by_tcp(make_server(front)) as client:
            await client.send(request or b"GET /v1/changes HTTP/1.1\r\nHost: venue\r\n\r\n")
            kept = Kept()
            outflow = front.accepted[0].connection.begin_stream(HEAD, kept)
            assert outflow is not None
            return await talk(outflow, kept, client)

    return run(main(), ManualClock())


def test_parts_are_chunks_and_the_end_is_clean() -> None:
    async def talk(outflow: Outflow, kept: Kept, client: Client) -> bytes:
        outflow.send(Part.of(b"id: 1\n\n"))
        outflow.send(Part.of(b"x" * 17))
        outflow.end()
        received = await client.receive()
        assert client.ended
        assert kept.told == ["lost"]
        return received

    head, _, body = stream(talk).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n")
    assert b"\r\nContent-Type: text/event-stream\r\n" in head
    assert b"Content-Length" not in head
    assert body == b"7\r\nid: 1\n\n\r\n11\r\n" + b"x" * 17 + b"\r\n0\r\n\r\n"


def test_http_1_0_has_no_chunks() -> None:
    async def talk(outflow: Outflow, _: Kept, client: Client) -> bytes:
        outflow.send(Part.of(b"id: 1\n\n"))
        outflow.end()
        return await client.receive()

    head, _, body = stream(talk, b"GET /v1/changes HTTP/1.0\r\n\r\n").partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert body == b"id: 1\n\n"


def test_what_waits_is_counted_and_told_once_it_is_taken() -> None:
    async def talk(outflow: Outflow, kept: Kept, client: Client) -> None:
        part = Part.of(b"x" * HIGH_BYTES)
        while outflow.unsent_bytes() <= HIGH_BYTES:
            outflow.send(part)
            await turns()
        assert kept.told == []
        while kept.told == []:
            await client.receive()
        assert kept.told == ["drained"]
        assert outflow.unsent_bytes() < HIGH_BYTES

    stream(talk)


def test_a_client_that_goes_or_ends_its_sending_has_left() -> None:
    async def goes(_: Outflow, kept: Kept, client: Client) -> list[str]:
        client.close()
        await turns()
        return kept.told

    async def ends(_: Outflow, kept: Kept, client: Client) -> list[str]:
        client.end_sending()
        await turns()
        return kept.told

    assert stream(goes) == stream(ends) == ["lost"]


def test_a_stream_is_not_swept_away_and_can_be_broken_off() -> None:
    async def talk(outflow: Outflow, kept: Kept, client: Client) -> None:
        await client.receive()
        for connection in list(client._server.connections):
            connection.sweep(10_000)
        assert kept.told == []
        outflow.abort()
        await client.receive()
        assert client.ended
        assert kept.told == ["lost"]

    stream(talk)
