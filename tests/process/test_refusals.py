"""What a real instance refuses: bad starts by exit code and message, bad input by status and problem."""

from __future__ import annotations

import json
import os
import pwd
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.instance import PROJECT, Instance
from bench.processes import free_port
from tests.fakes.command import deora


def start(data: Path, *more: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return deora("start", "--data", str(data), "--port", str(free_port()), *more, env=env)


def test_a_second_start_on_the_same_data(instance: Callable[..., Instance]) -> None:
    one = instance()
    refused = start(one.data)
    assert refused.returncode == 1
    assert f"another instance runs on {one.data} (pid {one.pid})" in refused.stderr
    assert "hint: " in refused.stderr
    assert one.request("GET", "/health").status == 200


def test_a_port_in_use(instance: Callable[..., Instance], tmp_path: Path) -> None:
    one = instance()
    port = one.url.rpartition(":")[2]
    refused = deora("start", "--data", str(tmp_path / "other"), "--port", port)
    assert refused.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in refused.stderr
    assert "--port" in refused.stderr


def test_a_data_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    refused = start(tmp_path / "file" / "data")
    assert refused.returncode == 1
    assert "cannot be made: Not a directory" in refused.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_a_data_directory_of_another_user() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        script = (
            "import os, sys; from pathlib import Path; from deora.supervisor.lock import InstanceLock; "
            "os.setuid(int(sys.argv[1])); InstanceLock(Path(sys.argv[2]), [])"
        )
        command = [sys.executable, "-c", script, str(pwd.getpwnam("nobody").pw_uid), folder]
        ended = subprocess.run(command, capture_output=True, text=True, check=False, cwd=PROJECT)
    assert f"the data directory {folder} cannot be written to by this user" in ended.stderr


def test_all_faults_of_the_configuration_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "servers.json").write_text('{"prot": 3000, "host": 5}')
    (folder / "queue.json").write_text('{"max_entries": "many"}')
    refused = start(tmp_path / "data", "--config", str(folder), env={"DEORA_CACHE__MEMORY__MAX_SIZ": "1MiB"})
    assert refused.returncode == 1
    for part in ("servers.prot", 'did you mean "port"', "servers.host", "queue.max_entries", "MAX_SIZ"):
        assert part in refused.stderr
    assert "Traceback" not in refused.stderr
    assert not (tmp_path / "data" / "store.db").exists()


def test_an_address_that_others_reach_needs_a_token(tmp_path: Path) -> None:
    refused = start(tmp_path / "data", "--host", "0.0.0.0")
    assert refused.returncode == 1
    assert "security.tokens is empty" in refused.stderr


def test_a_file_of_a_newer_version_is_left_alone(instance: Callable[..., Instance]) -> None:
    one = instance()
    one.request("PUT", "/v1/documents/a/b", json={"n": 1})
    one.terminate()
    db = sqlite3.connect(one.data / "store.db")
    db.execute("PRAGMA user_version = 99")
    db.close()
    later = Instance(one.directory)
    try:
        later.wait_until(lambda: "schema 99" in _health(later), 15)
        assert later.request("GET", "/health").status == 503
    finally:
        later.stop()
    db = sqlite3.connect(one.data / "store.db")
    assert db.execute("SELECT count(*) FROM documents").fetchall() == [(1,)]
    db.close()


def _health(one: Instance) -> str:
    try:
        return one.request("GET", "/health").text
    except OSError:
        return ""


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"a": value}
    return value


