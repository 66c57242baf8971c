"""What the dispatch keeps: workers that are up, and requests on their way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from deora.errors import Problem
from deora.gateway.incoming import Incoming
from deora.wire.frames import FLAG_READ_THROUGH, FLAG_RESENT
from deora.wire.link import Link

SUPERVISOR: Final = b"supervisor"
UNHELD_HINT: Final = (
    "an update with upsert=true, a set, a create and a delete are accepted: they are not judged by the document"
)


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
    """A request on its way. `commit` is the body of its COMMIT once its worker has answered with one.

    `is_read_through`: the store has what it needs to judge it."""

    id: int
    incoming: Incoming
    request_id: bytes
    started_s: float
    server: bytes = SUPERVISOR
    slot: str = "supervisor"
    deaths: int = 0
    commit: bytes | None = None
    is_read_through: bool = False
    wait_s: int = 0
    deadline_s: float = 0.0
    result: list[Any] = field(default_factory=list)

    def commit_flags(self, *, resent: bool) -> int:
        """The flags of its COMMIT."""
        return (FLAG_RESENT if resent else 0) | (FLAG_READ_THROUGH if self.is_read_through else 0)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request may take in all, and how many workers it may end."""

    request_timeout_s: float
    max_retries: int


def location(incoming: Incoming, path: str) -> bytes:
    """Where a created document is: a PUT's own target, else made from its path."""
    if incoming.method == b"PUT":
        return incoming.target
    return b"/v1/documents/" + quote(path).encode()


def worker_lost(request: Request) -> Problem:
    """The refusal of a request that has ended too many workers."""
    target = f"{request.incoming.method.decode()} {request.incoming.target.decode('latin-1')}"
    return Problem(
        "worker-lost",
        f"{request.deaths} workers ended while they held the request {target}",
        hint="one of the requests that they held ended them, perhaps this one: see the log first",
        fields={"requestId": request.request_id.decode()},
    )


def too_late(request: Request, detail: str) -> Problem:
    """The refusal of a request that has waited long enough; whether it took effect is not known."""
    hint = "repeat the request with the same Idempotency-Key: if it took effect, you get its first answer"
    if request.commit is not None and b"idempotency-key" not in request.incoming.fields:
        hint = "it had no Idempotency-Key and may yet take effect: read before you repeat it, and send a key then"
    return Problem("unavailable", detail, hint=hint, retry_after_s=2)
