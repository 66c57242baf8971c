"""What is written down of requests: all of them in the access log, those of operators in the audit log."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from deora.gateway.access import Scope
from deora.observe.access import AccessLog, Entry, line
from deora.observe.log_files import LogFile
from deora.observe.logs import AUDIT
from tests.fakes.dispatch import Bench, only


class Kept(AccessLog):
    """An access log that keeps its entries."""

    def __init__(self, path: Path) -> None:
        super().__init__(LogFile(path / "access.log", 10**6, 1), lambda: 0.0)
        self.kept: list[Entry] = []
        self.add = self.kept.append


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_read_and_a_write_by_their_ids(bench: Bench, tmp_path: Path) -> None:
    log = Kept(tmp_path)
    bench.dispatch.records.keep(log)
    link = bench.store()
    bench.up("primary")
    read = bench.accept("GET", "/v1/documents/a/b", headers={"token": "till-3"})
    [frame] = bench.asked("primary")
    bench.clock.advance(0.5)
    bench.answer("primary", frame)
    write = bench.accept("PUT", headers={"x-request-id": "order-7"})
    [frame] = bench.asked("primary")
    bench.commit("primary", frame)
    [commit] = link.frames
    bench.result(commit, 201, commit=815)
    first, second = (json.loads(line(entry, 0.0)) for entry in log.kept)
    run, number = divmod(frame[4], 1 << 32)
    assert (first["method"], first["path"], first["status"]) == ("GET", "/v1/documents/a/b", 200)
    assert (first["slot"], first["ms"], first["token"]) == ("primary", 500, "till-3")
    assert first["id"].encode() == read.fields[b"x-request-id"]
    assert not {"frame", "commit"} & set(first)
    assert (second["id"], second["frame"]) == ("order-7", f"{run:x}-{number:x}")
    assert (second["status"], second["commit"]) == (201, 815)
    assert only(write).headers["x-request-id"] == "order-7"
    log.close()


def test_refusals_stand_there_too_and_none_where_it_is_off(bench: Bench, tmp_path: Path) -> None:
    log = Kept(tmp_path)
    bench.dispatch.records.keep(log)
    bench.local = lambda _: (200, b"text/plain", b"hello")
    bench.accept("GET", "/health")
    bench.dispatch.records.keep(None)
    bench.accept("GET", "/health")
    [found] = (json.loads(line(entry, 0.0)) for entry in log.kept)
    assert (found["path"], found["slot"], found["client"]) == ("/health", "supervisor", "")
    log.close()


def audited(records: Sequence[logging.LogRecord]) -> list[dict[str, Any]]:
    return [vars(record) | {"message": record.getMessage()} for record in records if record.name == AUDIT]


def test_who_changed_what(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, AUDIT)
    bench.local = lambda _: (200, b"application/json", b'{"slot":"primary","redispatched":3}')
    request = bench.accept("POST", "/admin/workers/primary:drain", headers={"token": "anna"})
    [found] = audited(caplog.records)
    assert (found["message"], found["token"], found["status"]) == ("POST /admin/workers/primary:drain", "anna", 200)
    assert found["result"] == '{"slot":"primary","redispatched":3}'
    assert found["requestId"] == request.fields[b"x-request-id"].decode()


@pytest.mark.parametrize(
    ("method", "target", "scope", "is_audited"),
    [
        ("POST", "/admin/failover", Scope.ADMIN, True),
        ("DELETE", "/v1/queue/entries/7", Scope.ADMIN, True),
        ("POST", "/v1/queue:pause", Scope.READ, True),
        ("POST", "/v1/queue:pause", Scope.NONE, False),
        ("GET", "/v1/queue/entries", Scope.ADMIN, False),
        ("OPTIONS", "/admin/failover", Scope.ADMIN, False),
        ("PUT", "/v1/documents/admin/x", Scope.ADMIN, False),
        ("POST", "/nothing", Scope.ADMIN, False),
    ],
)
def test_what_is_audited(
    bench: Bench, caplog: pytest.LogCaptureFixture, method: str, target: str, scope: Scope, is_audited: bool
) -> None:
    """A stranger's attempts are none of an operator's changes, and must not fill the log."""
    caplog.set_level(logging.INFO, AUDIT)
    bench.local = lambda _: (200, b"application/json", b"{}")
    bench.accept(method, target, scope=scope)
    assert bool(audited(caplog.records)) is is_audited


def test_a_long_result_is_cut(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, AUDIT)
    bench.local = lambda _: (200, b"application/json", b"x" * 9999)
    bench.accept("POST", "/v1/queue:retryDead")
    [found] = audited(caplog.records)
    assert found["result"] == "x" * 1000
