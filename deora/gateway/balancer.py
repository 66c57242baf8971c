"""Which worker takes the next request. Pure: servers in, a slot out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Server:
    """A worker that can take requests. `weight` for `weighted`, `priority` (1 first) for `failover`."""

    slot: str
    weight: int
    priority: int


class Balancer(Protocol):
    """A way to spread requests. It is told which servers are up and asked for one at a time.

    `in_runs`: whether a turn's requests may go to one server, which later picks make up for.
    """

    in_runs: bool

    def update(self, servers: list[Server]) -> None:
        """These servers are up now."""

    def pick(self) -> str | None:
        """The slot of the next request; None where none is up."""

    def stay(self, slot: str) -> None:
        """Says that a request has gone to `slot` without a pick, which the next picks make up for."""


class Weighted:
    """Smooth weighted round robin: each pick adds every server's weight to its balance, takes the richest, and makes
    it pay the sum. So 70/30 gives a repeating pattern without bursts, and exactly 7 of 10 picks.

    The pattern repeats after sum/gcd picks at most, so it is worked out once for each set of servers.
    """

    in_runs = True

    def __init__(self) -> None:
        self._pattern: list[str] = []
        self._position = 0
        self._ahead: dict[str, int] = {}

    def update(self, servers: list[Server]) -> None:
        """See `Balancer.update`."""
        self._pattern = smooth_pattern(servers)
        self._position = 0
        self._ahead = dict.fromkeys(self._pattern, 0)

    def pick(self) -> str | None:
        """See `Balancer.pick`."""
        pattern = self._pattern
        if not pattern:
            return None
        while True:
            slot = pattern[self._position]
            self._position += 1
            if self._position == len(pattern):
                self._position = 0
            if not self._ahead[slot]:
                return slot
            self._ahead[slot] -= 1

    def stay(self, slot: str) -> None:
        """See `Balancer.stay`."""
        self._ahead[slot] += 1


class RoundRobin(Weighted):
    """One after the other."""

    def update(self, servers: list[Server]) -> None:
        """See `Balancer.update`."""
        super().update([Server(server.slot, 1, server.priority) for server in servers])


class Failover:
    """All requests to the server of the best priority that is up; the next one only while it is not."""

    in_runs = True

    def __init__(self) -> None:
        self._order: list[str] = []

    def update(self, servers: list[Server]) -> None:
        """See `Balancer.update`."""
        self._order = [server.slot for server in sorted(servers, key=lambda server: (server.priority, server.slot))]

    def pick(self) -> str | None:
        """See `Balancer.pick`."""
        return self._order[0] if self._order else None

    def stay(self, slot: str) -> None:
        """See `Balancer.stay`: there is nothing to make up for."""


class LeastConn(Weighted):
    """To the server with the fewest requests at work for its weight; among equals in turns, by weight.

    `load` tells how many requests a slot has; whoever keeps them sets it.
    """

    in_runs = False

    def __init__(self) -> None:
        super().__init__()
        self.load: Callable[[str], int] = lambda _: 0
        self._servers: list[Server] = []

    def update(self, servers: list[Server]) -> None:
        """See `Balancer.update`."""
        super().update(servers)
        self._servers = [server for server in servers if server.weight > 0] or list(servers)

    def pick(self) -> str | None:
        """See `Balancer.pick`."""
        if not self._servers:
            return None
        loads = {server.slot: self.load(server.slot) / max(server.weight, 1) for server in self._servers}
        least = min(loads.values())
        while True:
            slot = super().pick()
            if slot is not None and loads.get(slot) == least:
                return slot


def smooth_pattern(servers: list[Server]) -> list[str]:
    """One period of smooth weighted round robin; servers of weight 0 only where no other is up."""
    weighted = [server for server in servers if server.weight > 0] or [
        Server(server.slot, 1, server.priority) for server in servers
    ]
    total = sum(server.weight for server in weighted)
    balance = dict.fromkeys((server.slot for server in weighted), 0)
    pattern: list[str] = []
    for _ in range(total):
        for server in weighted:
            balance[server.slot] += server.weight
        richest = max(weighted, key=lambda server: balance[server.slot])
        balance[richest.slot] -= total
        pattern.append(richest.slot)
        if not any(balance.values()):
            break
    return pattern


MODES: dict[str, type[Weighted] | type[RoundRobin] | type[Failover] | type[LeastConn]] = {
    "weighted": Weighted,
    "round_robin": RoundRobin,
    "failover": Failover,
    "least_conn": LeastConn,
}
"""The modes of loadbalancer.json."""
