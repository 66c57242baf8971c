"""HTTP answers as bytes. Workers make most of them and the supervisor sends them on as they are."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

import orjson

from deora.errors import Problem

JSON: Final = b"application/json"
PROBLEM_JSON: Final = b"application/problem+json"
EVENT_STREAM: Final = b"text/event-stream"

# An answer is data: no browser is to guess that it is a page or a script (WHATWG Fetch, nosniff).
_STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %b\r\nX-Content-Type-Options: nosniff\r\nContent-Type: "
    % (status.value, status.phrase.encode())
    for status in HTTPStatus
}


def answer(
    status: int,
    content: bytes,
    *,
    server: bytes,
    request_id: bytes,
    content_type: bytes = JSON,
    headers: bytes = b"",
    close: bool = False,
    head: bool = False,
) -> bytes:
    """A whole answer. `headers` are further lines, each ended by CR LF; `head` leaves the content out."""
    if status == 304:
        # RFC 9110, 15.4.5: no content, and its headers are those that a 200 would have had for the cache.
        return b"".join(
            (
                b"HTTP/1.1 304 Not Modified\r\nX-Deora-Server: ",
                server,
                b"\r\nX-Request-Id: ",
                request_id,
                b"\r\n",
                headers,
                b"Connection: close\r\n\r\n" if close else b"\r\n",
            )
        )
    return b"".join(
        (
            _STATUS_LINES[status],
            content_type,
            b"\r\nContent-Length: ",
            str(len(content)).encode(),
            b"\r\nX-Deora-Server: ",
            server,
            b"\r\nX-Request-Id: ",
            request_id,
            b"\r\n",
            headers,
            b"Connection: close\r\n\r\n" if close else b"\r\n",
            b"" if head else content,
        )
    )


def stream_head(*, server: bytes, request_id: bytes) -> bytes:
    """The head of a stream of events. It says that proxies are not to gather it (X-Accel-Buffering is nginx's)."""
    return b"".join(
        (
            _STATUS_LINES[200],
            EVENT_STREAM,
            b"\r\nX-Deora-Server: ",
            server,
            b"\r\nX-Request-Id: ",
            request_id,
            b"\r\nCache-Control: no-store\r\nX-Accel-Buffering: no\r\nConnection: close\r\n\r\n",
        )
    )


def problem_answer(
    problem: Problem, *, server: bytes, request_id: bytes, headers: bytes = b"", close: bool = False, head: bool = False
) -> bytes:
    """A refusal as application/problem+json (RFC 9457); it names its request, as access log and log lines do."""
    if problem.retry_after_s is not None:
        headers += b"Retry-After: %d\r\n" % problem.retry_after_s
    if problem.status == 401:
        headers += b"WWW-Authenticate: Bearer\r\n"
    if "allow" in problem.fields:
        headers += b"Allow: %b\r\n" % problem.fields["allow"].encode()
    return answer(
        problem.status,
        orjson.dumps({**problem.document(), "requestId": request_id.decode("latin-1")}),
        server=server,
        request_id=request_id,
        content_type=PROBLEM_JSON,
        headers=headers,
        close=close,
        head=head,
    )


def with_lines(answer: bytes, lines: bytes) -> bytes:
    """The answer with further header lines, behind its status line."""
    start = answer.index(b"\r\n") + 2
    return b"".join((answer[:start], lines, answer[start:]))
