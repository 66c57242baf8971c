"""The world: one clock, one source of randomness, and one thing that happens at a time.

Nothing in a simulation runs by itself. The world holds a list of processes that have something to do and a list of
events that are due at a time (a timer, a packet that arrives, a crash). Each step it draws one of those that may happen
now and lets it happen; where there is none, the clock jumps to the next event. All draws come from one generator, so a
seed decides everything, and the same seed makes the same world (after TigerBeetle's VOPR and FoundationDB's simulator).

A process is an asyncio event loop of its own, without a selector: callbacks of one loop run in the order in which they
were scheduled, as asyncio promises, and whose callback is next is drawn. So production code runs unchanged, and every
interleaving of processes that could happen may happen. To kill a process is to never run a callback of it again.
"""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import heapq
import inspect
import random
from collections import deque
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any, TypeVar, TypeVarTuple

from tests.fakes.clock import ManualClock

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

# What one step takes. Time must pass while processes are busy, or a spinning one would never meet a time-out.
STEP_S = 20e-6

# No life of a world takes a tenth of this: who needs more spins.
MOST_STEPS = 300_000


class Violation(Exception):
    """Something that DEORA promises does not hold."""


class World:
    """See above. `violations` says what went wrong; `trace` is what happened, where `traced`."""

    def __init__(self, seed: int, *, traced: bool = False) -> None:
        self.seed = seed
        self.dice = random.Random(seed)
        self.clock = ManualClock(monotonic_s=0.0)
        self.steps = 0
        self.traced = traced
        self.trace: list[str] = []
        self.loops: list[ProcessLoop] = []
        self._hash = hashlib.blake2b(digest_size=8)
        self._runnable: list[ProcessLoop] = []
        self._due: list[tuple[float, float, int, Callable[[], None]]] = []
        self._numbers = count()
        self._running: ProcessLoop | None = None

    # -- what happens when

    @property
    def now_s(self) -> float:
        """Seconds since the world began."""
        return self.clock.now_s

    def after(self, delay_s: float, happen: Callable[[], None]) -> None:
        """Lets something happen so much later. Of what is due at one time, what comes first is drawn."""
        self.at(self.clock.now_s + delay_s, happen)

    def at(self, when_s: float, happen: Callable[[], None]) -> None:
        """Lets something happen at a time."""
        heapq.heappush(self._due, (when_s, self.dice.random(), next(self._numbers), happen))

    def step(self, until_s: float | None = None) -> None:
        """One thing happens. Where nothing can, the clock jumps to the next event, but not beyond `until_s`."""
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise Violation(f"after {MOST_STEPS} steps the world has not come to rest: something spins")
        self.clock.advance(STEP_S)
        runnable, due = self._runnable, self._due
        if not runnable:
            next_s = due[0][0] if due else until_s
            if next_s is None:
                raise Violation("every process waits for something that nobody will do")
            if until_s is not None and next_s >= until_s:
                self.clock.advance(max(0.0, until_s - self.clock.now_s))
                return
            if next_s > self.clock.now_s:
                self.clock.advance(next_s - self.clock.now_s)
        is_due = bool(due) and due[0][0] <= self.clock.now_s
        choices = len(runnable) + is_due
        chosen = int(self.dice.random() * choices) if choices > 1 else 0
        if chosen < len(runnable):
            runnable[chosen].run_one()
        else:
            heapq.heappop(due)[3]()

    def enter(self, loop: ProcessLoop | None) -> None:
        """What happens from now on happens in this process; None: in the world's own code, which asks for no loop."""
        if loop is not self._running:
            self._running = loop
            asyncio._set_running_loop(loop)

    def has_work(self, loop: ProcessLoop) -> None:
        """A process has something to do from now on."""
        self._runnable.append(loop)

    def has_none(self, loop: ProcessLoop) -> None:
        """A process has nothing to do any more, or has ended."""
        self._runnable.remove(loop)

    # -- chance

    def chance(self, probability: float) -> bool:
        """Whether something happens that has this probability."""
        return self.dice.random() < probability

    # -- the trace

    def note(self, who: str, what: str) -> None:
        """Adds a line to the trace, and to the trace's hash."""
        line = f"{self.clock.now_s:11.6f} {who:<10} {what}"
        self._hash.update(line.encode())
        if self.traced:
            self.trace.append(line)

    @property
    def digest(self) -> str:
        """The trace in 16 characters: two runs of a seed that differ anywhere differ here."""
        return self._hash.hexdigest()