DOCUMENT = "/v1/documents/a/b"
BAD: list[tuple[str, str, bytes, int, str]] = [
    # method, path, body, status, part of the answer
    ("PUT", DOCUMENT, b"{", 400, "invalid-json"),
    ("PUT", DOCUMENT, b"", 400, "invalid-json"),
    ("PUT", DOCUMENT, b'{"a": NaN}', 400, "invalid-json"),
    ("PUT", DOCUMENT, b'{"a": 1e400}', 400, "invalid-json"),
    ("PUT", DOCUMENT, b'{"a": 9223372036854775808}', 400, "invalid-json"),
    ("PUT", DOCUMENT, b'{"a": "\\u0000"}', 400, "invalid-document"),
    ("PUT", DOCUMENT, b'{"a": "\\ud800"}', 400, "invalid-json"),
    ("PUT", DOCUMENT, b"[1]", 400, "invalid-document"),
    ("PUT", DOCUMENT, json.dumps(nested(21)).encode(), 400, "invalid-document"),
    ("PUT", DOCUMENT, b'{"a": {"$nonsense": 1}}', 400, "invalid-document"),
    ("PUT", DOCUMENT, b'{"a": {"$timestamp": "yesterday"}}', 400, "invalid-document"),
    ("PUT", DOCUMENT, json.dumps({"a": "x" * (1024 * 1024 + 1)}).encode(), 413, "too-large"),
    ("PUT", "/v1/documents/a/..", b"{}", 400, "invalid-path"),
    ("PUT", "/v1/documents/a/__x__", b"{}", 400, "invalid-path"),
    ("PUT", "/v1/documents/a/%00", b"{}", 400, "invalid-path"),
    ("PUT", "/v1/documents/a/%ff", b"{}", 400, "invalid-path"),
    ("PUT", "/v1/documents/a/b%2Fc", b"{}", 400, "invalid-path"),
    ("PUT", "/v1/documents/a/" + "x" * 1501, b"{}", 400, "invalid-path"),
    ("PUT", "/v1/documents/a", b"{}", 405, "method-not-allowed"),
    ("PATCH", DOCUMENT, b'{"n": {"$add": 1}}', 400, "invalid-update"),
    ("PATCH", DOCUMENT, b'{"n": {"$increment": "1"}}', 400, "invalid-update"),
    ("PATCH", DOCUMENT, b"{}", 400, "invalid-update"),
    ("PATCH", DOCUMENT, b'{"a": 1, "a.b": 2}', 400, "invalid-update"),
    ("PATCH", DOCUMENT, b'{"n": 1}', 404, "document-not-found"),
    ("POST", "/v1/documents:commit", b'{"writes": []}', 400, "invalid-commit"),
    ("POST", "/v1/documents:commit", b'{"writes": [{"put": {}}]}', 400, "invalid-commit"),
    ("POST", "/v1/documents:batchGet", b'{"paths": "a/b"}', 400, "bad-request"),
    ("GET", "/v1/documents/a?where=n", b"", 400, "invalid-query"),
    ("GET", "/v1/documents/a?limit=0", b"", 400, "invalid-query"),
    ("GET", "/v1/queue/entries?state=done", b"", 400, "bad-request"),
    ("POST", "/v1/queue/entries/7:retry", b"", 404, "entry-not-found"),
    ("POST", "/admin/upstreams/third:pause", b"", 404, "not-found"),
    ("GET", "/nowhere", b"", 404, "not-found"),
]


def test_bad_input_is_refused_and_writes_nothing(instance: Callable[..., Instance]) -> None:
    one = instance()
    wrong = []
    for method, path, body, status, kind in BAD:
        answer = one.request(method, path, json=body or None)
        problem = answer.json if answer.content else {}
        found = (answer.status, problem.get("type", "").rpartition(":")[2])
        if found != (status, kind) or not problem.get("detail"):
            wrong.append(f"{method} {path[:60]} {body[:40]!r}: {found}, expected {(status, kind)}: {problem}")
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.headers["X-Request-Id"]
    assert wrong == []
    assert one.request("GET", DOCUMENT).status == 404
    assert one.get("/v1/queue")["pending"] == 0
    assert one.request("PUT", DOCUMENT, json={}).json["commit"] == 1, "a refused request took a commit"
    assert one.request("PUT", "/v1/documents/a/deep", json=nested(20)).status == 201
    plain = one.request("PUT", DOCUMENT, json=b"{}", headers={"Content-Type": "text/plain"})
    assert plain.status == 415


def test_a_refused_commit_leaves_nothing_behind(instance: Callable[..., Instance]) -> None:
    one = instance()
    writes = [{"set": {"path": "a/one", "data": {}}}, {"update": {"path": "a/missing", "data": {"n": 1}}}]
    answer = one.request("POST", "/v1/documents:commit", json={"writes": writes})
    assert answer.status == 404
    assert answer.json["write"] == 1
    assert one.request("GET", "/v1/documents/a/one").status == 404
    assert one.get("/v1/queue/entries")["entries"] == []


def test_a_full_queue_refuses_and_keeps(instance: Callable[..., Instance]) -> None:
    one = instance(queue={"max_entries": 3})
    one.post("/v1/queue:pause")
    statuses = [one.request("PUT", f"/v1/documents/a/d{number}", json={}).status for number in range(5)]
    assert statuses == [201, 201, 201, 507, 507]
    refused = one.request("PUT", "/v1/documents/a/d9", json={})
    assert refused.headers["Retry-After"]
    assert refused.json["hint"]
    one.post("/v1/queue:resume")
    one.wait_until_drained(10)
    assert one.request("PUT", "/v1/documents/a/d9", json={}).status == 201


def test_a_page_of_elsewhere_cannot_reach_the_box(instance: Callable[..., Instance]) -> None:
    one = instance()
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
        refused = one.request("POST", "/v1/queue:pause", headers=headers)
        assert (refused.status, refused.json["type"]) == (403, "urn:deora:problem:forbidden")
    assert one.get("/v1/queue")["paused"] is False
    port = one.url.rpartition(":")[2]
    own = {"Host": f"localhost:{port}", "Origin": f"http://127.0.0.1:{port}"}
    assert one.request("GET", "/health", headers=own).status == 200
