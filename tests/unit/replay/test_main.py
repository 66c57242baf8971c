"""The replayer's process, within this one: frames over a real socketpair, a real store behind them, a file upstream."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import orjson
import pytest

from bench.processes import free_port
from deora.config.database import Batch, Database, FirestoreUpstream, PostgresUpstream, Retry, SqliteUpstream
from deora.config.schema import Config, Logger
from deora.errors import ConfigError, Problem
from deora.replay import main
from deora.replay.main import Replayer, connect, identity_of, lane_settings, run
from deora.replay.policy import Retry as RetryPolicy
from deora.replay.terms import LaneSettings
from deora.upstream.base import CursorKey, Unauthorised, Unclear
from deora.upstream.sqlite import SqliteUpstream as SqliteClient
from deora.wire.frames import Frame, Kind, Role, encode, pack, unpack
from deora.wire.link import BlockingLink, Link
from tests.fakes.calls import StoreWithCalls, increment
from tests.fakes.clock import ManualClock

QUIET = Logger(outputs=())


def with_database(**keys: Any) -> Config:
    return Config(database=Database(**keys), logger=QUIET)


class Supervisor:
    """The other end: hands CALLs to a store and keeps everything else that comes."""

    def __init__(self, store: StoreWithCalls) -> None:
        self.store = store
        self.frames: list[Frame] = []
        self.came = asyncio.Event()
        self.refusal: Problem | None = None
        self.link: Link | None = None

    async def connect(self, sock: socket.socket) -> None:
        self.link = await Link.open(sock, self._on_frame, lambda _: self.came.set())

    def _on_frame(self, link: Link, frame: Frame) -> None:
        kind, _, aux, _, ident, _ = frame
        if kind != Kind.CALL:
            self.frames.append(frame)
        elif self.refusal is not None:
            link.send(encode(Kind.REPLY, ident, pack(self.refusal.to_wire()), aux=1))
        else:
            assert aux == Role.STORE
            link.send(self.store.service.handle([frame]))
        self.came.set()

    def send(self, *frame: Any, **fields: Any) -> None:
        """Sends a frame to the replayer."""
        assert self.link is not None
        self.link.send(encode(*frame, **fields))

    async def until(self, holds: Callable[[], bool]) -> None:
        """Waits for frames until something holds."""
        async with asyncio.timeout(30):
            while not holds():
                self.came.clear()
                await self.came.wait()

    def kinds(self) -> list[int]:
        return [frame[0] for frame in self.frames]

    def statuses(self) -> list[dict[str, Any]]:
        events = [unpack(frame[5]) for frame in self.frames if frame[0] == Kind.EVENT]
        assert all(event[:2] == ["upstream", "primary"] for event in events)
        return [event[2] for event in events]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StoreWithCalls]:
    made = StoreWithCalls(tmp_path / "store.db", ManualClock())
    yield made
    made.close()


def serve(store: StoreWithCalls, config: Config, scenario: Callable[[Supervisor], Any]) -> None:
    """Runs a replayer and a scenario on the other end of its socket; the scenario must make it end."""

    async def whole() -> None:
        ours, theirs = socket.socketpair()
        supervisor = Supervisor(store)
        await supervisor.connect(ours)
        serving = asyncio.ensure_future(Replayer(config, store.path.parent).serve(theirs, 3))
        await scenario(supervisor)
        async with asyncio.timeout(30):
            await serving
        assert supervisor.link is not None
        supervisor.link.close()
        await asyncio.sleep(0)

    asyncio.run(whole())


def test_a_file_upstream_lies_in_the_data_directory(tmp_path: Path) -> None:
    upstream = connect(SqliteUpstream(type="sqlite", file="second.db"), tmp_path)
    assert isinstance(upstream, SqliteClient)
    asyncio.run(upstream.close())


def test_a_postgres_is_connected_to_when_it_is_needed(tmp_path: Path) -> None:
    from deora.upstream.postgres.client import PostgresUpstream as PostgresClient

    upstream = connect(PostgresUpstream(type="postgres", url="postgresql://h/d"), tmp_path)
    assert isinstance(upstream, PostgresClient)
    assert upstream.figures.total == 0


def test_firestore_is_spoken_to_with_a_key_file_of_the_data_directory(tmp_path: Path) -> None:
    upstream = connect(FirestoreUpstream(type="firestore", project="p", credentials="venue.json"), tmp_path)
    outcome = asyncio.run(upstream.read_cursor(CursorKey("n", "e", 0)))
    assert outcome == Unauthorised("the key file venue.json cannot be read: No such file or directory")
    asyncio.run(upstream.close())


def test_an_emulator_needs_no_key(tmp_path: Path) -> None:
    settings = FirestoreUpstream(type="firestore", project="p", emulator_host=f"127.0.0.1:{free_port()}")

    async def ask() -> object:
        upstream = connect(settings, tmp_path)
        outcome = await upstream.read_cursor(CursorKey("n", "e", 0))
        await upstream.close()
        return outcome

    assert isinstance(asyncio.run(ask()), Unclear)


@pytest.mark.parametrize(
    ("settings", "module"),
    [
        (PostgresUpstream(type="postgres", url="postgresql://h/d"), "deora.upstream.postgres.client"),
        (FirestoreUpstream(type="firestore", project="p"), "deora.upstream.firestore.client"),
    ],
)
def test_a_missing_package_is_a_clear_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ConfigError, match=f"the type {settings.type} needs the missing package"):
        connect(settings, tmp_path)


def test_a_lane_takes_its_settings_from_the_configuration() -> None:
    config = with_database(
        batch=Batch(max_writes=7, max_bytes=12345), retry=Retry(attempts=2, base_s=0.5), health_check_interval_s=11
    )
    assert lane_settings(config) == LaneSettings(7, 12345, RetryPolicy(2, 0.5), 11, 30.0)
    assert lane_settings(Config()) == LaneSettings()


def test_it_says_hello_delivers_and_ends_when_it_is_told_to(store: StoreWithCalls) -> None:
    store.write_each([increment("d/1"), increment("d/1"), increment("d/2")])

    async def scenario(supervisor: Supervisor) -> None:
        await supervisor.until(lambda: store.waiting() == 0)
        assert supervisor.frames[0] == (Kind.HELLO, 0, 0, 3, 0, pack({}))
        assert supervisor.statuses()[0]["state"] == "up"
        supervisor.send(Kind.PING, 99, generation=3)
        await supervisor.until(lambda: Kind.PONG in supervisor.kinds())
        assert (Kind.PONG, 0, 0, 3, 99, b"") in supervisor.frames
        assert supervisor.statuses()[-1]["latency_ms"] > 0
        supervisor.send(Kind.STOP, 0)

    serve(store, with_database(), scenario)
    rows = {entry["state"] for entry in store.entries()}
    assert rows == {"done"}
    assert {path: orjson.loads(view) for path, view in store.views().items()} == {"d/1": {"n": 2}, "d/2": {"n": 1}}


def test_the_same_status_is_not_sent_twice(store: StoreWithCalls) -> None:
    async def scenario(supervisor: Supervisor) -> None:
        await supervisor.until(lambda: len(supervisor.statuses()) >= 1)
        for ident in range(5):
            supervisor.send(Kind.PING, ident)
        await supervisor.until(lambda: supervisor.kinds().count(Kind.PONG) == 5)
        statuses = supervisor.statuses()
        assert all(before != after for before, after in pairwise(statuses))
        supervisor.send(Kind.STOP, 0)

    serve(store, with_database(), scenario)


def test_it_ends_when_the_supervisor_has_gone(store: StoreWithCalls) -> None:
    async def scenario(supervisor: Supervisor) -> None:
        await supervisor.until(lambda: bool(supervisor.frames))
        assert supervisor.link is not None
        supervisor.link.close()

    serve(store, with_database(), scenario)


def test_a_fault_of_its_own_ends_it_and_is_logged(store: StoreWithCalls, caplog: pytest.LogCaptureFixture) -> None:
    async def scenario(supervisor: Supervisor) -> None:
        supervisor.refusal = Problem("bad-request", "the store knows no call 'open'")

    serve(store, with_database(), scenario)
    [record] = caplog.records
    assert record.levelno == logging.ERROR
    assert record.getMessage() == "the replayer's work for primary failed"


def test_an_upstream_that_hangs_does_not_keep_it(store: StoreWithCalls, monkeypatch: pytest.MonkeyPatch) -> None:
    class Hanging(SqliteClient):
        async def close(self) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                await super().close()

    monkeypatch.setattr(main, "SqliteClient", Hanging)
    monkeypatch.setattr(main, "STOPPING_S", 0.01)

    async def scenario(supervisor: Supervisor) -> None:
        supervisor.send(Kind.STOP, 0)

    serve(store, with_database(), scenario)


def test_a_configuration_that_it_cannot_serve_is_told_and_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(main, "configure", lambda *_: None)
    ours, theirs = socket.socketpair()
    url = "postgresql://h/d?target_session_attrs=standby"
    config = with_database(primary=PostgresUpstream(type="postgres", url=url))
    code = run(theirs, {"config": config.to_wire(), "data": str(tmp_path), "generation": 1})
    assert code == main.EXIT_CANNOT_BOOT
    frame = BlockingLink(ours).receive_one()
    assert frame is not None
    name, reason, hint = unpack(frame[5])
    assert (frame[0], name) == (Kind.EVENT, "cannot-boot")
    assert "target_session_attrs is 'standby'" in reason
    assert hint is None
    ours.close()


def test_calls_of_workers_are_answered(store: StoreWithCalls) -> None:
    async def scenario(supervisor: Supervisor) -> None:
        def replies() -> dict[int, tuple[int, Any]]:
            return {frame[4]: (frame[2], unpack(frame[5])) for frame in supervisor.frames if frame[0] == Kind.REPLY}

        store.write_each([increment("a/1")])
        await supervisor.until(lambda: store.waiting() == 0)
        supervisor.send(Kind.CALL, 7, pack(["read", ["a/1", "a/2"]]))
        supervisor.send(Kind.CALL, 8, pack(["adopt", ["a/1"]]))
        supervisor.send(Kind.CALL, 9, pack(["dance", []]))
        supervisor.send(Kind.CALL, 10, pack(["read", "not a list", "too many"]))
        await supervisor.until(lambda: len(replies()) == 4)
        found = replies()
        assert found[7] == (0, [["a/1", b'{"n":1}'], ["a/2", None]])
        assert found[8] == (0, None)
        assert (found[9][0], Problem.from_wire(found[9][1]).kind) == (1, "bad-request")
        assert (found[10][0], Problem.from_wire(found[10][1]).kind) == (1, "unavailable")
        supervisor.send(Kind.STOP, 0)

    serve(store, with_database(), scenario)


def test_replicated_collections_are_pulled(store: StoreWithCalls) -> None:
    store.reopen(replace(store.settings, replicate=("menu",)))

    async def scenario(supervisor: Supervisor) -> None:
        await supervisor.until(lambda: store.rows("SELECT collection FROM replicas") == [("menu",)])
        supervisor.send(Kind.STOP, 0)

    serve(store, with_database(replicate=("menu",)), scenario)


def test_an_upstream_is_told_from_another_without_its_secrets() -> None:
    postgres = identity_of(PostgresUpstream(type="postgres", url="postgresql://user:hunter2@db.example:5432/venue"))
    assert postgres == "postgres:db.example:5432/venue"
    other = PostgresUpstream(type="postgres", url="postgresql://user:other@db.example:5432/venue")
    assert identity_of(other) == postgres
    assert identity_of(SqliteUpstream(type="sqlite", file="a.db")) == "sqlite:a.db"
    assert identity_of(FirestoreUpstream(type="firestore", project="p", database="d")) == "firestore:/p/d"


def test_a_stop_before_the_first_step_leaves_no_work_that_was_never_begun(
    store: StoreWithCalls, recwarn: pytest.WarningsRecorder
) -> None:
    """As the supervisor ends an instance that has just become ready."""

    async def serve() -> None:
        ours, theirs = socket.socketpair()
        with ours:
            replayer = Replayer(with_database(), store.path.parent)
            replayer._stopping.set()
            await replayer.serve(theirs, 3)

    asyncio.run(serve())
    gc.collect()
    assert [str(each.message) for each in recwarn] == []
