"""The store as a whole against a simple model: random clients, operators, replayers and crashes.

One example is one life of a file: it is written, claimed, settled, refused, retried, dropped, and opened again after
restarts and after crashes between any two statements. After every group of frames the file holds what the model holds,
and in the end every upstream has each acknowledged commit once, or the commit is among the dead.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import orjson
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from deora.documents.writes import Write, decode_writes
from deora.store.view import Base
from tests.fakes.model import LIVE, PRIMARY, Cloud, Entry, Model, Plain, Verdict, same
from tests.fakes.ram import ram_directory
from tests.fakes.recount import check_figures
from tests.fakes.store import (
    MIB,
    Answer,
    Claimed,
    Group,
    StoreFile,
    create,
    delete,
    encode_call,
    encode_commit,
    encode_operation,
    set_,
    settings_with,
    update,
)

PATHS = ("a/1", "a/1", "a/1", "a/2", "b/1", "b/1/c/1")  # mostly one, so that much happens to it

integers = st.integers(-2, 3)
arrays = st.lists(integers, max_size=2)
values = st.one_of(integers, st.just(0.5), st.sampled_from(("x", "y")), arrays, st.fixed_dictionaries({"b": integers}))
objects = st.dictionaries(st.sampled_from(("n", "l", "o", "t")), values, max_size=3)
operators = st.one_of(
    st.sampled_from(("$increment", "$max", "$min")).flatmap(lambda name: st.fixed_dictionaries({name: integers})),
    st.sampled_from(("$arrayUnion", "$arrayRemove")).flatmap(lambda name: st.fixed_dictionaries({name: arrays})),
    st.sampled_from(({"$delete": True}, {"$serverTimestamp": True}, {"$increment": 0.5})),
)
updates = st.dictionaries(
    st.sampled_from(("n", "l", "t", "o.b", "o.c.d")), st.one_of(values, operators), min_size=1, max_size=3
)
paths = st.sampled_from(PATHS)
writes_of_any_kind = st.one_of(
    st.builds(Plain, st.just("set"), paths, objects),
    st.builds(Plain, st.just("update"), paths, updates, upsert=st.just(True)),
    st.builds(Plain, st.just("update"), paths, updates, upsert=st.just(True)),
    st.builds(Plain, st.just("update"), paths, updates, upsert=st.booleans()),
    st.builds(Plain, st.just("delete"), paths),
    st.builds(Plain, st.just("create"), paths, objects, if_absent=st.booleans()),
)
# The writes of a request, its priority, and its key, where it has one.
requests_of_a_client = st.tuples(
    st.lists(writes_of_any_kind, min_size=1, max_size=3),
    st.sampled_from((0, 5, 5, 9)),
    st.sampled_from((*[None] * 12, b"k1", b"k2")),
)


def to_write(plain: Plain) -> Write:
    """The write as a client's request gives it."""
    if plain.op == "update":
        return update(plain.path, plain.data, upsert=plain.upsert, if_version=plain.if_version)
    if plain.op == "delete":
        return delete(plain.path, if_version=plain.if_version)
    make = set_ if plain.op == "set" else create
    return make(plain.path, plain.data, if_version=plain.if_version, if_absent=plain.if_absent)


@dataclass
class Request:
    """A frame that waits for its group. `judge` changes the model and says what the store must answer."""

    ident: int
    encode: Callable[[bool], bytes]
    judge: Callable[[], Verdict]
    verdict: Verdict | None = None


@dataclass
class Replayer:
    """One upstream's replayer: the batch that it holds, the last that it has seen unsettled, a claim that waits."""

    cloud: Cloud
    held: Claimed | None = None
    unsettled: Claimed | None = None
    claim: int | None = None


