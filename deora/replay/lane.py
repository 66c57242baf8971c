"""One lane: one batch after the other to one upstream, each exactly once.

The loop is small because the cursor carries the weight:

1. Ask the store for the next batch. It is persisted before this lane sees it, and handed out again, the very same,
   until it is settled or split.
2. If the last outcome was anything but `Applied`, read upstream's cursor before anything else is sent.
3. Landed: settle. Not landed: send the identical batch. Fenced: split it, or give its one entry up. Anything else means
   that somebody else moves our cursor: stop and say so.
4. A batch that upstream refuses for good is fenced first. A retry that is refused does not prove that the first copy is
   dead; a cursor that has moved past its seq does.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from deora.clock import Clock
from deora.replay.batches import STOPS, Batch, Verdict, cuts, judge
from deora.replay.breaker import Breaker
from deora.replay.breaker import State as BreakerState
from deora.replay.coverage import CROWDED_BYTES, Coverage
from deora.replay.policy import Retry, delay_s, ramp
from deora.upstream.base import (
    Applied,
    Cursor,
    CursorKey,
    Delivery,
    Moved,
    Outcome,
    Refused,
    Unauthorised,
    Unclear,
    Upstream,
)

_log = logging.getLogger("deora.replay")

URGENT_SHARE: Final = 0.8

# A batch that fails as transient this often while upstream's cursor can be read and moved is itself the trouble.
STRIKES: Final = 10

# How long refused credentials, or a cursor that is not ours, are left alone before they are looked at again.
RECHECK_S: Final = 3.0

T = TypeVar("T")


class StoreCalls(Protocol):
    """What a lane asks of the store."""

    async def open(self, upstream: str) -> tuple[str, str]:
        """This store's node and epoch."""

    async def next(self, upstream: str, max_writes: int, max_bytes: int, urgent_share: float) -> Batch:
        """The next batch; waits until there is one and the upstream is not paused."""

    async def attempted(self, upstream: str, batch_id: str, error: str) -> bool:
        """Notes a failed attempt; says whether the upstream is paused now."""

    async def split(self, upstream: str, batch_id: str, at: list[int], seq: int, cursor_id: str) -> None:
        """Cuts a fenced batch."""

    async def settle(self, upstream: str, batch_id: str, error: str | None, seq: int, cursor_id: str) -> None:
        """Ends a batch: applied, or with `error` refused."""


@dataclass(slots=True)
class Status:
    """What status shows of an upstream. `state`: up, down, stopped."""

    state: str = "up"
    breaker: str = BreakerState.CLOSED.value
    failures: int = 0
    latency_ms: float | None = None
    last_error: str | None = None


@dataclass(frozen=True, slots=True)
class LaneSettings:
    """What the configuration says of batches, retries and checks; a call's deadline in seconds."""

    max_writes: int = 500
    max_bytes: int = 3 * 1024 * 1024
    retry: Retry = field(default_factory=Retry)
    check_interval_s: float = 30.0
    deadline_s: float = 30.0


@dataclass(slots=True)
class _Attempt:
    """How the present batch fares."""

    failures: int = 0
    strikes: int = 0
    refused: Refused | None = None


