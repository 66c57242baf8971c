"""The routes of a worker, as a table. Pure: a method and a path in, the name of a handler and its argument out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from deora.errors import Problem

READ, WRITE, ADMIN = 1, 2, 3

DOCUMENTS: Final = b"/v1/documents"
ENTRIES: Final = b"/v1/queue/entries"


@dataclass(frozen=True, slots=True)
class Route:
    """`handler` is a name in `handlers.HANDLERS`; `scope` what it needs: 1 read, 2 write, 3 admin."""

    handler: str
    scope: int


Methods = dict[bytes, Route]

EXACT: Final[dict[bytes, Methods]] = {
    b"/v1/documents:commit": {b"POST": Route("commit", WRITE)},
    b"/v1/documents:batchGet": {b"POST": Route("batch_get", READ)},
    b"/v1/changes": {b"GET": Route("changes", READ)},
    b"/v1/queue/entries": {b"GET": Route("entries", READ)},
    b"/v1/queue:retryDead": {b"POST": Route("retry_dead", ADMIN)},
    b"/v1/queue:pause": {b"POST": Route("pause", ADMIN)},
    b"/v1/queue:resume": {b"POST": Route("resume", ADMIN)},
    b"/v1/queue:export": {b"GET": Route("export", READ)},
    b"/v1/queue:import": {b"POST": Route("import", ADMIN)},
}
DOCUMENT: Final[Methods] = {
    b"GET": Route("read", READ),
    b"PUT": Route("set", WRITE),
    b"PATCH": Route("update", WRITE),
    b"DELETE": Route("delete", WRITE),
}
COLLECTION: Final[Methods] = {b"GET": Route("list", READ), b"POST": Route("create", WRITE)}
ENTRY: Final[Methods] = {b"GET": Route("entry", READ), b"DELETE": Route("drop", ADMIN)}
ENTRY_RETRY: Final[Methods] = {b"POST": Route("retry", ADMIN)}


def route(method: bytes, path: bytes) -> tuple[Route, bytes]:
    """The route and its argument: what follows the collection or entry prefix, still percent-encoded.

    Raises Problem: no such path (404), or a path without this method (405, with those that it has).
    """
    methods, argument = _methods(path)
    if methods is None:
        raise Problem(
            "not-found",
            f"there is nothing at {path.decode('latin-1')[:200]}",
            hint="documents live under /v1/documents/{collection}/{id}, the queue under /v1/queue",
        )
    found = methods.get(method)
    if found is None:
        allowed = ", ".join(sorted(name.decode() for name in methods))
        raise Problem(
            "method-not-allowed",
            f"{method.decode('latin-1')} is not allowed here; allowed: {allowed}",
            hint="a path with an even number of parts is a document, with an odd number a collection",
            fields={"allow": allowed},
        )
    return found, argument


def _methods(path: bytes) -> tuple[Methods | None, bytes]:
    if path.startswith(b"/v1/documents/"):
        argument = path[len(DOCUMENTS) + 1 :]
        return (DOCUMENT if argument.count(b"/") % 2 else COLLECTION), argument
    exact = EXACT.get(path)
    if exact is not None:
        return exact, b""
    if path.startswith(ENTRIES + b"/"):
        argument = path[len(ENTRIES) + 1 :]
        if argument.endswith(b":retry"):
            return ENTRY_RETRY, argument.removesuffix(b":retry")
        return ENTRY, argument
    return None, b""
