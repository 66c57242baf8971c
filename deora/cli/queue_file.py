"""The file of an exported queue: JSON Lines, written whole or not at all, read whole before anything is done with it.

    {"format": "deora-queue", "version": 1, "node", "epoch", "created", "state", "upstreams": {name: {"seq", "batchId",
     "pending", "dead"}}}
    {"upstream", "node", "epoch", "number", "state", "priority", "created", "commit", "attempts", "error", "writes"}
    ..
    {"entries": 2, "sha256": "<of all bytes before this line, in hexadecimal>"}

The entries stand in the order in which they were accepted. The last line tells a whole file from one that was cut off
or changed.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

import orjson

from deora.documents.values import decode_json
from deora.errors import DeoraError, Problem
from deora.outbox.exchange import read_entry, read_sender

FORMAT: Final = "deora-queue"
VERSION: Final = 1
# The largest line: an entry's writes came in one request, and a frame holds no more.
MAX_LINE_BYTES: Final = 64 * 1024 * 1024
# A page of an import: so many entries or bytes; only an entry that is larger by itself makes a larger one.
PAGE_ENTRIES: Final = 500
PAGE_BYTES: Final = 1024 * 1024
MOST_BYTES: Final = 3 * 1024 * 1024

STDOUT: Final = Path("-")


class Writer:
    """Writes a file under a temporary name; `finish` syncs it and gives it its own. `-` is standard output.

    Raises DeoraError where the file is there already, unless `force` is given, or cannot be written.
    """

    def __init__(self, path: Path, *, force: bool = False) -> None:
        self._path = path
        self._force = force
        self._digest = hashlib.sha256()
        self._temporary: Path | None = None
        self.entries = 0
        if path == STDOUT:
            self._file: BinaryIO = sys.stdout.buffer
            return
        self._refuse_existing()
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
        try:
            self._file = os.fdopen(os.open(self._temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        except OSError as error:
            self._temporary = None
            raise DeoraError(f"{path} cannot be written: {error.strerror}") from error

    def header(self, members: dict[str, Any]) -> None:
        """The first line."""
        self._line(orjson.dumps({"format": FORMAT, "version": VERSION, **members}))

    def entry(self, members: dict[str, Any]) -> None:
        """A line with an entry."""
        self.entries += 1
        self._line(orjson.dumps(members))

    def finish(self) -> None:
        """The last line; then the file is durable and has its name."""
        self._line(orjson.dumps({"entries": self.entries, "sha256": self._digest.hexdigest()}))
        try:
            self._file.flush()
            if self._temporary is not None:
                os.fsync(self._file.fileno())
                self._file.close()
                self._rename(self._temporary)
                self._temporary = None
        except OSError as error:
            raise DeoraError(f"{self._path} cannot be written: {error.strerror}") from error

    def give_up(self) -> None:
        """Leaves nothing behind of a file that is not finished."""
        if self._temporary is not None:
            with suppress(OSError):
                self._file.close()
            self._temporary.unlink(missing_ok=True)
            self._temporary = None

    def _rename(self, temporary: Path) -> None:
        self._refuse_existing()
        temporary.replace(self._path)
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _refuse_existing(self) -> None:
        if not self._force and self._path.exists():
            raise DeoraError(f"{self._path} is there already", hint="name another file, or add --force to replace it")

    def _line(self, line: bytes) -> None:
        try:
            self._file.write(line + b"\n")
        except OSError as error:
            raise DeoraError(f"{self._path} cannot be written: {error.strerror}") from error
        self._digest.update(line + b"\n")


@dataclass(slots=True)
class Queue:
    """A file that was found whole and valid: its header, and how many of its entries were asked for."""

    path: Path
    header: dict[str, Any]
    entries: int
    upstream: str | None = None

    @property
    def sender(self) -> dict[str, Any]:
        """Who exported it, as an import says it."""
        cursors = self.header["upstreams"]
        wanted = {name: cursors[name] for name in cursors if self.upstream in (None, name)}
        return {"node": self.header["node"], "epoch": self.header["epoch"], "upstreams": wanted}

    def pages(self) -> Iterator[tuple[int, bytes]]:
        """The bodies of the requests that bring it in, with how many entries each has; at least one, which may be
        empty: it fences the sender."""
        page = _Page()
        sent = False
        with open(self.path, "rb") as file:
            file.readline()
            for _ in range(_count_lines(self.path) - 2):
                line = file.readline().rstrip(b"\n")
                entry = orjson.loads(line)
                if self.upstream not in (None, entry["upstream"]):
                    continue
                commit = (entry["node"], entry["epoch"], entry["commit"])
                if page.is_full(commit, len(line)):
                    yield len(page.lines), page.body(self.sender)
                    page, sent = _Page(), True
                page.add(commit, line)
        if page.lines or not sent:
            yield len(page.lines), page.body(self.sender)


@dataclass(slots=True)
class _Page:
    lines: list[bytes] = field(default_factory=list)
    size_bytes: int = 0
    commit: tuple[str, str, int] | None = None

    def is_full(self, commit: tuple[str, str, int], size_bytes: int) -> bool:
        """Whether a line goes to the next page. The entries of one commit stay together where they fit."""
        if not self.lines:
            return False
        if self.size_bytes + size_bytes > MOST_BYTES:
            return True
        return commit != self.commit and (len(self.lines) >= PAGE_ENTRIES or self.size_bytes + size_bytes > PAGE_BYTES)

    def add(self, commit: tuple[str, str, int], line: bytes) -> None:
        self.lines.append(line)
        self.size_bytes += len(line)
        self.commit = commit

    def body(self, sender: dict[str, Any]) -> bytes:
        return b'{"from":%b,"entries":[%b]}' % (orjson.dumps(sender), b",".join(self.lines))


def read(path: Path, upstream: str | None = None) -> Queue:
    """Reads a whole file and checks all of it: its form, its checksum, every write by the rules of the API. With
    `upstream` only that one's entries count. Raises DeoraError; nothing was changed then."""
    try:
        with open(path, "rb") as file:
            return _checked(path, file, upstream)
    except OSError as error:
        raise DeoraError(f"{path} cannot be read: {error.strerror}") from error


