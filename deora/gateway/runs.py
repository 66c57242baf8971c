"""Requests go to workers in runs: what arrives within one turn of the loop wakes few workers, not all.

To wake a worker, whose caches another process has used since, costs as much as several requests (bench: 195 us of CPU a
write with both workers awake, 160 with one). The balancer makes up in later turns for what a run has taken ahead.
"""

from __future__ import annotations

from typing import Final

from deora.gateway.balancer import Balancer, LeastConn, Server
from deora.gateway.requests import Worker
from deora.gateway.sticky import Sticky

# More saves little, and on a machine with more cores requests would wait for one worker while another is idle.
RUN_AT_MOST: Final = 16


class Runs:
    """The workers by their slots, and which of those that are open takes the next request."""

    def __init__(self, balancer: Balancer, sticky: Sticky | None = None) -> None:
        self.workers: dict[str, Worker] = {}
        self._last: Worker | None = None
        self._length = 0
        self.change(balancer, sticky)

    def change(self, balancer: Balancer, sticky: Sticky | None) -> None:
        """From the next `update` on requests are spread in this way."""
        self._balancer = balancer
        self._sticky = sticky
        if isinstance(balancer, LeastConn):
            balancer.load = lambda slot: len(self.workers[slot].held)

    def update(self, servers: list[Server]) -> None:
        """These are open now; `workers` has them, and those that take nothing new."""
        self._last = None
        self._balancer.update(servers)
        if self._sticky is not None:
            self._sticky.update(servers)

    def pick(self, client: bytes | None = None) -> Worker | None:
        """The worker for the next request; None where none is open.

        `client` tells one client from another where they are to stick to their workers.
        """
        if self._sticky is not None and client is not None:
            slot = self._sticky.pick(client) or self._balancer.pick()
            return self.workers[slot] if slot is not None else None
        last = self._last
        if last is not None and self._length < RUN_AT_MOST and last.link.has_unsent:
            self._length += 1
            self._balancer.stay(last.slot)
            return last
        slot = self._balancer.pick()
        self._length = 1
        self._last = worker = self.workers[slot] if slot is not None else None
        if not self._balancer.in_runs:
            self._last = None
        return worker

    def lines(self, client: bytes, slot: str) -> bytes:
        """Header lines for the answer of `slot` to this client."""
        return self._sticky.lines(client, slot) if self._sticky is not None and slot in self.workers else b""
