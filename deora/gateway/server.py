"""Connections of clients: bytes to requests, answers to bytes.

httptools parses. A connection has at most one request at work; further ones of a pipeline wait here, in order, and
reading stops while too many do. Requests are handed to `Front.accept`; their answers come back by `Connection.send`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import Final, Protocol, cast

import httptools

from deora.errors import Problem
from deora.gateway.access import Access, Scope
from deora.gateway.http import FORWARDED, METHODS, add_field, check_request_id, check_target
from deora.wire.answers import problem_answer

PIPELINE: Final = 16
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
        self._ended_here = False
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

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        if not self._busy:
            self.since_s = self._server.now_s()
        self._ended_here = False
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            self._refuse(cause if isinstance(cause, Problem) else Problem("bad-request", "the request is malformed"))
        except httptools.HttpParserUpgrade:
            self._refuse(Problem("bad-request", "this server does not switch protocols"))
        except httptools.HttpParserError as error:
            self._refuse(Problem("bad-request", f"the request is no valid HTTP/1.1: {error}"))
        else:
            if self.in_head and not self._ended_here:
                # A head that is still coming; the parser shows a field only when all of it is there.
                self._head_bytes += len(data)
                if self._head_bytes > self._server.limits.head_bytes:
                    self._refuse(self._head_too_large())

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
        self._expects = False

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        self._field_bytes += len(name) + len(value) + 4
        if name in FORWARDED:
            add_field(self._fields, name, value)
        elif name == b"host":
            self._hosts += 1
        elif name == b"authorization":
            self._authorization = value
        elif name == b"expect":
            if value.lower() != b"100-continue":
                raise Problem("bad-request", "only `Expect: 100-continue` is known")
            self._expects = True
        elif name == b"content-length":
            self._check_length(int(value) if len(value) < 20 else self._server.limits.body_bytes + 1)
        elif name == b"transfer-encoding" and value.lower() != b"chunked":
            raise Problem("bad-request", "the only transfer coding allowed is `chunked`")

    def on_headers_complete(self) -> None:
        self.in_head = False
        if self._field_bytes > self._server.limits.head_bytes:
            raise self._head_too_large()
        check_target(self._target, self._server.limits.target_bytes)
        if self._hosts != 1 and not (self._hosts == 0 and self._parser.get_http_version() == "1.0"):
            raise Problem("bad-request", f"the request has {self._hosts} Host headers; exactly one is needed")
        if self._expects and self._transport is not None and not self._busy:
            self._transport.write(CONTINUE)

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        self._check_length(self._body_bytes)
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._ended_here = True
        method = self._parser.get_method()
        close = not self._parser.should_keep_alive()
        head = method == b"HEAD"
        scope = Scope.NONE
        problem: Problem | None = None
        try:
            if method not in METHODS:
                raise Problem(
                    "method-not-allowed",
                    f"the method {method.decode()} is not known here",
                    hint="allowed: GET, HEAD, POST, PUT, PATCH, DELETE",
                )
            scope = self._server.access.scope_of(self._authorization)
        except Problem as found:
            problem = found
        request_id = self._fields.get(b"x-request-id")
        if request_id is not None and not check_request_id(request_id):
            del self._fields[b"x-request-id"]
        content = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        request = Incoming(
            self, b"GET" if head else method, self._target, self._fields, content, scope, close, head, problem
        )
        if self._busy:
            self._waiting.append(request)
            if len(self._waiting) >= PIPELINE and self._transport is not None and not self._paused:
                self._paused = True
                self._transport.pause_reading()
            return
        self._busy = True
        self._server.front.accept(request)

    # -- answers

    @property
    def is_open(self) -> bool:
        """Whether the client can still be answered."""
        return self._transport is not None

    @property
    def is_idle(self) -> bool:
        """Whether no request of this connection is at work."""
        return not self._busy

    def send(self, answer: bytes, *, close: bool) -> None:
        """Sends the answer of the request at work, and takes the next one of the pipeline."""
        transport = self._transport
        if transport is None:
            return
        transport.write(answer)
        if close or self._closing:
            self._closing = True
            transport.close()
            return
        self._busy = False
        self.since_s = self._server.now_s()
        if self._waiting:
            self._busy = True
            following = self._waiting.popleft()
            if self._paused and len(self._waiting) < PIPELINE // 2:
                self._paused = False
                transport.resume_reading()
            self._server.front.accept(following)

    def close_when_idle(self) -> None:
        """Ends the connection: at once where it is idle, else with its next answer."""
        self._closing = True
        if not self._busy and self._transport is not None:
            self._transport.close()

    def expire(self, problem: Problem | None) -> None:
        """Ends a connection that took too long, with an answer where there is something to say."""
        if problem is not None:
            self._refuse(problem)
        elif self._transport is not None:
            self._transport.close()

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
        self._closing = True
        if self._transport is not None:
            if not self._busy:
                self._transport.write(
                    problem_answer(problem, server=b"supervisor", request_id=self._server.next_id(), close=True)
                )
            self._transport.close()


class Server:
    """What all connections of one listener share."""

    def __init__(self, front: Front, limits: Limits, access: Access, next_id: IdMaker) -> None:
        self.front = front
        self.limits = limits
        self.access = access
        self.next_id = next_id
        self.connections: set[Connection] = set()
        self._loop = asyncio.get_running_loop()

    def now_s(self) -> float:
        """The loop's monotonic seconds."""
        return self._loop.time()

    def __call__(self) -> Connection:
        return Connection(self)

    def sweep(self) -> None:
        """Ends the connections whose head, body or next request has not come in time."""
        now_s = self.now_s()
        for connection in list(self.connections):
            if not connection.is_idle:
                continue
            silent_s = now_s - connection.since_s
            if connection.in_head and silent_s > self.limits.head_timeout_s:
                connection.expire(Problem("bad-request", f"no whole head came in {self.limits.head_timeout_s:g} s"))
            elif silent_s > self.limits.idle_timeout_s:
                connection.expire(None)

    def close(self) -> None:
        """Ends all connections, each with the answer that it waits for."""
        for connection in list(self.connections):
            connection.close_when_idle()


class IdMaker(Protocol):
    """Makes the X-Request-Id of a request that brought none."""

    def __call__(self) -> bytes: ...
