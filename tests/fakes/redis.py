"""Redis servers for tests: a real one on a free port, and ones that only pretend."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Self

import pytest

from bench.processes import free_port

PROGRAMS = ("redis-server", "valkey-server")


class RealRedis:
    """A redis-server of this test's own: no file is written but in `folder`."""

    def __init__(self, folder: Path) -> None:
        found = next(filter(None, map(shutil.which, PROGRAMS)), None)
        if found is None:
            pytest.skip(f"NOT TESTED WITH REDIS: none of {', '.join(PROGRAMS)} is installed (Debian: redis-server)")
        self.port = free_port()
        self._command = [found, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its address."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> Self:
        """Starts it, empty; returns once it answers."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline_s = time.monotonic() + 10
        while True:
            try:
                if self.command(b"PING").startswith(b"+PONG"):
                    return self
            except OSError:
                assert time.monotonic() < deadline_s, "redis-server does not answer"
                time.sleep(0.01)

    def command(self, text: bytes) -> bytes:
        """What it answers to an inline command, as far as it comes at once."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as sock:
            sock.sendall(text + b"\r\n")
            return sock.recv(1 << 20)

    def hang(self, *, on: bool) -> None:
        """Stops it in the middle of whatever it does, or lets it go on."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP if on else signal.SIGCONT)

    def kill(self) -> None:
        """Ends it without a word."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()


class PretendedRedis:
    """A server on a free port that answers every request with the same bytes; with none it hangs."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"
        """its address"""
        self.connections = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            try:
                while sock.recv(65536):
                    sock.sendall(self._answer)
            except OSError:
                return

    def close(self) -> None:
        """Takes no more connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
