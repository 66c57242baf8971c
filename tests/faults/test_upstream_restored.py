"""Upstream is restored from a backup while the venue works on: in the end it has every acknowledged write once.

Real instances; upstream is the embedded file, or a real PostgreSQL whose backup is a database made from a template.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import pytest

from bench.instance import Instance
from tests.fakes.checker import check, logs_of
from tests.fakes.command import deora
from tests.fakes.postgres import Server, execute, fetch, new_database
from tests.fakes.tills import Tills, embedded_documents, queued_tokens

SEED = 20_261


class Cloud(Protocol):
    """An upstream that can be copied and put back."""

    def settings(self) -> dict[str, Any]:
        """Its place in database.json."""

    def documents(self) -> dict[str, dict[str, Any]]:
        """Path -> data of all that it holds."""

    def copy(self) -> str:
        """Takes a backup, and names it."""

    def put_back(self, backup: str) -> None:
        """Stops, is replaced by the backup, and goes on."""


class File:
    """The embedded upstream's file in a folder of its own. Its backups are SQLite's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "upstream.db"
        folder.mkdir()
        self._backups = 0

    def settings(self) -> dict[str, Any]:
        return {"type": "sqlite", "file": str(self._file)}

    def documents(self) -> dict[str, dict[str, Any]]:
        return embedded_documents(self._file)

    def copy(self) -> str:
        self._backups += 1
        backup = self._folder / f"backup-{self._backups}"
        with closing(sqlite3.connect(self._file)) as db, closing(sqlite3.connect(backup)) as target:
            db.backup(target)
        return str(backup)

    def put_back(self, backup: str) -> None:
        for name in ("upstream.db-wal", "upstream.db-shm", "upstream.db"):
            (self._folder / name).unlink(missing_ok=True)
        if backup:
            temporary = self._folder / "restoring"
            shutil.copyfile(backup, temporary)
            temporary.rename(self._file)


