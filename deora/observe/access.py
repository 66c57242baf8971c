"""The access log: `access.log`, one JSON line for each request that was answered.

    {"time": "2026-01-31T12:00:00.120Z", "id": "7f03-2a", "method": "PUT", "path": "/v1/documents/orders/o1",
     "status": 201, "bytes": 312, "ms": 4.127, "client": "192.168.1.20", "slot": "primary", "token": "till-3",
     "commit": 815}

`time` is when it was answered, `ms` how long that took from the request's last byte on, `bytes` what was sent, head
included. `commit` stands where it wrote: entries of the queue name it too, so a write is found again upstream and among
the dead letters. `frame` is there where the client made the id itself: the name that the store knows it by.

On the loop that serves requests one append is made for each of them. A thread makes lines of what a quarter of a second
brought and writes them at once; where it is too far behind, what comes is counted and dropped.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import orjson

from deora.observe.lines import MAX_FIELD_CHARACTERS, second_text
from deora.observe.log_files import LogFile
from deora.observe.logs import CLOSING_S, LoggerConfig

_log = logging.getLogger("deora.gateway")

NAME: Final = "access.log"
# A write to the file at a time, and how far behind the thread may be.
LINES_AT_ONCE: Final = 500
WAITING_LINES: Final = 200_000


Entry = tuple[float, float, bytes, int, bytes, bytes, int, int, str, str, bytes, int]
"""A request that was answered: (when, when it had come, X-Request-Id, id of its frames, method, target, status, bytes,
client, slot, token, commit), times by the monotonic clock. Plain, since one is made for each request."""


class AccessLog:
    """Takes entries on the loop, writes them in a thread. `wall_offset_s` tells what the wall clock adds to the
    monotonic one, now."""

    def __init__(self, file: LogFile, wall_offset_s: Callable[[], float]) -> None:
        self._file = file
        self._wall_offset_s = wall_offset_s
        self._entries: list[Entry] = []
        self.add = self._entries.append
        self._batches: queue.SimpleQueue[tuple[list[Entry], float] | None] = queue.SimpleQueue()
        self._waiting = 0
        self._dropped = 0
        self._thread = threading.Thread(target=self._write, name="access-log", daemon=True)
        self._thread.start()

    @classmethod
    def of(cls, config: LoggerConfig, data: Path, wall_offset_s: Callable[[], float]) -> AccessLog:
        """The one that logger.json describes."""
        return cls(LogFile(data / config.dir / NAME, config.max_file_size, config.keep), wall_offset_s)

    def flush(self) -> None:
        """Hands what has come to the thread. Called a few times a second."""
        if not self._entries:
            return
        entries = self._entries[:]
        # In place: `add` is this list's own method.
        self._entries.clear()
        if self._waiting > WAITING_LINES:
            self._dropped += len(entries)
            return
        self._waiting += len(entries)
        self._batches.put((entries, self._wall_offset_s()))

    def close(self) -> None:
        """Writes what has come, and ends the thread; it is left behind where the disk hangs."""
        self.flush()
        self._batches.put(None)
        self._thread.join(CLOSING_S)

    def _write(self) -> None:
        unwritten: deque[bytes] = deque(maxlen=WAITING_LINES)
        is_failing = False
        while (batch := self._batches.get()) is not None:
            entries, offset_s = batch
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                _log.warning("%d lines of the access log were dropped: it was written too slowly", dropped)
            for start in range(0, len(entries), LINES_AT_ONCE):
                unwritten.extend(line(entry, offset_s) for entry in entries[start : start + LINES_AT_ONCE])
                try:
                    self._write_out(unwritten)
                    is_failing = False
                except OSError as error:
                    if not is_failing:
                        _log.error("the access log cannot be written: %s; its lines wait", error)
                    is_failing = True
            self._waiting -= len(entries)
        self._file.close()

    def _write_out(self, unwritten: deque[bytes]) -> None:
        while unwritten:
            for _ in range(self._file.write([unwritten[n] for n in range(min(len(unwritten), LINES_AT_ONCE))])):
                unwritten.popleft()


def line(entry: Entry, offset_s: float) -> bytes:
    """An entry as it stands in the file."""
    ended_s, started_s, request_id, ident, method, target, status, size_bytes, client, slot, token, commit = entry
    whole, part = divmod(ended_s + offset_s, 1.0)
    if len(target) > MAX_FIELD_CHARACTERS:
        target = target[:MAX_FIELD_CHARACTERS]
    members: dict[str, Any] = {
        "time": f"{_second(whole)}.{int(part * 1000):03d}Z",
        "id": str(request_id, "latin-1"),
        "method": str(method, "latin-1"),
        "path": str(target, "ascii", "backslashreplace"),
        "status": status,
        "bytes": size_bytes,
        "ms": int((ended_s - started_s) * 1e6 + 0.5) / 1e3,
        "client": client,
        "slot": slot,
    }
    frame = b"%x-%x" % (ident >> 32, ident & 0xFFFF_FFFF)
    if frame != request_id:
        members["frame"] = str(frame, "ascii")
    if token:
        members["token"] = str(token, "utf-8")
    if commit:
        members["commit"] = commit
    return orjson.dumps(members, option=orjson.OPT_APPEND_NEWLINE)


@lru_cache(maxsize=4)
def _second(whole_s: float) -> str:
    return second_text(whole_s)