class Lane:
    """Delivers to one upstream. All that varies comes as an argument: clock, pauses, randomness."""

    def __init__(
        self,
        name: str,
        upstream: Upstream,
        store: StoreCalls,
        settings: LaneSettings,
        breaker: Breaker,
        clock: Clock,
        *,
        sleep: Callable[[float], Awaitable[None]],
        random: Callable[[], float],
        report: Callable[[str, Status], None],
    ) -> None:
        self.name = name
        self.status = Status()
        self._upstream = upstream
        self._store = store
        self._settings = settings
        self._breaker = breaker
        self._clock = clock
        self._sleep = sleep
        self._random = random
        self._report = report
        self._key = CursorKey("", "", 0)
        # None: the cursor must be read before anything is sent.
        self._coverage: Coverage | None = None
        self._successes = 16

    async def run(self) -> None:
        """Delivers for ever."""
        node, epoch = await self._store.open(self.name)
        self._key = CursorKey(node, epoch, 0)
        while True:
            batch = await self._next()
            attempt = _Attempt()
            while not await self._step(batch, attempt):
                pass

    # -- waiting for work

    async def _next(self) -> Batch:
        crowded = self._coverage is not None and len(self._coverage.encode()) > CROWDED_BYTES
        waiting = asyncio.ensure_future(
            self._store.next(
                self.name,
                ramp(self._settings.max_writes, self._successes),
                self._settings.max_bytes,
                0.0 if crowded else URGENT_SHARE,
            )
        )
        try:
            while True:
                interval_s = self._settings.check_interval_s if self.status.state == "up" else 1.0
                done, _ = await asyncio.wait({waiting}, timeout=interval_s)
                if done:
                    return waiting.result()
                # Nothing to send: see whether upstream is there all the same, so that status tells the truth.
                if self._breaker.wait_s(self._clock.monotonic_s()) == 0:
                    await self._call(self._upstream.read_cursor(self._key))
        finally:
            waiting.cancel()

    # -- one step of one batch

    async def _step(self, batch: Batch, attempt: _Attempt) -> bool:
        """Moves the batch on by one call; True when it is settled, split, or to be asked for again."""
        wait_s = self._breaker.wait_s(self._clock.monotonic_s())
        if wait_s > 0:
            await self._sleep(min(wait_s, 1.0))
            return await self._paused(batch, "the breaker is open")
        if self._coverage is None:
            cursor = await self._call(self._upstream.read_cursor(self._key))
            if isinstance(cursor, Unclear | Unauthorised):
                return await self._failed(batch, attempt, cursor)
            return await self._judged(batch, attempt, cursor)
        started_s = self._clock.monotonic_s()
        coverage = self._coverage.with_applied(batch.numbers)
        outcome = await self._call(
            self._upstream.apply(self._delivery(batch, batch.id, coverage.encode(), batch.payloads))
        )
        if isinstance(outcome, Applied):
            self.status.latency_ms = (self._clock.monotonic_s() - started_s) * 1000
            self._coverage = coverage
            self._successes += 1
            await self._store.settle(self.name, batch.id, None, batch.known_seq + 1, batch.id)
            return True
        self._coverage = None
        return await self._unsettled(batch, attempt, outcome)

    async def _unsettled(self, batch: Batch, attempt: _Attempt, outcome: Outcome) -> bool:
        if isinstance(outcome, Refused):
            attempt.refused = outcome
            return False
        if isinstance(outcome, Unclear | Unauthorised):
            if isinstance(outcome, Unclear):
                attempt.strikes += 1
            return await self._failed(batch, attempt, outcome)
        return False

    async def _judged(self, batch: Batch, attempt: _Attempt, cursor: Cursor | None) -> bool:
        verdict = judge(batch, cursor)
        if verdict is Verdict.LANDED:
            await self._store.settle(self.name, batch.id, None, batch.known_seq + 1, batch.id)
            return True
        if verdict is Verdict.FENCED:
            return await self._split(batch, attempt.refused)
        if verdict is not Verdict.NOT_LANDED:
            taken_by = cursor.taken_by if cursor is not None else None
            return await self._stopped(STOPS[verdict].format(taken_by=taken_by))
        coverage = Coverage.decode(cursor.applied) if cursor is not None else Coverage()
        if attempt.refused is None and attempt.strikes >= STRIKES:
            attempt.refused = Refused(f"failed {STRIKES} times while upstream was there: {self.status.last_error}")
        if attempt.refused is None:
            self._coverage = coverage
            return False
        return await self._fence(batch, attempt, coverage)

    async def _fence(self, batch: Batch, attempt: _Attempt, coverage: Coverage) -> bool:
        """Takes the batch's seq away from it, so that no late copy can land; then it may be split."""
        assert attempt.refused is not None
        if len(batch.numbers) == 1:
            coverage = coverage.with_refused(batch.numbers[0])
        outcome = await self._call(self._upstream.apply(self._delivery(batch, batch.fence_id, coverage.encode(), [])))
        if isinstance(outcome, Applied):
            return await self._split(batch, attempt.refused)
        if isinstance(outcome, Moved):
            return False
        # A cursor that cannot be moved is no fault of the batch: a role cut to read-only, a missing database.
        attempt.refused = None
        if isinstance(outcome, Refused):
            outcome = Unauthorised(f"the cursor cannot be written: {outcome.message}")
        return await self._failed(batch, attempt, outcome)

    async def _split(self, batch: Batch, refused: Refused | None) -> bool:
        seq, cursor_id = batch.known_seq + 1, batch.fence_id
        self._coverage = None
        if len(batch.numbers) == 1 and refused is not None:
            _log.warning(
                "an entry is dead: upstream refuses it",
                extra={"upstream": self.name, "number": batch.numbers[0], "error": refused.message},
            )
            await self._store.settle(self.name, batch.id, refused.message, seq, cursor_id)
        else:
            at = cuts(len(batch.numbers), refused.index if refused is not None else None)
            await self._store.split(self.name, batch.id, at, seq, cursor_id)
        return True

    def _delivery(self, batch: Batch, batch_id: str, applied: bytes, payloads: list[bytes]) -> Delivery:
        return Delivery(self._key, batch.known_seq, batch.known_batch_id, batch_id, applied, payloads)

    # -- failing

    async def _failed(self, batch: Batch, attempt: _Attempt, outcome: Unclear | Unauthorised) -> bool:
        attempt.failures += 1
        if isinstance(outcome, Unauthorised):
            await self._sleep(RECHECK_S)
            return await self._paused(batch, outcome.message)
        retry = self._settings.retry
        await self._sleep(delay_s(retry, attempt.failures, self._random(), outcome.retry_after_s))
        if attempt.failures % retry.attempts == 0:
            return await self._paused(batch, outcome.message)
        return False

    async def _paused(self, batch: Batch, error: str) -> bool:
        """Notes the failure; True when the upstream was paused meanwhile, so that the batch waits in the store."""
        return await self._store.attempted(self.name, batch.id, self.status.last_error or error)

    async def _stopped(self, reason: str) -> bool:
        if self.status.state != "stopped":
            _log.error("replay stopped: %s", reason, extra={"upstream": self.name})
        self.status.state, self.status.last_error = "stopped", reason
        self._report(self.name, self.status)
        await self._sleep(RECHECK_S)
        return True

    async def _call(self, call: Awaitable[T]) -> T | Unclear:
        """One call upstream with a deadline, counted by the breaker and shown by the status."""
        try:
            async with asyncio.timeout(self._settings.deadline_s):
                result: T | Unclear = await call
        except TimeoutError:
            result = Unclear(f"no answer within {self._settings.deadline_s:g} s")
        now_s = self._clock.monotonic_s()
        if isinstance(result, Unclear | Unauthorised):
            self._breaker.failed(now_s)
            self.status.last_error = result.message
            self.status.state = "down"
            self._successes = 0
        else:
            self._breaker.succeeded(now_s)
            self.status.state = "up"
            if not isinstance(result, Refused):
                self.status.last_error = None
        self._show_breaker()
        return result

    def _show_breaker(self) -> None:
        if self.status.breaker != self._breaker.state.value:
            _log.warning(
                "the breaker is %s",
                self._breaker.state.value,
                extra={"upstream": self.name, "error": self.status.last_error},
            )
        self.status.breaker = self._breaker.state.value
        self.status.failures = self._breaker.failures
        self._report(self.name, self.status)
