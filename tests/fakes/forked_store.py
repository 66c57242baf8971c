"""The store's real process without its instance: a small server forks it, as the zygote does, on a disk that may fail.

    server = StoreServer(folder, disk.environment())     # a program of its own, so that a library can be preloaded
    store = server.serve(data)                           # HELLO has come; spoken to in frames, as the supervisor does
    answers = store.handle(encode_commit(1, [...]))
    store.kill(); store.end()

Run as a program, with the number of a socket, it is that server.
"""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgpack

from bench.instance import ENVIRONMENT, PROJECT
from deora.config.schema import Config
from deora.store import database, durability
from deora.store import main as store_main
from deora.store.database import open_writer
from deora.wire.frames import Decoder, Frame, Kind, encode, unpack
from tests.fakes.store import Answer, group_of

TIMEOUT_S: Final = 30


class StoreGone(Exception):
    """The store has ended before it had answered all."""

    def __init__(self, answers: dict[int, Answer]) -> None:
        super().__init__("the store has ended")
        self.answers = answers


class StoreProcess:
    """A store's process and the supervisor's end of its socket."""

    def __init__(self, server: StoreServer, pid: int, sock: socket.socket, generation: int) -> None:
        self._server = server
        self.pid = pid
        self._socket = sock
        self._socket.settimeout(TIMEOUT_S)
        self._decoder = Decoder()
        self.code: int | None = None
        self.hello: dict[str, Any] | None = None
        self._generation = generation

    def begin(self) -> bool:
        """Waits for its HELLO; False where it ends instead."""
        while self.hello is None:
            frames = self._receive()
            if frames is None:
                return False
            for frame in frames:
                if frame[0] == Kind.HELLO:
                    self.hello = unpack(frame[5])
        return True

    def handle(self, *frames: bytes, expect: int | None = None) -> dict[int, Answer]:
        """Sends frames at once; their answers by number, as soon as there are `expect` (all). Raises StoreGone."""
        wanted = len(frames) if expect is None else expect
        answers: dict[int, Answer] = {}
        with suppress(ConnectionError):
            self._socket.sendall(b"".join(frames))
        while len(answers) < wanted:
            arrived = self._receive()
            if arrived is None:
                raise StoreGone(answers)
            answers.update(group_of(arrived).answers)
        return answers

    def figures(self) -> dict[str, Any]:
        """What its PONG says of the disk. Raises StoreGone."""
        return self._ping()[0]

    def waiting(self) -> int:
        """How many entries no upstream has confirmed. Raises StoreGone."""
        upstreams = self._ping()[1]["upstreams"].values()
        return sum(int(each["pending"]) + int(each["inflight"]) for each in upstreams)

    def _ping(self) -> tuple[dict[str, Any], dict[str, Any]]:
        with suppress(ConnectionError):
            self._socket.sendall(encode(Kind.PING, 1, generation=self._generation))
        queue: dict[str, Any] = {}
        while (frames := self._receive()) is not None:
            for kind, *_, body in frames:
                if kind == Kind.EVENT and unpack(body)[0] == "queue":
                    [_, queue] = unpack(body)
                elif kind == Kind.PONG:
                    return unpack(body), queue
        raise StoreGone({})

    def kill(self) -> None:
        """SIGKILL."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def stop(self) -> int:
        """Has it end in peace; its exit code."""
        with suppress(OSError):
            self._socket.sendall(encode(Kind.STOP, 0))
        return self.end()

    def end(self) -> int:
        """Waits for its end; the exit code, or minus the signal."""
        if self.code is None:
            self.code = self._server.wait(self.pid)
            self._socket.close()
        return self.code

    def _receive(self) -> list[Frame] | None:
        try:
            data = self._socket.recv(1 << 20)
        except ConnectionError:
            return None
        return self._decoder.feed(data) if data else None


FAULTS: Final[dict[str, tuple[Any, str, Any]]] = {
    "synchronous is NORMAL": (store_main, "open_writer", lambda path: sync_less(path)),
    "the WAL is not written again": (durability, "rewrite", lambda _: 0),
    "what was left is not synced": (database, "sync_files", lambda _: None),
}


class StoreServer:
    """Forks stores. Leaving its `with` block ends it and what it has forked.

    `fault` is a name of FAULTS: a fault of the program, by which a test shows that it would find it. `before`: a
    program that runs the server, such as strace.
    """

    def __init__(
        self, folder: Path, environment: dict[str, str], *, fault: str | None = None, before: Sequence[str] = ()
    ) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(TIMEOUT_S)
        kept = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        with theirs:
            self._popen = subprocess.Popen(
                [*before, sys.executable, "-m", "tests.fakes.forked_store", str(theirs.fileno()), fault or ""],
                cwd=folder,
                env={**kept, "PYTHONPATH": str(PROJECT), **environment},
                pass_fds=[theirs.fileno()],
            )
        self._generation = 0
        self._started: list[StoreProcess] = []

    def __enter__(self) -> StoreServer:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:
            if process.code is None:
                process.kill()
                process.end()
        self._control.close()
        self._popen.wait(TIMEOUT_S)

    def start(self, data: Path, config: dict[str, Any] | None = None) -> StoreProcess:
        """A store on this data directory. Whether it comes to say HELLO, `begin` tells."""
        ours, theirs = socket.socketpair()
        self._generation += 1
        wire = Config().to_wire()
        wire["logger"]["outputs"] = []
        for file, keys in (config or {}).items():
            wire[file].update(keys)
        init = {"config": wire, "data": str(data), "generation": self._generation}
        with theirs:
            socket.send_fds(self._control, [msgpack.packb(["start", init])], [theirs.fileno()])
            pid = msgpack.unpackb(self._control.recv(64))
        process = StoreProcess(self, pid, ours, self._generation)
        self._started.append(process)
        return process

    def serve(self, data: Path, config: dict[str, Any] | None = None, patience_s: float = 20.0) -> StoreProcess:
        """A store that has said HELLO, started as often as that takes."""
        deadline_s = time.monotonic() + patience_s
        while not (process := self.start(data, config)).begin():
            process.end()
            assert time.monotonic() < deadline_s, "no store comes up"
        return process

    def wait(self, pid: int) -> int:
        """Waits for the end of a store; its exit code, or minus the signal."""
        self._control.send(msgpack.packb(["wait", pid]))
        code: int = msgpack.unpackb(self._control.recv(64))
        return code


def sync_less(path: Path) -> sqlite3.Connection:
    """`open_writer` of a store that does not sync each commit."""
    db = open_writer(path)
    db.execute("PRAGMA synchronous = NORMAL")
    return db


def main(descriptor: int, fault: str) -> None:
    """Serves `StoreServer`'s end of a socket until that closes."""
    if fault:
        module, name, replacement = FAULTS[fault]
        setattr(module, name, replacement)
    control = socket.socket(fileno=descriptor)
    while True:
        message, descriptors, _, _ = socket.recv_fds(control, 1 << 16, 1)
        if not message:
            return
        what, value = msgpack.unpackb(message)
        if what == "wait":
            _, status = os.waitpid(value, 0)
            control.send(msgpack.packb(os.waitstatus_to_exitcode(status)))
            continue
        pid = os.fork()
        if pid == 0:
            control.close()
            code = 70
            try:
                code = store_main.run(socket.socket(fileno=descriptors[0]), value)
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                os._exit(code)
        os.close(descriptors[0])
        control.send(msgpack.packb(pid))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
