"""Stickiness: the same client to the same worker, as long as that worker is up. Pure: a key in, a slot out.

It only spares caches: any worker may serve any request, and one whose worker is gone goes to another.
"""

from __future__ import annotations

import hashlib
import math
from typing import Final, Protocol

from deora.gateway.balancer import Server

COOKIE: Final = b"SERVERID"


class Sticky(Protocol):
    """A way to find a client's worker again."""

    def update(self, servers: list[Server]) -> None:
        """These servers are up now."""

    def pick(self, key: bytes) -> str | None:
        """The slot for this client; None where any will do."""

    def lines(self, key: bytes, slot: str) -> bytes:
        """Header lines that tell a client of this key that `slot` has served it."""


class IpHash:
    """By the client's address: weighted rendezvous hashing, so that only the clients of a worker that goes move, and
    move back when it returns."""

    def __init__(self) -> None:
        self._servers: list[Server] = []

    def update(self, servers: list[Server]) -> None:
        """See `Sticky.update`."""
        self._servers = [server for server in servers if server.weight > 0] or servers

    def pick(self, key: bytes) -> str | None:
        """See `Sticky.pick`."""
        if not key or not self._servers:
            return None
        return max(self._servers, key=lambda server: _score(key, server)).slot

    def lines(self, key: bytes, slot: str) -> bytes:  # noqa: ARG002 - the address is all that a client needs
        """See `Sticky.lines`."""
        return b""


class ByCookie:
    """By the cookie SERVERID, which the first answer sets. One that names no worker of now is set anew."""

    def __init__(self) -> None:
        self._slots: frozenset[str] = frozenset()

    def update(self, servers: list[Server]) -> None:
        """See `Sticky.update`."""
        self._slots = frozenset(server.slot for server in servers)

    def pick(self, key: bytes) -> str | None:
        """See `Sticky.pick`."""
        slot = key.decode("latin-1")
        return slot if slot in self._slots else None

    def lines(self, key: bytes, slot: str) -> bytes:
        """See `Sticky.lines`."""
        named = slot.encode()
        return b"" if key == named else b"Set-Cookie: %b=%b; Path=/; HttpOnly; SameSite=Lax\r\n" % (COOKIE, named)


STICKY: Final[dict[str, type[IpHash] | type[ByCookie] | None]] = {"none": None, "ip_hash": IpHash, "cookie": ByCookie}
"""The values of loadbalancer.json's `sticky`."""


def cookie_of(header: bytes) -> bytes:
    """The value of SERVERID in a Cookie header; empty where it is not there."""
    for pair in header.split(b";"):
        name, _, value = pair.strip().partition(b"=")
        if name == COOKIE:
            return value
    return b""


def _score(key: bytes, server: Server) -> float:
    digest = hashlib.blake2b(key, digest_size=8, key=server.slot.encode()[:64]).digest()
    # From 0 to 1, both left out; the weight of a server is its share of the highest scores.
    place = (int.from_bytes(digest, "big") + 1) / (2**64 + 1)
    return -max(server.weight, 1) / math.log(place)
