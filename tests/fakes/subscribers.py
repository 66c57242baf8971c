"""Clients of change streams: many in one thread, each with all that it was sent, and how it follows on itself."""

from __future__ import annotations

import json
import selectors
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

RECEIVE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Event:
    """An event as a client has it. `at_s`: when, by the monotonic clock."""

    kind: str
    id: str
    data: Any
    at_s: float

    @property
    def commit(self) -> int:
        """The commit that it tells of."""
        return int(self.data["commit"])


@dataclass(slots=True, eq=False)
class Subscriber:
    """One client. `last_id` is what an EventSource would send as Last-Event-ID. One that does not look throws away what
    comes behind the head: a client in Python takes longer to read an event than DEORA to send it. One that follows
    connects again whenever its stream ends, with its last id, as an EventSource does; `statuses` has an item for each
    answer, `faults` says why it could not connect."""

    sock: socket.socket
    follows: bool = False
    statuses: list[int] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    head: bytes = b""
    events: list[Event] = field(default_factory=list)
    comments: int = 0
    last_id: str = ""
    looks: bool = True
    ended: bool = False
    ended_cleanly: bool = False
    _raw: bytearray = field(default_factory=bytearray)
    _text: bytearray = field(default_factory=bytearray)

    @property
    def status(self) -> int:
        """The answer's status."""
        return int(self.head.split(b" ", 2)[1])

    def take(self, data: bytes) -> None:
        """Takes what has come; nothing is the end."""
        if not data:
            self.ended = True
            return
        self._raw += data
        if not self.head:
            head, separator, rest = bytes(self._raw).partition(b"\r\n\r\n")
            if not separator:
                return
            self.head, self._raw = head, bytearray(rest)
            self.statuses.append(self.status)
        if not self.looks:
            self._raw.clear()
            return
        if b"chunked" in self.head:
            self._take_chunks()
        else:
            self._text += self._raw
            self._raw.clear()
        if b"text/event-stream" in self.head:
            self._take_events()

    def begin_again(self, sock: socket.socket) -> None:
        """Goes on with another connection. Half an event that came over the last one is forgotten."""
        self.sock.close()
        self.sock, self.head, self.ended = sock, b"", False
        self._raw.clear()
        self._text.clear()

    @property
    def body(self) -> bytes:
        """What is no event: the body of a refusal."""
        return bytes(self._text)

    def _take_chunks(self) -> None:
        while (line := self._raw.find(b"\r\n")) >= 0:
            size = int(self._raw[:line], 16)
            if len(self._raw) < line + 2 + size + 2:
                return
            self.ended_cleanly = size == 0
            self._text += self._raw[line + 2 : line + 2 + size]
            assert self._raw[line + 2 + size : line + 4 + size] == b"\r\n"
            del self._raw[: line + 4 + size]

    def _take_events(self) -> None:
        """As WHATWG HTML, 9.2.6, says."""
        now_s = time.monotonic()
        while (end := self._text.find(b"\n\n")) >= 0:
            lines = self._text[:end].decode().split("\n")
            del self._text[: end + 2]
            fields = dict(line.split(": ", 1) for line in lines if not line.startswith(":"))
            self.comments += sum(line.startswith(":") for line in lines)
            self.last_id = fields.get("id", self.last_id)
            if "data" in fields:
                kind = fields.get("event", "message")
                self.events.append(Event(kind, self.last_id, json.loads(fields["data"]), now_s))


class Subscribers:
    """Streams of one instance. As a context manager: a thread reads them all until the end."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        self._address = (address.hostname or "", address.port or 80)
        self._selector = selectors.DefaultSelector()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.all: list[Subscriber] = []

    def __enter__(self) -> Subscribers:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(20)
        for one in self.all:
            one.sock.close()
        self._selector.close()

    def open(
        self,
        target: str = "/v1/changes",
        headers: Mapping[str, str] | None = None,
        *,
        reads: bool = True,
        looks: bool = True,
        method: str = "GET",
        version: str = "1.1",
        source: str = "127.0.0.1",
        follows: bool = False,
    ) -> Subscriber:
        """Opens a stream, and returns once its head is here. One that does not read has read nothing but that."""
        one = Subscriber(self._ask(source, target, headers or {}, method, version), follows=follows, looks=looks)
        while not one.head and not one.ended:
            one.take(one.sock.recv(RECEIVE_BYTES if reads else 512))
        self.all.append(one)
        if reads:
            self.read(one)
        return one

    def open_many(self, count: int, followers: int) -> list[Subscriber]:
        """Opens streams from several addresses, the first of which follow; each knows its place."""
        every = [self.open(source=f"127.0.0.{2 + number % 4}", follows=number < followers) for number in range(count)]
        wait_until(lambda: all(one.last_id for one in every), "each knows its place")
        return every

    def cut(self, one: Subscriber) -> None:
        """Breaks its connection, as a network does."""
        with suppress(OSError):
            one.sock.shutdown(socket.SHUT_RDWR)

    def _ask(
        self, source: str, target: str, headers: Mapping[str, str], method: str = "GET", version: str = "1.1"
    ) -> socket.socket:
        sock = socket.create_connection(self._address, timeout=20, source_address=(source, 0))
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        sock.sendall(f"{method} {target} HTTP/{version}\r\nHost: localhost\r\n{lines}\r\n".encode())
        return sock

    def _follow(self, one: Subscriber, source: str) -> None:
        try:
            one.begin_again(self._ask(source, "/v1/changes", {"Last-Event-ID": one.last_id}))
        except OSError as error:
            one.faults.append(repr(error))
        else:
            self.read(one)

    def read(self, one: Subscriber) -> None:
        """From now on this one reads."""
        one.sock.setblocking(False)
        self._selector.register(one.sock, selectors.EVENT_READ, one)

    def _run(self) -> None:
        while not self._stop.is_set():
            for key, _ in self._selector.select(0.05):
                one: Subscriber = key.data
                source = one.sock.getsockname()[0]
                try:
                    one.take(one.sock.recv(RECEIVE_BYTES))
                except ConnectionError:
                    one.ended = True
                if one.ended:
                    self._selector.unregister(one.sock)
                    if one.follows:
                        self._follow(one, source)


def wait_until(is_so: Any, what: str, timeout_s: float = 30.0) -> None:
    """Returns once `is_so()`; fails after `timeout_s`."""
    deadline_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline_s, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.01)


def commits_of(one: Subscriber) -> list[int]:
    """The commits of its changes, in the order in which they came."""
    return [event.commit for event in one.events if event.kind == "change"]


def judge_streams(every: list[Subscriber], commits: list[int]) -> None:
    """Waits for the last commit, then: each stream has had each of these commits once and in order, by an id of its
    own, and was refused nothing."""
    wait_until(lambda: all(commits_of(one)[-1:] == commits[-1:] for one in every), "all have the last commit", 60)
    print(f"{len(every)} streams, {len(commits)} commits, {sum(len(one.statuses) - 1 for one in every)} came back")
    for one in every:
        assert commits_of(one) == commits, "a gap, a repeat, or another order"
        assert len({event.id for event in one.events}) == len(one.events)
        assert (one.faults, {*one.statuses}) == ([], {200})
