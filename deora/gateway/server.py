"""Connections of clients: bytes to requests, answers to bytes.

httptools parses. A connection has at most one request at work; further ones of a pipeline wait here, in order, and
reading stops while too many do, or while the client does not take its answers. Requests are handed to `Front.accept`;
their answers come back by `Connection.send`.

What cannot be read ends its connection, but not before all that came ahead of it has been answered. The refusal is
followed by a half-close, and what still comes is read and dropped for LINGER_S: to close at once would reset the
connection, and the client, busy with sending, would never see why.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, cast

import httptools

from deora.errors import Problem
from deora.gateway.access import Access, Scope
from deora.gateway.hosts import Names
from deora.gateway.http import FORWARDED, METHODS, add_field, check_request_id, check_target, check_version
from deora.wire.answers import problem_answer

_log = logging.getLogger("deora.gateway")

PIPELINE: Final = 16
LINGER_S: Final = 5.0
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(slots=True)
class Incoming:
    """A whole request. `fields` holds the forwarded header fields, `scope` what its token allows."""

    connection: Connection
    method: bytes
    target: bytes
    fields: dict[bytes, bytes]
    content: bytes
    scope: int
    close: bool
    head: bool
    problem: Problem | None = None


class Front(Protocol):
    """What stands behind the connections."""

    def accept(self, request: Incoming) -> None:
        """Takes a request and sees to it that `request.connection.send` is called once."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a request may be, in bytes, and how long a head or a silence may take, in seconds."""

    body_bytes: int
    head_bytes: int
    target_bytes: int
    head_timeout_s: float
    idle_timeout_s: float = 75.0


