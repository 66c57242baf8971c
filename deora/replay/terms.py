"""What a lane is given and what it shows: the store's calls, its settings, its status."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from deora.replay.batches import Batch
from deora.replay.breaker import State as BreakerState
from deora.replay.policy import Retry
from deora.replay.restored import RestoreCalls


class StoreCalls(RestoreCalls, Protocol):
    """What a lane asks of the store."""

    async def open(self, upstream: str) -> tuple[str, str]:
        """This store's node and epoch."""

    async def next(self, upstream: str, max_writes: int, max_bytes: int, urgent_share: float) -> Batch:
        """The next batch; waits until there is one and the upstream is not paused."""

    async def paused(self, upstream: str) -> bool:
        """Whether the upstream is paused now."""

    async def attempted(self, upstream: str, batch_id: str, error: str) -> bool:
        """Notes a failed attempt; says whether the upstream is paused now."""

    async def split(self, upstream: str, batch_id: str, at: list[int], seq: int, cursor_id: str) -> None:
        """Cuts a fenced batch."""

    async def settle(self, upstream: str, batch_id: str, error: str | None, seq: int, cursor_id: str) -> None:
        """Ends a batch: applied, or with `error` refused."""


@dataclass(slots=True)
class Status:
    """What status shows of an upstream.

    `state`: up; down (no answer, or none that helps); unauthorised (it refuses us: credentials, a role that may not
    write); stopped (its cursor is not ours to move: a person must decide).
    """

    state: str = "up"
    breaker: str = BreakerState.CLOSED.value
    failures: int = 0
    latency_ms: float | None = None
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """What the configuration says of batches, retries and checks; deadlines in seconds.

    Reading the cursor is one small request: its deadline is shorter, so that an upstream that hangs is soon found out.
    """

    max_writes: int = 500
    max_bytes: int = 3 * 1024 * 1024
    retry: Retry = field(default_factory=Retry)
    check_interval_s: float = 30.0
    deadline_s: float = 30.0
    cursor_deadline_s: float = 10.0
