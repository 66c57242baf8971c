"""An arbiter with children that are mere processes: what they would say, the test says in their place."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from deora.config.schema import Config
from deora.errors import StartError
from deora.gateway.balancer import RoundRobin
from deora.gateway.dispatch import Dispatch
from deora.gateway.requests import Patience
from deora.observe.metrics import Metrics
from deora.supervisor import arbiter as arbiter_module
from deora.supervisor import zygotes as zygotes_module
from deora.supervisor.arbiter import Arbiter
from deora.supervisor.roster import State
from deora.wire.frames import Decoder, Frame, Kind, encode, pack, unpack

FIGURES = {"upstreams": {}, "running_s": 0}
PATIENCE_S = 30.0


class Fake:
    """A child: a process that sleeps, and its end of the socket."""

    def __init__(self, slot: str, sock: socket.socket) -> None:
        self.slot = slot
        self.process = subprocess.Popen(["sleep", "600"])
        self.sock = sock
        self.sock.setblocking(False)
        self.frames: list[Frame] = []
        self._decoder = Decoder()

    def say(self, kind: Kind, value: Any = None, *, ident: int = 0, aux: int = 0) -> None:
        body = value if isinstance(value, bytes) else pack({} if value is None else value)
        self.sock.sendall(encode(kind, ident, body, aux=aux, generation=self.generation))

    def hello(self) -> None:
        self.say(Kind.HELLO, {"figures": FIGURES, "disk": {"disk_free": 1}})

    @property
    def init(self) -> dict[str, Any]:
        [frame] = [frame for frame in self.heard() if frame[0] == Kind.INIT]
        found: dict[str, Any] = unpack(frame[5])
        return found

    @property
    def generation(self) -> int:
        return int(self.init["generation"])

    def heard(self, kind: Kind | None = None) -> list[Frame]:
        """What the supervisor has sent so far."""
        while True:
            try:
                data = self.sock.recv(65536)
            except (BlockingIOError, OSError):
                break
            if not data:
                break
            self.frames += self._decoder.feed(data)
        return [frame for frame in self.frames if kind is None or frame[0] == kind]

    def kill(self) -> None:
        """Dies as the kernel has it: process and socket at once."""
        self.process.kill()
        self.sock.close()

    def close(self) -> None:
        self.sock.close()
        self.process.kill()
        self.process.wait()


class FakeZygote:
    """Makes `Fake`s."""

    failures = 0

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.process = subprocess.Popen(["sleep", "600"])
        self.pid = self.process.pid
        self.pidfd = os.pidfd_open(self.pid)
        self.spawn_failures = 0
        self.is_broken = False

    async def spawn(self, slot: str) -> tuple[int, socket.socket]:
        if self.is_broken:
            raise ConnectionError("the zygote has ended")
        if self.spawn_failures:
            self.spawn_failures -= 1
            raise BlockingIOError("too much to do")
        ours, theirs = socket.socketpair()
        fake = Fake(slot, theirs)
        self.bench.fakes.append(fake)
        return fake.process.pid, ours

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.pidfd)


class Bench:
    """An arbiter, its dispatch, and the children that it has started so far."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.dispatch = Dispatch(
            RoundRobin(), Patience(30, 2), Metrics(), asyncio.get_running_loop().time, lambda _: None
        )
        self.config = Config.from_wire(config)
        self.arbiter = Arbiter(self.config, "/data", self.dispatch)
        self.fakes: list[Fake] = []
        self.zygotes: list[FakeZygote] = []
        self.zygote_failures = 0
        self.zygotes_may_start = asyncio.Event()
        self.zygotes_may_start.set()

    async def start_zygote(self) -> FakeZygote:
        await self.zygotes_may_start.wait()
        if self.zygote_failures:
            self.zygote_failures -= 1
            raise StartError("no zygote")
        self.zygotes.append(FakeZygote(self))
        return self.zygotes[-1]

    def state(self, slot: str) -> State:
        return self.arbiter.children[slot].member.state

    def last(self, slot: str) -> Fake:
        """The latest child in a slot."""
        return [fake for fake in self.fakes if fake.slot == slot][-1]

    async def until(self, holds: Callable[[], Any]) -> None:
        """Lets the loop turn until something holds. A busy machine takes its time to end a process."""
        deadline_s = asyncio.get_running_loop().time() + PATIENCE_S
        while not holds():
            assert asyncio.get_running_loop().time() < deadline_s, [
                (slot, child.member) for slot, child in self.arbiter.children.items()
            ]
            await asyncio.sleep(0.001)

    async def hears(self, fake: Fake, kind: Kind, count: int = 1) -> list[Frame]:
        """The frames of a kind that a child has got, once they are `count`."""
        await self.until(lambda: len(fake.heard(kind)) >= count)
        found = fake.heard(kind)
        assert len(found) == count
        return found

    async def fails(self, slot: str, failures: int) -> None:
        """Waits for a child's so manieth failed start in a row."""
        await self.until(lambda: self.arbiter.children[slot].member.failures >= failures)
        assert self.arbiter.children[slot].member.failures == failures

    async def up(self, slot: str) -> Fake:
        """Lets the latest child of a slot say HELLO."""
        await self.until(lambda: self.state(slot) is State.STARTING and self.last(slot).heard(Kind.INIT))
        fake = self.last(slot)
        fake.hello()
        await self.until(lambda: self.state(slot) is State.UP)
        return fake

    async def all_up(self) -> None:
        starting = asyncio.ensure_future(self.arbiter.start())
        await self.until(lambda: self.fakes)
        for slot in self.arbiter.children:
            await self.up(slot)
        await starting


Arbitrate = Callable[..., None]


def arbitration(monkeypatch: pytest.MonkeyPatch) -> Arbitrate:
    """Gives what runs a test's coroutine with a bench, in which the pauses between starts take no time."""

    def run(talk: Callable[[Bench], Awaitable[None]], config: dict[str, Any] | None = None) -> None:
        async def main() -> None:
            bench = Bench(config or {})

            class Start:
                start = staticmethod(bench.start_zygote)

            monkeypatch.setattr(zygotes_module, "Zygote", Start)
            try:
                await talk(bench)
            finally:
                bench.arbiter._stopping = bench.arbiter.zygotes.stopping = True
                for fake in bench.fakes:
                    fake.close()
                for zygote in bench.zygotes:
                    zygote.process.kill()
                children = bench.arbiter.everyone()
                await bench.until(lambda: all(child.pidfd is None and child.link is None for child in children))
                await bench.until(lambda: bench.arbiter.zygotes.pid is None)
                for zygote in bench.zygotes:
                    zygote.process.wait()
                await asyncio.sleep(0)  # links that were never a child's

        for module in (arbiter_module, zygotes_module):
            monkeypatch.setattr(module, "pause_s", lambda *_: 0.0)
        uvloop.run(main())

    return run
