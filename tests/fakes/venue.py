"""A database as one venue uses it: a client of it, a lane reduced to its bones, and a look at its rows from outside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from deora.config.database import Pool, PostgresUpstream, Table
from deora.documents.updates import read_update
from deora.documents.values import canonical
from deora.documents.writes import Write, encode_writes
from deora.upstream.base import Applied, CursorKey, Delivery, Outcome, Page
from deora.upstream.postgres.client import PostgresUpstream as Client
from tests.fakes.postgres import execute, fetch

KEY = CursorKey("box1", "epoch1", 0)


def set_(path: str, data: Any) -> Write:
    return Write("set", path, canonical(data))


def create(path: str, data: Any) -> Write:
    return Write("create", path, canonical(data))


def update(path: str, fields: dict[str, Any]) -> Write:
    return Write("update", path, read_update(fields))


def upsert(path: str, fields: dict[str, Any]) -> Write:
    return Write("update", path, read_update(fields), True)


def delete(path: str) -> Write:
    return Write("delete", path, None)


class Venue:
    """One database, and one box that writes to it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.key = KEY
        self.seq = 0
        self.batch_id = ""
        self._clients: list[Client] = []
        self.client = self.connect()

    def connect(
        self, tables: Mapping[str, str] | None = None, *, url: str | None = None, pool: Pool | None = None
    ) -> Client:
        """A client, whose collections have tables: `{"orders": "public.orders:number"}`; `:id` may be left out."""
        mapped = {}
        for collection, written in (tables or {}).items():
            table, _, ident = written.partition(":")
            mapped[collection] = Table(table=table, id=ident or "id")
        settings = PostgresUpstream(type="postgres", url=url or self.url, tables=mapped, pool=pool or Pool())
        self.client = Client(settings)
        self._clients.append(self.client)
        return self.client

    async def send(self, *entries: Write | list[Write]) -> Outcome:
        """Sends a batch; where it lands the next one is sent behind it."""
        payloads = [encode_writes(entry if isinstance(entry, list) else [entry]) for entry in entries]
        batch_id = f"b{self.seq + 1}"
        outcome = await self.client.apply(Delivery(self.key, self.seq, self.batch_id, batch_id, b"", payloads))
        if isinstance(outcome, Applied):
            self.seq, self.batch_id = self.seq + 1, batch_id
        return outcome

    async def read(self, *paths: str) -> list[Any]:
        """The documents as the client reads them; None where there is none."""
        page = await self.client.read_documents(self.key, list(paths))
        assert isinstance(page, Page), page
        return [None if copy.data is None else orjson.loads(copy.data) for copy in page.copies]

    async def execute(self, *statements: str) -> None:
        """Runs statements as another program would."""
        await execute(self.url, *statements)

    async def rows(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """The rows of a query, as another program sees them."""
        return [tuple(row) for row in await fetch(self.url, query, *arguments)]

    async def close(self) -> None:
        """Closes all clients."""
        while self._clients:
            await self._clients.pop().close()
