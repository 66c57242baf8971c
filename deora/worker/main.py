"""A worker's process: one link, one reader, one memory cache; requests in, answers and commits out.

On the hot path there is no task and no future: a request that memory can answer, or that becomes a commit, is handled
within the call that its frame came in. Only a read of the file awaits.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import uvloop

from deora.cache.copies import Moment
from deora.cache.disk import DiskTier
from deora.cache.memory import MemoryCache
from deora.cache.tiered import Tiers
from deora.clock import Clock, SystemClock, boot_id, since_boot_s
from deora.config.schema import Config, FirestoreUpstream, upstreams
from deora.errors import Problem
from deora.observe.logs import configure
from deora.wire.answers import answer, problem_answer
from deora.wire.calls import Caller
from deora.wire.frames import Frame, Kind, encode, pack, unpack
from deora.wire.link import Link
from deora.worker.changes import Changes
from deora.worker.coding import coded
from deora.worker.context import Answer, Check, Context, Reply, Stream
from deora.worker.handlers import HANDLERS
from deora.worker.read_through import ReadThrough
from deora.worker.reader import Reader
from deora.worker.requests import Request, parse
from deora.worker.router import route
from deora.worker.showing import Shown

if TYPE_CHECKING:
    from deora.cache.redis import RedisTier

_log = logging.getLogger("deora.worker")

STOPPING_S = 3.0
EXIT_CANNOT_BOOT = 3
STREAM_KINDS = frozenset({Kind.STREAM, Kind.EVENTS, Kind.UNSTREAM})


def upstream_checks(config: Config) -> tuple[Check, ...]:
    """What the configured upstreams want judged at the door. Their rules are imported where they are configured."""
    if any(isinstance(upstream, FirestoreUpstream) for upstream in upstreams(config).values()):
        from deora.upstream.firestore.limits import check_writes

        return (check_writes,)
    return ()


def moment_reader(clock: Clock) -> Callable[[], Moment]:
    """What tells the time by which copies grow old."""
    boot = boot_id()
    return lambda: Moment(clock.wall_us(), boot, since_boot_s())


class Worker:
    """The process's state."""

    def __init__(self, config: Config, data: Path, init: dict[str, Any]) -> None:
        self._generation: int = init["generation"]
        self._run: bytes = init["run"]
        self._server = init["name"].encode()
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        loop = asyncio.get_running_loop()
        reader = Reader(data / "store.db")
        memory: MemoryCache[Shown] = MemoryCache(config.cache.memory.max_size, config.cache.memory.ttl_s)
        self._caller = Caller()
        self._tiers = Tiers(config.cache.disk.ttl_s)
        self._redis: RedisTier | None = None
        self._cache, self._cache_directory = config.cache, data / "cache"
        reads = ReadThrough(
            reader,
            memory,
            self._tiers,
            self._caller,
            config.database.sync_interval_s,
            loop.time,
            moment_reader(SystemClock()),
            self._start,
        )
        self._changes = Changes(reader, self._generation, loop.time)
        self._context = Context(reader, memory, reads, config.queue.priorities, loop.time, upstream_checks(config))

    async def serve(self, sock: socket.socket) -> None:
        """Serves until the supervisor says STOP or goes away. Raises sqlite3.Error while the file cannot be opened."""
        await self._context.reader.open()
        await self._add_tiers()
        link = self._caller.link = await Link.open(sock, self._on_frame, lambda _: self._stopping.set())
        self._changes.send = link.send
        link.send(encode(Kind.HELLO, 0, pack({}), generation=self._generation))
        try:
            await self._stopping.wait()
            await self._changes.stop()
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=STOPPING_S)
            link.close()
        finally:
            # aiosqlite's thread would keep the process alive; a disk that hangs must not.
            async with asyncio.timeout(STOPPING_S):
                await self._context.reader.close()
                await self._tiers.close()

    async def _add_tiers(self) -> None:
        redis, disk = self._cache.redis, self._cache.disk
        if redis.url is not None:
            from deora.cache.redis import RedisTier

            [(node,)] = await self._context.reader.rows("SELECT node FROM identity")
            now_s = asyncio.get_running_loop().time
            self._redis = RedisTier(redis.url, node, redis.timeout_s, disk.ttl_s, now_s)
            self._tiers.add("redis", self._redis)
        if disk.max_size:
            self._tiers.add("disk", DiskTier(self._cache_directory, disk.max_size, disk.ttl_s))

    def _on_frame(self, link: Link, frame: Frame) -> None:
        kind, flags, aux, _, ident, body = frame
        if kind == Kind.REQUEST:
            self._on_request(link, parse(ident, flags, aux, body, self._run))
        elif kind == Kind.NOTICE:
            paths = unpack(body)
            self._context.memory.invalidate(paths)
            self._context.reads.forget(paths)
            self._changes.noticed()
        elif kind == Kind.REPLY:
            self._caller.replied(frame)
        elif kind in STREAM_KINDS:
            self._changes.on_frame(frame)
        elif kind == Kind.STORE:
            self._context.memory.clear()
            self._context.reads.forget_all()
            self._start(self._reopen(link))
        elif kind == Kind.PING:
            link.send(encode(Kind.PONG, ident, pack(self._figures()), generation=self._generation))
            self._changes.tell()
            if self._redis is not None:
                self._start(self._redis.check())
        elif kind == Kind.STOP:
            self._stopping.set()

    def _figures(self) -> dict[str, Any]:
        memory = self._context.memory
        tiers = {"memory": {"hits": memory.hits, "misses": memory.misses}, **self._tiers.figures()}
        figures: dict[str, Any] = {"cache": tiers, "bytes": memory.size_bytes}
        return figures if self._redis is None else {**figures, "redis": self._redis.is_up}

    async def _reopen(self, link: Link) -> None:
        try:
            await self._context.reader.reopen()
            self._changes.noticed()
        except sqlite3.Error as error:
            # What this process holds goes to another; the next one in its place opens the file, or says why it cannot.
            _log.error("the store's file cannot be opened again: %s", error)
            link.close()
            self._stopping.set()

    # -- requests

    def _on_request(self, link: Link, request: Request) -> None:
        try:
            found, argument = route(request.method, request.path)
            if request.scope < found.scope:
                raise _forbidden(request.scope, found.scope)
            reply = HANDLERS[found.handler](self._context, request, argument)
        except Problem as problem:
            self._refuse(link, request, problem)
        except Exception:
            self._fail(link, request)
        else:
            if isinstance(reply, Awaitable):
                self._start(self._finish(link, request, reply))
            else:
                self._send(link, request, reply)

    async def _finish(self, link: Link, request: Request, reply: Awaitable[Reply]) -> None:
        try:
            self._send(link, request, await reply)
        except Problem as problem:
            self._refuse(link, request, problem)
        except sqlite3.Error as error:
            _log.warning("a read of the store's file failed: %s", error)
            self._refuse(
                link,
                request,
                Problem("unavailable", "the store's file cannot be read now", hint="try again", retry_after_s=1),
            )
        except Exception:
            self._fail(link, request)

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _send(self, link: Link, request: Request, reply: Reply) -> None:
        if isinstance(reply, Answer):
            body, headers = coded(reply.content, reply.headers, as_gzip=request.gzip)
            content = answer(
                reply.status,
                body,
                server=self._server,
                request_id=request.request_id,
                headers=headers,
                close=request.close,
                head=request.head,
            )
            link.send(encode(Kind.ANSWER, request.id, content, aux=reply.status, generation=self._generation))
        elif isinstance(reply, Stream):
            body = pack([reply.collections, reply.start, reply.first])
            link.send(encode(Kind.STREAM, request.id, body, generation=self._generation))
        else:
            link.send(encode(Kind.COMMIT, request.id, reply.body, aux=reply.wait_s, generation=self._generation))

    def _refuse(self, link: Link, request: Request, problem: Problem) -> None:
        content = problem_answer(
            problem,
            server=self._server,
            request_id=request.request_id,
            close=request.close,
            head=request.head,
        )
        link.send(encode(Kind.ANSWER, request.id, content, aux=problem.status, generation=self._generation))

    def _fail(self, link: Link, request: Request) -> None:
        """A fault of ours: the client gets a 500 that names the request, the log the rest."""
        request_id = request.request_id.decode("latin-1")
        _log.exception("a request failed", extra={"requestId": request_id})
        self._refuse(link, request, Problem.internal(request_id))


def _forbidden(scope: int, needed: int) -> Problem:
    names = {1: "read", 2: "write", 3: "admin"}
    if scope == 0:
        return Problem("unauthorized", "this needs a token: send `Authorization: Bearer TOKEN`")
    return Problem("forbidden", f"this needs the scope {names[needed]}; the token has {names[scope]}")


def run(sock: socket.socket, init: dict[str, Any]) -> int:
    """The process from its first frame to its exit code."""
    config = Config.from_wire(init["config"])
    data = Path(init["data"])
    configure(init["slot"], config.logger, data)

    async def serve() -> int:
        try:
            await Worker(config, data, init).serve(sock)
        except sqlite3.Error as error:
            reason = f"the store's file {data / 'store.db'} cannot be read: {error}"
            _log.error("%s", reason)
            sock.sendall(encode(Kind.EVENT, 0, pack(["cannot-boot", reason, "it is read once the store is up"])))
            return EXIT_CANNOT_BOOT
        return 0

    return uvloop.run(serve())
