"""What `deora doctor` looks at on this box: each check gives findings, and each finding that is not fine its remedy."""

from __future__ import annotations

import os
import resource
import socket
import sqlite3
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from deora.config.checks import STORE_FILE
from deora.config.database import FirestoreUpstream
from deora.config.schema import Config, upstreams

FINE: Final = "ok"
WARNING: Final = "warning"
FAILED: Final = "failed"

# The store refuses new writes below this: 32 MiB beside the WAL's full size and the ballast (docs/operations.md).
LEAST_FREE_BYTES: Final = 112 * 1024 * 1024
SYNCS: Final = 20
SLOW_SYNC_MS: Final = 50.0
# Each write waits for one: beyond this a till does.
BAD_SYNC_MS: Final = 1000.0
LEAST_FILES: Final = 1024
# json_each, RETURNING and STRICT ALTERs that the statements need.
OLDEST_SQLITE: Final = (3, 35, 0)


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look has shown. `hint`: the remedy, where there is something to do."""

    name: str
    level: str
    detail: str
    hint: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Its members."""
        return asdict(self)


def of_box(config: Config, data: Path, *, is_running: bool) -> Iterator[Finding]:
    """All checks that need no upstream."""
    yield from permissions(config, data)
    yield from disk(config, data)
    yield from syncs(data)
    yield sqlite()
    if not is_running:
        yield from store(data)
        yield port(config)
    yield files()
    yield clock(time.time())
    yield from backups(config, data)


def permissions(config: Config, data: Path) -> Iterator[Finding]:
    """Whether the data directory is ours alone, and the files with secrets, too."""
    try:
        mode = data.stat().st_mode
    except OSError as error:
        hint = "`deora init` makes it; or name another one with --data"
        yield Finding("data directory", WARNING, f"{data}: {error.strerror}", hint)
        return
    if not os.access(data, os.R_OK | os.W_OK | os.X_OK):
        hint = "run this as the user that runs DEORA, or give that user the directory (chown)"
        yield Finding("data directory", FAILED, f"{data} cannot be written to by this user", hint)
    elif mode & (stat.S_IRWXG | stat.S_IRWXO):
        others = stat.filemode(mode)
        yield Finding("data directory", WARNING, f"{data} is open to others ({others})", f"chmod 700 {data}")
    else:
        yield Finding("data directory", FINE, f"{data} is this user's alone")
    for name, upstream in upstreams(config).items():
        if isinstance(upstream, FirestoreUpstream) and upstream.emulator_host is None:
            yield _key_file(f"credentials of {name}", data / upstream.credentials)


def _key_file(name: str, path: Path) -> Finding:
    try:
        mode = path.stat().st_mode
        with open(path, "rb"):
            pass
    except OSError as error:
        hint = "put the service account's key there, for the user that runs DEORA (database.json, credentials)"
        return Finding(name, FAILED, f"{path}: {error.strerror}", hint)
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        return Finding(name, WARNING, f"others may read {path} ({stat.filemode(mode)})", f"chmod 600 {path}")
    return Finding(name, FINE, f"{path} is there")


