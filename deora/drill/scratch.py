"""The scratch instance: a `deora start` of this very program, on a free port and in a folder of its own.

It takes nothing from the caller's environment that could configure it, and is never looked for by the caller's data
directory or sockets. What it starts it ends, by process id.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Self

import psutil

from deora.errors import DeoraError
from deora.supervisor.options import program

START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 15.0
ANSWER_TIMEOUT_S: Final = 35.0
LOOK_S: Final = 0.02
# What a program needs to run at all. Neither DEORA_* nor what systemd says to a unit is among them.
ENVIRONMENT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH")
PRINTED_CHARACTERS: Final = 2000


class Broken(DeoraError):
    """Something had to come to pass and did not."""


class Scratch:
    """A scratch instance in `folder`, with these configuration files. Leaving the `with` block ends all of it."""

    def __init__(self, folder: Path, config: Mapping[str, Any]) -> None:
        self.data = folder / "data"
        self.log = folder / "log"
        self._config = folder / "config"
        self._config.mkdir(parents=True)
        for name, content in config.items():
            self.configure(name, content)
        self._port = lasting_port()
        self._running: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def configure(self, name: str, content: Any) -> None:
        """Writes one file of the configuration."""
        (self._config / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")

    # -- its processes

    def start(self) -> None:
        """Starts it and returns once every process of it serves. Raises Broken."""
        with self.log.open("ab") as output:
            self._running = subprocess.Popen(
                [*program(), "start", "--config", str(self._config), *self._data(), *self._address()],
                cwd=self._config.parent,
                env=environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.wait_until(self.is_whole, "every process of the scratch instance serves", START_TIMEOUT_S)

    def is_whole(self) -> bool:
        """Whether every child is up."""
        try:
            return all(row["state"] == "up" for row in self._rows())
        except (OSError, http.client.HTTPException, Broken):
            return False

    def has_new(self, name: str, old: int) -> bool:
        """Whether every child is up, and this one is another process than `old`."""
        return self.is_whole() and self.children().get(name, old) != old

    def children(self) -> dict[str, int]:
        """Slot or name -> process id of every child that runs, as status shows them. Raises Broken."""
        return {row.get("slot") or row["name"]: row["pid"] for row in self._rows() if row["pid"] is not None}

    def kill(self) -> None:
        """kill -9 of every process, and the end of all of them."""
        for process in self._tree():
            with suppress(psutil.NoSuchProcess):
                process.kill()  # psutil compares the start time: a number that was given away again is left alone
        if self._running is not None:
            self._running.wait()

    def stop(self) -> None:
        """Ends it as an operator would. Raises Broken where that leaves something."""
        running = self._running
        if running is None:
            return
        tree = self._tree()
        running.send_signal(signal.SIGTERM)
        try:
            code = running.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise Broken(f"the scratch instance has not ended {STOP_TIMEOUT_S:g} s after SIGTERM") from None
        if code != 0:
            raise Broken(f"after SIGTERM the scratch instance ended with {code}; it printed: {self.printed()}")
        left = psutil.wait_procs(tree, timeout=STOP_TIMEOUT_S)[1]
        if left:
            raise Broken(f"after SIGTERM there is still {', '.join(str(process) for process in left)}")

    @contextmanager
    def limited_files(self, size_bytes: int) -> Iterator[None]:
        """No file of the store may grow beyond this, nor of a store that is started meanwhile.

        The zygote bequeaths the limit. The replayer, which writes the embedded upstream, has none.
        """
        limit_files([self.children()[name] for name in ("zygote", "store")], size_bytes)
        try:
            yield
        finally:
            limit_files([process.pid for process in self._tree()], None)

    def reload(self) -> None:
        """`deora reload`. Raises Broken."""
        done = subprocess.run(
            [*program(), "reload", *self._data()],
            cwd=self._config.parent,
            env=environment(),
            check=False,
            capture_output=True,
            timeout=START_TIMEOUT_S,
        )
        if done.returncode != 0:
            raise Broken(f"the reload failed: {done.stderr.decode(errors='replace').strip()}")

    def printed(self) -> str:
        """The end of what it has printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")[-PRINTED_CHARACTERS:]

    def _tree(self) -> list[psutil.Process]:
        """All of its processes that run: its descendants, and who is in its session, also where the first has ended."""
        if self._running is None:
            return []
        found = [process for process in psutil.process_iter() if _session_of(process.pid) == self._running.pid]
        with suppress(psutil.NoSuchProcess):
            found += psutil.Process(self._running.pid).children(recursive=True)
        return list(dict.fromkeys(found))

    def _data(self) -> list[str]:
        return ["--data", str(self.data)]

    def _address(self) -> list[str]:
        return ["--host", "127.0.0.1", "--port", str(self._port)]

    # -- what it says

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Status and JSON of an answer. Raises OSError and HTTPException."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWER_TIMEOUT_S)
        try:
            kind = {} if body is None else {"Content-Type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), kind)
            response = connection.getresponse()
            content = response.read()
            return response.status, json.loads(content) if content else None
        finally:
            connection.close()

    def must(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON of an answer that has to be 200. Raises Broken."""
        try:
            status, answer = self.ask(method, path, body)
        except (OSError, http.client.HTTPException) as error:
            raise Broken(f"{method} {path} has no answer: {error}") from error
        if status != 200:
            raise Broken(f"{method} {path} is answered with {status}: {answer}")
        return answer

    def waiting(self) -> int:
        """How many entries upstream has not confirmed. Raises Broken."""
        queue = self.must("GET", "/v1/queue")
        return int(queue["pending"]) + int(queue["inflight"])

    def queued(self) -> dict[str, list[str]]:
        """Path -> tokens of the load's writes that the queue still holds, waiting or dead, in order. Raises Broken."""
        entries: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = self.must("GET", f"/v1/queue/entries?upstream=primary&limit=1000{cursor}")
            entries += page["entries"]
            if page["cursor"] is None:
                break
            cursor = f"&cursor={page['cursor']}"
        found: dict[str, list[str]] = {}
        for entry in sorted(entries, key=lambda entry: int(entry["id"])):
            for update in (write["update"] for write in entry["writes"] if "update" in write):
                found.setdefault(update["path"], []).extend(update["data"]["log"]["$arrayUnion"])
        return found

    def wait_until(self, is_so: Callable[[], bool], what: str, timeout_s: float) -> float:
        """Returns once it is so, with the seconds that it took. Raises Broken after `timeout_s`, or at its end."""
        began_s = time.monotonic()
        while not is_so():
            code = self._running.poll() if self._running is not None else None
            if code is not None:
                raise Broken(f"the scratch instance ended with {code}; it printed: {self.printed()}")
            if time.monotonic() - began_s > timeout_s:
                raise Broken(f"not within {timeout_s:g} s: {what}")
            time.sleep(LOOK_S)
        return time.monotonic() - began_s

    def _rows(self) -> list[dict[str, Any]]:
        status = self.must("GET", "/status")
        return [*status["workers"], *status["processes"]]


def environment() -> dict[str, str]:
    """What a scratch instance has of the caller's environment."""
    return {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}


def limit_files(pids: list[int], size_bytes: int | None) -> None:
    """How large these processes' files may become; None: as large as before. Those that have ended are left out."""
    for pid in pids:
        with suppress(ProcessLookupError):
            hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]
            soft = hard if size_bytes is None else size_bytes
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))


def lasting_port() -> int:
    """A port that stays free while nobody listens on it: the kernel gives none of these to clients' ends."""
    ephemeral = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    while True:
        port = random.randrange(1024, ephemeral)
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None
