"""A real PostgreSQL for figures and tests, on a free port, in a directory of its own, gone afterwards with its files.

The server's binaries are Debian's (`/usr/lib/postgresql/*/bin`) or those on the PATH. It refuses to run as root, so a
root starts it as `nobody`.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bench.processes import NotMeasuredError, find_program, free_port

START_S: Final = 30.0
DEBIAN: Final = Path("/usr/lib/postgresql")


def binaries() -> Path:
    """The newest server's folder. Raises NotMeasuredError where there is none."""
    named = shutil.which("postgres")
    folders = sorted(DEBIAN.glob("*/bin/initdb"), key=lambda program: int(program.parts[-3]))
    if folders:
        return folders[-1].parent
    if named is not None and (Path(named).resolve().parent / "initdb").is_file():
        return Path(named).resolve().parent
    raise NotMeasuredError("no PostgreSQL server here: apt-get install postgresql, or put its bin folder on the PATH")


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
        """Makes `name`.crt for localhost, signed by itself, and `name`.key."""
        files = {"-keyout": f"{name}.key", "-out": f"{name}.crt"}
        subject = ("-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost")
        how = (find_program("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject)
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
        settings = ["listen_addresses=127.0.0.1", *self._options]
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
            self._process.send_signal(signal.SIGQUIT)
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
