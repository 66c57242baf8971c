"""Log lines for systemd's journal, by its own protocol, so that it knows their level and their fields.

    journalctl -t deora -p warning        journalctl DEORA_PROCESS=store        journalctl DEORA_REQUESTID=7f-1

A datagram holds `NAME=value` lines; a value that holds a line's end is sent as its name, the length in 8 bytes, little
endian, and the bytes (systemd.io/JOURNAL_NATIVE_PROTOCOL), so that none can forge a field.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import struct
from typing import Any, Final, TextIO

from deora.observe.lines import MAX_FIELD_CHARACTERS, extras

SOCKET: Final = "/run/systemd/journal/socket"
SEND_S: Final = 1.0
_PRIORITIES: Final = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG: Final = 7
_NOT_IN_NAMES: Final = re.compile(r"[^A-Z0-9]+")


class JournalHandler(logging.Handler):
    """Sends each record as an entry of the journal. Raises OSError where there is none."""

    def __init__(self, process: str, path: str = SOCKET) -> None:
        super().__init__()
        self._process = process
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        # One that does not read is not waited for.
        self._socket.settimeout(SEND_S)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise

    def emit(self, record: logging.LogRecord) -> None:
        try:
            entry = self.entry(record)
            try:
                self._socket.send(entry)
            except (ConnectionError, FileNotFoundError):
                # The journal was started anew.
                self._socket.connect(self._path)
                self._socket.send(entry)
        except Exception:
            self.handleError(record)

    def entry(self, record: logging.LogRecord) -> bytes:
        """The datagram of a record."""
        text = record.getMessage()[:MAX_FIELD_CHARACTERS]
        if record.exc_info:
            text += "\n" + logging.Formatter().formatException(record.exc_info)[-MAX_FIELD_CHARACTERS:]
        fields: dict[str, Any] = {
            "MESSAGE": text,
            "PRIORITY": priority(record.levelno),
            "SYSLOG_IDENTIFIER": "deora",
            "DEORA_PROCESS": self._process,
            "DEORA_LOGGER": record.name,
        }
        for name, value in extras(record).items():
            if value is not None:
                fields["DEORA_" + _NOT_IN_NAMES.sub("_", name.upper())] = value
        return b"".join(_field(name, str(value)) for name, value in fields.items())

    def close(self) -> None:
        self._socket.close()
        super().close()


def priority(level: int) -> int:
    """A level as syslog numbers it."""
    return next((number for least, number in _PRIORITIES if level >= least), _DEBUG)


def _field(name: str, value: str) -> bytes:
    content = value.encode("utf-8", "backslashreplace")
    if b"\n" not in content:
        return b"%b=%b\n" % (name.encode(), content)
    return b"%b\n%b%b\n" % (name.encode(), struct.pack("<Q", len(content)), content)


def leads_to_journal(stream: TextIO) -> bool:
    """Whether what is written to a stream ends up in the journal (systemd.exec(5), JOURNAL_STREAM)."""
    named = os.environ.get("JOURNAL_STREAM", "")
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError, AttributeError):
        return False
    return named == f"{found.st_dev}:{found.st_ino}"
