"""The replayer's process: a lane for each upstream, every connection upstream, and their status for the supervisor."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvloop

from deora.clock import SystemClock
from deora.config.schema import Config, FirestoreUpstream, PostgresUpstream, SqliteUpstream, upstreams
from deora.errors import ConfigError, Problem
from deora.observe.logs import configure
from deora.replay.adoptions import Adoptions
from deora.replay.alerting import Alerting
from deora.replay.breaker import Breaker
from deora.replay.calls import Calls
from deora.replay.lane import Lane
from deora.replay.policy import Retry
from deora.replay.puller import Puller
from deora.replay.reads import Reads, Source
from deora.replay.takeover import Takeovers
from deora.replay.terms import LaneSettings, Status
from deora.upstream.base import Pooled, Upstream
from deora.upstream.sqlite import SqliteUpstream as SqliteClient
from deora.wire.frames import Frame, Kind, encode, pack, unpack
from deora.wire.link import Link

_log = logging.getLogger("deora.replay")

EXIT_CANNOT_BOOT = 3
STOPPING_S = 3.0


def connect(settings: SqliteUpstream | FirestoreUpstream | PostgresUpstream, data: Path) -> Upstream:
    """The client of an upstream. Connections are made when they are first needed."""
    if isinstance(settings, SqliteUpstream):
        return SqliteClient(data / settings.file)
    if isinstance(settings, PostgresUpstream):
        return _postgres(settings)
    return _firestore(settings, data)


def _postgres(settings: PostgresUpstream) -> Upstream:
    # asyncpg is a package of an extra, and takes memory: only who names a PostgreSQL has it.
    try:
        from deora.upstream.postgres.client import PostgresUpstream as PostgresClient
    except ImportError as error:
        raise _without(settings.type, error) from None
    return PostgresClient(settings)


def _firestore(settings: FirestoreUpstream, data: Path) -> Upstream:
    try:
        from deora.upstream.firestore.client import FirestoreUpstream as FirestoreClient
    except ImportError as error:
        raise _without(settings.type, error) from None
    credentials = data / settings.credentials
    return FirestoreClient.connect(settings.project, settings.database, credentials, settings.emulator_host)


def _without(kind: str, error: ImportError) -> ConfigError:
    return ConfigError([f"database.json: the type {kind} needs the missing package {error.name}"])


def identity_of(settings: SqliteUpstream | FirestoreUpstream | PostgresUpstream) -> str:
    """What tells this upstream from another one of the configuration, without its secrets."""
    if isinstance(settings, SqliteUpstream):
        place = settings.file
    elif isinstance(settings, FirestoreUpstream):
        place = f"{settings.emulator_host or ''}/{settings.project}/{settings.database}"
    else:
        address = urlsplit(settings.url)
        place = f"{address.netloc.rpartition('@')[2]}{address.path}"
    return f"{settings.type}:{place}"


def lane_settings(config: Config) -> LaneSettings:
    """What a lane needs to know of the configuration."""
    database = config.database
    return LaneSettings(
        max_writes=database.batch.max_writes,
        max_bytes=database.batch.max_bytes,
        retry=Retry(database.retry.attempts, database.retry.base_s),
        check_interval_s=database.health_check_interval_s,
    )


class Replayer:
    """The process's state: one link to the supervisor, one lane for each upstream."""

    def __init__(self, config: Config, data: Path) -> None:
        self._calls = Calls()
        self._stopping = asyncio.Event()
        self._shown: dict[str, dict[str, Any]] = {}
        breaker = config.database.breaker
        self._upstreams = {name: connect(settings, data) for name, settings in upstreams(config).items()}
        breakers = {name: Breaker(breaker.threshold, breaker.timeout_s) for name in self._upstreams}
        clock = SystemClock()
        self._lanes = [
            Lane(
                name,
                upstream,
                self._calls,
                lane_settings(config),
                breakers[name],
                clock,
                sleep=asyncio.sleep,
                random=random.random,
                report=self._report,
            )
            for name, upstream in self._upstreams.items()
        ]
        sources = [
            Source(lane.name, self._upstreams[lane.name], breakers[lane.name], lane.note_read) for lane in self._lanes
        ]
        adoptions = Adoptions(self._calls)
        self._reads = Reads(sources, self._calls, adoptions, clock)
        self._takeovers = Takeovers(sources, self._calls, clock)
        database = config.database
        self._puller = Puller(
            sources[0],
            identity_of(database.primary),
            database.replicate,
            self._calls,
            adoptions,
            database.sync_interval_s,
            sleep=asyncio.sleep,
        )
        self._alerting = Alerting(config, data)
        self._answering: set[asyncio.Task[None]] = set()

    async def serve(self, sock: socket.socket, generation: int) -> None:
        """Delivers until the supervisor says STOP or goes away."""
        self._calls.link = await Link.open(sock, self._on_frame, lambda _: self._stopping.set())
        self._calls.link.send(encode(Kind.HELLO, 0, pack({}), generation=generation))
        for lane in self._lanes:
            self._report(lane.name, lane.status)
        tasks = [asyncio.create_task(self._guard(lane.name, lane.run)) for lane in self._lanes]
        if self._puller.collections:
            tasks.append(asyncio.create_task(self._guard("pulls", self._puller.run)))
        await self._stopping.wait()
        self._alerting.stop()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=STOPPING_S)
        with suppress(TimeoutError):
            # A connection that hangs must not keep the process: what it holds is in the store all the same.
            async with asyncio.timeout(STOPPING_S):
                await asyncio.gather(*(upstream.close() for upstream in self._upstreams.values()))
        self._calls.link.close()

    async def _guard(self, name: str, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await work()
        except asyncio.CancelledError:
            raise
        except Exception:
            # A fault of ours. The process ends and is started again; the batch is where it was.
            _log.exception("the replayer's work for %s failed", name)
            self._stopping.set()

    def _on_frame(self, link: Link, frame: Frame) -> None:
        kind, _, _, generation, ident, body = frame
        if kind == Kind.REPLY:
            self._calls.replied(frame)
        elif kind == Kind.CALL:
            task = asyncio.ensure_future(self._answer(link, ident, body))
            self._answering.add(task)
            task.add_done_callback(self._answering.discard)
        elif kind == Kind.PING:
            link.send(encode(Kind.PONG, ident, generation=generation))
            for lane in self._lanes:
                # Reads use the pool as well, and no lane tells of them.
                self._report(lane.name, lane.status)
        elif kind == Kind.STOP:
            self._stopping.set()

    async def _answer(self, link: Link, ident: int, body: bytes) -> None:
        """Answers a CALL of a worker, or of the supervisor."""
        try:
            reply = pack(await self._serve(*unpack(body)))
        except Problem as problem:
            link.send(encode(Kind.REPLY, ident, pack(problem.to_wire()), aux=1))
        except Exception:
            _log.exception("a read failed")
            fault = Problem(
                "unavailable", "a fault in DEORA: upstream was not read", hint="see the log", retry_after_s=1
            )
            link.send(encode(Kind.REPLY, ident, pack(fault.to_wire()), aux=1))
        else:
            link.send(encode(Kind.REPLY, ident, reply))

    async def _serve(self, operation: str, *parts: Any) -> Any:
        if operation == "alerts":
            self._alerting.take(*parts)
            return None
        if operation == "alertsTest":
            return await self._alerting.test(*parts)
        if operation == "takeOver":
            return await self._takeovers.take(*parts)
        return await self._reads.serve(operation, *parts)

    def _report(self, name: str, status: Status) -> None:
        figures = asdict(status)
        upstream = self._upstreams[name]
        if isinstance(upstream, Pooled):
            figures["pool"] = asdict(upstream.figures)
        if self._shown.get(name) != figures and self._calls.link is not None:
            self._shown[name] = figures
            self._calls.link.send(encode(Kind.EVENT, 0, pack(["upstream", name, figures])))


def run(sock: socket.socket, init: dict[str, Any]) -> int:
    """The process from its first frame to its exit code."""
    config = Config.from_wire(init["config"])
    data = Path(init["data"])
    configure("replayer", config.logger, data)

    async def serve() -> int:
        try:
            replayer = Replayer(config, data)
        except ConfigError as error:
            sent = asyncio.Event()
            link = await Link.open(sock, lambda *_: None, lambda _: sent.set())
            link.send(encode(Kind.EVENT, 0, pack(["cannot-boot", error.problems[0], error.hint])))
            link.close()
            await sent.wait()
            return EXIT_CANNOT_BOOT
        await replayer.serve(sock, init["generation"])
        return 0

    return uvloop.run(serve())
