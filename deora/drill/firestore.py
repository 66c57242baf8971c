"""The drill's own upstream: as much of Firestore's REST interface as the drill's load makes an instance ask for, and
the faults of a network in front of it.

It shares no code with DEORA's client of Firestore, since it is the witness: a commit takes effect as a whole or not at
all, guarded by what its writes name in `currentDocument`, and an increment that comes twice counts twice.

    with Firestore() as upstream:
        upstream.refuse()            # each connection ends without an answer, and nothing takes effect
        upstream.swallow()           # nothing is answered; what came takes effect at `mend`, and nobody is told
        upstream.lose_answers(0.5)   # of the commits, which take effect
        upstream.mend()
"""

from __future__ import annotations

import json
import random
import threading
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, NamedTuple, Self
from urllib.parse import unquote

Json = dict[str, Any]

PROJECT: Final = "deora-drill"
KEPT_SNAPSHOTS: Final = 64
_START: Final = datetime(2026, 1, 1, tzinfo=UTC)
_HTTP_CODES: Final = {"INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "NOT_FOUND": 404, "ALREADY_EXISTS": 409}


class Refusal(Exception):
    """An error answer: `status` as Google names it."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status


class Stored(NamedTuple):
    """A document; never changed in place. `version` is the number of the commit that wrote it last."""

    fields: Json
    created: int
    version: int


class Firestore:
    """A server on a free port of 127.0.0.1, in threads of this process. `seed` decides which answers are lost."""

    def __init__(self, seed: int = 0) -> None:
        self.losses = 0
        """answers that were lost, of commits that took effect"""
        self.swallowed = 0
        """commits that came during a partition"""
        self._documents: dict[str, Stored] = {}
        self._snapshots: dict[str, dict[str, Stored]] = {}
        self._commits = self._begun = 0
        self._lock = threading.Lock()
        self._dice = random.Random(seed)
        self._share = 0.0
        self._refusing = False
        self._flowing = threading.Event()
        self._flowing.set()
        handler = type("Handler", (_Handler,), {"upstream": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()
        self._flowing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def config(self) -> Json:
        """The upstream as database.json names it."""
        port = self._server.server_address[1]
        return {"type": "firestore", "project": PROJECT, "emulator_host": f"127.0.0.1:{port}"}

    def documents(self) -> dict[str, Json]:
        """Path -> what the load wrote there, of all documents but DEORA's own."""
        with self._lock:
            found = {name.partition("/documents/")[2]: stored.fields for name, stored in self._documents.items()}
        return {
            path: {name: _plain(value) for name, value in fields.items()}
            for path, fields in found.items()
            if not path.startswith("_deora/")
        }

    # -- faults

    def refuse(self) -> None:
        """An outage: each request's connection ends at once."""
        self._refusing = True

    def swallow(self) -> None:
        """A partition: no request is answered. Those that came take effect late, at `mend`, or never."""
        self._flowing.clear()

    def lose_answers(self, share: float) -> None:
        """So many of the commits take effect, and their connections end in place of an answer."""
        self._share = share

    def mend(self) -> None:
        """All is well again."""
        self._refusing, self._share = False, 0.0
        self._flowing.set()

    # -- what a request comes to

    def handle(self, path: str, body: bytes) -> tuple[int, bytes] | None:
        """HTTP status and content of the answer; None where the connection is to end instead."""
        method = path.rpartition(":")[2]
        swallowed = not self._flowing.is_set()
        self.swallowed += swallowed and method == "commit"
        self._flowing.wait()
        if self._refusing:
            return None
        try:
            with self._lock:
                answer = self._answer(method, json.loads(body))
                lost = method == "commit" and self._dice.random() < self._share
                self.losses += lost
        except Refusal as refusal:
            code = _HTTP_CODES.get(refusal.status, 400)
            error = {"error": {"code": code, "status": refusal.status, "message": str(refusal)}}
            return code, json.dumps(error if method in ("commit", "beginTransaction") else [error]).encode()
        return None if lost or swallowed else (200, json.dumps(answer).encode())

    def _answer(self, method: str, request: Json) -> Any:
        """Raises Refusal."""
        operation: Callable[[Json], Any] | None = {
            "commit": self._commit,
            "batchGet": self._batch_get,
            "beginTransaction": self._begin,
        }.get(method)
        if operation is None:
            raise Refusal("INVALID_ARGUMENT", f"the drill's upstream knows no {method}")
        return operation(request)

    def _commit(self, request: Json) -> Json:
        """All of the writes in order, or nothing."""
        after: dict[str, Stored] = {}
        number = self._commits + 1
        names = []
        for write in request["writes"]:
            if "update" not in write:
                raise Refusal("INVALID_ARGUMENT", f"the drill's upstream knows no write of {sorted(write)}")
            name = write["update"]["name"]
            before = after.get(name) or self._documents.get(name)
            _guard(write.get("currentDocument", {}), before)
            after[name] = Stored(_written(write, before), before.created if before is not None else number, number)
            names.append(name)
        self._commits = number
        self._documents.update(after)
        results = [{"updateTime": _time(after[name].version)} for name in names]
        return {"writeResults": results, "commitTime": _time(number)}

    def _begin(self, _: Json) -> Json:
        """A read-only transaction: what is there now."""
        self._begun += 1
        transaction = f"t{self._begun:07}"  # valid base64, as a transaction's name has to be
        self._snapshots[transaction] = dict(self._documents)
        if len(self._snapshots) > KEPT_SNAPSHOTS:
            del self._snapshots[next(iter(self._snapshots))]
        return {"transaction": transaction}

    def _batch_get(self, request: Json) -> list[Json]:
        documents = self._documents
        if "transaction" in request:
            if request["transaction"] not in self._snapshots:
                raise Refusal("INVALID_ARGUMENT", "the transaction is unknown, or has ended")
            documents = self._snapshots[request["transaction"]]
        mask = request.get("mask", {}).get("fieldPaths")
        return [
            {**_found(name, documents.get(name), mask), "readTime": _time(self._commits)}
            for name in request["documents"]
        ]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: two would wait 40 ms for each other (Nagle and delayed ACK)
    upstream: Firestore

    def do_POST(self) -> None:
        """Every call is one."""
        body = self.rfile.read(int(self.headers["Content-Length"])) if "Content-Length" in self.headers else self._all()
        answer = self.upstream.handle(unquote(self.path), body)
        if answer is None:
            self.close_connection = True
            return
        status, content = answer
        self.send_response_only(status)
        self.send_header("Date", self.date_time_string())
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _all(self) -> bytes:
        """A body in chunks (RFC 9112, 7.1), as large ones come."""
        parts: deque[bytes] = deque()
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


def _time(number: int) -> str:
    """The time of a commit: one microsecond each, so that no two are alike."""
    return (_START + timedelta(microseconds=number)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _found(name: str, stored: Stored | None, mask: list[str] | None) -> Json:
    """A document's part of an answer."""
    if stored is None:
        return {"missing": name}
    fields = {key: value for key, value in stored.fields.items() if mask is None or key in mask}
    times = {"createTime": _time(stored.created), "updateTime": _time(stored.version)}
    return {"found": {"name": name, "fields": fields, **times}}


def _guard(precondition: Json, before: Stored | None) -> None:
    """Raises Refusal where a write expects another document than is there."""
    must_exist = precondition.get("exists")
    if must_exist is True and before is None:
        raise Refusal("NOT_FOUND", "there is no such document")
    if must_exist is False and before is not None:
        raise Refusal("ALREADY_EXISTS", "the document exists already")
    expected = precondition.get("updateTime")
    if expected is not None and (before is None or _time(before.version) != expected):
        raise Refusal("FAILED_PRECONDITION", "the document has changed since it was read")


def _written(write: Json, before: Stored | None) -> Json:
    """The fields after a write. The load names top-level fields alone."""
    given: Json = write["update"].get("fields", {})
    fields = dict(given)
    if "updateMask" in write:
        fields = dict(before.fields) if before is not None else {}
        for name in write["updateMask"].get("fieldPaths", ()):
            fields.pop(name, None)
            fields.update({name: given[name]} if name in given else {})
    for transform in write.get("updateTransforms", ()):
        name = transform["fieldPath"]
        if "increment" in transform:
            count = int(fields.get(name, {}).get("integerValue", 0)) + int(transform["increment"]["integerValue"])
            fields[name] = {"integerValue": str(count)}
        elif "appendMissingElements" in transform:
            items = fields.get(name, {}).get("arrayValue", {}).get("values", [])
            added = [item for item in transform["appendMissingElements"]["values"] if item not in items]
            fields[name] = {"arrayValue": {"values": [*items, *added]}}
        else:
            raise Refusal("INVALID_ARGUMENT", f"the drill's upstream knows no transform of {sorted(transform)}")
    return fields


def _plain(value: Json) -> Any:
    """A typed value as the load wrote it: whole numbers, texts, lists of them."""
    [(kind, content)] = value.items()
    if kind == "arrayValue":
        return [_plain(item) for item in content.get("values", [])]
    return int(content) if kind == "integerValue" else content