def disk(config: Config, data: Path) -> Iterator[Finding]:
    """Whether there is room."""
    try:
        found = os.statvfs(data)
    except OSError:
        return
    free, total = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    detail = f"{free} bytes of {total} are free"
    least = min(LEAST_FREE_BYTES, total // 4)
    if free < least:
        hint = "make room: new writes are refused, or soon will be"
        yield Finding("disk space", FAILED, detail, hint)
    elif free < config.operations.alerts.disk_free:
        yield Finding("disk space", WARNING, detail, "make room before writes are refused")
    else:
        yield Finding("disk space", FINE, detail)
    if found.f_files and found.f_favail < 100:
        hint = "delete files: a file system has so many and no more"
        yield Finding("disk files", FAILED, f"{found.f_favail} files can still be made", hint)


def syncs(data: Path) -> Iterator[Finding]:
    """How long the disk takes to keep what it is told to keep."""
    try:
        with tempfile.NamedTemporaryFile(dir=data, prefix=".doctor-") as file:
            took_ms = []
            for _ in range(SYNCS):
                file.write(b"x" * 4096)
                file.flush()
                began_s = time.perf_counter()
                os.fdatasync(file.fileno())
                took_ms.append((time.perf_counter() - began_s) * 1000)
    except OSError as error:
        if data.exists():
            yield Finding("disk syncs", FAILED, f"no file could be written: {error.strerror}", "see the other findings")
        return
    yield judged_syncs(sorted(took_ms))


def judged_syncs(took_ms: list[float]) -> Finding:
    """What these times, shortest first, mean."""
    middle = took_ms[len(took_ms) // 2]
    detail = f"a sync takes {middle:.1f} ms, the longest of {len(took_ms)} took {took_ms[-1]:.1f} ms"
    if middle >= BAD_SYNC_MS:
        hint = "each write waits for one: use another disk; look for errors of this one (dmesg)"
        return Finding("disk syncs", FAILED, detail, hint)
    if middle >= SLOW_SYNC_MS:
        return Finding("disk syncs", WARNING, detail, "a solid-state disk takes a few ms; an SD card wears out")
    return Finding("disk syncs", FINE, detail)


def sqlite() -> Finding:
    """Which SQLite is linked."""
    version = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        oldest = ".".join(map(str, OLDEST_SQLITE))
        return Finding("SQLite", FAILED, f"{version} is too old", f"install {oldest} or newer, or use the bundle")
    return Finding("SQLite", FINE, f"{version}; one connection writes and checkpoints, as versions before 3.51.3 need")


def store(data: Path) -> Iterator[Finding]:
    """Whether the store's file is sound, while no instance has it open."""
    path = data / STORE_FILE
    if not path.exists():
        if data.exists():
            yield Finding("store", FINE, f"{path} is made at the first start")
        return
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)) as db:
            faults = [fault for (fault,) in db.execute("PRAGMA integrity_check(5)")]
    except sqlite3.Error as error:
        faults = [str(error)]
    if faults == ["ok"]:
        yield Finding("store", FINE, f"{path} is sound, {path.stat().st_size} bytes")
        return
    hint = "copy the data directory to another disk first; the next start mends or salvages what it can"
    yield Finding("store", FAILED, f"{path}: {faults[0]}", hint)


def port(config: Config) -> Finding:
    """Whether the address could be listened on."""
    host, number = config.servers.host, config.servers.port
    try:
        with socket.create_server((host, number), family=socket.AF_INET6 if ":" in host else socket.AF_INET):
            return Finding("port", FINE, f"{host} port {number} is free")
    except OSError as error:
        hint = "another program has it (`ss -ltnp`), or the address is not this box's: change servers.json, or end it"
        return Finding("port", FAILED, f"{host} port {number} cannot be listened on: {error.strerror}", hint)


def files(limits: tuple[int, int] | None = None) -> Finding:
    """How many connections there can be. `limits`: soft and hard ones, of this process where not given."""
    _, hard = limits or resource.getrlimit(resource.RLIMIT_NOFILE)
    detail = f"{hard} open files are allowed, of which clients get what DEORA does not need"
    if hard < LEAST_FILES:
        return Finding("open files", WARNING, detail, "raise the hard limit: LimitNOFILE= in the unit, or ulimit -Hn")
    return Finding("open files", FINE, detail)


def clock(now_s: float) -> Finding:
    """Whether the wall clock can be right."""
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now_s))
    if not "2026" <= shown[:4] < "2038":
        hint = "set it, or see to a time server; nothing is ordered by it, but times in documents are wrong"
        return Finding("clock", WARNING, f"this box says {shown}", hint)
    return Finding("clock", FINE, f"this box says {shown}")


def backups(config: Config, data: Path) -> Iterator[Finding]:
    """Whether backups are scheduled, and can be."""
    folder = config.operations.backup.dir
    if folder is None:
        hint = "set backup.dir in operations.json, best to another disk; see docs/disaster-recovery.md"
        yield Finding("backups", WARNING, "none are scheduled", hint)
        return
    path = data / folder
    if Path(folder).is_absolute() and not os.access(path, os.W_OK | os.X_OK):
        hint = "mount its disk, make it, give it to the user that runs DEORA"
        yield Finding("backups", FAILED, f"{path} is not there, or cannot be written to", hint)
    else:
        yield Finding("backups", FINE, f"every {config.operations.backup.every_minutes:g} minutes into {path}")
