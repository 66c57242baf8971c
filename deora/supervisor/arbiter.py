"""The children, alive: it does what the roster decides, and tells the dispatch who is up.

A child is watched by a pidfd and by its socket. Whichever tells first that it is gone, the requests that it held go to
another at once; it is started again when the kernel has its exit status.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import signal
import socket
import time
from collections.abc import Coroutine
from typing import Any, Final

from deora.config.schema import Config
from deora.errors import Problem
from deora.gateway.balancer import Server
from deora.gateway.dispatch import Dispatch
from deora.gateway.requests import Worker
from deora.supervisor.calls import Answer, Calls
from deora.supervisor.children import Child, children_of
from deora.supervisor.process import exit_reason, reap_strangers
from deora.supervisor.pulse import Pulse
from deora.supervisor.roster import Event, State, pause_s, serving
from deora.supervisor.succession import KILL_AFTER_S, Succession
from deora.supervisor.zygotes import Zygotes
from deora.wire.frames import Frame, Kind, Role, encode, pack, unpack
from deora.wire.link import Link

_log = logging.getLogger("deora.supervisor")

UNREAPED_S: Final = 0.01


class Arbiter:
    """Starts, watches and ends the children."""

    def __init__(self, config: Config, data: str, dispatch: Dispatch) -> None:
        self._wire_config = config.to_wire()
        # Which of the configurations that this instance has had is in force.
        self.edition = 0
        self._data = data
        self._dispatch = dispatch
        self._stopping = False
        self._calls = Calls(self._link_of, self._is_coming)
        dispatch.commits.read_through = self._read_through
        self.queue: dict[str, Any] = {}
        self.upstreams: dict[str, dict[str, Any]] = {}
        self.damage: list[list[str]] = []
        self.changed = asyncio.Event()
        self.children = {child.member.slot: child for child in children_of(config)}
        self._tasks: set[asyncio.Task[None]] = set()
        self.zygotes = Zygotes(self.start_task, self.start_who_is_down)
        self.succession = Succession(self, dispatch, config.servers.drain_timeout_s)

    # -- configuration

    def configure(self, config: Config) -> None:
        """Whoever is started from now on gets this configuration. The children of now keep theirs."""
        self._wire_config = config.to_wire()
        self.edition += 1
        self.succession.drain_s = config.servers.drain_timeout_s

    # -- starting

    async def start(self) -> None:
        """Starts the zygote, the store, and when that is ready all others."""
        await self.zygotes.start()
        store = self.children["store"]
        await self.spawn(store)
        while store.member.state is State.STARTING:
            await self.next_change()
        await self.start_who_is_down()

    async def start_who_is_down(self) -> None:
        """Starts every child that waits for a zygote: there is a new one."""
        reap_strangers({child.pid for child in self.everyone()} | {self.zygotes.pid})
        for child in self.everyone():
            await self.spawn(child)

    def everyone(self) -> list[Child]:
        """All children: those in their slots, those that come and those that leave."""
        return [*self.children.values(), *self.succession.coming.values(), *self.succession.leaving]

    def workers(self) -> list[Child]:
        """The workers in their slots."""
        return [child for child in self.children.values() if child.member.role == "worker"]

    async def next_change(self, timeout_s: float | None = None) -> None:
        """Waits until some child's state has changed, or for so long."""
        self.changed.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self.changed.wait()

    def is_ready(self) -> bool:
        """Whether requests of every kind can be served."""
        return self._dispatch.has_workers and self._dispatch.commits.has_store

    async def spawn(self, child: Child) -> None:
        """Starts a child that is down, if there is a zygote; else the next zygote will."""
        member = child.member
        if self.zygotes.pid is None or self._stopping or member.state is not State.DOWN:
            return
        member.move(Event.SPAWN)
        child.ended.clear()
        child.since_s = self._now_s()
        child.figures = {}
        child.edition, child.is_asked = self.edition, False
        try:
            pid, sock = await self.zygotes.spawn(member.slot)
        except ConnectionError:
            # The zygote's end, which is not this child's fault: the next zygote starts it.
            member.move(Event.ENDED)
            member.move(Event.PAUSED)
            return
        except OSError as error:
            _log.error("%s could not be started: %s", member.slot, error)
            self._gone(child, f"could not be started: {error}")
            return
        try:
            child.pidfd = os.pidfd_open(pid)
        except OSError as error:
            # No descriptor is left to watch it by: it ends with its socket, before it has been told who it is.
            sock.close()
            self._gone(child, f"could not be watched: {error}")
            return
        child.pid = pid
        asyncio.get_running_loop().add_reader(child.pidfd, self._on_ended, child)
        await self._introduce(child, sock)

    async def _introduce(self, child: Child, sock: socket.socket) -> None:
        """Opens our end of the socket and tells the child who it is. It sends nothing more until the child's HELLO."""
        member = child.member
        link = await Link.open(
            sock, lambda _, frame: self._on_frame(child, frame), lambda link: self._on_link_lost(child, link)
        )
        if child.pidfd is None:
            link.close()
            return
        child.link = link
        init = {
            "role": member.role,
            "slot": member.slot,
            "name": child.name,
            "generation": member.generation,
            "run": self._dispatch.run.to_bytes(4, "big"),
            "config": self._wire_config,
            "data": self._data,
        }
        child.link.send(encode(Kind.INIT, 0, pack(init), generation=member.generation))

    # -- frames

    def _on_frame(self, child: Child, frame: Frame) -> None:
        kind = frame[0]
        if kind == Kind.ANSWER:
            if child.worker is not None:
                self._dispatch.on_answer(child.worker, frame)
        elif kind == Kind.COMMIT:
            if child.worker is not None:
                self._dispatch.on_commit(child.worker, frame)
        elif kind == Kind.EVENTS:
            if child.worker is not None:
                self._dispatch.streams.on_events(child.worker, frame)
        elif kind == Kind.STREAM:
            if child.worker is not None:
                self._dispatch.on_stream(child.worker, frame)
        elif kind == Kind.RESULT:
            self._dispatch.commits.on_result(frame)
        elif kind == Kind.NOTICE:
            self._to_workers(encode(Kind.NOTICE, 0, frame[5]))
        elif kind == Kind.CALL:
            if child.link is not None:
                self._calls.route(child.link, frame)
        elif kind == Kind.REPLY:
            self._calls.replied(frame)
        elif kind == Kind.EVENT:
            self._on_event(child, unpack(frame[5]))
        elif kind == Kind.PONG:
            child.pulse.answered(frame[4])
            child.latency_ms = (self._now_s() - child.pinged_s) * 1000
            if frame[5]:
                child.figures = unpack(frame[5])
        elif kind == Kind.HELLO:
            self._on_hello(child, unpack(frame[5]))

    def _on_hello(self, child: Child, hello: dict[str, Any]) -> None:
        child.member.move(Event.HELLO)
        if child.link is None:
            return
        if child.member.state is not State.UP:
            # A STOP that was sent before the child listened is not to be lost.
            child.link.send(encode(Kind.STOP, 0))
            return
        child.since_s = self._now_s()
        child.pulse = Pulse()
        if child.member.role == "store":
            self.queue = hello["figures"]
            child.figures = hello["disk"]
            self.damage = hello.get("damage", [])
            # Workers forget what they read from the last store before any answer of this one can reach a client.
            self._to_workers(encode(Kind.STORE, 0))
            self._dispatch.commits.store_up(child.link)
        elif child.member.role == "worker":
            self.succession.arrived(child)
            child.worker = Worker(child.member.slot, child.name.encode(), child.member.generation, child.link)
            self._dispatch.worker_up(child.worker, self._servers())
        self._calls.resume(child.member.slot)
        _log.info("%s is up", child.member.slot, extra={"child": child.pid, "generation": child.member.generation})
        self.changed.set()

    def _on_event(self, child: Child, event: list[Any]) -> None:
        name, *rest = event
        if name == "queue":
            [self.queue] = rest
        elif name == "replicated":
            self._dispatch.commits.on_replicated(rest[0])
        elif name == "upstream":
            self.upstreams[rest[0]] = rest[1]
        elif name == "damage":
            [self.damage] = rest
        elif name == "cannot-boot":
            reason, hint = rest
            child.member.reason = reason if hint is None else f"{reason} ({hint})"

    def _to_workers(self, frame: bytes) -> None:
        for child in self.everyone():
            if child.worker is not None and child.link is not None:
                child.link.send(frame)

    def _link_of(self, slot: str) -> Link | None:
        child = self.children.get(slot)
        is_there = child is not None and child.member.state is State.UP and not child.is_asked
        return child.link if child is not None and is_there else None

    def _is_coming(self, slot: str) -> bool:
        """Whether a call may wait for the child in a slot: it is being started, and has not failed to."""
        child = self.children.get(slot)
        return child is not None and (child.is_asked or child.member.state in (State.DOWN, State.STARTING))

    def ask(self, role: int, body: bytes, answer: Answer) -> None:
        """Calls the child of a role; `answer` is told once."""
        self._calls.ask(role, body, answer)

    def _read_through(self, ident: int, paths: list[str]) -> None:
        """Has the replayer fetch what the store lacks to judge the writes of a request."""
        self._calls.ask(
            Role.REPLAYER,
            pack(["adopt", paths]),
            lambda aux, body: self._dispatch.commits.on_read_through(
                ident, Problem.from_wire(unpack(body)) if aux else None
            ),
        )

    # -- ending

    def _on_link_lost(self, child: Child, link: Link) -> None:
        if child.link is not link:
            return
        child.link = None
        self._withdraw(child)
        # A child that closed its socket is of no use; the pidfd tells when it has gone.
        if child.pidfd is not None and child.member.state is State.UP:
            self._signal(child, signal.SIGKILL)

    def _withdraw(self, child: Child) -> None:
        """Nothing is sent to this child any more, and what it held goes elsewhere."""
        if child.member.role == "store":
            self._dispatch.commits.store_lost()
        elif child.worker is not None:
            worker, child.worker = child.worker, None
            self._dispatch.worker_lost(worker, self._servers())
        self._calls.lost(child.member.slot, again=child.is_asked)
        self.changed.set()

    def _on_ended(self, child: Child) -> None:
        assert child.pidfd is not None
        loop = asyncio.get_running_loop()
        loop.remove_reader(child.pidfd)
        try:
            reason = exit_reason(child.pidfd)
        except BlockingIOError:
            loop.call_later(UNREAPED_S, self._on_ended, child)
            return
        os.close(child.pidfd)
        child.pid, child.pidfd = None, None
        # What it sent before its end has been read: uvloop reads sockets before it calls readers of other descriptors.
        link, child.link = child.link, None
        if link is not None:
            link.close()
        self._withdraw(child)
        self._gone(child, reason)

    def _gone(self, child: Child, reason: str) -> None:
        member = child.member
        was_up = member.state is State.UP
        state = member.move(Event.ENDED)
        child.ended.set()
        child.since_s = self._now_s()
        self.changed.set()
        if state is State.STOPPED:
            self.succession.left(child)
            return
        if was_up:
            level = logging.INFO if child.is_asked else logging.WARNING
            member.crashes += not child.is_asked
            _log.log(level, "%s ended (%s); starting it again", member.slot, reason)
            member.reason = None
            if not self.succession.inherit(member.slot):
                self.start_task(self.spawn(child))
            return
        member.failures += 1
        member.reason = member.reason or f"ended before it was ready: {reason}"
        self._calls.lost(member.slot)
        if self.succession.gave_up(child):
            _log.error("the worker that was to replace %s cannot start (%s)", member.slot, member.reason)
            return
        wait_s = pause_s(member.failures, random.random())
        _log.error("%s cannot start (%s); next try in %.0f s", member.slot, member.reason, wait_s)
        asyncio.get_running_loop().call_later(wait_s, self.retry, child)
        self.rebalance()

    def retry(self, child: Child) -> None:
        """Starts a child whose pause is over, or is not to be waited for."""
        if child.member.state is State.DELAYED:
            child.member.move(Event.PAUSED)
            self.start_task(self.spawn(child))

    def take_out(self, child: Child, why: str) -> None:
        """Gives what a child holds to others, and kills it; it is started again like one that died."""
        _log.error("%s is taken out and killed: %s", child.member.slot, why)
        self._withdraw(child)
        self._signal(child, signal.SIGKILL)

    async def stop(self, deadline_s: float) -> None:
        """Ends all children in order: workers, replayer, and the store last. `deadline_s` by the loop's clock."""
        self._stopping = self.zygotes.stopping = True
        for roles in (("worker", "replayer"), ("store",)):
            ending = [child for child in self.everyone() if child.member.role in roles]
            for child in ending:
                child.member.move(Event.STOP)
                if child.link is not None:
                    child.link.send(encode(Kind.STOP, 0))
            await self.wait_ended(ending, deadline_s)
        self.zygotes.stop()

    async def wait_ended(self, children: list[Child], deadline_s: float) -> None:
        """Waits for the end of children that were asked to, and kills those that do not end in time."""
        waits = [child.ended.wait() for child in children if child.pidfd is not None]
        left_s = max(0.5, deadline_s - self._now_s())
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*waits), min(left_s, KILL_AFTER_S))
            return
        for child in children:
            if child.pidfd is not None:
                _log.warning("%s did not end in time; killing it", child.member.slot)
                self._signal(child, signal.SIGKILL)
        await asyncio.gather(*(child.ended.wait() for child in children if child.pidfd is not None))

    # -- who serves

    def rebalance(self) -> None:
        """Has requests go to those that serve now: duties or health have changed."""
        self._dispatch.serve(self._servers())

    def serving(self) -> list[Child]:
        """The workers that take requests."""
        workers = self.workers()
        slots = {member.slot for member in serving(child.member for child in workers)}
        return [child for child in workers if child.member.slot in slots and child.worker is not None]

    def _servers(self) -> list[Server]:
        return [child.server for child in self.serving() if child.server is not None]

    # -- the rest

    def _signal(self, child: Child, number: int) -> None:
        if child.pidfd is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(child.pidfd, number)

    def start_task(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs something in the background."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _now_s(self) -> float:
        return time.monotonic()
