"""Logs: JSON lines, so that no value can forge one.

| output | what goes there |
|---|---|
| file | `app.log`: every line; `error.log`: errors once more; `audit.log`: what `AUDIT` is told, and only there |
| console | standard error: text at a terminal, else JSON; where it leads to the journal, as journald |
| journald | the journal, see `journal` |

All is written by a thread: a disk that hangs, a reader that does not read, must not stop a loop that serves requests.
What waits for it is bounded; what finds no place is counted. Every process writes for itself, so that the last lines of
one that ends do not depend on another (decision 24).
"""

from __future__ import annotations

import atexit
import logging
import queue
import sys
import threading
from collections import deque
from pathlib import Path
from typing import Any, Final, Protocol

from deora.observe.journal import JournalHandler, leads_to_journal
from deora.observe.lines import ConsoleLines, JsonLines
from deora.observe.log_files import LogFile

# Lines that are kept for a disk that is full now, and for a writer that is behind.
KEPT_LINES: Final = 1000
WAITING_LINES: Final = 10_000
# How long a process that ends waits for its last lines to be written.
CLOSING_S: Final = 2.0
AUDIT: Final = "deora.audit"
"""the logger of what was changed, and by whom"""


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


class AppendFile(logging.Handler):
    """Appends lines to a log file. What finds no room on its disk waits for the next line, up to KEPT_LINES."""

    def __init__(self, path: Path, max_bytes: int, keep: int) -> None:
        super().__init__()
        self.file = LogFile(path, max_bytes, keep)
        self._unwritten: deque[bytes] = deque(maxlen=KEPT_LINES)

    def close(self) -> None:
        self.file.close()
        super().close()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._unwritten.append((self.format(record) + "\n").encode("utf-8", "backslashreplace"))
            while self._unwritten:
                for _ in range(self.file.write(list(self._unwritten))):
                    self._unwritten.popleft()
        except Exception:
            # Whatever one record brings, an argument that its text does not take or a full disk, ends no logging.
            self.handleError(record)


def configure(process: str, config: LoggerConfig, data: Path) -> None:
    """Sets up the loggers of this process, also anew. `process` names it in each line; `data` is where `logs/` lies.
    No line between is lost."""
    root, audit = logging.getLogger(), logging.getLogger(AUDIT)
    outputs: list[logging.Handler] = []
    faults: list[str] = []
    to_journal = "journald" in config.outputs
    if "console" in config.outputs:
        if leads_to_journal(sys.stderr):
            to_journal = True
        else:
            console = logging.StreamHandler(sys.stderr)
            console.setFormatter(ConsoleLines(process) if sys.stderr.isatty() else JsonLines(process))
            outputs.append(console)
    if to_journal:
        try:
            outputs.append(JournalHandler(process))
        except OSError as error:
            faults.append(f"there is no journal to log to: {error}")
    audits: list[logging.Handler] = []
    if "file" in config.outputs:
        try:
            files, audits = _files(process, config, data)
            outputs += files
        except OSError as error:
            faults.append(f"no log file can be written: {error}")
    root.setLevel(config.level.upper())
    # Who changed what is written down at any level.
    audit.setLevel(logging.INFO)
    audit.propagate = not audits
    former = [*root.handlers, *audit.handlers]
    root.handlers = [InBackground(outputs)] if outputs else []
    audit.handlers = [InBackground(audits)] if audits else []
    for handler in former:
        handler.close()
    for fault in faults:
        root.warning("%s", fault)


def release() -> None:
    """Writes what waits, and closes the files: this process is about to become another program."""
    for logger in (logging.getLogger(), logging.getLogger(AUDIT)):
        former, logger.handlers = logger.handlers, []
        for handler in former:
            handler.close()


def _files(process: str, config: LoggerConfig, data: Path) -> tuple[list[logging.Handler], list[logging.Handler]]:
    """The handlers of `app.log` and `error.log`, and that of `audit.log`."""
    folder = data / config.dir
    folder.mkdir(parents=True, exist_ok=True)
    handlers = []
    for name in ("app.log", "error.log", "audit.log"):
        handler = AppendFile(folder / name, config.max_file_size, config.keep)
        handler.setFormatter(JsonLines(process))
        handlers.append(handler)
    app, error, audit = handlers
    # The others are made with their first line; this one tells whether the folder can be written to.
    app.file.open()
    error.setLevel(logging.ERROR)
    return [app, error], [audit]


class InBackground(logging.Handler):
    """Hands records to a thread, which has the handlers write them."""

    def __init__(self, handlers: list[logging.Handler]) -> None:
        super().__init__()
        self._handlers = handlers
        self._lines: queue.SimpleQueue[logging.LogRecord | None] = queue.SimpleQueue()
        self._dropped = 0
        self._thread = threading.Thread(target=self._write, name="log", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def emit(self, record: logging.LogRecord) -> None:
        # The record itself is queued: it never leaves this process, and formatting belongs to the thread.
        if self._lines.qsize() < WAITING_LINES:
            self._lines.put(record)
        else:
            self._dropped += 1

    def _write(self) -> None:
        while (record := self._lines.get()) is not None:
            self._hand_on(record)
            if self._dropped and self._lines.qsize() < WAITING_LINES // 2:
                dropped, self._dropped = self._dropped, 0
                lost = "%d lines were dropped: the logs were written too slowly"
                self._hand_on(logging.LogRecord(__name__, logging.WARNING, __file__, 0, lost, (dropped,), None))
        for handler in self._handlers:
            handler.close()

    def _hand_on(self, record: logging.LogRecord) -> None:
        for handler in self._handlers:
            if record.levelno >= handler.level:
                handler.handle(record)

    def close(self) -> None:
        """Ends the thread, once it has written what waits and closed the files; it is left behind where that hangs."""
        atexit.unregister(self.close)
        self._lines.put(None)
        self._thread.join(CLOSING_S)
        super().close()
