"""The store's process, run in a thread of this one: its first frame, its loop and its exit codes."""

from __future__ import annotations

import itertools
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from deora.config.schema import Config
from deora.store import main
from deora.store.database import open_writer
from deora.store.service import Service
from deora.wire.frames import Decoder, Frame, Kind, encode, unpack
from tests.fakes.clock import ManualClock
from tests.fakes.store import encode_commit, set_

GENERATION = 4


class Process:
    """`main.run` in a thread, and the supervisor's end of its socket."""

    def __init__(self, data: Path) -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(20)
        self.decoder = Decoder()
        self.frames: list[Frame] = []
        self.code: int | None = None
        init = {"config": Config().to_wire(), "data": str(data), "generation": GENERATION}

        def run() -> None:
            with theirs:
                self.code = main.run(theirs, init)

        self.thread = threading.Thread(target=run)
        self.thread.start()

    def next(self, kind: Kind) -> Frame:
        """The next frame of this kind; what comes before it is passed over."""
        while True:
            while self.frames:
                frame = self.frames.pop(0)
                if frame[0] == kind:
                    return frame
            data = self.socket.recv(65536)
            assert data, "the store has gone"
            self.frames += self.decoder.feed(data)

    def end(self) -> int | None:
        """Waits for the exit code."""
        self.thread.join(20)
        assert not self.thread.is_alive()
        return self.code


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Process]]:
    """`start()` runs a store on this test's folder; what still runs at the end loses its supervisor."""
    monkeypatch.setattr(main, "configure", lambda *_: None)
    started: list[Process] = []

    def begin() -> Process:
        started.append(Process(tmp_path))
        return started[-1]

    yield begin
    for process in started:
        process.socket.close()
        process.end()


def test_a_store_says_hello_serves_and_stops(start: Callable[[], Process], tmp_path: Path) -> None:
    process = start()
    hello = process.next(Kind.HELLO)
    figures = unpack(hello[5])["figures"]
    assert hello[3] == GENERATION
    assert (figures["commit"], list(figures["upstreams"])) == (0, ["primary"])
    process.socket.sendall(encode_commit(7, [set_("a/1", {"n": 1})]))
    assert process.next(Kind.RESULT)[2:5:2] == (201, 7)
    process.socket.sendall(encode_commit(8, [set_("a/1", {"n": 2})]) + encode(Kind.STOP, 0))
    assert process.next(Kind.RESULT)[4] == 8, "what came before STOP is served"
    assert process.end() == 0
    db = sqlite3.connect(tmp_path / "store.db")
    assert db.execute("SELECT view FROM documents").fetchall() == [('{"n":2}',)]
    db.close()


def test_a_store_ends_with_its_supervisor(start: Callable[[], Process]) -> None:
    process = start()
    process.next(Kind.HELLO)
    process.socket.close()
    assert process.end() == 0


def test_a_store_that_cannot_open_its_file_says_why(start: Callable[[], Process], tmp_path: Path) -> None:
    db = open_writer(tmp_path / "store.db")
    db.execute("PRAGMA user_version = 99")
    db.close()
    process = start()
    name, reason, hint = unpack(process.next(Kind.EVENT)[5])
    assert name == "cannot-boot"
    assert "schema 99" in reason
    assert hint
    assert process.end() == main.EXIT_CANNOT_BOOT


