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
import os
from collections import deque
from typing import Final, cast

import httptools

from deora.errors import Problem
from deora.gateway.access import Scope
from deora.gateway.door import CONTROL_SOCKET, peer_of
from deora.gateway.http import (
    METHODS,
    Head,
    check_request_id,
    check_target_length,
    check_version,
    head_end,
    settle_target,
)
from deora.gateway.incoming import Host, Incoming
from deora.gateway.origins import ALLOWED_METHODS
from deora.gateway.outflow import Client, Outflow
from deora.wire.answers import problem_answer, with_lines

_log = logging.getLogger("deora.gateway")

PIPELINE: Final = 16
LINGER_S: Final = 5.0
CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(asyncio.Protocol):
    """One client connection, and the callbacks of its parser."""

    def __init__(self, server: Host) -> None:
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
        self._in_body = False
        # What has come since the last whole head or body: the parser does not show what it skips. Up to `_read` it is
        # of requests before; where one of them came in chunks, the next begins somewhere behind that.
        self._came, self._read, self._is_exact = b"", 0, True
        self._body_since_s = 0.0
        self.at_work: Incoming | None = None
        self.outflow: Outflow | None = None
        self.peer = CONTROL_SOCKET
        self.since_s = 0.0
        self.on_message_begin()

    # -- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self.since_s = self._server.now_s()
        self.peer = peer_of(self._transport)
        if not self._server.joined(self):
            detail = "this address has as many connections as it may have"
            self._refuse(Problem("too-many-requests", detail, hint="use the ones that are open", retry_after_s=1))

    def connection_lost(self, _: Exception | None) -> None:
        self._transport = None
        self._waiting.clear()
        self._server.left(self)
        if self.outflow is not None:
            self.outflow.client.lost()

    def eof_received(self) -> bool:
        # A client may end its sending and still wait for what it has asked for.
        self._deaf = self._client_ended = True
        return (self._busy or bool(self._waiting)) and not self._lingers and self.outflow is None

    def pause_writing(self) -> None:
        self._unread = True

    def resume_writing(self) -> None:
        self._unread = False
        self.since_s = self._server.now_s()
        if self.outflow is not None:
            self.outflow.client.drained()
        self._take_waiting()

    def data_received(self, data: bytes) -> None:
        if self._closing or self._deaf:
            return
        if not self._busy and not self.in_head:
            # A head has its time from its first byte on, however it drips in; a body and a silence from the last byte.
            self.since_s = self._server.now_s()
        self._ended_here = False
        self._body_here = False
        self._came = self._came + data if self._came else data
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
        if not self.in_head or self._ended_here:
            self._came, self._read = self._came[self._read :] if self.in_head else b"", 0
            self._is_exact = self._is_exact or not self._came

    def _problem_of(self, error: httptools.HttpParserCallbackError) -> Problem:
        cause = error.__context__
        if isinstance(cause, Problem):
            return cause
        _log.error("a request could not be taken", exc_info=cause)
        self._busy = False
        return Problem("internal", "a fault in DEORA; nothing was written", hint="the log has more")

    # -- httptools

    def on_message_begin(self) -> None:
        self._head = Head()
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._head_bytes = 0
        self.in_head = True

    def on_url(self, url: bytes) -> None:
        head = self._head
        head.target += url
        check_target_length(head.target, self._server.limits.target_bytes)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.in_head:
            self._head.add(name, value)
            return
        # A trailer comes too late to be checked with the head, and may be dropped (RFC 9112, 7.1.2).
        self._head.size_bytes += len(name) + len(value) + 4
        if self._head.size_bytes > self._server.limits.head_bytes:
            raise self._head_too_large()

    def on_headers_complete(self) -> None:
        self.in_head = False
        head, limits = self._head, self._server.limits
        if head.size_bytes > limits.head_bytes:
            raise self._head_too_large()
        method, version = self._parser.get_method(), self._parser.get_http_version()
        self._read = head_end(self._came, method, head.target, version, self._read, is_exact=self._is_exact)
        if not head.target.startswith(b"/") or b"#" in head.target:
            settle_target(head, method)
        check_version(version, head.hosts, chunked=head.is_chunked)
        if not head.is_chunked and not head.length:
            return
        self._check_length(head.length)
        if self._parser.should_upgrade():
            # The parser takes what follows an Upgrade for the other protocol's.
            raise Problem("bad-request", "this server does not switch protocols", hint="send a body without Upgrade")
        self._in_body = True
        self._body_since_s = self._server.now_s()
        if head.expects and version == "1.1" and self._transport is not None and not self._busy:
            self._transport.write(CONTINUE)

    def on_body(self, body: bytes) -> None:
        self._body_here = True
        self._read += len(body)
        self._head_bytes = 0
        self._body_bytes += len(body)
        self._check_length(self._body_bytes)
        self._body.append(body)

    def on_message_complete(self) -> None:
        self._ended_here = True
        self._in_body = False
        self._is_exact = self._is_exact and not self._head.is_chunked
        request = self._request()
        if self._busy or self._unread or self._waiting:
            self._waiting.append(request)
            if len(self._waiting) >= PIPELINE and self._transport is not None and not self._paused:
                self._paused = True
                self._transport.pause_reading()
            return
        self._take(request)

    def _request(self) -> Incoming:
        head, door = self._head, self._server.door
        method = self._parser.get_method()
        close = not self._parser.should_keep_alive() or self._parser.should_upgrade()
        scope, token_hash = Scope.NONE, ""
        problem: Problem | None = None
        try:
            if method not in METHODS:
                detail = f"the method {method.decode()} is not known here"
                raise Problem("method-not-allowed", detail, fields={"allow": ALLOWED_METHODS.decode()})
            scope, token, token_hash = door.check(head, self.peer)
            if token:
                # Idempotency keys are kept for each token apart.
                head.fields[b"token"] = token
        except Problem as found:
            problem = found
        request_id = head.fields.get(b"x-request-id")
        if request_id is not None and not check_request_id(request_id):
            del head.fields[b"x-request-id"]
        content = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        is_head = method == b"HEAD"
        shown = b"GET" if is_head else method
        lines = door.lines(head, self.peer)
        if method == b"OPTIONS" and head.target == b"*":
            # What a path takes is for its answers to say: a 405 names it.
            lines += b"Allow: %b\r\n" % ALLOWED_METHODS
        client = self._server.client_of(head, self.peer)
        address = door.client_of(head, self.peer) if head.forwarded_for else self.peer.shown
        return Incoming(
            self,
            shown,
            head.target,
            head.fields,
            content,
            scope,
            close,
            is_head,
            problem,
            lines,
            client,
            head.accepts_gzip,
            token_hash,
            address,
        )

    def _take(self, request: Incoming) -> None:
        self._busy = True
        self.at_work = request
        self._server.front.accept(request)

    # -- answers

    def send(self, answer: bytes, *, close: bool) -> None:
        """Sends the answer of the request at work, and takes the next one of the pipeline."""
        transport = self._transport
        if transport is None:
            return
        lines = self.at_work.lines if self.at_work is not None else b""
        transport.write(with_lines(answer, lines) if lines else answer)
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

    def begin_stream(self, head: bytes, client: Client) -> Outflow | None:
        """See `gateway.incoming.Sender`. The connection is the stream's from here on."""
        transport, request = self._transport, self.at_work
        if transport is None or request is None:
            return None
        if not self._server.door.access.still_knows(request.token_hash):
            # Its token went while it was at work. The client connects again, and is told so.
            transport.close()
            return None
        chunked = self._parser.get_http_version() != "1.0"
        self.outflow = Outflow(transport, client, chunked=chunked, token_hash=request.token_hash)
        transport.write(with_lines(head, request.lines + self.outflow.lines))
        return self.outflow

    def _take_waiting(self) -> None:
        """Takes the next requests of the pipeline. A loop, since an answer may come within `accept`."""
        if self._taking:
            return
        self._taking = True
        try:
            while self._waiting and not self._busy and not self._unread and not self._closing:
                following = self._waiting.popleft()
                if self._paused and len(self._waiting) < PIPELINE // 2 and self._transport is not None:
                    self._paused = False
                    self._transport.resume_reading()
                self._take(following)
        finally:
            self._taking = False

    def hold(self) -> bool:
        """Reads no further request; whether none is half read or at work now."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return True
        is_between = not self._in_body and not (self.in_head and self._head_bytes)
        if is_between and not self._paused:
            self._paused = True
            transport.pause_reading()
        return is_between and not self._busy and not self._waiting and not transport.get_write_buffer_size()

    def hand_over(self) -> int | None:
        """Lets go of a connection that is between two requests: a descriptor of it. None where nobody can go on with
        it: its TLS state, or half a request, is in this process."""
        transport = self._transport
        if transport is None or self.peer.is_tls or self._deaf or self._closing or not self.hold():
            return None
        descriptor = os.dup(transport.get_extra_info("socket").fileno())
        transport.abort()
        return descriptor

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
        elif self._in_body:
            if limits.body_is_slow(now_s - self._body_since_s, self._body_bytes):
                self._refuse(Problem("request-timeout", f"the body came too slowly: {self._body_bytes} bytes so far"))
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
                Incoming(self, b"GET", self._head.target, {}, b"", Scope.NONE, close=True, head=False, problem=problem)
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
        if self._client_ended or not self._transport.can_write_eof():
            # TLS has no half-close; its closing alert says the same.
            self._transport.close()
            return
        self._transport.write_eof()
        if self._paused:
            self._transport.resume_reading()
