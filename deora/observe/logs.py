"""Logs: JSON lines, so that no value can forge one; to the console and to `logs/app.log`.

The file is written by a thread of its own: a disk that hangs must not stop a loop that serves requests. Every process
appends whole lines to the same file; whoever sees it full renames it under a lock.
"""

from __future__ import annotations

import atexit
import errno
import fcntl
import json
import logging
import os
import queue
import sys
import time
from collections import deque
from logging.handlers import QueueHandler, QueueListener
from pathlib import Path
from typing import Any, Final, Protocol

MAX_FIELD_CHARACTERS: Final = 4096
# Lines that are kept for a disk that is full now.
KEPT_LINES: Final = 1000
# Valid in JSON, and yet a line's end or a command to some reader of the file: DEL, the C1 controls, two separators.
_UNSAFE: Final = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029)}
_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class LoggerConfig(Protocol):
    """What `logger.json` says."""

    @property
    def level(self) -> str: ...
    @property
    def outputs(self) -> Any: ...
    @property
    def dir(self) -> str: ...
    @property
    def max_file_size(self) -> int: ...
    @property
    def keep(self) -> int: ...


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, process, logger, message, and what was given as `extra`."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        members: dict[str, Any] = {
            "time": _time_text(record.created),
            "level": record.levelname.lower(),
            "process": self._process,
            "pid": record.process,
            "logger": record.name,
            "message": record.getMessage()[:MAX_FIELD_CHARACTERS],
        }
        members.update(extras(record))
        if record.exc_info:
            members["exception"] = self.formatException(record.exc_info)[-MAX_FIELD_CHARACTERS:]
        return json.dumps(members, ensure_ascii=False, default=str).translate(_UNSAFE)


class ConsoleLines(logging.Formatter):
    """The same for a person at a terminal. What is not printable is escaped; a further line of a text is indented."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        more = " ".join(f"{name}={value}" for name, value in extras(record).items() if value is not None)
        text = (
            f"{_time_text(record.created)[11:23]} {record.levelname.lower():7} {self._process:9} {record.getMessage()}"
        )
        line = f"{text}  {more}" if more else text
        if record.exc_info:
            line += " " + self.formatException(record.exc_info)
        return "\n    ".join(map(_printable, line.split("\n")))


class AppendFile(logging.Handler):
    """Appends lines to a file that several processes share; at `max_bytes` it becomes `NAME.1`, and so on to `keep`."""

    def __init__(self, path: Path, max_bytes: int, keep: int) -> None:
        super().__init__()
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._descriptor = self._open()
        self._unwritten: deque[bytes] = deque(maxlen=KEPT_LINES)

    def _open(self) -> int:
        return os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._unwritten.append((self.format(record) + "\n").encode("utf-8", "backslashreplace"))
            self._rotate_if_full()
            self._write_out()
        except Exception:
            # Whatever one record brings, an argument that its text does not take or a full disk, ends no logging.
            self.handleError(record)

    def _write_out(self) -> None:
        """Writes what waits. What finds no room on the disk goes on waiting for the next record."""
        while self._unwritten:
            line = self._unwritten[0]
            written = os.write(self._descriptor, line)
            if written < len(line):
                self._unwritten[0] = line[written:]
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._unwritten.popleft()

    def _rotate_if_full(self) -> None:
        ours = os.fstat(self._descriptor)
        if ours.st_nlink and ours.st_size < self._max_bytes:
            return
        with open(self._path.with_name(".rotate"), "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Another process may have renamed it while this one waited for the lock.
            if self._path.exists() and self._path.stat().st_size >= self._max_bytes:
                self._shift()
            # The old one is closed last: where no other can be opened, the lines still go there.
            old, self._descriptor = self._descriptor, self._open()
            os.close(old)

    def _shift(self) -> None:
        if self._keep == 0:
            self._path.unlink()
            return
        for number in range(self._keep - 1, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            if older.exists():
                older.rename(self._path.with_name(f"{self._path.name}.{number + 1}"))
        self._path.rename(self._path.with_name(f"{self._path.name}.1"))


def extras(record: logging.LogRecord) -> dict[str, Any]:
    """What was given as `extra`, each value cut to MAX_FIELD_CHARACTERS."""
    found: dict[str, Any] = {}
    for name, value in vars(record).items():
        if name not in _STANDARD:
            found[name] = value
            if not isinstance(value, int | float | None):
                text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
                if isinstance(value, str) or len(text) > MAX_FIELD_CHARACTERS:
                    found[name] = text[:MAX_FIELD_CHARACTERS]
    return found


def _printable(text: str) -> str:
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def configure(process: str, config: LoggerConfig, data: Path) -> None:
    """Sets up the root logger of this process, also anew. `process` names it in each line; `data` is where `logs/`
    lies. No line between is lost."""
    root = logging.getLogger()
    handlers: list[logging.Handler] = []
    fault: OSError | None = None
    if "console" in config.outputs:
        console = logging.StreamHandler(sys.stderr)
        console.setFormatter(ConsoleLines(process) if sys.stderr.isatty() else JsonLines(process))
        handlers.append(console)
    if "file" in config.outputs:
        try:
            handlers.append(_file(process, config, data))
        except OSError as error:
            fault = error
    root.setLevel(config.level.upper())
    former, root.handlers = root.handlers, handlers
    for handler in former:
        handler.close()
    if fault is not None:
        root.warning("no log file can be written: %s", fault)


def release() -> None:
    """Writes what waits, and closes the files: this process is about to become another program."""
    root = logging.getLogger()
    former, root.handlers = root.handlers, []
    for handler in former:
        handler.close()


def _file(process: str, config: LoggerConfig, data: Path) -> logging.Handler:
    folder = data / config.dir
    folder.mkdir(parents=True, exist_ok=True)
    file = AppendFile(folder / "app.log", config.max_file_size, config.keep)
    file.setFormatter(JsonLines(process))
    lines: queue.SimpleQueue[logging.LogRecord] = queue.SimpleQueue()
    # The record itself is queued: the queue never leaves this process, and formatting belongs to its thread.
    return _InProcessQueueHandler(lines, QueueListener(lines, file))


class _InProcessQueueHandler(QueueHandler):
    def __init__(self, lines: queue.SimpleQueue[logging.LogRecord], writer: QueueListener) -> None:
        super().__init__(lines)
        self._writer: QueueListener | None = writer
        writer.start()
        atexit.register(self.close)

    def close(self) -> None:
        """Ends the writing thread, once it has written what waits, and closes the file."""
        atexit.unregister(self.close)
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.stop()
            for handler in writer.handlers:
                handler.close()
        super().close()

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record


def _time_text(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds % 1 * 1000):03d}Z"
