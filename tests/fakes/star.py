"""The supervisor's ends of its links and connections, by hand: what is sent is kept, and nothing arrives by itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from deora.gateway.access import Scope
from deora.gateway.connection import Connection
from deora.gateway.incoming import Incoming
from deora.wire.frames import Decoder, Frame, Kind
from deora.wire.link import Link


class KeptLink(Link):
    """A link whose frames are kept, decoded."""

    def __init__(self) -> None:
        self.frames: list[Frame] = []
        self.in_turn = False

    @property
    def has_unsent(self) -> bool:
        """Each frame goes out at once, but `in_turn`: then the turn of the loop lasts."""
        return self.in_turn and bool(self.frames)

    def send(self, frame: bytes) -> None:
        self.frames += Decoder().feed(frame)

    def take(self, kind: Kind) -> list[Frame]:
        """The frames of a kind, which are then forgotten."""
        taken = [frame for frame in self.frames if frame[0] == kind]
        self.frames = [frame for frame in self.frames if frame[0] != kind]
        return taken


@dataclass(frozen=True, slots=True)
class Received:
    """An answer as a client has it. Header names are in lower case."""

    status: int
    headers: dict[str, str]
    content: bytes
    closes: bool

    @property
    def json(self) -> Any:
        """The content as JSON."""
        return json.loads(self.content)


class KeptConnection(Connection):
    """A connection whose answers are kept. `following` is what happens as each answer is sent, one for each."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.following: list[Callable[[], None]] = []

    def send(self, answer: bytes, *, close: bool) -> None:
        self.received.append(read_answer(answer, closes=close))
        if self.following:
            self.following.pop(0)()


def read_answer(answer: bytes, *, closes: bool = False) -> Received:
    """An answer from its bytes."""
    head, _, content = answer.partition(b"\r\n\r\n")
    line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in lines)}
    return Received(int(line.split(" ")[1]), headers, content, closes)


def incoming(
    method: str,
    target: str,
    content: bytes = b"",
    *,
    headers: dict[str, str] | None = None,
    scope: Scope = Scope.ADMIN,
    close: bool = False,
    head: bool = False,
) -> Incoming:
    """A request as a connection hands it on."""
    fields = {name.encode(): value.encode() for name, value in (headers or {}).items()}
    return Incoming(KeptConnection(), method.encode(), target.encode(), fields, content, scope, close, head)


def received(request: Incoming) -> list[Received]:
    """The answers that its client has."""
    connection = request.connection
    assert isinstance(connection, KeptConnection)
    return connection.received
