"""A worker's handlers over a real store file, in one process: what they commit, the real `Service` judges.

Everything that a request passes in production is passed here, but sockets and the supervisor: the frame's form, the
router, the handler, the store's transaction, the change notices, the reader.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import quote

from deora.cache.memory import MemoryCache
from deora.errors import Problem
from deora.store.service import Settings
from deora.wire.frames import FLAG_CLOSE, FLAG_HEAD, Kind, encode
from deora.worker.context import Answer, Commit, Context, Reply
from deora.worker.handlers import HANDLERS
from deora.worker.reader import Reader
from deora.worker.requests import Request, parse
from deora.worker.router import route
from tests.fakes.store import StoreFile

RUN = b"\0\0\0\7"


def request(
    method: str,
    target: str,
    content: Any = None,
    *,
    headers: Mapping[str, str] | None = None,
    scope: int = 3,
    ident: int = 1,
    close: bool = False,
    head: bool = False,
) -> Request:
    """A request as it comes out of its frame. `content` is bytes, or what becomes JSON."""
    return parse(ident, *frame_parts(method, target, content, headers, scope, close, head), RUN)


def frame_parts(
    method: str,
    target: str,
    content: Any = None,
    headers: Mapping[str, str] | None = None,
    scope: int = 3,
    close: bool = False,
    head: bool = False,
) -> tuple[int, int, bytes]:
    """Flags, size of the head, and body of a REQUEST, as the gateway makes them."""
    body = b"" if content is None else content if isinstance(content, bytes) else json.dumps(content).encode()
    fields = {"content-type": "application/json"} if body else {}
    fields |= {"x-request-id": "r-1"} | dict(headers or {})
    lines = "".join(f"\n{name}:{value}" for name, value in fields.items())
    start = f"{method} {target}{lines}".encode("latin-1")
    return scope | FLAG_CLOSE * close | FLAG_HEAD * head, len(start), start + body


class Told(NamedTuple):
    """What a client is told in the end."""

    status: int
    json: Any
    headers: str = ""
    wait_s: int = 0

    @property
    def version(self) -> str:
        """The version in a write's or a read's answer."""
        return str(self.json["version"])


class WorkerBench:
    """A context over a store file. `context.memory` hears the store's notices, as in a worker."""

    def __init__(self, folder: Path, settings: Settings | None = None, priorities: Mapping[str, int] | None = None):
        self.store = StoreFile(folder / "store.db", settings)
        self.store.db.execute("PRAGMA synchronous = OFF")  # what a power cut leaves is not tested with this
        self.context = Context(
            Reader(folder / "store.db"), MemoryCache(1024 * 1024, 3600), priorities or {}, self.store.clock.monotonic_s
        )
        self._ids = count(1_000_000)  # beside those that the store's bench gives

    async def __aenter__(self) -> Self:
        await self.context.reader.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.context.reader.close()
        self.store.close()

    async def reply(self, asked: Request) -> Reply:
        """What the handler returns. Raises Problem."""
        found, argument = route(asked.method, asked.path)
        reply = HANDLERS[found.handler](self.context, asked, argument)
        return await reply if isinstance(reply, Awaitable) else reply

    async def ask(self, method: str, target: str, content: Any = None, **more: Any) -> Told:
        """One request to its end. Raises Problem, the worker's or the store's."""
        ident = next(self._ids)
        reply = await self.reply(request(method, target, content, ident=ident, **more))
        if isinstance(reply, Answer):
            return Told(reply.status, json.loads(reply.content or b"null"), reply.headers.decode())
        return self.commit(ident, reply)

    def commit(self, ident: int, commit: Commit) -> Told:
        """The store's judgement of a Commit; its notices reach the memory cache before its result the client."""
        group = self.store.handle(encode(Kind.COMMIT, ident, commit.body, aux=commit.wait_s))
        self.context.memory.invalidate(group.notices())
        answer = group.answers[ident]
        if answer.problem is not None:
            raise answer.problem
        found = answer.value if isinstance(answer.value, dict) else answer.json
        return Told(answer.status, found, wait_s=commit.wait_s)

    async def refusal(self, method: str, target: str, content: Any = None, **more: Any) -> Problem:
        """The Problem that a request ends with."""
        try:
            told = await self.ask(method, target, content, **more)
        except Problem as problem:
            return problem
        raise AssertionError(f"{method} {target} was not refused but answered {told}")

    async def get(self, path: str) -> Any:
        """The data of a document, read as a client reads it."""
        return (await self.ask("GET", document(path))).json["data"]

    async def put(self, path: str, data: Any, **more: Any) -> Told:
        """Sets a document."""
        return await self.ask("PUT", document(path), data, **more)


def document(path: str) -> str:
    """The address of a document or a collection."""
    return f"/v1/documents/{quote(path)}"


Talk = Callable[[WorkerBench], Awaitable[None]]