def test_a_store_whose_commit_failed_ends_without_an_answer(
    start: Callable[[], Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody knows whether it is durable; the next store will."""

    def fail(_service: Service, _frames: list[Frame]) -> bytes:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR
        raise error

    process = start()
    process.next(Kind.HELLO)
    monkeypatch.setattr(Service, "handle", fail)
    process.socket.sendall(encode_commit(7, [set_("a/1", {})]))
    assert process.end() == main.EXIT_UNKNOWN_COMMIT
    assert process.socket.recv(65536) == b""


def test_a_store_that_finds_the_disk_full_lives_on(
    start: Callable[[], Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_service: Service, _frames: list[Frame]) -> bytes:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    process = start()
    process.next(Kind.HELLO)
    with monkeypatch.context() as full:
        full.setattr(Service, "handle", fail)
        process.socket.sendall(encode_commit(7, [set_("a/1", {})]))
        assert process.next(Kind.RESULT)[2] == 507
    for ident in itertools.count(8):
        process.socket.sendall(encode_commit(ident, [set_("a/1", {})]))
        status = process.next(Kind.RESULT)[2]
        if status != 507:
            break
    assert status == 201
    process.socket.sendall(encode(Kind.STOP, 0))
    assert process.end() == 0


@pytest.mark.parametrize(("on_dead", "holds"), [("continue", False), ("hold", True)])
def test_settings_come_from_the_configuration(on_dead: str, holds: bool) -> None:
    wire = Config().to_wire()
    wire["queue"] |= {"max_entries": 7, "max_bytes": 65536, "retention_hours": 0.5, "on_dead": on_dead}
    wire["database"] |= {"sync_interval_s": 2.5, "replicate": ["menu"]}
    wire["cache"]["disk"]["ttl_s"] = 100
    settings = main.settings_of(Config.from_wire(wire))
    assert (settings.fresh_us, settings.tombstones_us, settings.replicate) == (2_500_000, 100_000_000, ("menu",))
    assert settings.upstreams == ["primary"]
    assert (settings.limits.max_entries, settings.limits.max_bytes) == (7, 65536)
    assert (settings.retention_s, settings.dead_holds) == (1800, holds)


# -- the loop, with no socket and no time


class Script:
    """A link and a service in one: what arrives when, and what the loop does."""

    def __init__(self, clock: ManualClock, arrivals: list[list[Frame] | None]) -> None:
        self.clock = clock
        self.arrivals = arrivals
        self.log: list[str] = []
        self.put_off_s = 10.0
        self.more = 0
        self.group_s = 0.0

    def receive(self, timeout_s: float) -> list[Frame] | None:
        """Waits as long as it may where nothing arrives."""
        frames = self.arrivals.pop(0)
        if frames == []:
            self.clock.advance(max(0.0, timeout_s))
            self.log.append(f"waited {timeout_s:.2f}")
        return frames

    def send(self, data: bytes) -> None:
        """Notes what leaves."""
        self.log.append(data.decode())

    def wait_s(self, longest_s: float) -> float:
        """As the service."""
        return min(longest_s, self.put_off_s)

    def handle(self, frames: list[Frame]) -> bytes:
        """A group, which takes `group_s`."""
        self.put_off_s = 10.0
        self.clock.advance(self.group_s)
        return b"group of %d" % len(frames)

    def housekeep(self, *, idle: bool) -> tuple[bytes, bool]:
        """A step; `more` of them are wanted at once."""
        self.more -= 1
        return b"tidied" if idle else b"tidied a little", self.more > 0


def run_loop(script: Script) -> list[str]:
    """What the loop does until its arrivals end."""
    link_and_service = cast("Any", script)
    assert main._loop(link_and_service, link_and_service, script.clock) == 0
    return script.log


PING: Frame = (Kind.PING, 0, 0, 0, 1, b"")
STOP: Frame = (Kind.STOP, 0, 0, 0, 1, b"")


def test_housekeeping_comes_once_a_second_when_nothing_arrives() -> None:
    script = Script(ManualClock(), [[], [], [PING], None])
    assert run_loop(script) == ["waited 1.00", "tidied", "waited 1.00", "tidied", "group of 1"]


def test_while_there_is_much_to_tidy_groups_still_come_first() -> None:
    script = Script(ManualClock(), [[], [PING], [], [], None])
    script.more = 3
    assert run_loop(script) == [
        "waited 1.00",
        "tidied",
        "group of 1",
        "waited 0.01",
        "tidied",
        "waited 0.01",
        "tidied",
    ]


def test_between_groups_only_what_must_be_is_tidied() -> None:
    script = Script(ManualClock(), [[PING], [PING], [PING], [], None])
    script.group_s = 0.6
    log = ["group of 1", "group of 1", "tidied a little", "group of 1", "waited 0.40", "tidied"]
    assert run_loop(script) == log


def test_a_claim_that_was_put_off_wakes_the_loop() -> None:
    script = Script(ManualClock(), [[], [], None])
    script.put_off_s = 0.25
    assert run_loop(script) == ["waited 0.25", "group of 0", "waited 0.75", "tidied"]


def test_stop_ends_the_loop_after_its_group() -> None:
    script = Script(ManualClock(), [[PING, STOP], [PING]])
    assert run_loop(script) == ["group of 2"]