class Lives(RuleBasedStateMachine):
    """See above."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = ram_directory()
        self.idents = count(1)
        self.group: list[Request] = []
        self.overtaken: dict[int, set[int]] = {}
        self.refused = False
        self.paused = False

    @initialize(two=st.booleans(), holds=st.booleans())
    def begin(self, two: bool, holds: bool) -> None:
        """A new file, with one upstream or two."""
        names = (PRIMARY, "secondary") if two else (PRIMARY,)
        self.store = StoreFile(
            Path(self.folder.name) / "store.db", settings_with(names, dead_holds=holds, retention_s=10**9)
        )
        self.model = Model(self.store.service.identity[1], names, holds=holds)
        self.replayers = {name: Replayer(Cloud(self._entries_of(name))) for name in names}

    def _entries_of(self, name: str) -> Callable[[int], Entry]:
        return lambda number: self.model.by_number(name, number)

    # -- clients

    @rule(data=st.data(), requests=st.lists(requests_of_a_client, min_size=1, max_size=4), now=st.booleans())
    def commit(self, data: st.DataObject, requests: list[tuple[list[Plain], int, bytes | None]], now: bool) -> None:
        """Clients' requests, in one group or more; where one has a key, its content is what it is told apart by."""
        for writes, priority, key in requests:
            self._commit(self._guarded(data, writes), priority, key)
        if now:
            self._run()

    def _commit(self, writes: list[Plain], priority: int, key: bytes | None) -> None:
        fingerprint = b"" if key is None else repr(writes).encode()
        ident = next(self.idents)

        def encode(resent: bool) -> bytes:
            packed = [to_write(write) for write in writes]
            return encode_commit(
                ident, packed, key=key, fingerprint=fingerprint, priority=priority, single=False, resent=resent
            )

        def judge() -> Verdict:
            return self.model.commit(writes, self.store.clock.wall_us(), key, fingerprint)

        self._stage(ident, encode, judge, now=False)

    def _guarded(self, data: st.DataObject, writes: list[Plain]) -> list[Plain]:
        """Some of the writes with a guard: the present version, an old one, or any. Only a document's first write."""
        guarded = []
        for index, write in enumerate(writes):
            again = write.path in {other.path for other in writes[:index]}
            if write.op == "set" and not again:
                guards = [None, None, None, None, "*", "old-1", self.model.document(write.path).version or "none-1"]
                write = replace(write, if_version=data.draw(st.sampled_from(guards)))
            guarded.append(write)
        return guarded

    # -- operators

    @precondition(lambda self: any(entry.state == "dead" for entry in self.model.entries))
    @rule(data=st.data(), operation=st.sampled_from(("retry", "force", "force", "drop")), now=st.booleans())
    def decide(self, data: st.DataObject, operation: str, now: bool) -> None:
        """An operator retries or drops an entry, mostly a dead one."""
        dead = [entry.id for entry in self.model.entries if entry.state == "dead"]
        ident = data.draw(st.sampled_from([*dead, *dead, *dead, self.model.entries[-1].id, 999]))
        if operation == "drop":
            self._drop(ident, now)
        else:
            force = operation == "force"
            self._operate(("retry", ident, force), lambda: self._retried(ident, force), now)

    def _drop(self, ident: int, now: bool) -> None:
        self._operate(("drop", ident), lambda: self.model.drop(ident), now)

    def _retried(self, ident: int, force: bool) -> Verdict:
        verdict = self.model.retry(ident, force=force)
        if verdict.status == 200:
            for entry in self.model.entries:
                if entry.state == "inflight":
                    self.overtaken.setdefault(entry.id, set()).add(ident)
        return verdict

    def _pause(self, paused: bool, now: bool) -> None:
        self.paused = paused
        self._operate(("pause", None, paused), lambda: Verdict(200), now)

    def _operate(self, parts: tuple[Any, ...], judge: Callable[[], Verdict], now: bool) -> None:
        ident = next(self.idents)
        self._stage(ident, lambda resent: encode_operation(ident, *parts, resent=resent), judge, now)

    # -- replayers

    @rule(data=st.data(), max_writes=st.integers(1, 6), now=st.booleans())
    def claim(self, data: st.DataObject, max_writes: int, now: bool) -> None:
        """A replayer asks for the next batch; a new one, if the last has forgotten what it held."""
        name = data.draw(st.sampled_from(sorted(self.replayers)))
        self._claim(name, max_writes, now)

    def _claim(self, name: str, max_writes: int, now: bool) -> None:
        replayer = self.replayers[name]
        replayer.held = None
        replayer.claim = ident = next(self.idents)
        parts = ("next", name, max_writes, MIB, 0.8)
        self._stage(ident, lambda _: encode_call(ident, *parts), lambda: Verdict(-1), now)

    @rule(
        data=st.data(),
        requests=st.lists(requests_of_a_client, max_size=2),
        max_writes=st.integers(1, 6),
        hows=st.lists(
            st.sampled_from(("applied", "applied", "refused", "refused", "refused", "lost", "fenced", "unclear")),
            min_size=1,
            max_size=4,
        ),
        now=st.booleans(),
    )
    def replay(
        self,
        data: st.DataObject,
        requests: list[tuple[list[Plain], int, bytes | None]],
        max_writes: int,
        hows: list[str],
        now: bool,
    ) -> None:
        """A replayer asks for batches, sends them, and hears that they were applied or refused, or nothing."""
        name = data.draw(st.sampled_from(sorted(self.replayers)))
        if self.paused:
            self._pause(False, now=False)
        for writes, priority, key in requests:
            self._commit(self._guarded(data, writes), priority, key)
        for how in hows:
            if self.replayers[name].held is None:
                self._claim(name, max_writes, now=True)
            self._heard(data, name, how, now)

    def _heard(self, data: st.DataObject, name: str, how: str, now: bool) -> None:
        replayer = self.replayers[name]
        if replayer.held is None:
            return
        if how == "refused":
            self.refused = True
            replayer.cloud.bad.add(data.draw(st.sampled_from(replayer.held.numbers)))
        self._deliver(name, replayer.held, how, now)

    def _deliver(self, name: str, batch: Claimed, how: str, now: bool) -> None:
        replayer = self.replayers[name]
        cloud = replayer.cloud
        replayer.held = None
        stands = (cloud.seq, cloud.cursor_id)
        if stands == (batch.seq + 1, f"fence:{batch.id}"):
            self._split(name, batch, None, now)
            return
        if stands != (batch.seq + 1, batch.id):
            if how == "unclear":
                self._call(("attempted", name, batch.id, "no route"), lambda: None, now)
                return
            self._check_order_upstream(cloud, batch)
            index = cloud.apply(batch.seq, batch.cursor_id, batch.id, batch.numbers)
            if index is not None:
                self.refused = True
                cloud.fence(batch.seq, batch.cursor_id, batch.id)
                if how != "fenced":
                    self._split(name, batch, index, now)
                return
            if how == "lost":
                return
        self._call(
            ("settle", name, batch.id, None, batch.seq + 1, batch.id),
            lambda: self.model.settle(name, batch.numbers, dead=False),
            now,
        )
        replayer.unsettled = None

    def _split(self, name: str, batch: Claimed, index: int | None, now: bool) -> None:
        """A fenced batch is split, or its one entry given up; a fence whose cause was forgotten is no refusal."""
        fence = f"fence:{batch.id}"
        self.replayers[name].unsettled = None
        if len(batch.numbers) == 1 and index is not None:
            # With later writes to be given back at once, the model must see which: so in a group that ends here.
            self._call(
                ("settle", name, batch.id, "refused", batch.seq + 1, fence),
                lambda: self.model.settle(name, batch.numbers, dead=True),
                now or self.model.holds,
            )
        else:
            at = [len(batch.numbers) // 2] if index is None else [index, index + 1]
            self._call(("split", name, batch.id, at, batch.seq + 1, fence), lambda: None, now)

    def _call(self, parts: tuple[Any, ...], judge: Callable[[], None], now: bool) -> None:
        ident = next(self.idents)

        def judged() -> Verdict:
            judge()
            return Verdict(0)

        self._stage(ident, lambda _: encode_call(ident, *parts), judged, now)

    def _check_order_upstream(self, cloud: Cloud, batch: Claimed) -> None:
        """Each document's entries arrive by age, but for what an operator sent again; none arrives twice."""
        arrived = [entry.id for entry in cloud.log]
        for number in batch.numbers:
            entry = cloud.entry_of(number)
            assert entry.id not in arrived
            assert entry.retried or all(
                other.id < entry.id or other.retried
                for other in cloud.log
                if not set(other.paths).isdisjoint(entry.paths)
            )

    # -- groups

    def _stage(self, ident: int, encode: Callable[[bool], bytes], judge: Callable[[], Verdict], now: bool) -> None:
        self.group.append(Request(ident, encode, judge))
        if now:
            self._run()

    @rule(crash=st.one_of(st.none(), st.just("commit"), st.integers(0, 30)))
    def run(self, crash: str | int | None) -> None:
        """The store takes the group, and perhaps dies: before a statement, or with a commit that took effect."""
        self._run(crash)

    def _run(self, crash: str | int | None = None) -> None:
        group, self.group = self.group, []
        before = self._shown()
        if crash is not None and self._crashes(group, crash):
            if "COMMIT" in self.store.connection.statements:
                # It took effect and nobody was told. What was refused left nothing behind and is judged once more.
                self._judge(group)
            self._reopen()
            self._settled_inflight()
            answers = self._send(group, resent=True)
            self._judge([request for request in group if not request.verdict or request.verdict.status >= 400])
        else:
            answers = self._send(group, resent=False) if crash is None else self._last
            self._judge(group)
            self._check_notices(before, answers)
        for request in group:
            self._check_answer(request, answers.answers.get(request.ident))
        self._receive(answers)
        self._wait()
        self._check()

    def _crashes(self, group: list[Request], crash: str | int) -> bool:
        self.store.connection.statements.clear()
        if crash == "commit":
            self.store.connection.arm_commit()
        else:
            self.store.connection.arm(int(crash))
        try:
            self._last = self._send(group, resent=False)
        except sqlite3.OperationalError:
            return True
        # The group had fewer statements: the crash comes after its answers.
        self._reopen()
        return False

    def _send(self, group: list[Request], *, resent: bool) -> Group:
        return self.store.handle(*(request.encode(resent) for request in group))

    def _judge(self, group: list[Request]) -> None:
        for request in group:
            request.verdict = request.judge()

    def _reopen(self) -> None:
        self.store.reopen()
        for replayer in self.replayers.values():
            replayer.claim = None if replayer.held is not None else replayer.claim

    def _wait(self) -> None:
        """Lets time pass until claims that were put off are answered."""
        while (wait_s := self.store.service.wait_s(60)) < 60:
            self.store.clock.advance(wait_s)
            self._receive(self.store.handle())

    @rule(what=st.sampled_from(("pause", "restart", "hour", "second")), now=st.booleans())
    def happen(self, what: str, now: bool) -> None:
        """An operator pauses; the store starts again; nothing happens for a while, and it tidies up."""
        if what == "pause":
            self._pause(True, now)
        elif what == "restart":
            self._reopen()
            for name, replayer in self.replayers.items():
                if replayer.claim is not None:
                    # Its call was cut off with the store, so it calls again.
                    self._claim(name, 3, now)
        else:
            self.store.clock.advance(3600 if what == "hour" else 1)
            self.store.service.housekeep()
        self._check()

    # -- what comes back

    def _check_answer(self, request: Request, answer: Answer | None) -> None:
        verdict = request.verdict
        assert verdict is not None
        if verdict.status == -1:
            return
        assert answer is not None
        assert answer.status == verdict.status, answer
        if verdict.commit:
            assert answer.commit == verdict.commit
            written = {write["path"]: write["version"] for write in answer.json["writes"]}
            assert {path: written[path] for path in verdict.versions} == verdict.versions

    def _receive(self, group: Group) -> None:
        """Takes the batches that claims were answered with."""
        for name, replayer in self.replayers.items():
            answer = group.answers.get(replayer.claim) if replayer.claim is not None else None
            if answer is not None:
                replayer.claim = None
                replayer.held = Claimed(*answer.value)
                self._check_batch(name, replayer.held, replayer.unsettled)
                replayer.unsettled = replayer.held
        self._settled_inflight()

    def _settled_inflight(self) -> None:
        """Which entries are in flight is the store's to say; that it is right is checked batch by batch."""
        batches = [orjson.loads(members) for (members,) in self._rows("SELECT members FROM batches")]
        members = {ident for batch in batches for ident in batch}
        for entry in self.model.entries:
            if entry.state in LIVE:
                entry.state = "inflight" if entry.id in members else "pending"
            else:
                assert entry.id not in members
        self.overtaken = {ident: others for ident, others in self.overtaken.items() if ident in members}

    def _check_batch(self, name: str, batch: Claimed, last: Claimed | None) -> None:
        """What upstream will get is what clients sent, in an order that keeps each document's."""
        if last is not None:
            assert (batch.id, batch.entries, batch.seq) == (last.id, last.entries, last.seq)
        entries = [self.model.by_number(name, number) for number in batch.numbers]
        assert [entry.id for entry in entries] == sorted(entry.id for entry in entries)
        for position, entry in enumerate(entries):
            assert entry.state in LIVE
            packed = [to_write(replace(write, if_version=None, if_absent=False)) for write in entry.writes]
            assert decode_writes(batch.entries[position][1]) == packed
            before = {
                other.id
                for other in self.model.of(name, *LIVE)
                if other.id < entry.id and not set(other.paths).isdisjoint(entry.paths)
            }
            sent = {other.id for other in entries[:position]}
            assert before - sent <= self.overtaken.get(entry.id, set())
            if self.model.holds:
                assert not [
                    other
                    for other in self.model.of(name, "dead")
                    if other.id < entry.id and not set(other.paths).isdisjoint(entry.paths)
                ]

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        """What the file holds. No transaction is open between two groups."""
        return self.store.db.execute(sql).fetchall()

    def _shown(self) -> dict[str, tuple[Any, ...]]:
        """What a worker may have kept of each document."""
        rows = self._rows("SELECT collection || '/' || name, view, version, pending > 0 FROM documents")
        return {row[0]: row[1:] for row in rows if row[1] is not None}

    def _check_notices(self, before: dict[str, tuple[Any, ...]], group: Group) -> None:
        after = self._shown()
        changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
        assert changed <= set(group.notices())

    # -- the file against the model

    def _check(self) -> None:
        check_figures(self.store.db, self.store.service.outbox)
        self._check_entries()
        self._check_documents()

    def _check_entries(self) -> None:
        """Each commit is there once for each upstream, until an operator drops it."""
        states = {"pending": 0, "inflight": 0, "done": 1, "dead": 2}
        names = dict(self._rows("SELECT id, name FROM upstreams"))
        stored = {
            row[0]: (names[row[1]], *row[2:])
            for row in self._rows("SELECT id, upstream, number, commit_no, state FROM entries")
        }
        assert stored == {
            entry.id: (entry.upstream, entry.number, entry.commit, states[entry.state])
            for entry in self.model.entries
            if entry.state != "dropped"
        }

    def _check_documents(self) -> None:
        rows = self._rows(
            "SELECT collection || '/' || name, view, version, pending, dead, base_state, base FROM documents"
        )
        assert len({row[0] for row in rows}) == len(rows)
        for path, view, version, pending, dead, base_state, base in rows:
            document = self.model.document(path)
            assert same(parsed(view), document.view), path
            assert (pending, dead) == (self.model.count(path, *LIVE), self.model.count(path, "dead")), path
            assert same(parsed(view if base_state == Base.SAME else base), document.base), path
            if view is not None:
                assert version == document.version, path
                assert view.encode() == orjson.dumps(document.view, option=orjson.OPT_SORT_KEYS)
            if not dead:
                # With a dead entry it is so only until something younger was applied: that is not undone by it.
                assert same(self.model.worked_out(path), document.view), path
        missing = self.model.documents.keys() - {row[0] for row in rows}
        for path in missing:
            assert self.model.document(path).view is None
            assert not self.model.count(path, *LIVE, "dead")

    # -- the end

    def teardown(self) -> None:
        """Everything is sent; then each upstream has what it must have."""
        try:
            if hasattr(self, "store"):
                self._drain()
                self._check_drained()
        finally:
            if hasattr(self, "store"):
                self.store.close()
            self.folder.cleanup()

    def _drain(self) -> None:
        self._pause(False, now=True)
        for name in self.replayers:
            while True:
                self._claim(name, 500, now=True)
                batch = self.replayers[name].held
                if batch is not None:
                    self._deliver(name, batch, "applied", now=True)
                elif self.model.holds and self.model.of(name, *LIVE):
                    self._drop(self.model.of(name, "dead")[0].id, now=True)
                else:
                    break

    def _check_drained(self) -> None:
        assert not [entry for entry in self.model.entries if entry.state in LIVE]
        for name, replayer in self.replayers.items():
            applied = [entry.id for entry in replayer.cloud.log]
            assert len(applied) == len(set(applied))
            assert set(applied) == {entry.id for entry in self.model.of(name, "done")}
        cloud = self.replayers[PRIMARY].cloud
        for path, document in self.model.documents.items():
            assert same(cloud.documents.get(path), document.base), path
            if not self.model.count(path, "dead"):
                assert same(document.view, document.base), path
        if not self.refused:
            assert all(same(other.cloud.documents, cloud.documents) for other in self.replayers.values())


def parsed(text: str | None) -> Any:
    """The value of a text that may be missing."""
    return None if text is None else orjson.loads(text)


TestLives = Lives.TestCase
TestLives.settings = settings(max_examples=80, stateful_step_count=40)
