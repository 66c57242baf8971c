"""A till as a client of DEORA: one connection, one stream of idempotency keys, and a ledger of what was acknowledged.

Nothing here knows about restaurants: `evening.py` says what is written, this module how. Its rules are those of any
careful client: every write carries an `Idempotency-Key`, a request without an answer is repeated with the same key,
and a write counts only once it is acknowledged.
"""

from __future__ import annotations

import http.client
import itertools
import json
import threading
import time
from typing import Any
from urllib.parse import quote, urlsplit

Document = dict[str, Any]

PATIENCE_S = 60  # how long one request is repeated before the till gives up


class EveningError(Exception):
    """Something that ends a till's evening, or keeps it from beginning."""


def canonical(value: Any) -> str:
    """`value` as text in which equal means equal: 1, 1.0 and true differ, the order of an object's keys does not."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def differences(expected: Document, found: Document) -> list[str]:
    """The fields in which two documents differ, one line each."""
    lines = []
    for field in sorted(expected.keys() | found.keys()):
        wanted, held = (canonical(side[field]) if field in side else "absent" for side in (expected, found))
        if wanted != held:
            lines.append(f"{field} is {held}, not {wanted}")
    return lines


class Ledger:
    """What must be there in the end: every acknowledged write, applied to a dictionary of path to data."""

    def __init__(self) -> None:
        self.documents: dict[str, Document] = {}
        self.deleted: set[str] = set()
        self._lock = threading.Lock()

    def record(self, kind: str, path: str, data: Document) -> None:
        """Apply one write; `kind` is create, set, update or delete."""
        with self._lock:
            if kind == "delete":
                del self.documents[path]
                self.deleted.add(path)
            elif kind == "update":
                merge(self.documents[path], data)
            else:
                self.documents[path] = dict(data)


def merge(document: Document, changes: Document) -> None:
    """Apply the fields of an update to `document`; the operators mean what the API says that they mean."""
    for field, value in changes.items():
        match value:
            case {"$increment": amount}:
                document[field] = document.get(field, 0) + amount
            case {"$max": amount}:
                document[field] = max(document.get(field, amount), amount)
            case {"$arrayUnion": members}:
                present = document.get(field, [])
                document[field] = present + [member for member in members if member not in present]
            case {"$delete": True}:
                document.pop(field, None)
            case {"$serverTimestamp": True}:
                pass  # only the server knows it: `Till.check(path, learn=field)` takes it over
            case _:
                document[field] = value


class Connection:
    """One keep-alive connection to the API. `repeated` counts the requests that had to be sent again."""

    def __init__(self, url: str, patience_s: float = PATIENCE_S) -> None:
        address = urlsplit(url)
        self._patience_s = patience_s
        self._http = http.client.HTTPConnection(address.hostname or "", address.port or 80, timeout=35)
        self.repeated = 0

    def send(self, method: str, target: str, body: Document | None = None, **headers: str) -> tuple[int, Document]:
        """Send one request; returns status and JSON. A header's name is written with `_` for `-`.

        A dropped connection or a 503 is tried again. For a write that is safe, since its Idempotency-Key stays the
        same: had the first attempt been stored after all, the second one would get the first one's answer.
        """
        content = None if body is None else json.dumps(body).encode()
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        if content is not None:
            fields["Content-Type"] = "application/json"
        deadline = time.monotonic() + self._patience_s
        while True:
            pause_s = 0.1
            try:
                self._http.request(method, target, content, fields)
                response = self._http.getresponse()
                answer = response.read()
                if response.status != 503:
                    return response.status, json.loads(answer) if answer else {}
                failure = answer.decode(errors="replace")
                pause_s = float(response.headers.get("Retry-After", pause_s))
            except (OSError, http.client.HTTPException) as error:
                self._http.close()  # the next request opens it again
                failure = f"{type(error).__name__}: {error}"
            if time.monotonic() + pause_s > deadline:
                raise EveningError(f"{method} {target} had no answer for {self._patience_s} s; at last: {failure}")
            self.repeated += 1
            time.sleep(pause_s)

    def get(self, target: str) -> Document:
        """The JSON of a GET that has to succeed."""
        status, answer = self.send("GET", target)
        if status != 200:
            raise EveningError(f"GET {target} answered {status}: {json.dumps(answer)}")
        return answer


class Till:
    """Writes documents, records what was acknowledged, and checks that it can read what it wrote.

    `run` goes into every document (field `evening`) and every key, so that an instance can see many evenings.
    """

    def __init__(self, url: str, run: str, name: str, ledger: Ledger) -> None:
        self.run = run
        self.name = name
        self.ledger = ledger
        self.connection = Connection(url)
        self.latencies_s: list[float] = []
        self.problems: list[str] = []
        self._numbers = itertools.count(1)

    def new_name(self) -> str:
        """A name that no other till and no other run has."""
        return f"{self.run}.{self.name}.{next(self._numbers)}"

    def create(self, collection: str, data: Document) -> str:
        """Create a document under an id that the server makes; returns its path."""
        signed = {**data, "evening": self.run}
        path: str = self._write("POST", f"/v1/documents/{collection}", signed)["path"]
        self.ledger.record("create", path, signed)
        return path

    def set(self, path: str, data: Document, **headers: str) -> None:
        """Write a whole document."""
        signed = {**data, "evening": self.run}
        self._write("PUT", f"/v1/documents/{quote(path)}", signed, **headers)
        self.ledger.record("set", path, signed)

    def update(self, path: str, changes: Document, **headers: str) -> None:
        """Write some fields of a document, by value or by operator."""
        self._write("PATCH", f"/v1/documents/{quote(path)}", changes, **headers)
        self.ledger.record("update", path, changes)

    def delete(self, path: str) -> None:
        """Delete a document."""
        self._write("DELETE", f"/v1/documents/{quote(path)}")
        self.ledger.record("delete", path, {})

    def commit(self, *writes: tuple[str, str, Document]) -> None:
        """Several creates, sets and updates, given as (kind, path, data): all of them or none."""
        mark = {"evening": self.run}
        signed = [(kind, path, data if kind == "update" else {**data, **mark}) for kind, path, data in writes]
        body = {"writes": [{kind: {"path": path, "data": data}} for kind, path, data in signed]}
        self._write("POST", "/v1/documents:commit", body)
        for kind, path, data in signed:
            self.ledger.record(kind, path, data)

    def _write(self, method: str, target: str, body: Document | None = None, **headers: str) -> Document:
        """Send a write until it is acknowledged; its latency is what the till waited, repetitions included."""
        started = time.perf_counter()
        status, answer = self.connection.send(method, target, body, Idempotency_Key=self.new_name(), **headers)
        if not 200 <= status < 300:
            raise EveningError(f"{method} {target} answered {status}: {json.dumps(answer)}")
        self.latencies_s.append(time.perf_counter() - started)
        return answer

    def check(self, path: str, learn: str | None = None) -> str:
        """Read a document that only this till writes and compare it with the ledger; returns its version.

        The field `learn` is taken over into the ledger first: its value was the server's to choose.
        """
        found = self.connection.get(f"/v1/documents/{quote(path)}")
        if learn is not None:
            self.ledger.record("update", path, {learn: found["data"][learn]})
        self.expect(path, [], differences(self.ledger.documents[path], found["data"]))
        version: str = found["version"]
        return version

    def expect(self, what: str, expected: object, found: object) -> None:
        """Note a difference between what this till wrote and what it was shown."""
        if expected != found:
            self.problems.append(f"{self.name} read {what}: expected {expected}, found {found}")
