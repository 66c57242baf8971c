"""A raw ASGI application that pushes each request's body to a Redis list and answers once Redis has confirmed it.

It does less than DEORA on purpose (the body is not even parsed): what is compared is the durable acknowledgement.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from typing import Any

from redis.asyncio import Redis

REDIS = Redis(host="127.0.0.1", port=int(os.environ["BENCH_REDIS_PORT"]))
ANSWER = b'{"replication":"pending"}'
START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(ANSWER)).encode())],
}
CONTENT = {"type": "http.response.body", "body": ANSWER}


async def application(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    """Push the body of a PUT; anything else is answered at once."""
    if scope["method"] == "PUT":
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        await REDIS.rpush("queue", body)
    await send(START)
    await send(CONTENT)