class Connection(asyncio.Protocol):
    """One client connection, and the callbacks of its parser."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[Incoming] = deque()
        self._busy = False
        self._closing = False
        self._paused = False
        self._deaf = False
        self._taking = False
        self._unread = False
        self._lingers = False
        self._client_ended = False
        self._ended_here = False
        self._body_here = False
        self.since_s = 0.0
        self.on_message_begin()

    # -- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.since_s = self._server.now_s()
        self._server.connections.add(self)

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None
        self._waiting.clear()
        self._server.connections.discard(self)

    def eof_received(self) -> bool:
        # A client may end its sending and still wait for what it has asked for.
        self._deaf = self._client_ended = True
        return (self._busy or bool(self._waiting)) and not self._lingers

    def pause_writing(self) -> None:
        self._unread = True

    def resume_writing(self) -> None:
        self._unread = False
        self.since_s = self._server.now_s()
        self._take_waiting()

    def data_received(self, data: bytes) -> None:
        if self._closing or self._deaf:
            return
        if not self._busy and not self.in_head:
            # A head has its time from its first byte on, however it drips in; a body and a silence from the last byte.
            self.since_s = self._server.now_s()
        self._ended_here = False
        self._body_here = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            self._refuse(self._problem_of(error))
        except httptools.HttpParserUpgrade:
            # An Upgrade may be ignored (RFC 9110, 7.8). The parser cannot go on behind it, so its answer is the last.
            self._deaf = True
        except httptools.HttpParserError as error:
            self._refuse(Problem("bad-request", f"the request is no valid HTTP/1.1: {error}"))
        else:
            if not self._ended_here and not self._body_here:
                # A head, a chunk's extension or a trailer that is still coming; the parser shows it when it is whole.
                self._head_bytes += len(data)
                if self._head_bytes > self._server.limits.head_bytes:
                    self._refuse(self._head_too_large())

    def _problem_of(self, error: httptools.HttpParserCallbackError) -> Problem:
        cause = error.__context__
        if isinstance(cause, Problem):
            return cause
        _log.error("a request could not be taken", exc_info=cause)
        self._busy = False
        return Problem("internal", "a fault in DEORA; nothing was written", hint="the log has more")

    # -- httptools

    def on_message_begin(self) -> None:
        self._target = b""
        self._fields: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._head_bytes = 0
        self._field_bytes = 0
        self.in_head = True
        self._authorization: bytes | None = None
        self._hosts = 0
        self._host = b"localhost"
        self._origin: bytes | None = None
        self._expects = False
        self._chunked = False
        self._length = 0

    def on_url(self, url: bytes) -> None:
        self._target += url
        if len(self._target) > self._server.limits.target_bytes:
            check_target(self._target, self._server.limits.target_bytes)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.in_head:
            # A trailer: it came too late to be checked with the head, and may be dropped (RFC 9112, 7.1.2).
            return
        name = name.lower()
        self._field_bytes += len(name) + len(value) + 4
        if name in FORWARDED:
            add_field(self._fields, name, value)
        elif name == b"host":
            self._hosts += 1
            self._host = value
        elif name == b"origin":
            self._origin = value
        elif name == b"authorization":
            if self._authorization is not None:
                raise Problem("bad-request", "the header authorization stands in the request more than once")
            self._authorization = value
        elif name == b"expect":
            if value.lower() != b"100-continue":
                raise Problem("bad-request", "only `Expect: 100-continue` is known")
            self._expects = True
        elif name == b"content-length":
            self._length = int(value) if len(value) < 20 else self._server.limits.body_bytes + 1
            self._check_length(self._length)
        elif name == b"transfer-encoding":
            if value.lower() != b"chunked":
                raise Problem("bad-request", "the only transfer coding allowed is `chunked`")
            self._chunked = True

    def on_headers_complete(self) -> None:
        self.in_head = False
        if self._field_bytes > self._server.limits.head_bytes:
            raise self._head_too_large()
        check_target(self._target, self._server.limits.target_bytes)
        version = self._parser.get_http_version()
        check_version(version, self._hosts, chunked=self._chunked)
        if (self._chunked or self._length) and self._parser.should_upgrade():
            # The parser takes what follows an Upgrade for the other protocol's.
            raise Problem("bad-request", "this server does not switch protocols", hint="send a body without Upgrade")
        if self._expects and version == "1.1" and self._transport is not None and not self._busy:
            self._transport.write(CONTINUE)

    def on_body(self, body: bytes) -> None:
        self._body_here = True
        self._head_bytes = 0
        self._body_bytes += len(body)
        self._check_length(self._body_bytes)
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._ended_here = True
        method = self._parser.get_method()
        close = not self._parser.should_keep_alive() or self._parser.should_upgrade()
        head = method == b"HEAD"
        scope = Scope.NONE
        problem: Problem | None = None
        try:
            if method not in METHODS:
                raise Problem(
                    "method-not-allowed",
                    f"the method {method.decode()} is not known here",
                    fields={"allow": "GET, HEAD, POST, PUT, PATCH, DELETE"},
                )
            if self._server.names is not None:
                self._server.names.check(self._host, self._origin)
            scope, token = self._server.access.grant_of(self._authorization)
            if token:
                # Idempotency keys are kept for each token apart.
                self._fields[b"token"] = token
        except Problem as found:
            problem = found
        request_id = self._fields.get(b"x-request-id")
        if request_id is not None and not check_request_id(request_id):
            del self._fields[b"x-request-id"]
        content = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        request = Incoming(
            self, b"GET" if head else method, self._target, self._fields, content, scope, close, head, problem
        )
        if self._busy or self._unread or self._waiting:
            self._waiting.append(request)
            if len(self._waiting) >= PIPELINE and self._transport is not None and not self._paused:
                self._paused = True
                self._transport.pause_reading()
            return
        self._busy = True
        self._server.front.accept(request)

    # -- answers

    def send(self, answer: bytes, *, close: bool) -> None:
        """Sends the answer of the request at work, and takes the next one of the pipeline."""
        transport = self._transport
        if transport is None:
            return
        transport.write(answer)
        if close or self._closing:
            self._closing = True
            if self._deaf:
                self._linger()
            else:
                transport.close()
            return
        self._busy = False
        self.since_s = self._server.now_s()
        if self._waiting:
            self._take_waiting()
        if self._deaf and not self._busy and not self._waiting:
            self.close_when_idle()

    def _take_waiting(self) -> None:
        """Takes the next requests of the pipeline. A loop, since an answer may come within `accept`."""
        if self._taking:
            return
        self._taking = True
        try:
            while self._waiting and not self._busy and not self._unread and not self._closing:
                self._busy = True
                following = self._waiting.popleft()
                if self._paused and len(self._waiting) < PIPELINE // 2 and self._transport is not None:
                    self._paused = False
                    self._transport.resume_reading()
                self._server.front.accept(following)
        finally:
            self._taking = False

    def close_when_idle(self) -> None:
        """Ends the connection: at once where it is idle, else with its next answer."""
        self._closing = True
        if not self._busy and self._transport is not None:
            self._transport.close()

    def sweep(self, now_s: float) -> None:
        """Ends the connection where its head, its body or its next request has not come in time."""
        transport = self._transport
        if transport is None:
            return
        limits = self._server.limits
        silent_s = now_s - self.since_s
        if self._lingers or transport.is_closing():
            # A client that takes its last answer slowly has its time, too; one that takes nothing is let go.
            if silent_s > (LINGER_S if self._lingers else 2 * limits.idle_timeout_s):
                transport.abort()
        elif self._busy:
            return
        elif self.in_head and self._head_bytes and silent_s > limits.head_timeout_s:
            self._refuse(Problem("request-timeout", f"no whole head came in {limits.head_timeout_s:g} s"))
        elif silent_s > (limits.head_timeout_s if self.in_head else limits.idle_timeout_s):
            self.close_when_idle()

    # -- refusals

    def _check_length(self, length: int) -> None:
        limit = self._server.limits.body_bytes
        if length > limit:
            raise Problem(
                "too-large",
                f"the body has {length} bytes or more; {limit} are allowed",
                hint="split it into several requests; a document may have 1 MiB",
            )

    def _head_too_large(self) -> Problem:
        return Problem("headers-too-large", f"the request's head is larger than {self._server.limits.head_bytes} bytes")

    def _refuse(self, problem: Problem) -> None:
        """Answers a request that cannot be read to its end. Nothing after it can be trusted, so the connection ends."""
        self._deaf = True
        if self._transport is None:
            return
        if self._busy or self._waiting:
            self._waiting.append(
                Incoming(self, b"GET", self._target, {}, b"", Scope.NONE, close=True, head=False, problem=problem)
            )
            return
        self._closing = True
        self._transport.write(
            problem_answer(problem, server=b"supervisor", request_id=self._server.next_id(), close=True)
        )
        self._linger()

    def _linger(self) -> None:
        """Says that nothing more will come, and reads on for a while: see the module's docstring."""
        self._lingers = True
        self.since_s = self._server.now_s()
        if self._transport is None:
            return
        if self._client_ended:
            self._transport.close()
            return
        self._transport.write_eof()
        if self._paused:
            self._transport.resume_reading()


class Server:
    """What all connections of one listener share.

    `next_id` makes the X-Request-Id of a refusal. `now_s` is finer than uvloop's clock, which ticks in milliseconds.
    """

    def __init__(
        self,
        front: Front,
        limits: Limits,
        access: Access,
        next_id: Callable[[], bytes],
        now_s: Callable[[], float] = time.monotonic,
        names: Names | None = None,
    ) -> None:
        self.front = front
        self.limits = limits
        self.access = access
        self.next_id = next_id
        self.now_s = now_s
        self.names = names
        self.connections: set[Connection] = set()

    def __call__(self) -> Connection:
        return Connection(self)

    def sweep(self) -> None:
        """Ends the connections whose head, body or next request has not come in time."""
        now_s = self.now_s()
        for connection in list(self.connections):
            connection.sweep(now_s)

    def close(self) -> None:
        """Ends all connections, each with the answer that it waits for."""
        for connection in list(self.connections):
            connection.close_when_idle()
