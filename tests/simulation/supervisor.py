"""The supervisor's process: the real dispatch, calls and links; the arbiter is reduced to who is up.

It starts the store and the replayer, routes frames by the real arbiter's table, and starts again what ended. A worker
is a link that gives each request back as the COMMIT that is its content, since workers have no side effect: what they
do with a request is in the worker's own tests.

When the supervisor dies, its children die with it, and clients' connections break.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count

from deora.config.schema import Config
from deora.errors import Problem
from deora.gateway.balancer import RoundRobin, Server
from deora.gateway.dispatch import Dispatch
from deora.gateway.incoming import Incoming
from deora.gateway.requests import Patience, Worker
from deora.observe.metrics import Metrics
from deora.supervisor.calls import Calls
from deora.wire.frames import Decoder, Frame, Kind, Role, encode, pack, unpack
from deora.wire.link import Link
from tests.simulation.network import Network
from tests.simulation.replayer import start_replayer
from tests.simulation.sockets import SocketEnd, as_socket, socketpair
from tests.simulation.store import StoreProcess
from tests.simulation.world import ProcessLoop, World, new_process

PATIENCE_S = 12.0
SWEEP_S = 1.0
PING_S = 4.0


@dataclass(slots=True)
class Child:
    """A slot and the process in it."""

    slot: str
    generation: int
    end: SocketEnd
    link: Link | None = None
    loop: ProcessLoop | None = None
    is_up: bool = False


class Supervisor:
    """One life of a supervisor. `old` are the replayers that it has given up and that do not know it yet."""

    def __init__(self, world: World, config: Config, store: StoreProcess, networks: list[Network]) -> None:
        self.world = world
        self.loop = new_process(world, "supervisor")
        self.children: dict[str, Child] = {}
        self.old: list[ProcessLoop] = []
        self._config = config
        self._store = store
        self._networks = networks
        self._generations = count(1)
        self._has_replayer = False
        self._calls = Calls(self._link_of, lambda _: False)
        self.dispatch = Dispatch(
            RoundRobin(), Patience(PATIENCE_S, 2), Metrics(), world.clock.monotonic_s, lambda _: None
        )
        self.dispatch.run = world.dice.getrandbits(31)
        self.dispatch.commits.read_through = self._read_through
        self.loop.call_soon(self._begin)

    # -- what clients and the world do

    def accept(self, incoming: Incoming) -> None:
        """A client's request arrives."""
        self.loop.call_soon(self.dispatch.accept, incoming)

    def read_upstream(self, operation: str, paths: list[str], told: Callable[[int, bytes], None]) -> None:
        """A worker has the replayer read documents, or adopt them."""
        self.loop.call_soon(lambda: self._calls.ask(Role.REPLAYER, pack([operation, paths]), told))

    def kill(self) -> None:
        """Everything dies."""
        self.loop.kill()
        for loop in [*self.old, *(child.loop for child in self.children.values())]:
            if loop is not None:
                loop.kill()
        self._store.kill()

    def kill_replayer(self) -> None:
        """The replayer dies, and its socket tells."""
        child = self.children.get("replayer")
        if child is not None and child.loop is not None:
            child.loop.kill()
            child.end.peer.close()

    def freeze_replayer(self, for_s: float) -> None:
        """The replayer stands still for a while; the world does not."""
        child = self.children.get("replayer")
        if child is not None and child.loop is not None and not child.loop.dead:
            child.loop.freeze(for_s)

    def give_up_replayer(self, hears_after_s: float) -> None:
        """The replayer counts as gone, another one is started, and the old one goes on until it hears of it."""
        child = self.children.get("replayer")
        if child is not None and child.loop is not None and child.link is not None:
            self.old.append(child.loop)
            child.end.close_late(hears_after_s)

    # -- children

    def _begin(self) -> None:
        self._start_store()
        worker = _WorkerLink(self)
        self._worker = Worker("primary", b"primary", 1, worker)
        self.dispatch.worker_up(self._worker, [Server("primary", 1, 1)])
        self.loop.call_later(SWEEP_S, self._sweep)
        self.loop.call_later(PING_S, self._ping)

    def _start_store(self) -> None:
        ours, theirs = socketpair(self.world, self.loop, None)
        child = Child("store", next(self._generations), ours)
        self.children["store"] = child
        self.loop.start(self._introduce(child))
        self._store.starting = (theirs, child.generation)

    def _start_replayer(self) -> None:
        generation = next(self._generations)
        loop = new_process(self.world, f"replayer{generation}")
        ours, theirs = socketpair(self.world, self.loop, loop)
        child = self.children["replayer"] = Child("replayer", generation, ours, loop=loop)
        self.loop.start(self._introduce(child))
        start_replayer(self.world, loop, theirs, self._config, self._networks, generation)

    async def _introduce(self, child: Child) -> None:
        child.link = await Link.open(
            as_socket(child.end), lambda _, frame: self._on_frame(child, frame), lambda _: self._on_lost(child)
        )

    def _on_lost(self, child: Child) -> None:
        child.link, child.is_up = None, False
        if child.slot == "store":
            self.dispatch.commits.store_lost()
        self._calls.lost(child.slot)
        if self.children.get(child.slot) is child:
            del self.children[child.slot]
            start = self._start_store if child.slot == "store" else self._start_replayer
            self.loop.call_later(0.02 + self.world.dice.random() * 0.3, start)

    # -- frames, as `deora.supervisor.arbiter` routes them

    def _on_frame(self, child: Child, frame: Frame) -> None:
        kind, body = frame[0], frame[5]
        if kind == Kind.RESULT:
            self.dispatch.commits.on_result(frame)
        elif kind == Kind.CALL:
            if child.link is not None:
                self._calls.route(child.link, frame)
        elif kind == Kind.REPLY:
            self._calls.replied(frame)
        elif kind == Kind.EVENT:
            name, *rest = unpack(body)
            if name == "replicated":
                self.dispatch.commits.on_replicated(rest[0])
        elif kind == Kind.HELLO:
            self._on_hello(child)

    def _on_hello(self, child: Child) -> None:
        if child.link is None:
            return
        child.is_up = True
        if child.slot == "store":
            self.dispatch.commits.store_up(child.link)
            if not self._has_replayer:
                self._has_replayer = True
                self._start_replayer()

    def _link_of(self, slot: str) -> Link | None:
        child = self.children.get(slot)
        return child.link if child is not None and child.is_up else None

    def _read_through(self, ident: int, paths: list[str]) -> None:
        self._calls.ask(
            Role.REPLAYER,
            pack(["adopt", paths]),
            lambda aux, body: self.dispatch.commits.on_read_through(
                ident, Problem.from_wire(unpack(body)) if aux else None
            ),
        )

    def on_commit(self, frame: Frame) -> None:
        """A worker has read a request: it is a COMMIT."""
        self.dispatch.on_commit(self._worker, frame)

    def _sweep(self) -> None:
        self.dispatch.sweep()
        self.loop.call_later(SWEEP_S, self._sweep)

    def _ping(self) -> None:
        link = self._link_of("store")
        if link is not None:
            link.send(encode(Kind.PING, 1))
        self.loop.call_later(PING_S, self._ping)


class _WorkerLink(Link):
    """The link of a worker that answers each REQUEST with the COMMIT which is its content."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    @property
    def has_unsent(self) -> bool:
        return False

    def send(self, frame: bytes) -> None:
        [(_, _, head_bytes, generation, ident, body)] = Decoder().feed(frame)
        _, _, wait = body[:head_bytes].partition(b"prefer:wait=")
        wait_s = int(wait.partition(b"\n")[0] or b"0")
        commit = (Kind.COMMIT, 0, wait_s, generation, ident, body[head_bytes:])
        self._supervisor.loop.call_soon(self._supervisor.on_commit, commit)
