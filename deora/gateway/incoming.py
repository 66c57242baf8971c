"""A whole request, on its way from a connection to what answers it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from deora.errors import Problem
from deora.gateway.outflow import Client, Outflow
from deora.wire.frames import FLAG_CLOSE, FLAG_GZIP, FLAG_HEAD

if TYPE_CHECKING:
    from deora.gateway.connection import Connection
    from deora.gateway.door import Door, Peer
    from deora.gateway.http import Head
    from deora.gateway.limits import Limits


class Sender(Protocol):
    """Where the answer goes: whole, or as a stream."""

    def send(self, answer: bytes, *, close: bool) -> None:
        """Sends the answer of the request at work; with `close` it is the last one."""

    def begin_stream(self, head: bytes, client: Client) -> Outflow | None:
        """Sends the head of an answer that goes on; None where the client has gone. `client` is told what becomes of
        the connection."""


@dataclass(slots=True)
class Incoming:
    """A whole request. `fields` holds the forwarded header fields, `scope` what its token allows.

    `lines` are header lines that its answer gets on its way out; `client` tells one client from another where they
    stick to workers. `token_hash` is that of the token which it came with; empty without one. `address` is for people:
    who asks, or for whom a trusted proxy does.
    """

    connection: Sender
    method: bytes
    target: bytes
    fields: dict[bytes, bytes]
    content: bytes
    scope: int
    close: bool
    head: bool
    problem: Problem | None = None
    lines: bytes = b""
    client: bytes | None = None
    gzip: bool = False
    token_hash: str = ""
    address: str = ""

    @property
    def flags(self) -> int:
        """The flags of its REQUEST frame."""
        return (
            self.scope
            | (FLAG_CLOSE if self.close else 0)
            | (FLAG_HEAD if self.head else 0)
            | (FLAG_GZIP if self.gzip else 0)
        )


class Front(Protocol):
    """What stands behind the connections."""

    def accept(self, request: Incoming) -> None:
        """Takes a request and sees to it that `request.connection.send` is called once."""


class Host(Protocol):
    """What all connections of one listener share; see `gateway.server.Server`."""

    front: Front
    limits: Limits
    door: Door
    next_id: Callable[[], bytes]
    now_s: Callable[[], float]

    def joined(self, connection: Connection) -> bool:
        """A client has connected; whether it may stay."""

    def left(self, connection: Connection) -> None:
        """A connection has ended."""

    def client_of(self, head: Head, peer: Peer) -> bytes | None:
        """What tells a client from another, where clients stick to workers."""
