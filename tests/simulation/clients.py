"""Clients and their history, an operator, and another program that writes upstream.

Every set, create and update carries a token of its own. The documents `d/a` and `d/b` are only ever added to, so that
what was acknowledged can be looked for in each later read. `d/c` and `e/x` are set, created, deleted and guarded. All
keep one property, whatever is done to them in whatever order: their counter `n` equals the length of their `log`. An
increment that counts twice anywhere breaks it, in the view of a read as upstream.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import orjson

from deora.documents.values import canonical
from deora.documents.writes import Write
from deora.gateway.access import Scope
from deora.gateway.connection import Connection
from deora.gateway.incoming import Incoming
from deora.wire.frames import pack
from tests.fakes.checker import Outcome, Sent, outcome_of
from tests.fakes.star import Received, read_answer
from tests.fakes.store import create, delete, set_, update
from tests.simulation.disk import Disk
from tests.simulation.network import Network, tokens_of
from tests.simulation.supervisor import Supervisor
from tests.simulation.world import Violation, World, new_process

ADDED_TO = ("d/a", "d/b")
REPLACED = ("d/c", "e/x")
LEDGER = "e/ledger"

_ROW = "SELECT version, commit_no, CAST(view AS BLOB) FROM documents WHERE collection = ? AND name = ?"


@dataclass(frozen=True, slots=True)
class Row:
    """A document as a worker reads it."""

    version: str
    commit: int
    data: dict[str, Any] | None


@dataclass(slots=True)
class Ask:
    """A request and what it carries."""

    writes: list[Write]
    tokens: list[tuple[str, str]]
    key: bytes | None
    priority: int
    wait_s: int


class _Waiting(Connection):
    """A client's connection: the answer comes a moment later, or never, where the supervisor dies first."""

    def __init__(self, world: World, answer: asyncio.Future[Received | None]) -> None:
        self._world = world
        self._answer = answer

    def send(self, answer: bytes, *, close: bool) -> None:
        self._world.after(0.0005, lambda: self.end(read_answer(answer, closes=close)))

    def end(self, received: Received | None) -> None:
        """The answer has come, or the connection is broken (None)."""
        if not self._answer.done():
            self._answer.set_result(received)


@dataclass(slots=True)
class History:
    """What clients were told, and what operators have decided since."""

    sent: list[Sent] = field(default_factory=list)
    dropped: dict[tuple[str, str], Outcome] = field(default_factory=dict)
    """(upstream, token) -> FAIL where the drop was acknowledged, UNKNOWN where its answer was lost"""
    forced: set[str] = field(default_factory=set)
    """tokens that an operator has sent out of turn"""


