"""One lane: one batch after the other to one upstream, each exactly once.

The loop is small because the cursor carries the weight:

1. Ask the store for the next batch. It is persisted before this lane sees it, and handed out again, the very same,
   until it is settled or split.
2. If the last outcome was anything but `Applied`, read upstream's cursor before anything else is sent.
3. Landed: settle. Not landed: send the identical batch. Fenced: split it, or give its one entry up. Went back: upstream
   was restored; queue again what it lacks (`replay.restored`). Anything else means that somebody else moves our cursor:
   stop and say so.
4. A batch that upstream refuses for good is fenced first. A retry that is refused does not prove that the first copy is
   dead; a cursor that has moved past its seq does.
5. A batch that fails as transient STRIKES times, while the cursor can be moved, counts as refused. An entry alone is
   given up for that only if the cursor could be moved before its failures and behind them: else an outage of writes
   that ends just before the fence would cost an entry that nothing is wrong with. A failure with which upstream asks
   for a pause (`Retry-After`) is none of the ten.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from deora.clock import Clock
from deora.errors import DeoraError
from deora.replay.batches import STOPS, Batch, Verdict, cuts, judge
from deora.replay.breaker import Breaker
from deora.replay.breaker import State as BreakerState
from deora.replay.carrying import Carrying, Lost
from deora.replay.coverage import Coverage, Standing
from deora.replay.policy import delay_s, ramp
from deora.replay.restored import Restored
from deora.replay.terms import LaneSettings, Status, StoreCalls
from deora.upstream.base import (
    Applied,
    CarriedMove,
    Cursor,
    CursorKey,
    Delivery,
    Failure,
    Moved,
    Outcome,
    Refused,
    Unauthorised,
    Unclear,
    Upstream,
)

_log = logging.getLogger("deora.replay")

URGENT_SHARE: Final = 0.8

# A batch that fails as transient this often while upstream's cursor can be moved is itself the trouble.
STRIKES: Final = 10

# A lane that has just started and has nothing to send looks after this whether upstream is there.
FIRST_LOOK_S: Final = 0.5

# How long refused credentials, or a cursor that is not ours, are left alone before they are looked at again.
RECHECK_S: Final = 3.0

# The cursor, which is read next, tells more; where it does not, nothing spins.
_ELSEWHERE: Final = Unclear("upstream's cursor was elsewhere when the batch arrived")

T = TypeVar("T")


@dataclass(slots=True)
class _Attempt:
    """How the present batch fares. `struck`: it counts as refused for its strikes, not by upstream's word."""

    failures: int = 0
    strikes: int = 0
    refused: Refused | None = None
    struck: bool = False


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
        self._looked = False
        # None: the cursor must be read before anything is sent.
        self._standing: Standing | None = None
        self._carrying = Carrying(self._read_cursor)
        self._successes = 16
        self._restored = Restored(name, store, self._apply, self._take_over, self._read_cursor)
        # Upstream was restored, and the queue has not come to terms with that.
        self._lost = False
        # The entries of the last batch that was struck and fenced.
        self._suspects: frozenset[tuple[CursorKey | None, int]] = frozenset()

    async def run(self) -> None:
        """Delivers for ever."""
        node, epoch = await self._store.open(self.name)
        self._key = CursorKey(node, epoch, 0)
        while True:
            batch = await self._next()
            if batch is None:
                continue
            attempt = _Attempt()
            if len(batch.numbers) > 1 and self._suspects.issuperset(batch.entries):
                # To halve it again costs nobody anything, and all others wait for it.
                attempt.strikes = STRIKES - 1
            while not await self._step(batch, attempt):
                pass

    # -- waiting for work

    async def _next(self) -> Batch | None:
        """The next batch; None where it is to be asked for again, since the queue has changed."""
        crowded = self._carrying.is_crowded or (self._standing is not None and self._standing.coverage.is_crowded)
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
                is_well = self.status.state == "up" and self._breaker.state is BreakerState.CLOSED and not self._lost
                interval_s = self._settings.check_interval_s if is_well else RECHECK_S
                if not self._looked:
                    interval_s = FIRST_LOOK_S
                done, _ = await asyncio.wait({waiting}, timeout=interval_s)
                if done:
                    return waiting.result()
                # Nothing to send: see whether upstream is there all the same, so that status tells the truth.
                if self._breaker.wait_s(self._clock.monotonic_s()) == 0:
                    cursor = await self._read_cursor(self._key)
                    if isinstance(cursor, Unclear | Unauthorised):
                        continue
                    if await self._restored.is_due(cursor):
                        await self._come_to_terms(cursor)
                        return None
                    self._look(cursor)
        finally:
            waiting.cancel()

    def _look(self, cursor: Cursor | None) -> None:
        """What the cursor says while nothing is sent: one that was taken over stops this lane before it has to send."""
        if cursor is not None and cursor.taken_by is not None:
            self._show_stopped(STOPS[Verdict.TAKEN_OVER].format(taken_by=cursor.taken_by))
        elif self.status.state != "stopped":
            self._shown("up", None)

    # -- one step of one batch

    async def _step(self, batch: Batch, attempt: _Attempt) -> bool:
        """Moves the batch on by one call; True when it is settled, split, or to be asked for again."""
        wait_s = self._breaker.wait_s(self._clock.monotonic_s())
        if wait_s > 0:
            await self._sleep(min(wait_s, 1.0))
            return await self._store.paused(self.name)
        if self._standing is None or not self._standing.is_expected_by(batch):
            cursor = await self._read_cursor(self._key)
            if isinstance(cursor, Unclear | Unauthorised):
                return await self._failed(batch, attempt, cursor)
            return await self._judged(batch, attempt, cursor)
        if batch.origins and (ended := await self._unprepared(batch, attempt)) is not None:
            return ended
        started_s = self._clock.monotonic_s()
        coverage = self._standing.coverage.with_applied(batch.own_numbers)
        moves = self._carrying.moves(batch)
        outcome = await self._apply(self._delivery(batch, batch.id, coverage, batch.payloads, moves))
        if isinstance(outcome, Applied):
            self._carrying.landed(batch.id, moves)
            self.status.latency_ms = (self._clock.monotonic_s() - started_s) * 1000
            self._shown("up", None)
            self._standing = Standing(batch.known_seq + 1, batch.id, coverage)
            self._successes += 1
            await self._store.settle(self.name, batch.id, None, batch.known_seq + 1, batch.id)
            return True
        self._forget()
        return await self._unsettled(batch, attempt, outcome)

    def _forget(self) -> None:
        """What was sent may have moved the cursors: they are read before anything else is sent."""
        self._standing = None
        self._carrying.forget()

    async def _unprepared(self, batch: Batch, attempt: _Attempt) -> bool | None:
        """What `_step` returns where a cursor whose entries the batch carries cannot be moved; None where all can."""
        try:
            found = await self._carrying.prepare(batch, self._key.box)
        except DeoraError as error:
            return await self._stopped(error.told)
        if isinstance(found, Lost):
            return await self._stopped(found.reason)
        return await self._failed(batch, attempt, found) if found is not None else None

    async def _unsettled(self, batch: Batch, attempt: _Attempt, outcome: Outcome) -> bool:
        if isinstance(outcome, Refused):
            attempt.refused, attempt.struck = outcome, False
            return False
        if isinstance(outcome, Unclear) and outcome.retry_after_s is None:
            # Who asks for patience speaks of himself, not of the batch.
            attempt.strikes += 1
            if attempt.strikes >= STRIKES:
                # At once, so that the fence tells of the same moment as the failure.
                why = f"failed {STRIKES} times while upstream's cursor could be moved; the last time: {outcome.message}"
                attempt.refused, attempt.struck = Refused(why), True
                return False
        if isinstance(outcome, Unclear | Unauthorised):
            return await self._failed(batch, attempt, outcome)
        return await self._failed(batch, attempt, _ELSEWHERE)

    async def _judged(self, batch: Batch, attempt: _Attempt, cursor: Cursor | None) -> bool:
        verdict = judge(batch, cursor)
        if verdict is Verdict.LANDED:
            self._shown("up", None)
            await self._store.settle(self.name, batch.id, None, batch.known_seq + 1, batch.id)
            return True
        if verdict is Verdict.FENCED:
            return await self._split(batch, attempt)
        if verdict is Verdict.WENT_BACK:
            await self._come_to_terms(cursor)
            return True
        if verdict is not Verdict.NOT_LANDED:
            taken_by = cursor.taken_by if cursor is not None else None
            return await self._stopped(STOPS[verdict].format(taken_by=taken_by))
        try:
            coverage = Coverage.decode(cursor.applied) if cursor is not None else Coverage()
        except DeoraError as error:
            return await self._stopped(error.told)
        if attempt.refused is None:
            self._standing = Standing(batch.known_seq, batch.known_batch_id, coverage)
            return False
        return await self._fence(batch, attempt, coverage)

    async def _fence(self, batch: Batch, attempt: _Attempt, coverage: Coverage) -> bool:
        """Takes the batch's seq away from it, so that no late copy can land; then it may be split."""
        moves: tuple[CarriedMove, ...] = ()
        if self._given_up(batch, attempt):
            if batch.origins and (ended := await self._unprepared(batch, attempt)) is not None:
                return ended
            coverage = coverage.with_refused(batch.numbers[0]) if not batch.origins else coverage
            moves = self._carrying.moves(batch, refused=True)
        outcome = await self._apply(self._delivery(batch, batch.fence_id, coverage, [], moves))
        self._carrying.forget()
        if isinstance(outcome, Applied):
            self._shown("up", None)
            ended = await self._split(batch, attempt)
            self._standing = Standing(batch.known_seq + 1, batch.fence_id, coverage)
            return ended
        if isinstance(outcome, Moved):
            return await self._failed(batch, attempt, _ELSEWHERE)
        # A cursor that cannot be moved is no fault of the batch: a role cut to read-only, a missing database.
        attempt.refused, attempt.struck, attempt.strikes = None, False, 0
        self._suspects = frozenset()
        if isinstance(outcome, Refused):
            outcome = Unauthorised(f"the cursor cannot be written: {outcome.message}")
            self._shown("unauthorised", outcome.message)
        return await self._failed(batch, attempt, outcome)

    def _given_up(self, batch: Batch, attempt: _Attempt) -> bool:
        """Whether the batch is one entry that is dead once it is fenced."""
        if len(batch.numbers) != 1 or attempt.refused is None:
            return False
        return not attempt.struck or batch.entries[0] in self._suspects

    async def _split(self, batch: Batch, attempt: _Attempt) -> bool:
        seq, cursor_id = batch.known_seq + 1, batch.fence_id
        self._standing = None
        refused = attempt.refused
        if refused is not None and self._given_up(batch, attempt):
            _log.warning(
                "an entry is dead: upstream refuses it",
                extra={"upstream": self.name, "number": batch.numbers[0], "error": refused.message},
            )
            await self._store.settle(self.name, batch.id, refused.message, seq, cursor_id)
            return True
        if attempt.struck:
            self._suspects = frozenset(batch.entries)
        at = cuts(len(batch.numbers), refused.index if refused is not None else None)
        await self._store.split(self.name, batch.id, at, seq, cursor_id)
        return True

    def _delivery(
        self, batch: Batch, batch_id: str, covered: Coverage, payloads: list[bytes], moves: tuple[CarriedMove, ...]
    ) -> Delivery:
        return Delivery(self._key, batch.known_seq, batch.known_batch_id, batch_id, covered.encode(), payloads, moves)

    # -- failing

    async def _failed(self, batch: Batch, attempt: _Attempt, outcome: Unclear | Unauthorised) -> bool:
        """Waits, and notes every so many failures; True when the upstream was paused meanwhile: the batch waits too."""
        attempt.failures += 1
        retry = self._settings.retry
        if isinstance(outcome, Unauthorised):
            await self._sleep(RECHECK_S)
        else:
            await self._sleep(delay_s(retry, attempt.failures, self._random(), outcome.retry_after_s))
            if attempt.failures % retry.attempts != 0 and self._breaker.state is BreakerState.CLOSED:
                return False
        return await self._store.attempted(self.name, batch.id, outcome.message)

    async def _come_to_terms(self, cursor: Cursor | None) -> None:
        """Upstream was restored. Until the queue is in step with it the store hands out nothing."""
        self._lost = True
        self._forget()
        try:
            self._lost = not await self._restored.settle(self._key, cursor)
            if not self._lost:
                self._shown("up", None)
        except DeoraError as error:
            self._show_stopped(error.told)

    async def _stopped(self, reason: str) -> bool:
        self._show_stopped(reason)
        await self._sleep(RECHECK_S)
        return True

    def _show_stopped(self, reason: str) -> None:
        if (self.status.state, self.status.last_error) != ("stopped", reason):
            _log.error("replay stopped: %s", reason, extra={"upstream": self.name})
        self._shown("stopped", reason)

    async def _take_over(self, key: CursorKey, predecessor: str | None) -> Cursor | Failure:
        marking = self._upstream.take_over(key, self._key.box, predecessor)
        return await self._call(marking, self._settings.cursor_deadline_s)

    async def _apply(self, delivery: Delivery) -> Outcome:
        return await self._call(self._upstream.apply(delivery), self._settings.deadline_s)

    async def _read_cursor(self, key: CursorKey) -> Cursor | Unclear | Unauthorised | None:
        return await self._call(self._upstream.read_cursor(key), self._settings.cursor_deadline_s)

    async def _call(self, call: Awaitable[T], deadline_s: float) -> T | Unclear:
        """One call upstream with a deadline, counted by the breaker and shown by the status."""
        self._looked = True
        try:
            async with asyncio.timeout(deadline_s):
                result: T | Unclear = await call
        except TimeoutError:
            result = Unclear(f"no answer within {deadline_s:g} s")
        now_s = self._clock.monotonic_s()
        if isinstance(result, Unclear):
            self._breaker.failed(now_s)
        else:
            # A refusal too is an answer; better credentials must not wait for the breaker.
            self._breaker.succeeded(now_s)
        if isinstance(result, Unclear | Unauthorised):
            self._successes = 0
        if isinstance(result, Unclear | Unauthorised) and self.status.state != "stopped":
            self._shown("down" if isinstance(result, Unclear) else "unauthorised", result.message)
        else:
            # Only what shows that writes go through makes it "up": a cursor that can be read proves little.
            self._shown(self.status.state, self.status.last_error)
        return result

    def note_read(self, result: object) -> None:
        """Counts what a reader of the same upstream met, so that writes and reads have one breaker. What a reader is
        not allowed says nothing of writes."""
        if isinstance(result, Unclear):
            self._breaker.failed(self._clock.monotonic_s())
            self._shown(self.status.state, result.message)
        else:
            self._breaker.succeeded(self._clock.monotonic_s())
            self._shown(self.status.state, self.status.last_error)

    def _shown(self, state: str, error: str | None) -> None:
        """Brings the status up to date and reports it."""
        breaker = self._breaker.state.value
        if self.status.breaker != breaker:
            why = None if breaker == BreakerState.CLOSED.value else error
            _log.warning("the breaker is %s", breaker, extra={"upstream": self.name, "error": why})
        if state == "unauthorised" and (self.status.state, self.status.last_error) != (state, error):
            _log.error("upstream refuses us: %s", error, extra={"upstream": self.name})
        self.status.state, self.status.last_error = state, error
        self.status.breaker, self.status.failures = breaker, self._breaker.failures
        self._report(self.name, self.status)
