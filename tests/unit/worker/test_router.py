"""The table of routes."""

from __future__ import annotations

import pytest

from deora.errors import Problem
from deora.worker.handlers import HANDLERS
from deora.worker.router import ADMIN, COLLECTION, DOCUMENT, ENTRY, ENTRY_RETRY, EXACT, READ, WRITE, Route, route

ROUTES = [
    ("GET", "/v1/documents/orders/o1", "read", READ, "orders/o1"),
    ("PUT", "/v1/documents/orders/o1", "set", WRITE, "orders/o1"),
    ("PATCH", "/v1/documents/orders/o1", "update", WRITE, "orders/o1"),
    ("DELETE", "/v1/documents/orders/o1", "delete", WRITE, "orders/o1"),
    ("GET", "/v1/documents/orders/o1/items/i1", "read", READ, "orders/o1/items/i1"),
    ("GET", "/v1/documents/orders", "list", READ, "orders"),
    ("POST", "/v1/documents/orders", "create", WRITE, "orders"),
    ("GET", "/v1/documents/orders/o1/items", "list", READ, "orders/o1/items"),
    ("POST", "/v1/documents/orders/o1/items", "create", WRITE, "orders/o1/items"),
    ("POST", "/v1/documents:commit", "commit", WRITE, ""),
    ("POST", "/v1/documents:batchGet", "batch_get", READ, ""),
    ("GET", "/v1/changes", "changes", READ, ""),
    ("GET", "/v1/queue/entries", "entries", READ, ""),
    ("GET", "/v1/queue/entries/7", "entry", READ, "7"),
    ("DELETE", "/v1/queue/entries/7", "drop", ADMIN, "7"),
    ("POST", "/v1/queue/entries/7:retry", "retry", ADMIN, "7"),
    ("POST", "/v1/queue:retryDead", "retry_dead", ADMIN, ""),
    ("POST", "/v1/queue:pause", "pause", ADMIN, ""),
    ("POST", "/v1/queue:resume", "resume", ADMIN, ""),
    ("GET", "/v1/queue:export", "export", READ, ""),
    ("POST", "/v1/queue:import", "import", ADMIN, ""),
    # Still encoded: an id is decoded after it was found, or its parts could move.
    ("GET", "/v1/documents/orders/a%2Fb", "read", READ, "orders/a%2Fb"),
    # What is no valid path has its handler say so, in the words of paths.
    ("GET", "/v1/documents/", "list", READ, ""),
    ("GET", "/v1/documents/orders/", "read", READ, "orders/"),
    ("GET", "/v1/documents/orders//items", "list", READ, "orders//items"),
    ("GET", "/v1/queue/entries/x:retryx", "entry", READ, "x:retryx"),
]


@pytest.mark.parametrize(("method", "path", "handler", "scope", "argument"), ROUTES)
def test_routes(method: str, path: str, handler: str, scope: int, argument: str) -> None:
    assert route(method.encode(), path.encode()) == (Route(handler, scope), argument.encode())


def test_every_route_has_its_handler_and_every_handler_its_route() -> None:
    tables = [*EXACT.values(), DOCUMENT, COLLECTION, ENTRY, ENTRY_RETRY]
    routed = {found.handler for methods in tables for found in methods.values()}
    assert routed == set(HANDLERS)
    assert {handler for _, _, handler, _, _ in ROUTES} == routed


def test_what_changes_the_queue_needs_admin_and_what_changes_documents_write() -> None:
    for method, path, handler, scope, _ in ROUTES:
        if method == "GET" or handler == "batch_get":
            assert scope == READ
        else:
            assert scope == (ADMIN if "/queue" in path else WRITE)


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/",
        "/v1/documents",
        "/v1/documentsx/a",
        "/v1/Documents/a",
        "/v1/documents:nothing",
        "/v1/documents:commit/",
        "/v1/queue/entriesx",
        "/v1/queue/x",
        "/v1/queue:retry",
        "/v2/documents/a",
        "//v1/documents/a",
        "/admin/reload",
        "/favicon.ico",
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nothing_there(method: str, path: str) -> None:
    with pytest.raises(Problem) as refused:
        route(method.encode(), path.encode())
    assert refused.value.status == 404
    assert path in refused.value.detail
    assert "/v1/documents/{collection}/{id}" in (refused.value.hint or "")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/v1/documents/orders/o1", "DELETE, GET, PATCH, PUT"),
        ("PUT", "/v1/documents/orders", "GET, POST"),
        ("DELETE", "/v1/documents/orders", "GET, POST"),
        ("GET", "/v1/documents:commit", "POST"),
        ("PUT", "/v1/queue/entries/7", "DELETE, GET"),
        ("GET", "/v1/queue/entries/7:retry", "POST"),
        ("POST", "/v1/queue/entries", "GET"),
        ("GET", "/v1/queue:pause", "POST"),
    ],
)
def test_the_wrong_method_is_told_the_right_ones(method: str, path: str, allowed: str) -> None:
    with pytest.raises(Problem) as refused:
        route(method.encode(), path.encode())
    assert refused.value.status == 405
    assert refused.value.fields == {"allow": allowed}
    assert allowed in refused.value.detail
