"""What a handler is given and what it returns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from deora.cache.memory import MemoryCache
from deora.documents.writes import Write
from deora.worker.read_through import ReadThrough
from deora.worker.reader import Reader
from deora.worker.requests import Request
from deora.worker.showing import Shown

DEFAULT_PRIORITY = 5


# Answer and Commit are made for each request, and a frozen dataclass takes three times as long to make.
@dataclass(slots=True)
class Answer:
    """A response. `headers` are further lines, each ended by CR LF."""

    status: int
    content: bytes
    headers: bytes = b""


@dataclass(slots=True)
class Commit:
    """What the store is to do. `body` goes to it as it is; `wait_s` is how long the client waits for upstream."""

    body: bytes
    wait_s: int = 0


@dataclass(slots=True)
class Stream:
    """The answer is a stream of changes from the event `start` on, behind `first`, what it begins with."""

    collections: list[str] | None
    start: str
    first: bytes


Check = Callable[[Sequence[Write]], None]


@dataclass(slots=True)
class Context:
    """The parts of a worker that handlers use. `priorities` is queue.json's, by collection path or its last part.

    `checks` raise Problem for an entry that a configured upstream would refuse whatever it holds.
    """

    reader: Reader
    memory: MemoryCache[Shown]
    reads: ReadThrough
    priorities: Mapping[str, int]
    now_s: Callable[[], float]
    checks: tuple[Check, ...] = ()

    def priority_of(self, collection: str) -> int:
        """The configured priority of a collection."""
        found = self.priorities.get(collection)
        if found is None:
            found = self.priorities.get(collection.rpartition("/")[2], DEFAULT_PRIORITY)
        return found


Reply = Answer | Commit | Stream
Handler = Callable[[Context, Request, bytes], Reply | Awaitable[Reply]]
