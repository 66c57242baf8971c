"""The store's process as it runs in an instance, but without a supervisor: spoken to in frames, it is filled fast."""

from __future__ import annotations

import select
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

import psutil

from bench.instance import PROJECT
from deora.config.schema import Config
from deora.documents.writes import Write
from deora.store import main
from deora.wire.frames import Decoder, Frame, Kind
from tests.fakes.store import encode_commit, encode_operation

TIMEOUT_S = 60.0


def serve(descriptor: int, data: str, max_entries: int, max_bytes: int) -> int:
    """What the process runs: the store, on a socket that it has been given."""
    config = Config()
    config = replace(config, queue=replace(config.queue, max_entries=max_entries, max_bytes=max_bytes))
    return main.run(socket.socket(fileno=descriptor), {"config": config.to_wire(), "data": data, "generation": 1})


class StoreProcess:
    """A store on `data`, the directory of an instance; killed at the end of its `with` block."""

    def __init__(self, data: Path, *, max_entries: int, max_bytes: int) -> None:
        data.mkdir(parents=True, exist_ok=True)
        self._socket, theirs = socket.socketpair()
        arguments = f"{theirs.fileno()}, {str(data)!r}, {max_entries}, {max_bytes}"
        code = f"import sys; from tests.fakes.store_process import serve; sys.exit(serve({arguments}))"
        with theirs, (data / "store-process.log").open("wb") as log:
            self._popen = subprocess.Popen(
                [sys.executable, "-c", code], cwd=PROJECT, stdout=log, stderr=log, pass_fds=[theirs.fileno()]
            )
        self._decoder = Decoder()
        self.process = psutil.Process(self._popen.pid)
        self._ids = 0
        self._next(Kind.HELLO, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
        self._popen.kill()
        self._popen.wait()

    def pause(self, upstream: str) -> None:
        """Nothing is claimed from now on."""
        self._ids += 1
        self._send(encode_operation(self._ids, "pause", upstream, True), 1)

    def commit(self, writes: Sequence[Write], priority_of: Sequence[int]) -> None:
        """As many requests of one write each, sent at once; returns once each was answered with a 2xx."""
        frames = []
        for write, priority in zip(writes, priority_of, strict=True):
            self._ids += 1
            frames.append(encode_commit(self._ids, [write], priority=priority))
        self._send(b"".join(frames), len(frames))

    def _send(self, data: bytes, answers: int) -> None:
        self._socket.sendall(data)
        for frame in self._next(Kind.RESULT, answers):
            assert frame[2] in (200, 201), frame

    def _next(self, kind: Kind, count: int) -> list[Frame]:
        """The next `count` frames of a kind; others are passed over."""
        found: list[Frame] = []
        while len(found) < count:
            ready, _, _ = select.select([self._socket], [], [], TIMEOUT_S)
            data = self._socket.recv(1 << 20) if ready else b""
            assert data, f"the store has answered {len(found)} of {count} requests and says no more"
            found += [frame for frame in self._decoder.feed(data) if frame[0] == kind]
        return found