def _checked(path: Path, file: BinaryIO, upstream: str | None) -> Queue:
    digest = hashlib.sha256()
    header = _header(path, file, digest)
    if upstream is not None and upstream not in header["upstreams"]:
        found = ", ".join(header["upstreams"]) or "none"
        raise DeoraError(f"{path} has no upstream {upstream!r}; found: {found}")
    entries = wanted = 0
    line = file.readline(MAX_LINE_BYTES + 1)
    while True:
        following = file.readline(MAX_LINE_BYTES + 1)
        if not following:
            break
        entry = _entry(path, entries + 2, line)
        if entry not in header["upstreams"]:
            raise DeoraError(
                f"{path}, line {entries + 2}: its upstream {entry!r} is not in the first line", hint=_AGAIN
            )
        entries += 1
        wanted += upstream in (None, entry)
        digest.update(line)
        line = following
    _check_end(path, line, entries, digest.hexdigest())
    return Queue(path, header, wanted, upstream)


def _header(path: Path, file: BinaryIO, digest: Any) -> dict[str, Any]:
    line = file.readline(MAX_LINE_BYTES + 1)
    header = _json(line)
    if type(header) is not dict or header.get("format") != FORMAT:
        raise DeoraError(f"{path} is no exported queue", hint="`deora queue export FILE` writes one")
    if header.get("version") != VERSION:
        raise DeoraError(
            f"{path} has version {header.get('version')}; this DEORA reads version {VERSION}",
            hint="import it with the DEORA that wrote it, or with a newer one",
        )
    try:
        read_sender(header)
    except Problem as problem:
        raise DeoraError(f"{path}, line 1: {problem.detail}", hint=_AGAIN) from None
    digest.update(line)
    return header


def _entry(path: Path, number: int, line: bytes) -> str:
    """The upstream of the entry in a line."""
    try:
        return read_entry(decode_json(line)).upstream
    except Problem as problem:
        raise DeoraError(f"{path}, line {number}: {problem.detail}", hint=_AGAIN) from None


def _check_end(path: Path, line: bytes, entries: int, digest: str) -> None:
    end = _json(line)
    if not line.endswith(b"\n") or type(end) is not dict or end.keys() != {"entries", "sha256"}:
        raise DeoraError(
            f"{path} is cut off behind line {entries + 1}: its last line, with count and checksum, is missing",
            hint=_AGAIN,
        )
    if end["entries"] != entries or end["sha256"] != digest:
        raise DeoraError(f"{path} was changed: it does not match the checksum in its last line", hint=_AGAIN)


_AGAIN: Final = "nothing was imported; use an unchanged copy of the file, or export again"


def _json(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None


def _count_lines(path: Path) -> int:
    with open(path, "rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1024 * 1024), b""))
