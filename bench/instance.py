"""A real instance of DEORA on a free port, for figures and for process tests."""

from __future__ import annotations

import http.client
import os
import sys
import time
from collections.abc import Mapping, Sequence
from email.message import Message
from json import dumps, loads
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

from bench.processes import START_TIMEOUT_S, BenchError, Process, answers, free_port

PROJECT: Final = Path(__file__).resolve().parent.parent
# The program that is tried: what is here, unless the environment names a bundle's.
DEORA: Final = [os.environ["BUNDLED_DEORA"]] if "BUNDLED_DEORA" in os.environ else [sys.executable, "-m", "deora"]
# Nothing else of the caller's environment may configure the instance.
ENVIRONMENT: Final = ("PATH", "HOME", "LANG", "TMPDIR")


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    headers: Message
    content: bytes

    @property
    def json(self) -> Any:
        """The content as JSON; None where there is none."""
        return loads(self.content) if self.content else None

    @property
    def text(self) -> str:
        """The content as text."""
        return self.content.decode(errors="replace")


class Instance(Process):
    """A running `deora start` with a data directory of its own, `directory`/data.

    `config` maps a configuration file's name without ending to its content: `{"queue": {"max_entries": 10}}`. `port`
    is for an instance that follows another one at its address (`lasting_port`). `before` is a program that becomes the
    instance: `("prlimit", "--nofile=64")`, `("env", "NAME=value")`.
    """

    def __init__(
        self,
        directory: Path,
        config: Mapping[str, Any] | None = None,
        port: int | None = None,
        before: Sequence[str] = (),
    ) -> None:
        self.directory = directory
        self.data = directory / "data"
        folder = directory / "config"
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in (config or {}).items():
            (folder / f"{name}.json").write_text(dumps(content), encoding="utf-8")
        port = port or free_port()
        self.url = f"http://127.0.0.1:{port}"
        arguments = ["--config", str(folder), "--data", str(self.data), "--host", "127.0.0.1", "--port", str(port)]
        kept = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
        self.started_at = time.monotonic()
        command = [*before, *DEORA, "start", *arguments]
        super().__init__(f"deora-{port}", command, directory, {**kept, "PYTHONPATH": str(PROJECT)})

    def wait_until_ready(self, timeout_s: float = START_TIMEOUT_S) -> float:
        """Wait for `/health/ready`; returns the seconds since the start. Raises BenchError with what it printed."""
        self.wait_until(lambda: answers(f"{self.url}/health/ready"), timeout_s)
        return time.monotonic() - self.started_at

    def wait_until_whole(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until every process of a ready instance is up, not just what one request needs. Raises BenchError."""
        self.wait_until(lambda: self.get("/health")["status"] == "healthy", timeout_s)

    def request(
        self,
        method: str,
        path: str,
        json: Any = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 35.0,
    ) -> Answer:
        """Send one request on a connection of its own. `json` may be bytes, which are sent as they are."""
        address = urlsplit(self.url)
        connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=timeout_s)
        body = json if isinstance(json, bytes) or json is None else dumps(json).encode()
        kind = {} if body is None else {"Content-Type": "application/json"}
        try:
            connection.request(method, path, body, {**kind, **(headers or {})})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path: str) -> Any:
        """The JSON of a GET that has to succeed. Raises BenchError."""
        return self._expect_ok(self.request("GET", path), f"GET {path}")

    def post(self, path: str) -> Any:
        """The JSON of a POST without a body that has to succeed. Raises BenchError."""
        return self._expect_ok(self.request("POST", path), f"POST {path}")

    def status(self) -> Any:
        """`GET /status`."""
        return self.get("/status")

    def waiting(self) -> int:
        """How many entries no upstream has confirmed."""
        queue = self.get("/v1/queue")
        return int(queue["pending"]) + int(queue["inflight"])

    def wait_until_drained(self, timeout_s: float = 300.0, poll_s: float = 0.05) -> None:
        """Return once nothing waits. Raises BenchError after `timeout_s`."""
        deadline = time.monotonic() + timeout_s
        while waiting := self.waiting():
            if time.monotonic() > deadline:
                raise BenchError(f"{waiting} entries still wait after {timeout_s:g} s")
            time.sleep(poll_s)

    def _expect_ok(self, answer: Answer, what: str) -> Any:
        if answer.status != 200:
            raise BenchError(f"{what} answered {answer.status}: {answer.text}")
        return answer.json