class Clients:
    """All who ask something of the box."""

    def __init__(self, world: World, disk: Disk, networks: list[Network], *, wary: bool) -> None:
        self.world = world
        self.loop = new_process(world, "clients")
        self.supervisor: Supervisor | None = None
        self.history = History()
        self.busy = 0
        self.stranger_deletes = False
        self._disk = disk
        self._networks = {network.name: network for network in networks}
        self._numbers = count(1)
        self._keys = count(1)
        self._open: list[_Waiting] = []
        self._wary = wary
        """whether each request has a key"""

    # -- life and death of the box

    def connect(self, supervisor: Supervisor) -> None:
        """There is a supervisor to speak to."""
        self.supervisor = supervisor

    def disconnect(self) -> None:
        """The supervisor has died: all connections break."""
        self.supervisor = None
        broken, self._open = self._open, []
        for connection in broken:
            connection.end(None)

    async def ask(self, content: bytes, wait_s: int = 0) -> Received | None:
        """One request and its answer; None where there is none."""
        if self.supervisor is None:
            await asyncio.sleep(0.2)
            return None
        answer: asyncio.Future[Received | None] = asyncio.get_running_loop().create_future()
        connection = _Waiting(self.world, answer)
        fields = {b"prefer": b"wait=%d" % wait_s} if wait_s else {}
        self._open.append(connection)
        self.supervisor.accept(
            Incoming(connection, b"POST", b"/v1/documents:commit", fields, content, Scope.ADMIN, False, False)
        )
        received = await answer
        if connection in self._open:
            self._open.remove(connection)
        return received

    # -- tills

    def start(self, clients: int, turns: int) -> None:
        """They begin."""
        for number in range(clients):
            self.busy += 1
            self.loop.start(self._till(f"client{number}", turns))

    async def _till(self, name: str, turns: int) -> None:
        dice = self.world.dice
        mine: dict[str, list[str]] = {}
        for _ in range(turns):
            await asyncio.sleep(dice.random() * (0.1 if dice.random() < 0.6 else 1.5))
            await self._write(name, mine)
            if dice.random() < 0.6:
                self._read(name, dice.choice(ADDED_TO), mine)
            if dice.random() < 0.1:
                self._ask_upstream(dice.choice(("read", "adopt")))
        self.busy -= 1

    async def _write(self, name: str, mine: dict[str, list[str]]) -> None:
        world = self.world
        ask = self._request()
        content = pack(
            [
                "write",
                ask.key,
                b"of " + (ask.key or b""),
                ask.priority,
                pack([write.to_wire() for write in ask.writes]),
                len(ask.writes) == 1,
                False,
            ]
        )
        what = " ".join(f"{write.op} {write.path}" for write in ask.writes)
        tokens = " ".join(token for _, token in ask.tokens)
        for attempt in range(8):
            world.note(name, f"{what} {tokens}{' with key' if ask.key else ''}")
            received = await self.ask(content, ask.wait_s)
            outcome = outcome_of(received.status if received is not None else None)
            world.note(name, f"{tokens}: {received.status if received is not None else 'no answer'}")
            if outcome is not Outcome.UNKNOWN or ask.key is None:
                break
            await asyncio.sleep(0.1 + attempt * 0.3 * world.dice.random())
        commit = int(received.json["commit"]) if received is not None and outcome is Outcome.OK else None
        for path, token in ask.tokens:
            self.history.sent.append(Sent(token, path, outcome, commit))
            if outcome is Outcome.OK:
                mine.setdefault(path, []).append(token)
        if received is not None and commit is not None:
            await self._doubt(ask, content, received, commit)

    async def _doubt(self, ask: Ask, content: bytes, received: Received, commit: int) -> None:
        """What was said must be so; and who repeats a request with its key is told the same."""
        if received.json.get("replication") == "done":
            applied = self._networks["primary"].applied()
            for path, token in ask.tokens:
                if token not in applied.get(path, ()):
                    raise Violation(f"{path} {token} was said to be upstream, and is not")
        if ask.key is not None and self.world.chance(0.1):
            again = await self.ask(content)
            if again is not None and outcome_of(again.status) is Outcome.OK and again.json["commit"] != commit:
                raise Violation(f"{ask.tokens} had commit {commit}, and with the same key {again.json['commit']}")
            if again is not None and outcome_of(again.status) is Outcome.FAIL:
                raise Violation(f"{ask.tokens} was accepted, and refused with the same key: {again.json}")

    def _request(self) -> Ask:
        dice = self.world.dice
        tokens: list[tuple[str, str]] = []

        def token(path: str) -> str:
            new = f"t-{next(self._numbers):06d}"
            tokens.append((path, new))
            return new

        def added(path: str, **more: Any) -> Write:
            one = token(path)
            fields = {"log": {"$arrayUnion": [one]}, "n": {"$increment": 1}, "at": {"$serverTimestamp": True}}
            return update(path, fields, **more)

        def whole(path: str) -> dict[str, Any]:
            return {"log": [token(path)], "n": 1}

        kind = dice.random()
        path = dice.choice(REPLACED)
        if kind < 0.45:
            writes = [added(dice.choice(ADDED_TO), upsert=True)]
        elif kind < 0.60:
            chosen = dice.sample((*ADDED_TO, *REPLACED), dice.randint(2, 3))
            writes = [added(each, upsert=True) for each in chosen]
        elif kind < 0.68:
            writes = [set_(path, whole(path))]
        elif kind < 0.76:
            writes = [create(path, whole(path), if_absent=dice.random() < 0.5)]
        elif kind < 0.84:
            row = self._row(path)
            writes = [added(path, if_version=row.version if row is not None and row.data is not None else "*")]
        elif kind < 0.90:
            writes = [added(dice.choice((*ADDED_TO, path)))]
        else:
            writes = [delete(path), added(LEDGER, upsert=True)]
        key = b"k%d" % next(self._keys) if self._wary or dice.random() < 0.6 else None
        wait_s = 3 if dice.random() < 0.08 else 0
        return Ask(writes, tokens, key, dice.choice((0, 5, 5, 5, 9)), wait_s)

    # -- reads

    def _row(self, path: str) -> Row | None:
        rows = self._disk.reader.execute(_ROW, path.split("/")).fetchall()
        if not rows:
            return None
        [(version, commit, data)] = rows
        return Row(version, commit, orjson.loads(data) if data is not None else None)

    def _read(self, name: str, path: str, mine: dict[str, list[str]]) -> None:
        """A read through a worker: it must show what this client was told to be done."""
        row = self._row(path)
        data = row.data if row is not None else None
        check_counts(f"{name} reads {path}", data)
        seen = set(data["log"]) if data is not None else set()
        gone = {token for _, token in self.history.dropped}
        missing = [token for token in mine.get(path, ()) if token not in seen and token not in gone]
        if missing:
            raise Violation(f"{name} reads {path}, and its own {missing[0]} is not there")

    def _ask_upstream(self, operation: str) -> None:
        """A worker reads through, or has what it holds refreshed; nobody waits for it here."""
        if self.supervisor is None:
            return
        paths = self.world.dice.sample((*ADDED_TO, *REPLACED), 2)
        self.world.note("worker", f"{operation} {' '.join(paths)}")
        self.supervisor.read_upstream(operation, paths, lambda _, __: None)

    # -- an operator

    async def operate(self, *parts: Any) -> Received | None:
        """Asks for a change of the queue."""
        self.world.note("operator", " ".join(map(str, parts)))
        return await self.ask(pack(list(parts)))

    async def decide(self, *, drops: bool, forces: bool) -> None:
        """Decides on a dead entry, where there is one: it is dropped, or sent again, by force or not."""
        dead = self.dead()
        if not dead:
            return
        ident, upstream, payload = self.world.dice.choice(dead)
        tokens = [token for _, token in tokens_of(payload)]
        if drops:
            for token in tokens:
                self.history.dropped.setdefault((upstream, token), Outcome.UNKNOWN)
            received = await self.operate("drop", ident)
            told = outcome_of(received.status if received is not None else None)
            for token in tokens:
                if told is Outcome.OK:
                    self.history.dropped[upstream, token] = Outcome.FAIL
        else:
            if forces:
                self.history.forced.update(tokens)
            await self.operate("retry", ident, forces)

    def dead(self) -> list[tuple[int, str, bytes]]:
        """The dead entries: (id, upstream, payload)."""
        return self._disk.reader.execute(
            "SELECT e.id, u.name, e.payload FROM entries AS e JOIN upstreams AS u ON u.id = e.upstream"
            " WHERE e.state = 2 ORDER BY e.id"
        ).fetchall()

    def waiting(self) -> int:
        """How many entries are on their way."""
        [(found,)] = self._disk.reader.execute("SELECT count(*) FROM entries WHERE state = 0").fetchall()
        return int(found)

    # -- another program

    def write_upstream(self) -> None:
        """Another program changes a document that is replicated: one of its own, or a field of ours."""
        dice = self.world.dice
        network = self._networks["primary"]
        documents = network.server.documents
        path = dice.choice((*ADDED_TO, "d/theirs"))
        held = orjson.loads(documents[path]) if path in documents else None
        if path == "d/theirs":
            gone = held is not None and dice.random() < 0.2
            self.stranger_deletes = self.stranger_deletes or gone
            changed = None if gone else {"log": [], "n": 0, "theirs": dice.random()}
        elif held is None:
            return
        else:
            changed = {**held, "theirs": dice.randrange(1000)}
        self.world.note("stranger", f"writes {path}")
        network.write_as_another_program(path, canonical(changed) if changed is not None else None)


def check_counts(who: str, data: dict[str, Any] | None) -> None:
    """The counter of a document equals the length of its log."""
    if data is not None and (data["n"] != len(data["log"]) or len(set(data["log"])) != data["n"]):
        raise Violation(f"{who}: n is {data['n']}, and the log has {len(data['log'])}: {data['log']}")
