"""docs/openapi.yaml against the tables that it describes: the routes, and the kinds of problems."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Any, Final

from bench.instance import PROJECT
from deora.errors import PROBLEMS
from deora.gateway.origins import ALLOWED_METHODS
from deora.worker.router import COLLECTION, DOCUMENT, ENTRY, ENTRY_RETRY, EXACT
from tests.fakes.openapi import complaints, described

METHODS: Final = {method.strip().lower() for method in ALLOWED_METHODS.decode().split(",")}
# Where the gateway or a worker's slot refuses before any handler is asked.
ANYWHERE: Final = {"400", "403", "408", "413", "414", "429", "431", "500"}
WORKERS: Final = {
    f"/v1/documents/{rest}": methods
    for rest, methods in (
        ("{collection}", COLLECTION),
        ("{collection}/{id}", DOCUMENT),
        ("{collection}/{id}/{subcollection}", COLLECTION),
        ("{collection}/{id}/{subcollection}/{subid}", DOCUMENT),
    )
} | {
    "/v1/queue/entries/{entry}": ENTRY,
    "/v1/queue/entries/{entry}:retry": ENTRY_RETRY,
    **{path.decode(): methods for path, methods in EXACT.items()},
}


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Each path, method and operation of the file."""
    for path, item in described()["paths"].items():
        yield from ((path, method, item[method]) for method in item if method in METHODS)


def supervisors_tables() -> set[str]:
    """What the supervisor routes: paths, and the keys of its tables of actions on a worker or an upstream."""
    found = set()
    for name in ("control", "main"):
        tree = ast.parse((PROJECT / "deora" / "supervisor" / f"{name}.py").read_text(encoding="utf-8"))
        nodes = list(ast.walk(tree))
        keys = [key for node in nodes if isinstance(node, ast.Dict) for key in node.keys]
        texts = [
            node.value.decode() for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, bytes)
        ]
        found |= {text for text in texts if text.startswith("/") and not text.endswith("/")} - {"/v1/documents"}
        found |= {key.value.decode() for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, bytes)}
    return found


def kinds(value: Any) -> Iterator[str]:
    """The kinds of problems that a part of the file names in an enumeration."""
    if isinstance(value, dict):
        yield from (text.rpartition(":")[2] for text in value.get("enum", ()) if str(text).startswith("urn:deora:"))
        for member in value.values():
            yield from kinds(member)
    elif isinstance(value, list):
        for member in value:
            yield from kinds(member)


def test_it_is_openapi_3_1() -> None:
    import schemathesis  # takes a second, which every runner would spend where it stood above

    assert described()["openapi"].startswith("3.1.")
    schemathesis.openapi.from_dict(described()).validate()
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(names) == len(set(names))


def test_it_has_the_workers_routes_and_no_others() -> None:
    served = {(path, method.decode().lower()) for path, methods in WORKERS.items() for method in methods}
    shown = {(path, method) for path, method, _ in operations() if path.startswith("/v1/") and path != "/v1/queue"}
    assert shown == served


def test_it_has_the_supervisors_routes_and_no_others() -> None:
    shown = {path for path, _, _ in operations() if not path.startswith("/v1/") or path == "/v1/queue"}
    on_one = {path for path in shown if "{" in path}
    assert {path.partition("}")[0] for path in on_one} == {"/admin/workers/{slot", "/admin/upstreams/{name"}
    assert (shown - on_one) | {path.rpartition(":")[2] for path in on_one} == supervisors_tables()
    for path, method, _ in operations():
        if path in shown:
            assert method == ("post" if path.startswith("/admin/") else "get") or path == "/admin/backup"


def test_it_has_each_kind_of_problem_with_its_status() -> None:
    assert described()["components"]["schemas"]["Problem"]["properties"]["type"]["enum"] == [
        f"urn:deora:problem:{kind}" for kind in PROBLEMS
    ]
    found: dict[str, int] = {}
    for name, response in described()["components"]["responses"].items():
        content = response["content"]["application/problem+json"]["schema"]["allOf"][1]
        for kind in kinds(content):
            assert kind not in found, f"{name}: {kind} stands in two answers"
            found[kind] = content["properties"]["status"]["const"]
    assert found == {kind: status for kind, (status, _) in PROBLEMS.items()}


def test_each_operation_names_what_any_of_them_may_answer() -> None:
    for path, method, operation in operations():
        expected = ANYWHERE if operation.get("security") == [{}] else ANYWHERE | {"401"}
        expected = expected | {"415"} if "requestBody" in operation else expected
        assert expected <= set(operation["responses"]), f"{method} {path}"


def examples(value: Any) -> Iterator[tuple[dict[str, Any], Any]]:
    """Each schema that has an example beside it, of media types and parameters, with that."""
    if isinstance(value, dict):
        if "example" in value and "schema" in value:
            yield value["schema"], value["example"]
        for member in value.values():
            yield from examples(member)


def test_its_examples_are_what_its_schemas_say() -> None:
    found = [*examples(described()["paths"]), *examples(described()["components"])]
    assert len(found) > 60
    for schema, example in found:
        assert not complaints(schema, example), example
