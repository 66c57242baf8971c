"""The store without its process: a real `Service` on a real file, spoken to in frames as the supervisor does."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import orjson

from deora.documents.values import canonical, check_document
from deora.documents.writes import Write, parse_update
from deora.errors import Problem
from deora.store.commits import QueueLimits
from deora.store.database import open_writer
from deora.store.service import Service, Settings
from deora.wire.frames import FLAG_RESENT, Decoder, Frame, Kind, Role, encode, pack, unpack
from tests.fakes.clock import ManualClock
from tests.fakes.connection import FaultyConnection

MIB = 1024 * 1024


def settings_with(
    upstreams: Sequence[str] = ("primary",),
    *,
    max_entries: int = 1000,
    max_bytes: int = MIB,
    retention_s: int = 24 * 3600,
    dead_holds: bool = False,
) -> Settings:
    """Settings of a store for tests."""
    return Settings(list(upstreams), QueueLimits(max_entries, max_bytes), retention_s, dead_holds)


def set_(path: str, data: Any, **guards: Any) -> Write:
    """A set."""
    return Write("set", path, canonical(check_document(data)), **guards)


def create(path: str, data: Any, **guards: Any) -> Write:
    """A create."""
    return Write("create", path, canonical(check_document(data)), **guards)


def update(path: str, fields: dict[str, Any], *, upsert: bool = False, if_version: str | None = None) -> Write:
    """An update, as a PATCH with this body gives it."""
    return parse_update(path, orjson.dumps(fields), upsert, if_version=if_version)


def delete(path: str, **guards: Any) -> Write:
    """A delete."""
    return Write("delete", path, None, **guards)


@dataclass(frozen=True, slots=True)
class Answer:
    """A RESULT or a REPLY. `value` is the unpacked body; `problem` stands in its place where the store refused."""

    status: int
    value: Any
    problem: Problem | None = None

    @property
    def commit(self) -> int:
        """The commit's number."""
        return int(self.value[1])

    @property
    def version(self) -> str:
        """The version in the answer to a single write."""
        return str(self.value[2])

    @property
    def json(self) -> Any:
        """The answer's JSON, closed as the supervisor closes it."""
        return orjson.loads(self.value[4] + b',"replication":"pending"}')


@dataclass(frozen=True, slots=True)
class Claimed:
    """A batch as the store hands it to the replayer. `entries` are [number, payload]."""

    id: str
    attempts: int
    seq: int
    cursor_id: str
    entries: list[list[Any]]

    @property
    def numbers(self) -> list[int]:
        """The entries' numbers."""
        return [entry[0] for entry in self.entries]


@dataclass(slots=True)
class Group:
    """What the store said to one group of frames."""

    frames: list[Frame]
    answers: dict[int, Answer] = field(default_factory=dict)
    pongs: list[int] = field(default_factory=list)

    def notices(self) -> list[str]:
        """The paths that workers must forget."""
        return [path for frame in self.frames if frame[0] == Kind.NOTICE for path in unpack(frame[5])]

    def events(self, name: str) -> list[Any]:
        """The values of the EVENTs of this name."""
        events = [unpack(frame[5]) for frame in self.frames if frame[0] == Kind.EVENT]
        return [value for kind, value in events if kind == name]


def encode_commit(
    ident: int,
    writes: Sequence[Write],
    *,
    key: bytes | None = None,
    fingerprint: bytes = b"",
    priority: int = 5,
    single: bool | None = None,
    representation: bool = False,
    wait_s: int = 0,
    resent: bool = False,
    repeats: tuple[int, bytes] | None = None,
) -> bytes:
    """A COMMIT with writes. `single` is whether the client wrote one document by its address.

    `repeats`: the number and the identity of the request that the key names."""
    if single is None:
        single = len(writes) == 1
    payload = pack([write.to_wire() for write in writes])
    body = ["write", key, fingerprint, priority, payload, single, representation, *(repeats or ())]
    return encode(Kind.COMMIT, ident, pack(body), flags=FLAG_RESENT if resent else 0, aux=wait_s)


def encode_operation(ident: int, *parts: Any, resent: bool = False) -> bytes:
    """A COMMIT that changes the queue: `"retry", 7, False`."""
    return encode(Kind.COMMIT, ident, pack(parts), flags=FLAG_RESENT if resent else 0)


def encode_call(ident: int, *parts: Any) -> bytes:
    """A CALL of the replayer: `"next", "primary", 500, 3000000, 0.8`."""
    return encode(Kind.CALL, ident, pack(parts), aux=Role.STORE)


