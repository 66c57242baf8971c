"""A Firestore on loopback, as far as DEORA asks it: `:commit`, `:batchGet`, `:runQuery`; and a token endpoint.

A real HTTP server in a thread. What it holds outlives its `stop`, so that a test can take it away and bring it back on
the same port. Each project and database is another one, made on first use.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, unquote

import orjson

from tests.fakes.firestore_data import HTTP_CODES, ApiFault, Database, Json, Stored, shown, time_text

MAX_REQUEST_BYTES = 10 * 1024 * 1024


def no_faults(_: str, __: Json) -> None:
    """Everything goes well."""


class FakeFirestore:
    """`token`: what a call must bring. `faults` is asked before each call (method, body); it may raise ApiFault."""

    def __init__(self, token: str = "owner") -> None:
        self.databases: dict[str, Database] = {}
        self.calls: list[tuple[str, Json]] = []
        self.token = token
        self.faults: Callable[[str, Json], None] = no_faults
        self.headers: dict[str, str] = {}
        """further headers of each answer"""
        self._lock = threading.Lock()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self.port = 0

    @property
    def host(self) -> str:
        """Host and port, as `emulator_host` names them."""
        return f"127.0.0.1:{self.port}"

    def start(self) -> Self:
        """Listens; after a stop on the same port as before."""
        handler = type("Handler", (_Handler,), {"firestore": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="fake-firestore")
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stops listening and answering. What is stored stays."""
        server, self._server = self._server, None
        if server is not None and self._thread is not None:
            server.shutdown()
            server.server_close()
            self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def is_up(self) -> bool:
        """Whether it answers."""
        return self._server is not None

    def database(self, root: str) -> Database:
        """The database under a resource name `projects/../documents`."""
        return self.databases.setdefault(root, Database())

    def answer(self, path: str, body: bytes) -> Any:
        """What one call is answered. Raises ApiFault."""
        parent, _, method = unquote(path).removeprefix("/v1/").rpartition(":")
        if len(body) > MAX_REQUEST_BYTES:
            raise ApiFault("INVALID_ARGUMENT", f"Request payload size exceeds the limit: {MAX_REQUEST_BYTES} bytes.")
        request = orjson.loads(body)
        operation = _METHODS.get(method)
        if operation is None or "/documents" not in parent:
            raise ApiFault("NOT_FOUND", f"no such method: {path}")
        with self._lock:
            self.calls.append((method, request))
            self.faults(method, request)
            root = parent.split("/documents")[0] + "/documents"
            return operation(self.database(root), parent, request)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: two would wait 40 ms for each other (Nagle and delayed ACK)
    firestore: FakeFirestore

    def do_POST(self) -> None:
        """Every call is one."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/token":
            grant = parse_qs(body.decode())
            self.firestore.calls.append(("token", grant))
            self._send(200, {"access_token": self.firestore.token, "expires_in": 3600, "token_type": "Bearer"})
            return
        try:
            if self.headers.get("Authorization") != f"Bearer {self.firestore.token}":
                raise ApiFault("UNAUTHENTICATED", "Request had invalid authentication credentials.")
            code, answer = 200, self.firestore.answer(self.path, body)
        except ApiFault as fault:
            code = HTTP_CODES[fault.status]
            answer = {"error": {"code": code, "message": fault.message, "status": fault.status}}
            if not self.path.endswith(":commit"):
                answer = [answer]
        if not self.firestore.is_up:
            self.close_connection = True
            return
        self._send(code, answer)

    def _send(self, code: int, answer: Any) -> None:
        content = orjson.dumps(answer)
        self.send_response_only(code)
        headers = {"Date": self.date_time_string(), "Content-Type": "application/json", **self.firestore.headers}
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


def _only(request: Json, *names: str) -> None:
    unknown = request.keys() - set(names)
    if unknown:
        raise ApiFault("INVALID_ARGUMENT", f"Payload isn't valid for request: {sorted(unknown)}")


def _commit(database: Database, _: str, request: Json) -> Json:
    _only(request, "writes")
    return database.commit(request["writes"])


def _snapshot(database: Database, request: Json) -> tuple[dict[str, Stored], list[Json]]:
    """What a read sees, and what its answer begins with."""
    if "newTransaction" in request:
        if request["newTransaction"] != {"readOnly": {}}:
            raise ApiFault("INVALID_ARGUMENT", "only read-only transactions are known here")
        transaction = database.begin()
        return database.snapshots[transaction], [{"transaction": transaction}]
    if "transaction" in request:
        if request["transaction"] not in database.snapshots:
            raise ApiFault("INVALID_ARGUMENT", "Invalid transaction.")
        return database.snapshots[request["transaction"]], []
    return database.documents, []


def _batch_get(database: Database, _: str, request: Json) -> list[Json]:
    _only(request, "documents", "mask", "transaction", "newTransaction")
    documents, answer = _snapshot(database, request)
    mask = request["mask"]["fieldPaths"] if "mask" in request else None
    read_time = time_text(database.commits)
    for name in sorted(set(request["documents"])):
        stored = documents.get(name)
        part: Json = {"missing": name} if stored is None else {"found": shown(name, stored, mask)}
        answer.append({**part, "readTime": read_time})
    return answer


def _run_query(database: Database, parent: str, request: Json) -> list[Json]:
    _only(request, "structuredQuery", "transaction", "newTransaction")
    documents, answer = _snapshot(database, request)
    query = request["structuredQuery"]
    _only(query, "from", "select", "orderBy", "startAt", "limit")
    (source,) = query["from"]
    prefix = f"{parent}/{source['collectionId']}/" if "collectionId" in source else f"{parent}/"
    names = sorted(
        (name for name in documents if name.startswith(prefix)), key=lambda name: name.removeprefix(prefix).split("/")
    )
    if not source.get("allDescendants"):
        names = [name for name in names if "/" not in name.removeprefix(prefix)]
    if "startAt" in query:
        (value,) = query["startAt"]["values"]
        names = [name for name in names if name > value["referenceValue"]]
    mask = None
    if "select" in query:
        mask = [field["fieldPath"] for field in query["select"]["fields"] if field["fieldPath"] != "__name__"]
    read_time = time_text(database.commits)
    for name in names[: query.get("limit", len(names))]:
        answer.append({"document": shown(name, documents[name], mask), "readTime": read_time})
    return [*answer, {"readTime": read_time, "done": True}] if not names else answer


def _begin(database: Database, _: str, request: Json) -> Json:
    if request != {"options": {"readOnly": {}}}:
        raise ApiFault("INVALID_ARGUMENT", "only read-only transactions are known here")
    return {"transaction": database.begin()}


_METHODS: dict[str, Callable[[Database, str, Json], Any]] = {
    "commit": _commit,
    "batchGet": _batch_get,
    "beginTransaction": _begin,
    "runQuery": _run_query,
}
