"""Every route against no token, a wrong one, and each scope; and no secret of the configuration anywhere to be seen."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Final

import pytest

from bench.instance import PROJECT, Instance
from deora.worker.router import COLLECTION, DOCUMENT, ENTRY, ENTRY_RETRY, EXACT

SCOPES: Final = ("read", "write", "admin")
TOKENS: Final = {scope: f"deora_token-with-the-scope-{scope}" for scope in SCOPES}

# (method, target, the least scope; None where no token is needed)
ROUTES: Final = [
    ("GET", "/health", None),
    ("GET", "/health/live", None),
    ("GET", "/health/ready", None),
    ("GET", "/health/detailed", None),
    ("GET", "/api/health", None),
    ("GET", "/status", "read"),
    ("GET", "/metrics", "read"),
    ("GET", "/v1/queue", "read"),
    ("HEAD", "/v1/changes", "read"),
    ("GET", "/v1/queue/entries", "read"),
    ("GET", "/v1/queue/entries/1", "read"),
    ("DELETE", "/v1/queue/entries/1", "admin"),
    ("POST", "/v1/queue/entries/1:retry", "admin"),
    ("POST", "/v1/queue:retryDead", "admin"),
    ("GET", "/v1/queue:export", "read"),
    ("POST", "/v1/queue:import", "admin"),
    ("POST", "/admin/upstreams/primary:acceptLoss", "admin"),
    ("POST", "/v1/queue:pause", "admin"),
    ("POST", "/v1/queue:resume", "admin"),
    ("POST", "/admin/upstreams/primary:pause", "admin"),
    ("POST", "/admin/upstreams/primary:resume", "admin"),
    ("POST", "/admin/failover", "admin"),
    ("POST", "/admin/recover", "admin"),
    ("POST", "/admin/workers/primary:drain", "admin"),
    ("POST", "/admin/workers/primary:maint", "admin"),
    ("POST", "/admin/workers/primary:restart", "admin"),
    ("POST", "/admin/workers/primary:ready", "admin"),
    ("GET", "/v1/queue:export", "read"),
    ("POST", "/v1/queue:import", "admin"),
    ("GET", "/v1/documents/scopes/a", "read"),
    ("HEAD", "/v1/documents/scopes/a", "read"),
    ("GET", "/v1/documents/scopes", "read"),
    ("POST", "/v1/documents:batchGet", "read"),
    ("POST", "/v1/documents/scopes", "write"),
    ("PUT", "/v1/documents/scopes/a", "write"),
    ("PATCH", "/v1/documents/scopes/a", "write"),
    ("DELETE", "/v1/documents/scopes/a", "write"),
    ("POST", "/v1/documents:commit", "write"),
]
BODIES: Final = {"/v1/documents:batchGet": b'{"paths": []}', "/v1/documents:commit": b'{"writes": []}'}


def tokens() -> list[dict[str, str]]:
    return [
        {"name": scope, "hash": f"sha256:{hashlib.sha256(token.encode()).hexdigest()}", "scope": scope}
        for scope, token in TOKENS.items()
    ]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """An instance with a token of each scope."""
    one = Instance(tmp_path_factory.mktemp("guarded"), {"security": {"tokens": tokens()}})
    with one:
        one.wait_until_ready()
        one.wait_until_whole()
        yield one


def ask(one: Instance, method: str, target: str, token: str | None) -> int:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    body = BODIES.get(target, b"{}" if method in ("PUT", "PATCH", "POST") and "documents" in target else None)
    return one.request(method, target, body, headers).status


def test_the_table_has_every_route_of_the_workers() -> None:
    methods = {method.decode() for routes in (DOCUMENT, COLLECTION, ENTRY, ENTRY_RETRY) for method in routes}
    assert methods <= {method for method, _, _ in ROUTES}
    exact = {(method.decode(), path.decode()) for path, routes in EXACT.items() for method in routes}
    # A stream has no end that could be waited for; its HEAD has.
    exact.remove(("GET", "/v1/changes"))
    assert exact <= {(method, target) for method, target, _ in ROUTES}


@pytest.mark.parametrize(("method", "target", "needed"), ROUTES)
def test_a_route(guarded: Instance, method: str, target: str, needed: str | None) -> None:
    assert ask(guarded, method, target, None) in ((401,) if needed else (200, 503))
    for scope in SCOPES:
        status = ask(guarded, method, target, TOKENS[scope])
        if needed is not None and SCOPES.index(scope) < SCOPES.index(needed):
            assert status == 403
        else:
            assert status not in (401, 403)


def test_wrong_tokens_are_refused_and_then_slowed_down(guarded: Instance) -> None:
    found = [ask(guarded, "GET", "/v1/documents/scopes/a", f"wrong-{number}") for number in range(12)]
    assert found == [401] * 10 + [429] * 2
    assert ask(guarded, "GET", "/v1/documents/scopes", TOKENS["read"]) == 200


@pytest.mark.parametrize(
    "authorization",
    [
        "Basic YTpi",
        "Bearer",
        "Bearer ",
        "bearer",
        TOKENS["admin"],
        f"Token {TOKENS['admin']}",
        f"Bearer {TOKENS['admin']}x",
    ],
)
def test_what_is_no_bearer_token(guarded: Instance, authorization: str) -> None:
    assert guarded.request("GET", "/status", headers={"Authorization": authorization}).status in (401, 429)


COMMANDS: Final = (("status",), ("status", "--json"), ("health", "--json"), ("queue", "--json"), ("config", "show"))


def deora(one: Instance, *words: str) -> str:
    """What a command prints."""
    command = [
        sys.executable,
        "-m",
        "deora",
        *words,
        "--data",
        str(one.data),
        "--config",
        str(one.directory / "config"),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30, cwd=PROJECT)
    return ended.stdout + ended.stderr


def test_no_secret_of_the_configuration_is_shown(instance: Callable[..., Instance]) -> None:
    canary = "cAnArY-7d1f"
    one = instance(
        security={"tokens": [{"name": "till", "hash": "sha256:" + "ab" * 32, "scope": "admin"}]},
        database={"secondary": {"type": "postgres", "url": f"postgresql://deora:{canary}@127.0.0.1:9/venue"}},
        cache={"redis": {"url": f"redis://:{canary}@127.0.0.1:9/0"}},
        operations={
            "alerts": {"webhook": f"https://hooks.example/{canary}", "sentry_dsn": f"https://{canary}@sentry.example/1"}
        },
    )
    shown = [one.log.read_text(errors="replace")]
    shown += [file.read_text(errors="replace") for file in (one.data / "logs").glob("*")]
    # The secondary cannot be reached, which is told at length; who asks by the control socket may see everything.
    one.wait_until(lambda: "secondary" in deora(one, "status", "--json") and "down" in deora(one, "status"))
    shown += [deora(one, *command) for command in COMMANDS]
    shown += [one.request("GET", target).text for target in ("/health", "/health/detailed", "/api/health", "/nowhere")]
    for process in one.tree():
        shown += process.cmdline()
    assert not [text for text in shown if canary in text]
    assert not [text for text in shown if "ab" * 32 in text]