class StoreFile:
    """A store's file and the service that has it open. Close it at the end of a test."""

    def __init__(
        self,
        path: Path,
        settings: Settings | None = None,
        clock: ManualClock | None = None,
        batch_ids: Callable[[], str] | None = None,
    ) -> None:
        self.path = path
        self.settings = settings or settings_with()
        self.clock = clock or ManualClock()
        self.batch_ids = batch_ids or map("b{}".format, count(1)).__next__
        self.ids = count(1)
        self.open()

    def open(self) -> None:
        """Starts a service on the file, as a new process would."""
        self.connection = FaultyConnection(open_writer(self.path))
        self.db = self.connection.as_connection()
        self.service = Service(self.db, self.settings, self.clock, self.batch_ids)

    def reopen(self, settings: Settings | None = None) -> None:
        """Ends the service without a word, whatever it was doing, and starts the next one."""
        self.close()
        self.settings = settings or self.settings
        self.open()

    def close(self) -> None:
        """Ends the service; a transaction that is open is lost."""
        self.connection.close()

    def rows(self, sql: str, parameters: Any = ()) -> list[tuple[Any, ...]]:
        """What another connection sees: only what is committed."""
        reader = sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True)
        try:
            return reader.execute(sql, parameters).fetchall()
        finally:
            reader.close()

    # -- frames

    def handle(self, *frames: bytes) -> Group:
        """One group of frames; what came back, decoded."""
        return decode_group(self.service.handle(Decoder().feed(b"".join(frames))))

    def commit(self, *writes: Write, ident: int | None = None, **options: Any) -> Answer:
        """A client's write in a group of its own."""
        ident = next(self.ids) if ident is None else ident
        return self.handle(encode_commit(ident, writes, **options)).answers[ident]

    def operate(self, *parts: Any, ident: int | None = None, resent: bool = False) -> Answer:
        """An operator's change of the queue in a group of its own."""
        ident = next(self.ids) if ident is None else ident
        return self._answer(ident, encode_operation(ident, *parts, resent=resent))[ident]

    def call(self, *parts: Any) -> Answer | None:
        """A call of the replayer; None where the store lets it wait."""
        ident = next(self.ids)
        return self._answer(ident, encode_call(ident, *parts)).get(ident)

    def _answer(self, ident: int, frame: bytes) -> dict[int, Answer]:
        """The answers to a frame, an errand's after its last step."""
        answers = self.handle(frame).answers
        while ident not in answers and self.service.wait_s(3600) == 0:
            answers = self.handle().answers
        return answers

    def claim(
        self, upstream: str = "primary", max_writes: int = 500, max_bytes: int = MIB, urgent_share: float = 0.8
    ) -> Claimed | None:
        """The next batch; None where nothing is there to claim. Waits as long as the store lets a claim linger."""
        ident = next(self.ids)
        answers = self.handle(encode_call(ident, "next", upstream, max_writes, max_bytes, urgent_share)).answers
        while ident not in answers and (wait_s := self.service.wait_s(3600)) < 3600:
            self.clock.advance(wait_s)
            answers = self.handle().answers
        return Claimed(*answers[ident].value) if ident in answers else None

    def settle(self, batch: Claimed, error: str | None = None, upstream: str = "primary") -> Group:
        """Says that upstream has applied a batch, or with `error` that it has refused its one entry."""
        cursor_id = batch.id if error is None else f"fence:{batch.id}"
        ident = next(self.ids)
        return self.handle(encode_call(ident, "settle", upstream, batch.id, error, batch.seq + 1, cursor_id))

    def split(self, batch: Claimed, at: list[int], upstream: str = "primary") -> None:
        """Says that upstream refuses a batch, whose seq is fenced now."""
        self.call("split", upstream, batch.id, at, batch.seq + 1, f"fence:{batch.id}")

    # -- in short

    def deliver(self, upstream: str = "primary") -> list[int]:
        """Claims and settles until nothing is left to claim; the numbers of the entries in their order."""
        numbers: list[int] = []
        while (batch := self.claim(upstream)) is not None:
            self.settle(batch, upstream=upstream)
            numbers += batch.numbers
        return numbers

    def kill(self, error: str = "no", upstream: str = "primary") -> int:
        """Claims a batch of one entry and has upstream refuse it; the dead entry's id."""
        batch = self.claim(upstream, max_writes=1)
        assert batch is not None
        assert len(batch.entries) == 1
        self.settle(batch, error, upstream)
        number = self.service.outbox.upstreams[upstream].id, batch.numbers[0]
        [(ident,)] = self.rows("SELECT id FROM entries WHERE state = 2 AND upstream = ? AND number = ?", number)
        return int(ident)

    def view(self, path: str) -> Any:
        """What a client reads; None where there is no such document."""
        collection, _, name = path.rpartition("/")
        found = self.rows("SELECT view FROM documents WHERE collection = ? AND name = ?", (collection, name))
        return orjson.loads(found[0][0]) if found and found[0][0] is not None else None

    def column(self, path: str, column: str) -> Any:
        """A column of a document's row."""
        collection, _, name = path.rpartition("/")
        [(value,)] = self.rows(f"SELECT {column} FROM documents WHERE collection = ? AND name = ?", (collection, name))
        return value

    def states(self) -> dict[int, int]:
        """Entry id -> stored state."""
        return dict(self.rows("SELECT id, state FROM entries ORDER BY id"))


def decode_group(data: bytes) -> Group:
    """The frames that the store answered with."""
    return group_of(Decoder().feed(data))


def group_of(frames: list[Frame]) -> Group:
    """What these frames say."""
    group = Group(frames)
    for kind, _, aux, _, ident, body in group.frames:
        if kind in (Kind.RESULT, Kind.REPLY):
            assert ident not in group.answers, "two answers to one frame"
            failed = aux >= 400 if kind == Kind.RESULT else aux != 0
            problem = Problem.from_wire(unpack(body)) if failed else None
            group.answers[ident] = Answer(aux, None if failed else unpack(body), problem)
        elif kind == Kind.PONG:
            group.pongs.append(ident)
    return group
