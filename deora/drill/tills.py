"""Tills that write, at full speed or at a given rate, and keep the history that the judge judges.

Each write is a PATCH of one of a few documents with a token of its own (`judge.logged`). Where the answer is unclear
a till sends the request again with the same Idempotency-Key until `patience_s` is over; only then it stays `UNKNOWN`.
With `patience_s=0` the first answer counts.
"""

from __future__ import annotations

import http.client
import itertools
import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from deora.drill.judge import Outcome, Sent, logged, outcome_of

# A document that is its own log grows with each write: no more than so many go into one.
WRITES_A_DOCUMENT: Final = 400


@dataclass(frozen=True, slots=True)
class Timed:
    """One request and its answer. `status` is None where none came."""

    began_s: float
    took_s: float
    status: int | None


class Tills:
    """`count` threads against one instance; leaving the `with` block ends the load. `seed` decides who writes what.

    `rate`: writes a second, all tills together; None is as fast as they are answered. `reads`: requests that read for
    each that writes. `collection` is where the documents are. `prefix` keeps the tokens of several runs apart.
    """

    def __init__(
        self,
        url: str,
        count: int = 8,
        *,
        seed: int = 0,
        rate: float | None = None,
        reads: int = 0,
        patience_s: float = 20.0,
        timeout_s: float = 20.0,
        documents: int = 50,
        collection: str = "tills",
        prefix: str = "",
    ) -> None:
        self._address = urlsplit(url)
        self._seed = seed
        self._pause_s = count / rate if rate else 0.0
        self._reads = reads
        self._patience_s = patience_s
        self._timeout_s = timeout_s
        self._documents = documents
        self._collection = collection
        self._prefix = prefix
        self._stop = threading.Event()
        self.history: list[Sent] = []
        self.writes: list[Timed] = []
        self.reads: list[Timed] = []
        self.errors: list[str] = []
        """what went wrong on the way: answers of 5xx, broken connections"""
        self.stale: list[str] = []
        """reads that did not show what was acknowledged to the same till before"""
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(count)]

    def __enter__(self) -> Tills:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None or issubclass(kind, Exception):
            self.stop()
        else:
            self._stop.set()  # a Ctrl-C waits for no answer

    def stop(self) -> None:
        """Ends the load, after the requests that are under way."""
        self._stop.set()
        for thread in self._threads:
            thread.join(self._patience_s + self._timeout_s + 10)

    def count(self, outcome: Outcome) -> int:
        """How many writes ended so, up to now."""
        return sum(sent.outcome is outcome for sent in list(self.history))

    def _run(self, number: int) -> None:
        dice = random.Random(f"{self._seed}/{number}")
        due_s = time.monotonic() + dice.random() * self._pause_s
        connection = http.client.HTTPConnection(
            self._address.hostname or "", self._address.port, timeout=self._timeout_s
        )
        with closing(connection):
            for turn in self._turns():
                token = f"{self._prefix}{number}-{turn}"
                generation = turn * len(self._threads) // (WRITES_A_DOCUMENT * self._documents // 2)
                path = f"{self._collection}/d{dice.randrange(self._documents)}-{generation}"
                sent = self._write(connection, token, path)
                for _ in range(self._reads):
                    self._read(connection, sent)
                due_s = max(due_s + self._pause_s, time.monotonic() - 1.0)
                self._stop.wait(max(0.0, due_s - time.monotonic()))

    def _turns(self) -> Iterator[int]:
        return itertools.takewhile(lambda _: not self._stop.is_set(), itertools.count())

    def _write(self, connection: http.client.HTTPConnection, token: str, path: str) -> Sent:
        headers = {"Content-Type": "application/json", "Idempotency-Key": token}
        deadline_s = time.monotonic() + self._patience_s
        while True:
            status, answer = self._send(
                connection, self.writes, "PATCH", f"/v1/documents/{path}?upsert=true", logged(token), headers
            )
            outcome = outcome_of(status)
            if outcome is not Outcome.UNKNOWN or time.monotonic() >= deadline_s:
                break
            time.sleep(0.05)
        sent = Sent(token, path, outcome, answer["commit"] if outcome is Outcome.OK else None)
        self.history.append(sent)
        return sent

    def _read(self, connection: http.client.HTTPConnection, sent: Sent) -> None:
        status, answer = self._send(connection, self.reads, "GET", f"/v1/documents/{sent.path}", None, {})
        shown = status == 200 and sent.token in answer["data"]["log"]
        if sent.outcome is Outcome.OK and status in (200, 404) and not shown:
            self.stale.append(f"{sent.path} lacks {sent.token}")

    def _send(
        self,
        connection: http.client.HTTPConnection,
        into: list[Timed],
        method: str,
        target: str,
        body: object,
        headers: dict[str, str],
    ) -> tuple[int | None, Any]:
        began_s = time.monotonic()
        status, content = None, b""
        try:
            connection.request(method, target, json.dumps(body) if body is not None else None, headers)
            response = connection.getresponse()
            content = response.read()
            status = response.status
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            self.errors.append(f"{method} {target}: {type(error).__name__}")
        into.append(Timed(began_s, time.monotonic() - began_s, status))
        if status is not None and status >= 500:
            self.errors.append(f"{method} {target}: {status} {content[:200]!r}")
        return status, json.loads(content) if content else None


def p99_ms(timed: list[Timed]) -> float:
    """The 99th percentile of the time to an answer."""
    took = sorted(one.took_s for one in timed)
    return took[min(len(took) - 1, int(len(took) * 0.99))] * 1000 if took else 0.0