class Database:
    """A database on a PostgreSQL. Its backups are copies of it; nobody may be connected while one is made."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._url = asyncio.run(new_database(server))
        self._name = self._url.rpartition("/")[2].partition("?")[0]
        self._backups = 0

    def settings(self) -> dict[str, Any]:
        return {"type": "postgres", "url": self._url}

    def documents(self) -> dict[str, dict[str, Any]]:
        rows = asyncio.run(fetch(self._url, "SELECT path, data::text FROM deora_documents"))
        return {path: json.loads(data) for path, data in rows}

    def copy(self) -> str:
        self._backups += 1
        backup = f"{self._name}_backup{self._backups}"
        self._closed(self._name, f"CREATE DATABASE {backup} TEMPLATE {self._name}")
        return backup

    def put_back(self, backup: str) -> None:
        made = f"CREATE DATABASE {self._name}" + (f" TEMPLATE {backup}" if backup else "")
        self._closed(self._name, f"DROP DATABASE {self._name} WITH (FORCE)", made)

    def _closed(self, name: str, *statements: str) -> None:
        """Runs statements while nobody can connect to the database."""
        server = self._server.url()
        shut = f"ALTER DATABASE {name} ALLOW_CONNECTIONS false"
        end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        asyncio.run(execute(server, shut, end, *statements, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true"))


@pytest.fixture(params=["sqlite", "postgres"])
def cloud(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cloud]:
    """One upstream of each kind that can be restored here."""
    if request.param == "sqlite":
        yield File(tmp_path / "cloud")
    else:
        yield Database(request.getfixturevalue("postgres_server"))


def start(instance: Callable[..., Instance], cloud: Cloud, **more: Any) -> Instance:
    database = {
        "primary": cloud.settings(),
        "breaker": {"threshold": 1000, "timeout_s": 0.2},
        "health_check_interval_s": 1,
        "sync_interval_s": 1,
    }
    return instance(database=database, **more)


def write(one: Instance, count: int, prefix: str) -> Tills:
    """Tills that write until `count` writes have been answered."""
    with Tills(one.url, 4, seed=SEED, documents=20, prefix=prefix) as tills:
        one.wait_until(lambda: len(tills.history) >= count, 60)
    return tills


def wait_until_whole(one: Instance, cloud: Cloud, *tills: Tills) -> None:
    """Until upstream has all that was acknowledged; then nothing is lost, doubled or disordered, and reads agree."""
    history = [sent for some in tills for sent in some.history]

    def findings() -> Any:
        try:
            held = cloud.documents()
        except Exception:
            return "upstream cannot be read"
        return check(history, logs_of(held), queued_tokens(one))

    one.wait_until(lambda: one.waiting() == 0 and not findings(), 60)
    assert not findings(), findings()
    assert one.status()["upstreams"][0]["state"] == "up"
    held = cloud.documents()
    for path in list(held)[:5]:
        assert one.get(f"/v1/documents/{path}")["data"] == held[path]


def kept(one: Instance) -> int:
    """How many entries the outbox has."""
    with closing(sqlite3.connect(f"{(one.data / 'store.db').as_uri()}?mode=ro", uri=True)) as db:
        [(count,)] = db.execute("SELECT count(*) FROM entries").fetchall()
    return int(count)


def test_a_backup_that_is_put_back(instance: Callable[..., Instance], cloud: Cloud) -> None:
    print(f"seed {SEED}")
    one = start(instance, cloud)
    first = write(one, 150, "a")
    one.wait_until_drained(60)
    backup = cloud.copy()
    second = write(one, 150, "b")
    one.wait_until_drained(60)
    cloud.put_back(backup)
    # Nobody writes: it is found out all the same.
    wait_until_whole(one, cloud, first, second)
    # And while tills write.
    with Tills(one.url, 4, seed=SEED, documents=20, prefix="c") as third:
        one.wait_until(lambda: len(third.history) >= 50, 60)
        cloud.put_back(backup)
        seen = len(third.history)
        one.wait_until(lambda: len(third.history) >= seen + 100, 60)
    wait_until_whole(one, cloud, first, second, third)
    assert not third.stale


def test_an_upstream_that_was_wiped(instance: Callable[..., Instance], cloud: Cloud) -> None:
    one = start(instance, cloud)
    first = write(one, 150, "a")
    one.wait_until_drained(60)
    one.post("/v1/queue:pause")
    cloud.put_back("")
    second = write(one, 50, "b")
    one.post("/v1/queue:resume")
    wait_until_whole(one, cloud, first, second)


def test_beyond_what_is_kept_an_operator_decides(instance: Callable[..., Instance], tmp_path: Path) -> None:
    cloud = File(tmp_path / "cloud")
    # What is done is pruned within seconds: the queue may take next to nothing of the disk.
    one = start(instance, cloud, queue={"max_bytes": "64KiB", "retention_hours": 1})
    write(one, 500, "a")
    one.wait_until_drained(60)
    one.wait_until(lambda: kept(one) < 400, 60)
    cloud.put_back("")
    one.wait_until(lambda: one.status()["upstreams"][0]["state"] == "stopped", 60)
    reason = one.status()["upstreams"][0]["last_error"]
    assert "no longer kept on this box" in reason
    assert "deora upstream resume primary --accept-loss" in reason
    assert any(alert["name"] == "upstream-stopped" for alert in one.status()["alerts"])
    screen = deora("status", on=one)
    assert "stopped" in screen.stdout
    second = write(one, 20, "b")
    assert cloud.documents() == {}
    assert one.waiting() >= 20
    said = deora("upstream", "resume", "primary", "--accept-loss", on=one)
    assert said.returncode == 0, said.stderr
    assert "goes on without" in said.stdout
    one.wait_until_drained(60)
    assert one.status()["upstreams"][0]["state"] == "up"
    logs = logs_of(cloud.documents())
    held = {token for tokens in logs.values() for token in tokens}
    assert {sent.token for sent in second.history} <= held
    assert sum(len(tokens) for tokens in logs.values()) == len(held), "none came twice"
    assert "accepted the loss" in (one.data / "logs" / "app.log").read_text(encoding="utf-8")
