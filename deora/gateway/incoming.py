"""A whole request, on its way from a connection to what answers it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from deora.errors import Problem
from deora.gateway.outflow import Client, Outflow
from deora.wire.frames import FLAG_CLOSE, FLAG_GZIP, FLAG_HEAD


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
    stick to workers.
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
