"""A raw ASGI application: a GET gets the bytes of BENCH_BODY's file, a PUT is appended to BENCH_FILE and synced.

It does less than DEORA on purpose: what is compared is whether requests fail.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

BODY = Path(os.environ["BENCH_BODY"]).read_bytes()
FILE = os.open(os.environ["BENCH_FILE"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
ANSWER = b'{"written":true}'


def append(line: bytes) -> None:
    """Returns once it is on the disk."""
    os.write(FILE, line + b"\n")
    os.fdatasync(FILE)


async def application(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Answer a read with the document, a write once it is durable."""
    status, content = 200, BODY
    if scope["method"] == "PUT":
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        await asyncio.to_thread(append, body)
        status, content = 201, ANSWER
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
