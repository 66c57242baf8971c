"""Lookups in threads that nobody waits for."""

from __future__ import annotations

import asyncio
import socket
import threading
from typing import Any

import pytest

from deora.upstream.firestore.resolver import ThreadResolver


def test_addresses_come_as_aiohttp_wants_them() -> None:
    found = asyncio.run(ThreadResolver().resolve("127.0.0.1", 80))
    assert {(result["hostname"], result["host"], result["port"]) for result in found} == {
        ("127.0.0.1", "127.0.0.1", 80)
    }


def test_a_name_that_is_not_there_is_an_os_error() -> None:
    def lookup(*_: Any, **__: Any) -> list[Any]:
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(OSError, match="not known"):
        asyncio.run(ThreadResolver(lookup).resolve("nowhere.example"))


def test_a_lookup_that_hangs_holds_up_neither_the_loop_nor_its_end() -> None:
    asked, release = threading.Event(), threading.Event()
    threads: list[threading.Thread] = []

    def lookup(*_: Any, **__: Any) -> list[Any]:
        threads.append(threading.current_thread())
        asked.set()
        release.wait(30)
        return []

    async def scenario() -> None:
        call = asyncio.create_task(ThreadResolver(lookup).resolve("slow.example"))
        await asyncio.to_thread(asked.wait, 30)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call

    asyncio.run(scenario())
    # The loop has ended while the lookup still hangs.
    [thread] = threads
    assert thread.is_alive()
    assert thread.daemon
    release.set()
    thread.join(30)
    assert not thread.is_alive()
