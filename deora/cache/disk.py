"""The disk tier: a diskcache file that all workers of this box share. It holds evictable copies and nothing else.

diskcache pickles whatever key or value is no plain one, and loads what it finds marked as pickled: whoever can write to
the file could run code here (CVE-2025-69872; its JSONDisk does not help, since keys still go through pickle). So
`BytesDisk` takes and gives bytes alone, under keys that are text alone, keeps them inside the database, never in files
beside it, and raises for anything else on both ways.

SQLite blocks, so all of it happens in one thread; and a disk that hangs costs a read PATIENCE_S once, not each time.
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

import diskcache

_log = logging.getLogger("deora.cache")

PATIENCE_S: Final = 0.5
# How long another worker's write may keep this one's from the file; the copy is then not kept, which hurts nobody.
BUSY_S: Final = 0.2
# A file that was thrown away is not thrown away again at once: where the disk itself is bad that would go on for ever.
REMAKE_PAUSE_S: Final = 10.0

_DATABASE: Final = diskcache.core.DBNAME
_RAW: Final = diskcache.core.MODE_RAW
_SETTINGS: Final = {
    "statistics": 0,
    "tag_index": 0,
    "eviction_policy": "least-recently-stored",  # "used" would make each read a write
    "cull_limit": 10,
    "disk_min_file_size": 0,
    "disk_pickle_protocol": 0,
    "sqlite_auto_vacuum": 1,
    "sqlite_cache_size": 1024,
    "sqlite_journal_mode": "wal",
    "sqlite_mmap_size": 0,  # reading a mapped file that another program truncates ends the process
    "sqlite_synchronous": 1,
}
# These say nothing bad of the file.
_PASSING: Final = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_FULL, sqlite3.SQLITE_READONLY)

T = TypeVar("T")


class NotBytes(Exception):
    """A key that is no text or a value that is no bytes: never written, and never read if somebody else wrote it."""


class BytesDisk(diskcache.Disk):  # type: ignore[misc]
    """diskcache's way to and from its table, with nothing but text for keys and bytes for values."""

    def put(self, key: Any) -> tuple[str, bool]:
        """A key on its way in."""
        if type(key) is not str:
            raise NotBytes(f"a key is text, not {type(key).__name__}")
        return key, True

    def get(self, key: Any, raw: Any) -> str:
        """A key on its way out."""
        if not raw or type(key) is not str:
            raise NotBytes("the cache file holds a key that is no text")
        return key

    def store(self, value: Any, read: bool, key: Any = None) -> tuple[int, int, None, memoryview]:  # noqa: ARG002
        """A value on its way in."""
        if read or type(value) is not bytes:
            raise NotBytes(f"a value is bytes, not {type(value).__name__}")
        return 0, _RAW, None, memoryview(value)

    def fetch(self, mode: Any, filename: Any, value: Any, read: bool) -> bytes:
        """A value on its way out."""
        if mode != _RAW or filename is not None or type(value) is not bytes or read:
            raise NotBytes("the cache file holds a value that is no bytes")
        return value

    def remove(self, file_path: str) -> None:
        """Nothing is kept in files: whoever names one in the table wants another one gone."""


class DiskTier:
    """Path -> bytes in `directory`, at most `max_bytes` together, each for `ttl_s`. Never raises; it knows, or not."""

    def __init__(
        self, directory: Path, max_bytes: int, ttl_s: float, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._directory = directory
        self._max_bytes = max_bytes
        self._ttl_s = ttl_s
        self._now_s = now_s
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="disk-cache")
        self._cache: Any = None
        self._file: tuple[int, int] | None = None
        self._remade_s = -REMAKE_PAUSE_S
        self._stuck: asyncio.Future[Any] | None = None

    async def get(self, path: str) -> bytes | None:
        """The bytes kept under this path, None where there are none."""
        return await self._run(lambda cache: cache.get(path))

    async def put(self, path: str, value: bytes) -> None:
        """Keeps bytes, and lets go of the oldest ones where there are too many."""
        await self._run(lambda cache: cache.set(path, value, expire=self._ttl_s))

    async def drop(self, paths: list[str]) -> None:
        """Forgets these."""

        def delete(cache: Any) -> None:
            for path in paths:
                cache.delete(path)

        await self._run(delete)

    async def close(self) -> None:
        """Closes the file, unless the disk hangs."""
        await self._run(lambda _: self._close())
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self, operation: Callable[[Any], T]) -> T | None:
        if self._stuck is not None:
            if not self._stuck.done():
                return None
            self._stuck = None
        running = asyncio.get_running_loop().run_in_executor(self._thread, self._attempt, operation)
        done, _ = await asyncio.wait({running}, timeout=PATIENCE_S)
        if not done:
            self._stuck = running
            return None
        return running.result()

    # -- in the thread

    def _attempt(self, operation: Callable[[Any], T]) -> T | None:
        try:
            return operation(self._open())
        except diskcache.Timeout:
            return None
        except Exception as error:
            # A cache that cannot be read is no reason to fail a request, whatever is wrong with it.
            if isinstance(error, OSError) or getattr(error, "sqlite_errorcode", None) in _PASSING:
                self._close()
            else:
                self._throw_away(error)
            return None

    def _open(self) -> Any:
        if self._cache is not None and _file_at(self._directory / _DATABASE) != self._file:
            # Another worker has thrown it away, or somebody has cleared the directory.
            self._close()
        if self._cache is None:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._directory.chmod(0o700)
            self._cache = diskcache.Cache(
                str(self._directory), timeout=BUSY_S, disk=BytesDisk, size_limit=self._max_bytes, **_SETTINGS
            )
            self._file = _file_at(self._directory / _DATABASE)
        return self._cache

    def _close(self) -> None:
        cache, self._cache, self._file = self._cache, None, None
        if cache is not None:
            cache.close()

    def _throw_away(self, error: Exception) -> None:
        """Makes room for a new file, unless another worker has done so already."""
        replaced = self._file is not None and _file_at(self._directory / _DATABASE) != self._file
        self._close()
        if replaced or self._now_s() - self._remade_s < REMAKE_PAUSE_S:
            return
        self._remade_s = self._now_s()
        _log.warning("the cache on disk is damaged and is begun anew: %s", error, extra={"file": str(self._directory)})
        # Renamed first: what another worker makes in its place meanwhile must not be torn apart.
        discarded = self._directory.with_name(f"{self._directory.name}.discarded")
        shutil.rmtree(discarded, ignore_errors=True)
        try:
            self._directory.rename(discarded)
        except OSError as failure:
            _log.warning("the damaged cache on disk cannot be removed: %s", failure)
        shutil.rmtree(discarded, ignore_errors=True)


def _file_at(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
