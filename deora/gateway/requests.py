"""What the dispatch keeps: workers that are up, and requests on their way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from deora.gateway.server import Incoming
from deora.wire.link import Link

SUPERVISOR: Final = b"supervisor"


@dataclass(slots=True)
class Worker:
    """A worker that is up. `held` are the requests that it has, in the order in which they were sent."""

    slot: str
    role: bytes
    generation: int
    link: Link
    held: dict[int, Request] = field(default_factory=dict)


@dataclass(slots=True)
class Request:
    """A request on its way. `commit` is the body of its COMMIT once its worker has answered with one."""

    id: int
    incoming: Incoming
    request_id: bytes
    started_s: float
    server: bytes = SUPERVISOR
    slot: str = "supervisor"
    deaths: int = 0
    commit: bytes | None = None
    wait_s: int = 0
    deadline_s: float = 0.0
    result: list[Any] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request may take in all, and how many workers it may end."""

    request_timeout_s: float
    max_retries: int
