"""The store's process: one blocking loop around `Service`.

It needs no event loop. While a commit syncs, what arrives waits in the socket; the next turn takes all of it as the
next group. So groups grow with the load, and a lone write waits for one fsync.
"""

from __future__ import annotations

import logging
import socket
import sqlite3
import time
from pathlib import Path
from typing import Any, Final

from deora.clock import Clock, SystemClock
from deora.config.schema import Config, upstreams
from deora.errors import StoreError
from deora.observe.logs import configure
from deora.store.ballast import Ballast
from deora.store.commits import QueueLimits
from deora.store.damage import prepare, suspect, tells_of_damage
from deora.store.database import open_writer
from deora.store.guard import Damaged, Guard, Unkept
from deora.store.guarded import GuardedService
from deora.store.service import Service, Settings
from deora.store.sums import drop_sums
from deora.wire.frames import Frame, Kind, encode, pack
from deora.wire.link import BlockingLink

_log = logging.getLogger("deora.store")

# How often the store looks for what it can let go of, when nothing else is to do.
HOUSEKEEPING_INTERVAL_S = 1.0
EXIT_CANNOT_BOOT = 3
EXIT_UNKNOWN_COMMIT = 4
EXIT_DAMAGED = 5
_CANNOT_OPEN: Final = (StoreError, sqlite3.Error, OSError)


def settings_of(config: Config) -> Settings:
    """What the store needs to know of the configuration."""
    queue = config.queue
    return Settings(
        upstreams=list(upstreams(config)),
        limits=QueueLimits(queue.max_entries, queue.max_bytes),
        retention_s=int(queue.retention_hours * 3600),
        dead_holds=queue.on_dead == "hold",
        fresh_us=int(config.database.sync_interval_s * 1e6),
        tombstones_us=int(config.cache.disk.ttl_s * 1e6),
        replicate=config.database.replicate,
    )


def run(sock: socket.socket, init: dict[str, Any]) -> int:
    """Serves until the supervisor says STOP or goes away. Returns the exit code."""
    config = Config.from_wire(init["config"])
    configure("store", config.logger, Path(init["data"]))
    link = BlockingLink(sock)
    clock = SystemClock()
    path = Path(init["data"]) / "store.db"
    ballast = Ballast(path.with_suffix(".ballast"))
    settings = settings_of(config)
    now = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(clock.wall_us() // 10**6))
    try:
        db, guard = _open(path, settings.upstreams, ballast, now)
    except _CANNOT_OPEN as error:
        return _cannot_boot(link, error)
    try:
        guard.follow()
        service = GuardedService(db, settings, clock, ballast=ballast)
        service.watch(path, guard)
        service.space.tend()
    except _CANNOT_OPEN as error:
        db.close()
        guard.close()
        return _cannot_boot(link, error)
    _greet(link, path, service, init["generation"])
    try:
        code = _loop(link, service, clock)
        service.finish()
        return code
    except (sqlite3.Error, StoreError, ValueError) as error:
        return _failed(path, error, ballast)
    finally:
        db.close()
        guard.close()


def _open(path: Path, upstreams: list[str], ballast: Ballast, now: str) -> tuple[sqlite3.Connection, Guard]:
    """The file, opened; where that fails while there is a ballast, once more without it: a full disk may be why."""
    try:
        return _examined(path, upstreams, now)
    except _CANNOT_OPEN:
        if not ballast.release():
            raise
    # Not while the error is handled: it holds the first connection, whose locks would go as files are closed.
    return _examined(path, upstreams, now)


def _examined(path: Path, upstreams: list[str], now: str) -> tuple[sqlite3.Connection, Guard]:
    sums = prepare(path, upstreams, now)
    try:
        db = open_writer(path)
    except StoreError as error:
        if isinstance(error.__cause__, sqlite3.Error):
            # It was open, and closing it may copy the WAL into the file.
            drop_sums(path)
        raise
    return db, Guard(path, sums)


def _cannot_boot(link: BlockingLink, error: Exception) -> int:
    hint = error.hint if isinstance(error, StoreError) else None
    _log.error("the store cannot start: %s", error, extra={"hint": hint})
    link.send(encode(Kind.EVENT, 0, pack(["cannot-boot", str(error), hint])))
    return EXIT_CANNOT_BOOT


def _greet(link: BlockingLink, path: Path, service: GuardedService, generation: int) -> None:
    node, epoch = service.identity
    _log.info("store opened", extra={"file": str(path), "node": node, "epoch": epoch, "sqlite": sqlite3.sqlite_version})
    hello = {
        "node": node,
        "epoch": epoch,
        "figures": service.figures(),
        "disk": service.space.report(),
        "damage": service.told,
    }
    link.send(encode(Kind.HELLO, 0, pack(hello), generation=generation))


def _failed(path: Path, error: Exception, ballast: Ballast) -> int:
    """The exit code after an error that this process cannot go on from."""
    if isinstance(error, Unkept) or (isinstance(error, sqlite3.Error) and not tells_of_damage(error)):
        # The transaction may or may not be durable. Whoever asks the next store with the same key will know.
        _log.error("the store's transaction failed: %s; starting again", error)
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_IOERR_WRITE:
            # Perhaps for a quota: then the next store cannot make it again, and takes no new writes until it can.
            ballast.release()
        return EXIT_UNKNOWN_COMMIT
    # A value that cannot be what was written, too.
    _log.error("the store's file seems to be damaged: %s; starting again to examine it", error)
    if not isinstance(error, Damaged):
        suspect(path, error)
    return EXIT_DAMAGED


def _loop(link: BlockingLink, service: Service, clock: Clock) -> int:
    due_s = clock.monotonic_s() + HOUSEKEEPING_INTERVAL_S
    while True:
        left_s = due_s - clock.monotonic_s()
        wait_s = service.wait_s(left_s)
        frames = link.receive(wait_s)
        if frames is None:
            return 0
        if frames or wait_s < left_s:
            _send(link, _handle(service, frames))
            if _asks_to_stop(frames):
                return 0
        if clock.monotonic_s() >= due_s:
            # While there is much to let go of, clients' groups still come first: one step, then the socket again.
            due_s = clock.monotonic_s() + (
                0.01 if _housekeep(link, service, idle=not frames) else HOUSEKEEPING_INTERVAL_S
            )


def _handle(service: Service, frames: list[Frame]) -> bytes:
    try:
        return service.handle(frames)
    except sqlite3.OperationalError as error:
        _only_full(error)
    service.make_room()
    try:
        # Now without its new writes: what was accepted goes on.
        return service.handle(frames)
    except sqlite3.OperationalError as error:
        _only_full(error)
        return service.refuse_full(frames)


def _housekeep(link: BlockingLink, service: Service, *, idle: bool) -> bool:
    try:
        answers, more = service.housekeep(idle=idle)
    except sqlite3.OperationalError as error:
        _only_full(error)
        service.make_room()
        answers, more = b"", False
    _send(link, answers)
    return more


def _only_full(error: sqlite3.OperationalError) -> None:
    """Lets a full disk pass. After any other error the transaction's end is unknown, and the process must end."""
    if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
        raise error


def _send(link: BlockingLink, answers: bytes) -> None:
    if answers:
        link.send(answers)


def _asks_to_stop(frames: list[Frame]) -> bool:
    return any(frame[0] == Kind.STOP for frame in frames)
