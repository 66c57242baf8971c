"""A worker's handlers over a real store file, in one process: what they commit, the real `Service` judges.

Everything that a request passes in production is passed here, but sockets and the supervisor: the frame's form, the
router, the handler, the store's transaction, the change notices, the reader.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import quote

from deora.cache.copies import Moment
from deora.cache.memory import MemoryCache
from deora.cache.tiered import Tiers
from deora.errors import Problem
from deora.store.service import Settings
from deora.wire.frames import FLAG_CLOSE, FLAG_HEAD, Kind, Role, encode
from deora.worker.context import Answer, Commit, Context, Reply
from deora.worker.handlers import HANDLERS
from deora.worker.read_through import ReadThrough
from deora.worker.reader import Reader
from deora.worker.requests import Request, parse
from deora.worker.router import route
from deora.worker.showing import Shown
from tests.fakes.store import Group, StoreFile, encode_call

RUN = b"\0\0\0\7"
INTERVAL_S = 60.0
TTL_S = 3600.0


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


class FakeReplayer:
    """The replayer as a worker calls it, over documents in memory. What it adopts goes into the real store."""

    def __init__(self, bench: WorkerBench) -> None:
        self._bench = bench
        self.documents: dict[str, bytes] = {}
        self.out: Problem | None = None
        """with which it refuses while upstream is out"""
        self.asked: list[tuple[str, list[str]]] = []
        self.seq = 0
        self.taken: list[list[Any]] = []
        """[upstream, node, epoch, seq, sender] of each cursor that was to be taken over"""
        self.applied: set[int] = set()
        self.refused: set[int] = set()
        self.held_up: asyncio.Event | None = None
        """a call waits for this before it is answered, with what there was when it came"""

    async def ask(self, role: Role, *parts: Any) -> Any:
        """See `wire.calls.Caller`."""
        assert role is Role.REPLAYER
        operation, paths, *more = parts
        if operation == "takeOver":
            return self._take_over(paths, *more)
        self.asked.append((operation, paths))
        copies = [[path, self.documents.get(path)] for path in paths]
        if self.held_up is not None:
            await self.held_up.wait()
        if self.out is not None:
            raise self.out
        if operation == "read":
            return copies
        ident = next(self._bench.ids)
        group = self._bench.store.handle(encode_call(ident, "adopt", "primary", self.seq, copies))
        self._bench.tell(group)
        return None

    def _take_over(self, asked: list[Any], numbers: list[int]) -> tuple[list[int], list[int]]:
        """Which of the numbers `applied` and `refused` hold."""
        self.taken.append(asked)
        if self.out is not None:
            raise self.out
        return [each for each in numbers if each in self.applied], [each for each in numbers if each in self.refused]


class WorkerBench:
    """A context over a store file. `context.memory` hears the store's notices, as in a worker."""

    def __init__(self, folder: Path, settings: Settings | None = None, priorities: Mapping[str, int] | None = None):
        self.store = StoreFile(folder / "store.db", settings)
        self.store.db.execute("PRAGMA synchronous = OFF")  # what a power cut leaves is not tested with this
        self.replayer = FakeReplayer(self)
        clock = self.store.clock
        reader, memory = Reader(folder / "store.db"), MemoryCache[Shown](1024 * 1024, 3600)
        self.tiers = Tiers(TTL_S)
        self.tasks: set[asyncio.Task[None]] = set()
        reads = ReadThrough(
            reader, memory, self.tiers, self.replayer, INTERVAL_S, clock.monotonic_s, self.moment, self._start
        )
        self.context = Context(reader, memory, reads, priorities or {}, clock.monotonic_s)
        self.ids = count(1_000_000)  # beside those that the store's bench gives

    def moment(self) -> Moment:
        """The store's clocks, which are the box's; it was booted when the monotonic one began, and never since."""
        return Moment(self.store.clock.wall_us(), "this boot", self.store.clock.monotonic_s())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self.tasks.add(asyncio.ensure_future(work))

    async def settled(self) -> None:
        """Returns once nothing runs in the background."""
        while self.tasks:
            await self.tasks.pop()

    def tell(self, group: Group) -> None:
        """The store's notices reach the worker."""
        self.context.memory.invalidate(group.notices())
        self.context.reads.forget(group.notices())

    async def __aenter__(self) -> Self:
        await self.context.reader.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.settled()
        await self.tiers.close()
        await self.context.reader.close()
        self.store.close()

    async def reply(self, asked: Request) -> Reply:
        """What the handler returns. Raises Problem."""
        found, argument = route(asked.method, asked.path)
        reply = HANDLERS[found.handler](self.context, asked, argument)
        return await reply if isinstance(reply, Awaitable) else reply

    async def ask(self, method: str, target: str, content: Any = None, **more: Any) -> Told:
        """One request to its end. Raises Problem, the worker's or the store's."""
        ident = next(self.ids)
        reply = await self.reply(request(method, target, content, ident=ident, **more))
        if isinstance(reply, Answer):
            return Told(reply.status, json.loads(reply.content or b"null"), reply.headers.decode())
        assert isinstance(reply, Commit)
        return self.commit(ident, reply)

    def commit(self, ident: int, commit: Commit) -> Told:
        """The store's judgement of a Commit; its notices reach the memory cache before its result the client."""
        group = self.store.handle(encode(Kind.COMMIT, ident, commit.body, aux=commit.wait_s))
        self.tell(group)
        while ident not in group.answers:  # what takes long is done in steps
            group = self.store.handle()
            self.tell(group)
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