class ProcessLoop(asyncio.AbstractEventLoop):
    """The event loop of one process: what asyncio's tasks, futures, time-outs and protocols need of one."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.dead = False
        self.frozen = False
        self.ran = 0
        self.on_count: dict[int, Callable[[], None]] = {}
        """what happens after so many callbacks, all told"""
        self._ready: deque[asyncio.Handle] = deque()
        self._listed = False
        self._tasks: list[asyncio.Task[Any]] = []
        world.loops.append(self)

    # -- being run

    def run_one(self) -> None:
        """Runs the next callback."""
        handle = self._ready.popleft()
        if not self._ready:
            self._unlist()
        self._run(handle)

    def call_now(self, callback: Callable[[*Ts], object], *args: *Ts) -> None:
        """Something has arrived for this process. It sees to it at once, where it has nothing else to do."""
        handle = self.call_soon(callback, *args)
        if len(self._ready) == 1 and self._listed:
            self._ready.clear()
            self._unlist()
            self._run(handle)

    def _run(self, handle: asyncio.Handle) -> None:
        self.ran += 1
        if not handle.cancelled():
            self.world.enter(self)
            handle._run()
        happen = self.on_count.pop(self.ran, None)
        if happen is not None:
            happen()

    def kill(self) -> None:
        """The process is gone, as by SIGKILL: no `finally` of it has any effect on the world."""
        self.dead = True
        self._ready.clear()
        self._unlist()
        # Now and not when they are collected, which is no part of the seed.
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            work = task.get_coro()
            if not task.done() and work is not None:
                _close(work)

    def freeze(self, for_s: float) -> None:
        """The process stands still for a while, as by SIGSTOP."""
        self.frozen = True
        self._unlist()
        self.world.after(for_s, self.thaw)

    def thaw(self) -> None:
        """It goes on."""
        self.frozen = False
        if self._ready:
            self._list()

    def _list(self) -> None:
        if not self._listed and not self.frozen and not self.dead:
            self._listed = True
            self.world.has_work(self)

    def _unlist(self) -> None:
        if self._listed:
            self._listed = False
            self.world.has_none(self)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Begins a task whose failure is the world's."""
        self.create_task(work).add_done_callback(self._end)

    def _end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            task.result()

    # -- asyncio's side

    def time(self) -> float:
        return self.world.clock.now_s

    def call_soon(
        self,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        if not self.dead:
            self._ready.append(handle)
            self._list()
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        if not self.dead:
            self.world.at(when, lambda: self._timer(handle))
        return handle

    def _timer(self, handle: asyncio.TimerHandle) -> None:
        if not self.dead and not handle.cancelled():
            self._ready.append(handle)
            self._list()

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """A cancelled timer is passed over when it is due."""

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, T], *, name: str | None = None, context: contextvars.Context | None = None
    ) -> asyncio.Task[T]:
        task = asyncio.Task(coro, loop=self, name=name, context=context)
        self._tasks.append(task)
        return task

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return not self.dead

    def is_closed(self) -> bool:
        return self.dead

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """A callback has failed. What the tasks of a dead process have to say when they are collected is nothing."""
        error = context.get("exception")
        if isinstance(error, Violation):
            raise error
        if not self.dead and error is not None:
            raise Violation(f"{self.name}: {context['message']}: {error!r}") from error

    async def connect_accepted_socket(  # type: ignore[override]
        self, protocol_factory: Callable[[], asyncio.Protocol], sock: Any
    ) -> tuple[asyncio.Transport, asyncio.Protocol]:
        protocol = protocol_factory()
        sock.connect(protocol)
        return sock, protocol


def _close(work: Any) -> None:
    """Ends a coroutine; also those that it was to await and never will, where it has not begun."""
    if inspect.getcoroutinestate(work) == inspect.CORO_CREATED:
        for argument in work.cr_frame.f_locals.values():
            if inspect.iscoroutine(argument):
                _close(argument)
    work.close()


def new_process(world: World, name: str) -> ProcessLoop:
    """A process that has just been started. It does nothing that needs a selector."""
    return ProcessLoop(world, name)  # type: ignore[abstract]
