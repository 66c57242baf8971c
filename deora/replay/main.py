"""The replayer's process: a lane for each upstream, every connection upstream, and their status for the supervisor."""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import uvloop

from deora.clock import SystemClock
from deora.config.schema import Config, FirestoreUpstream, PostgresUpstream, SqliteUpstream, upstreams
from deora.errors import ConfigError
from deora.observe.logs import configure
from deora.replay.breaker import Breaker
from deora.replay.calls import Calls
from deora.replay.lane import Lane, LaneSettings, Status
from deora.replay.policy import Retry
from deora.upstream.base import Upstream
from deora.upstream.sqlite import SqliteUpstream as SqliteClient
from deora.wire.frames import Frame, Kind, encode, pack
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
        self._lanes = [
            Lane(
                name,
                upstream,
                self._calls,
                lane_settings(config),
                Breaker(breaker.threshold, breaker.timeout_s),
                SystemClock(),
                sleep=asyncio.sleep,
                random=random.random,
                report=self._report,
            )
            for name, upstream in self._upstreams.items()
        ]

    async def serve(self, sock: socket.socket, generation: int) -> None:
        """Delivers until the supervisor says STOP or goes away."""
        self._calls.link = await Link.open(sock, self._on_frame, lambda _: self._stopping.set())
        self._calls.link.send(encode(Kind.HELLO, 0, pack({}), generation=generation))
        for lane in self._lanes:
            self._report(lane.name, lane.status)
        tasks = [asyncio.create_task(self._guard(lane), name=lane.name) for lane in self._lanes]
        await self._stopping.wait()
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=STOPPING_S)
        with suppress(TimeoutError):
            # A connection that hangs must not keep the process: what it holds is in the store all the same.
            async with asyncio.timeout(STOPPING_S):
                await asyncio.gather(*(upstream.close() for upstream in self._upstreams.values()))
        self._calls.link.close()

    async def _guard(self, lane: Lane) -> None:
        try:
            await lane.run()
        except asyncio.CancelledError:
            raise
        except Exception:
            # A fault of ours. The process ends and is started again; the batch is where it was.
            _log.exception("the lane of upstream %s failed", lane.name)
            self._stopping.set()

    def _on_frame(self, link: Link, frame: Frame) -> None:
        kind, _, _, generation, ident, _ = frame
        if kind == Kind.REPLY:
            self._calls.replied(frame)
        elif kind == Kind.PING:
            link.send(encode(Kind.PONG, ident, generation=generation))
        elif kind == Kind.STOP:
            self._stopping.set()

    def _report(self, name: str, status: Status) -> None:
        figures = asdict(status)
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
