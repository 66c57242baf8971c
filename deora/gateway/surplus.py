"""Connections beyond what this process may hold: each is told so and ended, and the others go on.

Where descriptors run out, accept(2) fails, and with it whatever else needs one, the start of a child above all. So
clients get what the limit of open files leaves when each child has its own and those of a successor.
"""

from __future__ import annotations

import asyncio
import resource
from typing import Final, cast

from deora.errors import Problem
from deora.gateway.server import Server
from deora.wire.answers import problem_answer

# The loop's own, listeners, lock, logs, the standard ones: 16. Control connections and surplus ones: 12.
OWN: Final = 28
# Its socket and its pidfd, and those of its successor.
OF_A_CHILD: Final = 4
LINGERING: Final = 8
LINGER_S: Final = 1.0


def room_for_clients(children: int) -> int:
    """How many connections of clients this process may hold beside its children. Raises its limit as far as it may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = soft
    elif soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return max(0, hard - OWN - OF_A_CHILD * children)


class Entrance:
    """Makes the protocol of each connection that comes in: the server's while it may have more, else a refusal."""

    def __init__(self, server: Server, most: int) -> None:
        self._server = server
        self._most = most
        self._lingering: set[Surplus] = set()

    def __call__(self) -> asyncio.Protocol:
        if len(self._server.connections) < self._most:
            return self._server()
        return Surplus(self._lingering, self._most, self._server.next_id())


class Surplus(asyncio.Protocol):
    """A connection that is refused. It stays for a moment: to close at once may reset it before its client reads why.

    Only LINGERING of them stay at a time; where more come, these are closed at once.
    """

    def __init__(self, lingering: set[Surplus], most: int, request_id: bytes) -> None:
        self._lingering = lingering
        self._most = most
        self._request_id = request_id
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast("asyncio.Transport", transport)
        problem = Problem(
            "unavailable",
            f"{self._most} connections are open, as many as this instance may hold",
            hint="close those that are not used, or raise the limit of open files (LimitNOFILE=, ulimit -n)",
            retry_after_s=1,
        )
        transport.write(problem_answer(problem, server=b"supervisor", request_id=self._request_id, close=True))
        if len(self._lingering) >= LINGERING or not transport.can_write_eof():
            transport.close()
            return
        self._lingering.add(self)
        transport.write_eof()
        self._timer = asyncio.get_running_loop().call_later(LINGER_S, transport.abort)

    def connection_lost(self, _: Exception | None) -> None:
        self._lingering.discard(self)
        if self._timer is not None:
            self._timer.cancel()
