"""A database of its own for each test, and clients on it that are closed on the test's own loop."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import pytest

from tests.fakes.postgres import Server, new_database
from tests.fakes.venue import Venue


@pytest.fixture
def venue(postgres_server: Server) -> Venue:
    """An empty database."""
    return Venue(asyncio.run(new_database(postgres_server)))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs a coroutine test to its end, and closes its venue's clients on the same loop."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    arguments: dict[str, Any] = {name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames}

    async def whole() -> None:
        try:
            await pyfuncitem.obj(**arguments)
        finally:
            if "venue" in arguments:
                await arguments["venue"].close()

    asyncio.run(whole())
    return True
