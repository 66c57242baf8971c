"""A real PostgreSQL for tests: made once for a test session, on a free port, in a directory of its own.

The server's binaries are Debian's (`/usr/lib/postgresql/*/bin`) or those on the PATH. It refuses to run as root, so a
root starts it as `nobody`.
"""

from __future__ import annotations

import glob
import itertools
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

START_S: Final = 30.0
_NUMBERS: Final = itertools.count(1)


def binaries() -> Path:
    """The newest server's folder. Skips the test where there is none."""
    named = shutil.which("postgres")
    folders = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda folder: int(folder.split("/")[-2]))
    found = [folder for folder in folders if (Path(folder) / "initdb").is_file()]
    if not found and named is not None and (Path(named).parent / "initdb").is_file():
        found = [str(Path(named).parent)]
    if not found:
        pytest.skip("no PostgreSQL server here: apt-get install postgresql, or put its bin folder on the PATH")
    return Path(found[-1])


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Server:
    """One server in a directory of its own. `url(database)` is where it is; its superuser is `deora`."""

    def __init__(self, directory: Path, *options: str) -> None:
        self.directory = directory
        self.port = free_port()
        self._bin = binaries()
        self._user = "nobody" if os.geteuid() == 0 else None
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def files(self) -> Path:
        """The server's data directory."""
        return self.directory / "files"

    def url(self, database: str = "postgres", user: str = "deora") -> str:
        """Where a database is."""
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def initialise(self) -> None:
        """Makes the server's files."""
        self.run(
            "initdb", "--pgdata", str(self.files), "--username=deora", "--auth=trust", "--no-sync", "--locale=C.UTF-8"
        )

    def copy(self, primary: Server) -> None:
        """Makes this server a hot standby of a running one."""
        source = ("--host=127.0.0.1", f"--port={primary.port}", "--username=deora")
        self.run("pg_basebackup", f"--pgdata={self.files}", *source, "--write-recovery-conf", "--checkpoint=fast")

    def make_certificate(self, name: str) -> None:
        """Makes `name`.crt for localhost, signed by itself, and `name`.key. Skips the test where it cannot."""
        if shutil.which("openssl") is None:
            pytest.skip("no openssl here: apt-get install openssl")
        files = {"-keyout": f"{name}.key", "-out": f"{name}.crt"}
        subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
        how = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject)
        command = [*how, *itertools.chain.from_iterable(files.items())]
        subprocess.run(command, cwd=self.directory, user=self._user, check=True, capture_output=True)

    def run(self, program: str, *arguments: str) -> None:
        """Runs one of PostgreSQL's programs as the server's user. Raises with what it printed."""
        done = subprocess.run(
            [str(self._bin / program), *arguments],
            cwd=self.directory,
            user=self._user,
            env={"PATH": os.defpath},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        command = [str(self._bin / "postgres"), "-D", str(self.files), "-p", str(self.port), "-k", str(self.directory)]
        settings = ["listen_addresses=127.0.0.1", "fsync=off", *self._options]
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *itertools.chain.from_iterable(("-c", setting) for setting in settings)],
                cwd=self.directory,
                user=self._user,
                env={"PATH": os.defpath},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline_s = time.monotonic() + START_S
        while not self._answers():
            assert self._process.poll() is None, (self.directory / "log").read_text(errors="replace")[-2000:]
            assert time.monotonic() < deadline_s, "the server does not answer"
            time.sleep(0.02)

    def stop(self) -> None:
        """Stops it at once, as a crash would: sessions are cut off (SIGQUIT)."""
        if self._process is not None:
            self._process.send_signal(3)
            self._process.wait(START_S)
            self._process = None

    def _answers(self) -> bool:
        ready = subprocess.run(
            [str(self._bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)], check=False
        )
        return ready.returncode == 0


@contextmanager
def running(*options: str) -> Iterator[Server]:
    """A server of one's own, gone afterwards with all its files."""
    binaries()
    with directory() as folder:
        server = Server(folder, *options)
        server.initialise()
        server.start()
        try:
            yield server
        finally:
            server.stop()


@contextmanager
def directory() -> Iterator[Path]:
    """A directory that the server's user owns, short enough for the path of a Unix socket."""
    folder = Path(tempfile.mkdtemp(prefix="deora-pg-"))
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody")
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def new_database(server: Server) -> str:
    """The URL of an empty database."""
    name = f"test{next(_NUMBERS)}"
    await execute(server.url(), f"CREATE DATABASE {name}")
    return server.url(name)


async def new_schema(server: Server) -> str:
    """The URL of an empty schema; quicker than a database."""
    name = f"test{next(_NUMBERS)}"
    await execute(server.url(), f"CREATE SCHEMA {name}")
    return f"{server.url()}?search_path={name}"


async def execute(url: str, *statements: str) -> None:
    """Runs statements, each by itself."""
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def fetch(url: str, query: str, *arguments: Any) -> list[Any]:
    """The rows of a query."""
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(query, *arguments))
    finally:
        await connection.close()
