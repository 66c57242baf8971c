"""The upstreams that the contract suite is held against. To add one, write a `Bench` for it and name it in BENCHES.

Servers run for the whole session; a bench has a part of its own on one.

The tests are coroutines: each runs on a loop of its own, and the clients that it made are closed on that loop.
"""

from __future__ import annotations

import asyncio
import inspect
import sqlite3
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

import pytest

from deora.documents.values import MAX_DOCUMENT_BYTES
from deora.upstream.base import Upstream
from deora.upstream.firestore.client import FirestoreUpstream
from deora.upstream.firestore.limits import MAX_VALUE_BYTES
from deora.upstream.firestore.rest import Rest
from deora.upstream.sqlite import SqliteUpstream
from tests.fakes.firestore_view import FirestoreView
from tests.fakes.upstream import FakeUpstream

if TYPE_CHECKING:
    from deora.upstream.postgres.client import PostgresUpstream
    from tests.fakes.postgres import Server


class Bench(Protocol):
    """One empty upstream, and what a test needs beside the contract itself: to look at it from outside."""

    names_index: bool
    """whether a refusal must name the payload"""

    largest_bytes: int
    """the largest document that upstream takes, as canonical text under a path such as a/1"""

    nests_arrays: bool
    """whether an array may stand directly in an array; where not, the door refuses it"""

    refuses_infinity: bool
    """whether an increment beyond the doubles is refused; the door refuses what it can see of these"""

    def make(self) -> Upstream:
        """A new client of this upstream, as a replayer that has just started has it."""

    async def read_document(self, path: str) -> bytes | None:
        """A document as canonical text, None where there is none."""

    async def all_documents(self) -> dict[str, bytes]:
        """Path -> canonical text of all that upstream holds."""

    async def close(self) -> None:
        """Closes what `make` made; the documents stay."""


class SqliteBench:
    """A file."""

    names_index = True
    largest_bytes = MAX_DOCUMENT_BYTES
    nests_arrays = True
    refuses_infinity = True

    def __init__(self, folder: Path) -> None:
        self._path = folder / "upstream.db"
        self._clients: list[SqliteUpstream] = []

    def make(self) -> SqliteUpstream:
        self._clients.append(SqliteUpstream(self._path))
        return self._clients[-1]

    async def read_document(self, path: str) -> bytes | None:
        return (await self.all_documents()).get(path)

    async def all_documents(self) -> dict[str, bytes]:
        with closing(sqlite3.connect(self._path)) as db:
            rows = db.execute("SELECT path, collection, id, CAST(data AS BLOB) FROM deora_documents").fetchall()
        assert all(path == f"{collection}/{name}" for path, collection, name, _ in rows)
        return {row[0]: row[3] for row in rows}

    async def close(self) -> None:
        while self._clients:
            await self._clients.pop().close()


class FakeBench:
    """The fake that the lane's tests use: it would prove nothing if it kept another contract."""

    names_index = True
    largest_bytes = MAX_DOCUMENT_BYTES
    nests_arrays = True
    refuses_infinity = True

    def __init__(self, _: Path) -> None:
        self._upstream = FakeUpstream()

    def make(self) -> FakeUpstream:
        return self._upstream

    async def read_document(self, path: str) -> bytes | None:
        return self._upstream.documents.get(path)

    async def all_documents(self) -> dict[str, bytes]:
        return dict(self._upstream.documents)

    async def close(self) -> None:
        """Nothing is open."""


class PostgresBench:
    """A schema of its own in a real server."""

    names_index = True
    largest_bytes = MAX_DOCUMENT_BYTES
    nests_arrays = True
    refuses_infinity = True

    def __init__(self, server: Server) -> None:
        from tests.fakes.postgres import new_schema

        self._url = asyncio.run(new_schema(server))
        self._clients: list[PostgresUpstream] = []

    def make(self) -> PostgresUpstream:
        from deora.config.database import PostgresUpstream as Settings
        from deora.upstream.postgres.client import PostgresUpstream

        self._clients.append(PostgresUpstream(Settings(type="postgres", url=self._url)))
        return self._clients[-1]

    async def read_document(self, path: str) -> bytes | None:
        return (await self.all_documents()).get(path)

    async def all_documents(self) -> dict[str, bytes]:
        from deora.upstream.postgres.jsonb import from_jsonb
        from tests.fakes.postgres import fetch

        rows = await fetch(self._url, "SELECT path, collection, id, data::text FROM deora_documents")
        assert all(path == f"{collection}/{name}" for path, collection, name, _ in rows)
        return {row[0]: from_jsonb(row[3]) for row in rows}

    async def close(self) -> None:
        while self._clients:
            await self._clients.pop().close()


class FirestoreBench:
    """A project of its own on a server that speaks Firestore's REST interface."""

    names_index = True
    largest_bytes = MAX_VALUE_BYTES
    nests_arrays = False
    refuses_infinity = False

    def __init__(self, host: str, *, is_emulator: bool) -> None:
        self._is_emulator = is_emulator
        # Another project for each test: the emulator holds all of them in memory, and none sees another one.
        self._project = f"deora-{uuid.uuid4().hex[:12]}"
        self._host = host
        self._clients: list[FirestoreUpstream] = []
        self._view = FirestoreView(host, self._project)

    def make(self) -> FirestoreUpstream:
        # The fake is spoken to as Firestore itself.
        rest = Rest(f"http://{self._host}", None)
        self._clients.append(FirestoreUpstream(rest, self._project, begins_apart=self._is_emulator))
        return self._clients[-1]

    async def read_document(self, path: str) -> bytes | None:
        return (await self.all_documents()).get(path)

    async def all_documents(self) -> dict[str, bytes]:
        return await asyncio.to_thread(self._view.documents)

    async def close(self) -> None:
        while self._clients:
            await self._clients.pop().close()


BENCHES: Final[dict[str, Callable[[Path], Bench]]] = {"sqlite": SqliteBench, "fake": FakeBench}


FIRESTORES: Final = {"firestore-emulator": "firestore_emulator", "firestore-fake": "firestore_fake"}
"""Bench -> the fixture (tests/conftest.py) that gives its server's host and port."""


@pytest.fixture(params=sorted([*BENCHES, *FIRESTORES, "postgres"]))
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    """An empty upstream of each kind."""
    if request.param == "postgres":
        return PostgresBench(request.getfixturevalue("postgres_server"))
    if request.param in FIRESTORES:
        host = request.getfixturevalue(FIRESTORES[request.param])
        return FirestoreBench(host, is_emulator=request.param == "firestore-emulator")
    return BENCHES[request.param](tmp_path)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Runs a coroutine test to its end, and closes its clients on the same loop."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments: dict[str, Any] = {name: pyfuncitem.funcargs[name] for name in names}

    async def whole() -> None:
        try:
            await pyfuncitem.obj(**arguments)
        finally:
            await arguments["bench"].close()

    asyncio.run(whole())
    return True
