"""A running instance against docs/openapi.yaml: schemathesis makes requests of it, and looks at each answer.

No 5xx, no status, header or content that the file does not have; and what the file forbids is refused.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import pytest

from bench.instance import Instance
from tests.fakes.openapi import FILE, complaints, described

TOKEN: Final = "deora_token-of-schemathesis"
TOKENS: Final = [{"name": "all", "hash": f"sha256:{hashlib.sha256(TOKEN.encode()).hexdigest()}", "scope": "admin"}]
CONFIG: Final = f"""\
hooks = "{Path(__file__).with_name("openapi_hooks.py")}"

[checks.negative_data_rejection]
expected-statuses = [400, 401, 403, 404, 405, 409, 412, 413, 414, 415, 422, 431, 507]

[[operations]]
include-path = "/health/detailed"
checks.not_a_server_error.expected-statuses = ["2xx", "4xx", 503]
"""
CHANGE: Final = {"$ref": "#/components/schemas/Change"}
RESYNC: Final = {"$ref": "#/components/schemas/Resync"}
# A stream has no end: it has a test of its own.
# A backup would be written to wherever its made-up path leads.
UNASKED: Final = ("--exclude-path", "/v1/changes", "--exclude-path", "/admin/backup")
SLOW: Final = ("--exclude-path", "/admin/reload", "--exclude-path", "/admin/upgrade")
# ignored_auth: wrong tokens are slowed down after ten of them; test_scopes asks every route.
# positive_data_acceptance: that a cursor was given, or that two field paths do not overlap, no schema can say.
NOT_CHECKED: Final = "ignored_auth,positive_data_acceptance"


def schemathesis(one: Instance, folder: Path, *options: str) -> None:
    """Runs it. Fails with what it printed."""
    (folder / "schemathesis.toml").write_text(CONFIG, encoding="utf-8")
    command = [sys.executable, "-c", "import sys; from schemathesis.cli import schemathesis; sys.exit(schemathesis())"]
    command += ["--config-file", "schemathesis.toml", "run", str(FILE), "--url", one.url, "--no-color"]
    command += ["-H", f"Authorization: Bearer {TOKEN}", "--exclude-checks", NOT_CHECKED]
    command += [
        "--generation-database",
        "none",
        "--warnings",
        "off",
        "--continue-on-failure",
        "--request-timeout",
        "60",
    ]
    # Only what it finds is to be of weight here, not how fast a busy machine makes requests up.
    command += ["--suppress-health-check", "all", *UNASKED, *options]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"})
    print(done.stdout[-2000:])
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_instance_answers_as_the_file_says(instance: Callable[..., Instance], tmp_path: Path) -> None:
    one = instance(security={"tokens": TOKENS})
    schemathesis(one, tmp_path, *SLOW, "--phases", "fuzzing", "-n", "2", "--seed", "1", "--no-shrink")
    assert one.request("GET", "/health").json["status"] in ("healthy", "degraded")


@pytest.mark.torture
def test_the_instance_answers_as_the_file_says_for_long(instance: Callable[..., Instance], tmp_path: Path) -> None:
    one = instance(security={"tokens": TOKENS})
    seed = str(random.randrange(2**31))
    print(f"seed {seed}")
    # Fuzzing and stateful testing are repeated until the time is over.
    options = ("--phases", "examples,coverage,fuzzing,stateful", "-n", "100", "--max-time", "900", "--seed", seed)
    schemathesis(one, tmp_path, *SLOW, *options)
    only = ("--include-path", "/admin/reload", "--include-path", "/admin/upgrade")
    schemathesis(one, tmp_path, *only, "--phases", "coverage,fuzzing", "-n", "3", "--seed", seed)


def events(one: Instance, target: str, wanted: int) -> tuple[http.client.HTTPResponse, Sequence[str]]:
    """The answer's head, and the lines until so many events have come."""
    address = urlsplit(one.url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=60)
    connection.request("GET", target)
    response = connection.getresponse()
    lines: list[str] = []
    while sum(line.startswith("data: ") for line in lines) < wanted:
        lines.append(response.readline().decode())
    connection.close()
    return response, lines


def test_the_stream_of_changes_is_as_the_file_says(instance: Callable[..., Instance]) -> None:
    one = instance()
    one.request("PUT", "/v1/documents/orders/o1", {"n": 1})
    one.request("PUT", "/v1/documents/orders/o1", {"n": 2})
    one.request("DELETE", "/v1/documents/orders/o1")
    response, lines = events(one, "/v1/changes?since=0", 3)
    head = described()["paths"]["/v1/changes"]["get"]["responses"]["200"]
    assert response.headers["Content-Type"] in head["content"]
    assert set(head["headers"]) <= set(response.headers)
    shown = [line.removeprefix("data: ") for line in lines if line.startswith("data: ")]
    assert [complaints(CHANGE, json.loads(line)) for line in shown] == [[]] * 3
    _, lines = events(one, "/v1/changes?since=other-1", 1)
    assert not complaints(RESYNC, json.loads(lines[-1].removeprefix("data: ")))
    refused = one.request("GET", "/v1/changes?since=yesterday")
    assert (refused.status, refused.json["type"]) == (400, "urn:deora:problem:bad-request")
