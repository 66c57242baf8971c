"""The door: what a request must pass before anybody works on it.

In this order: its Host and Origin, HTTPS where it is required, the rate of its address, its token. Whoever comes by the
control socket owns the instance and passes.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from deora.errors import Problem
from deora.gateway.access import Access, Grant
from deora.gateway.clients import Proxies, is_loopback
from deora.gateway.hosts import Names
from deora.gateway.http import Head
from deora.gateway.limits import Budget
from deora.gateway.origins import Origins

# A wrong token is tried by hand a few times, and by a machine without end.
WRONG_TOKENS: Final = 10
WRONG_TOKENS_WINDOW_S: Final = 60.0
_UCRED: Final = struct.Struct("3i")  # struct ucred of SO_PEERCRED, unix(7): pid, uid, gid
_HSTS: Final = b"Strict-Transport-Security: max-age=31536000\r\n"


class Peer(NamedTuple):
    """The other end of a connection. `address` is empty on a Unix socket, where the kernel tells the user instead."""

    address: str
    is_loopback: bool
    is_tls: bool
    uid: int | None = None

    @property
    def shown(self) -> str:
        """Who it is, for people."""
        return self.address if self.uid is None else f"control socket, user {self.uid}"


CONTROL_SOCKET: Final = Peer("", is_loopback=True, is_tls=False)


def peer_of(transport: asyncio.Transport) -> Peer:
    """Who is at the other end."""
    name = transport.get_extra_info("peername")
    if not isinstance(name, tuple):
        return _operator(transport.get_extra_info("socket"))
    address = str(name[0])
    return Peer(address, is_loopback(address), transport.get_extra_info("ssl_object") is not None)


def _operator(sock: socket.socket | None) -> Peer:
    if sock is None:
        return CONTROL_SOCKET
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    return CONTROL_SOCKET._replace(uid=_UCRED.unpack(credentials)[1])


@dataclass(slots=True)
class Door:
    """Who may pass. The defaults let everybody in, which is right for the control socket alone."""

    access: Access = field(default_factory=lambda: Access([]))
    names: Names | None = None
    origins: Origins = field(default_factory=Origins)
    proxies: Proxies = field(default_factory=lambda: Proxies([]))
    requests: Budget | None = None
    require_https: bool = False
    now_s: Callable[[], float] = time.monotonic
    _wrong_tokens: Budget = field(default_factory=lambda: Budget(WRONG_TOKENS, WRONG_TOKENS_WINDOW_S))

    def remember(self, former: Door) -> None:
        """Goes on with the counts of the door that was here before, so that a change of it forgives nobody."""
        self._wrong_tokens = former._wrong_tokens
        if self.requests is not None and former.requests is not None:
            self.requests.remember(former.requests)

    def check(self, head: Head, peer: Peer) -> Grant:
        """What the request may do. Raises Problem where it may not even ask."""
        if self.names is not None:
            self.names.check_host(head.host)
            if head.origin is not None and not self.origins.allows(head.origin):
                self.names.check_origin(head.origin)
        # What comes from this box itself, and for nobody else, has no rate and needs no HTTPS.
        if (not peer.is_loopback or head.forwarded_for) and (self.requests is not None or self.require_https):
            self._check_client(head, peer)
        return self.access.known(head.authorization) or self._grant(head.authorization, self.client_of(head, peer))

    def _check_client(self, head: Head, peer: Peer) -> None:
        client = self.client_of(head, peer)
        if peer.is_loopback if client == peer.address else is_loopback(client):
            return
        if self.require_https:
            self._check_https(head, peer)
        wait_s = self.requests.spend(client, self.now_s()) if self.requests is not None else 0
        if wait_s:
            raise _too_many("too many requests came from this address", wait_s)

    def client_of(self, head: Head, peer: Peer) -> str:
        """The address of the client itself: the peer's, or what trusted proxies say."""
        if head.forwarded_for and self.proxies.trusts(peer.address):
            return self.proxies.client_of(peer.address, head.forwarded_for)
        return peer.address

    def lines(self, head: Head, peer: Peer) -> bytes:
        """Header lines that the answer gets for where the request came from."""
        lines = _HSTS if peer.is_tls else b""
        if not self.origins.allowed:
            return lines
        return lines + self.origins.lines(head.origin, preflight=head.requested_method is not None)

    def _check_https(self, head: Head, peer: Peer) -> None:
        forwarded = head.forwarded_proto == b"https" and self.proxies.trusts(peer.address)
        if not peer.is_tls and not forwarded:
            raise Problem("forbidden", "this instance takes requests by HTTPS only", hint="use an https:// address")

    def _grant(self, authorization: bytes | None, client: str) -> Grant:
        # A token that has been right before passes; the others of this address wait, the right one among them.
        wait_s = self._wrong_tokens.exhausted(client, self.now_s())
        if wait_s:
            raise _too_many("too many wrong tokens came from this address", wait_s)
        try:
            return self.access.grant_of(authorization)
        except Problem:
            self._wrong_tokens.spend(client, self.now_s())
            raise


def _too_many(detail: str, wait_s: int) -> Problem:
    return Problem("too-many-requests", detail, hint=f"wait {wait_s} s, then go on", retry_after_s=wait_s)
