"""What the dispatch keeps: workers that are up, and requests on their way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

from deora.errors import Problem
from deora.gateway.incoming import Incoming
from deora.wire import keys
from deora.wire.frames import FLAG_READ_THROUGH, FLAG_RESENT, pack
from deora.wire.link import Link

SUPERVISOR: Final = b"supervisor"
DOCUMENTS: Final = b"/v1/documents"
BATCH_GET: Final = DOCUMENTS + b":batchGet"
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

    `is_read_through`: the store has what it needs to judge it. `commit_no`: what the store has made of it. `deaths` and
    `trials`: see `gateway.suspects`.
    """

    id: int
    incoming: Incoming
    request_id: bytes
    started_s: float
    server: bytes = SUPERVISOR
    slot: str = "supervisor"
    deaths: int = 0
    trials: int = 0
    commit: bytes | None = None
    is_read_through: bool = False
    wait_s: int = 0
    commit_no: int = 0
    deadline_s: float = 0.0
    result: list[Any] = field(default_factory=list)

    def commit_flags(self, *, resent: bool) -> int:
        """The flags of its COMMIT."""
        return (FLAG_RESENT if resent else 0) | (FLAG_READ_THROUGH if self.is_read_through else 0)

    def named_in_logs(self) -> dict[str, str]:
        """What tells this request from others in a log line."""
        return {"requestId": self.request_id.decode(), "target": target(self)}


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a request may take in all, how many workers it may end alone, and how long it is tried alone first.
    `ended` is said where it is over."""

    request_timeout_s: float
    max_retries: int
    trial_s: float = 3.0
    ended: str = ""

    @property
    def over(self) -> str:
        """When it was over."""
        return self.ended or f"within {self.request_timeout_s:g} s"


def location(incoming: Incoming, path: str) -> bytes:
    """Where a created document is: a PUT's own target, else made from its path."""
    if incoming.method == b"PUT":
        return incoming.target
    return b"/v1/documents/" + quote(path).encode()


def target(request: Request) -> str:
    """Method and target, as people read them."""
    return f"{request.incoming.method.decode()} {request.incoming.target.decode('latin-1')}"


def worker_lost(request: Request) -> Problem:
    """The refusal of a request that has ended too many workers while it was the only one that they held."""
    return Problem(
        "worker-lost",
        f"{target(request)} was tried alone, and its worker ended {request.deaths} times",
        hint="it took no effect; do not repeat it as it is, and report it: the log tells how the workers ended",
        fields={"requestId": request.request_id.decode()},
    )


def too_late(request: Request, detail: str) -> Problem:
    """The refusal of a request that has waited long enough; whether it took effect is not known.

    That of a write tells the key to repeat it with: the client's own, or one that names the request (`wire.keys`).
    """
    key = key_to_repeat_with(request)
    fields = {}
    if key is not None:
        hint = f"repeat the very same request with the header Idempotency-Key: {key}; it takes effect once, then or now"
        fields = {"idempotencyKey": key}
    elif request.commit is not None:
        hint = "it may yet take effect: look at the queue before you repeat it"
    else:
        hint = "nothing was changed; repeat it"
    return Problem("unavailable", detail, hint=hint, retry_after_s=2, fields=fields)


def key_to_repeat_with(request: Request) -> str | None:
    """The key under which a write takes effect once, however often it is repeated; None for what is no write."""
    incoming = request.incoming
    path = incoming.target.partition(b"?")[0]
    if incoming.method == b"GET" or not path.startswith(DOCUMENTS) or path == BATCH_GET:
        return None
    return incoming.fields.get(b"idempotency-key", keys.key_of(request.id)).decode("latin-1")


def hold(request: Request) -> bytes | None:
    """The COMMIT that has a store keep its answer to a write that is given up, under the key that the client is told.

    None where the client has a key of its own, and for what is no write or has not reached a store.
    """
    incoming = request.incoming
    if request.commit is None or b"idempotency-key" in incoming.fields or key_to_repeat_with(request) is None:
        return None
    path, _, query = incoming.target.partition(b"?")
    name = keys.identity(incoming.fields, incoming.method, path, query, incoming.content)
    scoped = keys.scoped_key(incoming.fields, incoming.method, path, query, keys.key_of(request.id))
    return pack(["hold", request.id, name, scoped, keys.fingerprint(incoming.fields, incoming.content)])
