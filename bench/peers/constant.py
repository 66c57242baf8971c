"""A raw ASGI application that answers every request with the bytes of the file named by BENCH_BODY."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

BODY = Path(os.environ["BENCH_BODY"]).read_bytes()
START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode())],
}
CONTENT = {"type": "http.response.body", "body": BODY}


async def application(
    scope: dict[str, Any],  # noqa: ARG001 - ASGI's signature
    receive: Callable[[], Awaitable[dict[str, Any]]],  # noqa: ARG001
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Answer, whatever was asked."""
    await send(START)
    await send(CONTENT)
