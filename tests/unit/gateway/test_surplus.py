"""Who may come in, and what the others are told."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Awaitable, Callable

import pytest

from deora.gateway import surplus
from deora.gateway.surplus import LINGERING, Entrance, room_for_clients
from tests.fakes.front import Front, make_server

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"


class Door:
    """An entrance on loopback."""

    def __init__(self, entrance: Entrance, address: tuple[str, int]) -> None:
        self._entrance = entrance
        self._address = address

    async def come(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A client's connection that has been taken."""
        return await asyncio.open_connection(*self._address)


def with_door(most: int, talk: Callable[[Door], Awaitable[None]]) -> None:
    async def main() -> None:
        server = make_server(Front())
        entrance = Entrance(server, most)
        listening = await asyncio.get_running_loop().create_server(entrance, "127.0.0.1", 0)
        try:
            await talk(Door(entrance, listening.sockets[0].getsockname()))
        finally:
            listening.close()
            for connection in list(server.connections):
                if connection._transport is not None:
                    connection._transport.abort()
            await asyncio.sleep(0)

    asyncio.run(main())


def test_the_surplus_is_refused_until_another_goes() -> None:
    async def talk(door: Door) -> None:
        first = await door.come()
        first[1].write(REQUEST)
        assert (await first[0].readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
        reader, writer = await door.come()
        told = await reader.read()
        assert told.startswith(b"HTTP/1.1 503")
        assert b"Retry-After: 1\r\n" in told
        assert b"1 connections are open" in told
        writer.close()
        first[1].close()
        await first[1].wait_closed()
        again = await door.come()
        again[1].write(REQUEST)
        assert (await again[0].readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
        again[1].close()

    with_door(1, talk)


def test_only_a_few_of_the_surplus_linger() -> None:
    async def talk(door: Door) -> None:
        clients = [await door.come() for _ in range(LINGERING + 4)]
        for reader, _ in clients:
            assert (await reader.read()).startswith(b"HTTP/1.1 503")
        assert len(door._entrance._lingering) == LINGERING
        for _, writer in clients:
            writer.close()
        while door._entrance._lingering:
            await asyncio.sleep(0)

    with_door(0, talk)


def test_one_that_does_not_go_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surplus, "LINGER_S", 0.0)

    async def talk(door: Door) -> None:
        reader, writer = await door.come()
        assert (await reader.read()).startswith(b"HTTP/1.1 503")
        while door._entrance._lingering:
            await asyncio.sleep(0)
        writer.close()

    with_door(0, talk)


def test_the_limit_is_raised_and_children_have_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = [64, 1000]
    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: limits.__setitem__(slice(None), both))
    room = room_for_clients(5)
    assert limits == [1000, 1000]
    assert 900 < room < 1000
    assert room_for_clients(6) < room
    limits[:] = [10, 10]
    assert room_for_clients(5) == 0
