"""The worker's process, without the process: its loop, its link, a real store file behind it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from deora.config.schema import Config
from deora.upstream.firestore.limits import check_writes
from deora.wire.frames import Frame, Kind, Role, encode, pack, unpack
from deora.wire.link import BlockingLink, Link
from deora.worker import main as worker_main
from deora.worker.context import Context, Reply
from deora.worker.handlers import HANDLERS
from deora.worker.main import EXIT_CANNOT_BOOT, Worker, run, upstream_checks
from deora.worker.requests import Request
from tests.fakes.star import Received, read_answer
from tests.fakes.store import StoreFile, set_
from tests.fakes.worker import frame_parts

GENERATION = 7
INIT = {"generation": GENERATION, "run": b"run1", "name": "primary", "slot": "primary"}


class Supervisor:
    """The supervisor's end of the worker's link."""

    def __init__(self, store: StoreFile, serving: asyncio.Task[None]) -> None:
        self.store = store
        self.serving = serving
        self.link: Link
        self.frames: list[Frame] = []
        self.lost = asyncio.Event()
        self._came = asyncio.Event()
        self._ids = 0
        self.upstream: dict[str, bytes] = {}

    def on_frame(self, link: Link, frame: Frame) -> None:
        if frame[0] == Kind.CALL:
            # Upstream holds what `upstream` says, and no other document.
            operation, paths = unpack(frame[5])
            assert (operation, frame[2]) == ("read", Role.REPLAYER)
            copies = [[path, self.upstream.get(path)] for path in paths]
            link.send(encode(Kind.REPLY, frame[4], pack(copies)))
            return
        self.frames.append(frame)
        self._came.set()

    async def next(self) -> Frame:
        """The next frame of the worker."""
        while not self.frames:
            self._came.clear()
            await asyncio.wait_for(self._came.wait(), 5)
        return self.frames.pop(0)

    def send(self, kind: Kind, body: bytes = b"", ident: int = 0) -> None:
        self.link.send(encode(kind, ident, body))

    def request(self, method: str, target: str, content: Any = None, **more: Any) -> int:
        """Sends a REQUEST; its id."""
        self._ids += 1
        flags, head_bytes, body = frame_parts(method, target, content, **more)
        self.link.send(encode(Kind.REQUEST, self._ids, body, flags=flags, aux=head_bytes))
        return self._ids

    async def ask(self, method: str, target: str, content: Any = None, **more: Any) -> Received:
        """The HTTP answer of a request that is answered by the worker."""
        ident = self.request(method, target, content, **more)
        kind, _, status, generation, answered, body = await self.next()
        assert (kind, generation, answered) == (Kind.ANSWER, GENERATION, ident)
        found = read_answer(body)
        assert found.status == status
        return found


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StoreFile]:
    opened = StoreFile(tmp_path / "store.db")
    yield opened
    opened.close()


def work(store: StoreFile, talk: Callable[[Supervisor], Awaitable[None]], config: dict[str, Any] | None = None) -> None:
    """Runs a worker, and `talk` as its supervisor; afterwards the supervisor goes away, and the worker must end."""

    async def main() -> None:
        ours, theirs = socket.socketpair()
        worker = Worker(Config.from_wire(config or {}), store.path.parent, INIT)
        serving = asyncio.ensure_future(worker.serve(theirs))
        supervisor = Supervisor(store, serving)
        supervisor.link = await Link.open(ours, supervisor.on_frame, lambda _: supervisor.lost.set())
        hello = await supervisor.next()
        assert (hello[0], hello[3]) == (Kind.HELLO, GENERATION)
        try:
            await talk(supervisor)
        finally:
            supervisor.link.close()
            await asyncio.wait_for(serving, 5)
            await asyncio.wait_for(supervisor.lost.wait(), 5)

    uvloop.run(main())


# -- requests


def test_a_read_is_answered(store: StoreFile) -> None:
    async def talk(supervisor: Supervisor) -> None:
        version = store.commit(set_("a/b", {"n": 1})).version
        for _ in range(2):  # from the file, then from memory
            found = await supervisor.ask("GET", "/v1/documents/a/b")
            assert (found.status, found.json["data"]) == (200, {"n": 1})
            assert found.headers["etag"] == f'"{version}"'
            assert found.headers["x-deora-server"] == "primary"
            assert found.headers["x-request-id"] == "r-1"
            assert found.headers["content-type"] == "application/json"
            assert "connection" not in found.headers

    work(store, talk)


def test_a_write_becomes_a_commit(store: StoreFile) -> None:
    async def talk(supervisor: Supervisor) -> None:
        ident = supervisor.request("PUT", "/v1/documents/a/b", {"n": 1}, headers={"prefer": "wait=3"})
        kind, _, wait_s, generation, committed, body = await supervisor.next()
        assert (kind, wait_s, generation, committed) == (Kind.COMMIT, 3, GENERATION, ident)
        assert unpack(body)[0] == "write"
        # A worker has no side effect: nothing is there until the store says so.
        assert store.rows("SELECT * FROM documents") == []

    work(store, talk)


@pytest.mark.parametrize("path", ["a/b", "a/none"])
def test_head_and_close_are_kept(store: StoreFile, path: str) -> None:
    async def talk(supervisor: Supervisor) -> None:
        store.commit(set_("a/b", {"n": 1}))
        whole = await supervisor.ask("GET", f"/v1/documents/{path}")
        head = await supervisor.ask("GET", f"/v1/documents/{path}", head=True, close=True)
        assert (head.status, head.content) == (whole.status, b"")
        assert head.headers["content-length"] == str(len(whole.content))
        assert head.headers["connection"] == "close"

    work(store, talk)


def test_many_at_once_are_all_answered(store: StoreFile) -> None:
    async def talk(supervisor: Supervisor) -> None:
        for number in range(50):
            store.commit(set_(f"a/{number}", {"n": number}))
        asked = {supervisor.request("GET", f"/v1/documents/a/{number}"): number for number in range(50)}
        for _ in range(50):
            _, _, status, _, ident, body = await supervisor.next()
            assert status == 200
            assert read_answer(body).json["data"] == {"n": asked.pop(ident)}
        assert not asked

    work(store, talk)


def test_refusals_are_problems(store: StoreFile) -> None:
    async def talk(supervisor: Supervisor) -> None:
        for method, target, content, status in (
            ("GET", "/v1/documents/a/none", None, 404),
            ("GET", "/nothing", None, 404),
            ("POST", "/v1/documents/a/b", b"{}", 405),
            ("PUT", "/v1/documents/a/b", b"{", 400),
            ("GET", "/v1/documents/a?limit=0", None, 400),
            ("POST", "/v1/documents:batchGet", {}, 400),
        ):
            found = await supervisor.ask(method, target, content)
            assert found.status == status
            assert found.headers["content-type"] == "application/problem+json"
            assert found.json["status"] == status
            assert found.json["detail"]
            assert ("allow" in found.headers) == (status == 405)

    work(store, talk)


@pytest.mark.parametrize(
    ("method", "target", "needed"),
    [
        ("GET", "/v1/documents/a/b", 1),
        ("GET", "/v1/documents/a", 1),
        ("POST", "/v1/documents:batchGet", 1),
        ("GET", "/v1/queue/entries", 1),
        ("GET", "/v1/queue/entries/1", 1),
        ("PUT", "/v1/documents/a/b", 2),
        ("PATCH", "/v1/documents/a/b", 2),
        ("DELETE", "/v1/documents/a/b", 2),
        ("POST", "/v1/documents/a", 2),
        ("POST", "/v1/documents:commit", 2),
        ("POST", "/v1/queue/entries/1:retry", 3),
        ("DELETE", "/v1/queue/entries/1", 3),
        ("POST", "/v1/queue:retryDead", 3),
        ("POST", "/v1/queue:pause", 3),
        ("POST", "/v1/queue:resume", 3),
    ],
)
def test_scopes(store: StoreFile, method: str, target: str, needed: int) -> None:
    async def talk(supervisor: Supervisor) -> None:
        for scope in range(needed):
            found = await supervisor.ask(method, target, {}, scope=scope)
            assert found.status == (401 if scope == 0 else 403)
            if scope:
                assert ("read", "write", "admin")[needed - 1] in found.json["detail"]
        supervisor.request(method, target, {}, scope=needed)
        assert (await supervisor.next())[2] not in (401, 403)

    work(store, talk)


# -- faults


@pytest.mark.parametrize("handler", ["delete", "list"])
def test_a_fault_of_ours_is_a_500_that_names_the_request(
    store: StoreFile, handler: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def late(*_: Any) -> Reply:
        raise RuntimeError("a secret detail")

    def at_once(context: Context, request: Request, argument: bytes) -> Reply:
        raise RuntimeError("a secret detail", context, request, argument)

    monkeypatch.setitem(HANDLERS, "delete", at_once)
    monkeypatch.setitem(HANDLERS, "list", late)

    async def talk(supervisor: Supervisor) -> None:
        method, target = ("DELETE", "/v1/documents/a/b") if handler == "delete" else ("GET", "/v1/documents/a")
        found = await supervisor.ask(method, target, headers={"x-request-id": "r-77"})
        assert found.status == 500
        assert found.json["requestId"] == "r-77"
        assert b"secret" not in found.content
        # The next request is served.
        assert (await supervisor.ask("GET", "/v1/documents/a/b")).status == 404

    work(store, talk)
    assert "a secret detail" in caplog.text


def test_a_file_that_cannot_be_read_is_a_503(store: StoreFile) -> None:
    async def talk(supervisor: Supervisor) -> None:
        store.db.execute("ALTER TABLE documents RENAME TO away")
        found = await supervisor.ask("GET", "/v1/documents/a/b")
        assert found.status == 503
        assert found.headers["retry-after"] == "1"
        store.db.execute("ALTER TABLE away RENAME TO documents")
        assert (await supervisor.ask("GET", "/v1/documents/a/b")).status == 404

    work(store, talk)


# -- notices and stores


def test_a_notice_makes_it_forget(store: StoreFile) -> None:
    async def talk(supervisor: Supervisor) -> None:
        store.commit(set_("a/b", {"n": 1}))
        assert (await supervisor.ask("GET", "/v1/documents/a/b")).json["data"] == {"n": 1}
        store.commit(set_("a/b", {"n": 2}))
        assert (await supervisor.ask("GET", "/v1/documents/a/b")).json["data"] == {"n": 1}
        supervisor.send(Kind.NOTICE, pack(["a/x", "a/b"]))
        assert (await supervisor.ask("GET", "/v1/documents/a/b")).json["data"] == {"n": 2}

    work(store, talk)


def test_a_new_store_makes_it_forget_everything_and_open_the_file_again(store: StoreFile) -> None:
    async def talk(supervisor: Supervisor) -> None:
        store.commit(set_("a/b", {"n": 1}))
        assert (await supervisor.ask("GET", "/v1/documents/a/b")).json["data"] == {"n": 1}
        other = StoreFile(store.path.with_name("other.db"))
        other.commit(set_("a/b", {"n": 2}))
        other.close()
        for name in ("store.db-wal", "store.db-shm"):
            store.path.with_name(name).unlink()
        other.path.rename(store.path)
        supervisor.send(Kind.STORE)
        # In one stream with the STORE: whatever comes behind it reads the new file.
        assert (await supervisor.ask("GET", "/v1/documents/a/b")).json["data"] == {"n": 2}

    work(store, talk)


def test_a_file_that_cannot_be_opened_again_ends_it_without_an_answer(
    store: StoreFile, caplog: pytest.LogCaptureFixture
) -> None:
    async def talk(supervisor: Supervisor) -> None:
        store.path.rename(store.path.with_name("away.db"))
        supervisor.send(Kind.STORE)
        supervisor.request("GET", "/v1/documents/a/b")
        await asyncio.wait_for(supervisor.lost.wait(), 5)
        # Its supervisor gives the request to another.
        assert supervisor.frames == []
        await asyncio.wait_for(supervisor.serving, 5)
        store.path.with_name("away.db").rename(store.path)

    work(store, talk)
    assert "cannot be opened again" in caplog.text


# -- the process


def test_a_ping_is_answered_with_figures(store: StoreFile) -> None:
    async def talk(supervisor: Supervisor) -> None:
        store.commit(set_("a/b", {}))
        for _ in range(3):
            await supervisor.ask("GET", "/v1/documents/a/b")
        supervisor.send(Kind.PING, ident=9)
        kind, _, _, generation, ident, body = await supervisor.next()
        assert (kind, generation, ident) == (Kind.PONG, GENERATION, 9)
        figures = unpack(body)
        assert figures["cache"] == {"memory": {"hits": 2, "misses": 1}, "disk": {"hits": 0, "misses": 0}}
        assert figures["bytes"] > 0

    work(store, talk)


def test_the_memory_has_the_configured_size(store: StoreFile) -> None:
    async def talk(supervisor: Supervisor) -> None:
        store.commit(set_("a/b", {}))
        for _ in range(3):
            await supervisor.ask("GET", "/v1/documents/a/b")
        supervisor.send(Kind.PING)
        assert unpack((await supervisor.next())[5])["cache"]["memory"]["hits"] == 0

    work(store, talk, {"cache": {"memory": {"max_size": 0}}})


def test_stop_ends_it_after_what_it_holds(store: StoreFile) -> None:
    async def talk(supervisor: Supervisor) -> None:
        store.commit(set_("a/b", {"n": 1}))
        idents = {supervisor.request("GET", f"/v1/documents/a/b?x={number}") for number in range(5)}
        idents |= {supervisor.request("GET", "/v1/documents/a")}
        supervisor.send(Kind.STOP)
        await asyncio.wait_for(supervisor.lost.wait(), 5)
        assert {frame[4] for frame in supervisor.frames} == idents

    work(store, talk)


def test_nonsense_on_the_link_ends_it(store: StoreFile) -> None:
    async def talk(supervisor: Supervisor) -> None:
        supervisor.link.send(b"\0" * 100)
        await asyncio.wait_for(supervisor.lost.wait(), 5)

    work(store, talk)


def test_without_a_file_it_cannot_boot_and_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_main, "configure", lambda *_: None)
    ours, theirs = socket.socketpair()
    code = run(theirs, {**INIT, "config": Config.from_wire({}).to_wire(), "data": str(tmp_path)})
    theirs.close()
    assert code == EXIT_CANNOT_BOOT
    frame = BlockingLink(ours).receive_one()
    ours.close()
    assert frame is not None
    assert frame[0] == Kind.EVENT
    name, reason, hint = unpack(frame[5])
    assert name == "cannot-boot"
    assert str(tmp_path / "store.db") in reason
    assert isinstance(hint, str)


def test_the_process_serves_and_ends_with_0(store: StoreFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_main, "configure", lambda *_: None)
    ours, theirs = socket.socketpair()
    ours.sendall(encode(Kind.STOP, 0))
    assert run(theirs, {**INIT, "config": Config.from_wire({}).to_wire(), "data": str(store.path.parent)}) == 0
    frame = BlockingLink(ours).receive_one()
    ours.close()
    assert frame is not None
    assert frame[0] == Kind.HELLO


def test_what_firestore_refuses_is_judged_where_firestore_is_configured() -> None:
    firestore = {"type": "firestore", "project": "p"}
    for database in ({"primary": firestore}, {"secondary": firestore}, {"primary": firestore, "secondary": firestore}):
        assert upstream_checks(Config.from_wire({"database": database})) == (check_writes,)
    assert upstream_checks(Config.from_wire({})) == ()
