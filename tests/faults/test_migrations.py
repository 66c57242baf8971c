"""A kill in every statement of a migration, and between any two, with entries waiting (F27): the next start ends it."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import msgpack
import orjson
import pytest

from bench.instance import PROJECT
from deora.documents.apply import apply
from deora.documents.paths import split
from deora.documents.writes import encode_writes
from deora.outbox.storage import OVERHEAD_BYTES
from deora.store.database import add_functions, migrations, statements_of
from tests.fakes.checker import Outcome, Sent, check, logged
from tests.fakes.damaged import Cloud, GuardedStore
from tests.fakes.store import settings_with, update

DOCUMENTS = 50
IN_FLIGHT = 5
LATEST = migrations()[-1][0]

# Kills itself before its Nth statement, or in it, at the Nth step of so many instructions. One fork for each N, until
# one comes through; prints how many were killed.
DRIVER = """
import os, shutil, signal, sqlite3, sys
from pathlib import Path
from deora.store.damage import prepare
from deora.store.database import open_writer

template, cases, steps = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
connect = sqlite3.connect

def run(path, number):
    count = 0
    def reached(*_):
        nonlocal count
        count += 1
        if count == number:
            os.kill(os.getpid(), signal.SIGKILL)
    def watched(*arguments, **options):
        db = connect(*arguments, **options)
        if steps:
            db.set_progress_handler(reached, steps)
        else:
            db.set_trace_callback(reached)
        return db
    sqlite3.connect = watched
    prepare(path, ["primary"], "20260131T120000Z")
    open_writer(path).close()
    os._exit(0)

number = 0
while True:
    number += 1
    folder = cases / str(number)
    shutil.copytree(template, folder)
    child = os.fork()
    if child == 0:
        run(folder / "store.db", number)
    _, status = os.waitpid(child, 0)
    if os.WIFEXITED(status):
        sys.exit("a start failed" if os.WEXITSTATUS(status) else print(number - 1))
    assert os.WTERMSIG(status) == signal.SIGKILL, status
"""


def write_old(path: Path, version: int, count: int) -> list[Sent]:
    """A file of an older schema in which `count` entries wait, the oldest in a batch; what clients know of them."""
    path.parent.mkdir(parents=True)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    add_functions(db)
    db.execute("BEGIN")
    for number, sql in migrations()[:version]:
        assert number <= version
        for statement in statements_of(sql):
            db.execute(statement)
    db.execute("INSERT INTO identity (node, epoch) VALUES ('box', 'one')")
    history, views, queues, sizes = [], dict[str, bytes](), dict[int, list[int]](), 0
    for ident in range(1, count + 1):
        document = (ident - 1) % DOCUMENTS
        write = update(f"bills/d{document}", logged(f"t{ident}"), upsert=True)
        payload = encode_writes([write])
        views[write.path] = apply(views.get(write.path), write) or b""
        queues.setdefault(4 * (document + 1), []).append(ident)
        sizes += len(payload) + OVERHEAD_BYTES
        db.execute(
            "INSERT INTO entries (id, upstream, number, state, priority, commit_no, created_us, running_s, writes,"
            " attempts, heads, payload) VALUES (?, 0, ?, 0, 5, ?, 0, 0, 1, 0, ?, ?)",
            (ident, ident, ident, 4 * (document + 1), payload),
        )
        history.append(Sent(f"t{ident}", write.path, Outcome.OK, ident))
    for head, members in queues.items():
        db.execute("INSERT INTO heads VALUES (?, 0, ?, 5, 5, ?, ?, 0)", (head, members[0], len(members), len(members)))
        db.executemany("INSERT INTO followers VALUES (?, ?, 5, 0)", [(head, member) for member in members[1:]])
        path_of, name = split(f"bills/d{head // 4 - 1}")
        values = (head // 4, path_of, name, len(members), views[f"bills/{name}"].decode())
        db.execute(
            "INSERT INTO documents (id, collection, name, version, commit_no, created_us, updated_us, pending, dead,"
            f" base_state, view{', base_seq, checked_us' if version > 1 else ''})"
            f" VALUES (?, ?, ?, 'one-1', 1, 0, 0, ?, 0, 0, ?{', 0, 0' if version > 1 else ''})",
            values,
        )
    members = list(range(1, IN_FLIGHT + 1))
    packed = msgpack.packb(members) if version < 3 else orjson.dumps(members).decode()
    db.execute("INSERT INTO batches (id, upstream, position, attempts, members) VALUES ('b0', 0, 0, 0, ?)", (packed,))
    db.execute(
        "INSERT INTO upstreams (id, name, number, pending, live_bytes, by_priority) VALUES (0, 'primary', ?, ?, ?, ?)",
        (count, count, sizes, orjson.dumps({"5": count}).decode()),
    )
    db.execute("UPDATE progress SET commit_no = ?1, entry_id = ?1", (count,))
    db.execute(f"PRAGMA user_version = {version}")
    db.execute("COMMIT")
    db.close()
    return history


def kill_everywhere(folder: Path, steps: int) -> int:
    """Runs the driver; how many starts it killed, each of which has left a folder."""
    ran = subprocess.run(
        [sys.executable, "-c", DRIVER, str(folder / "old"), str(folder / "cases"), str(steps)],
        env={"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return int(ran.stdout)


def complete(path: Path, history: list[Sent]) -> None:
    """The next start ends the migration; then all that waits goes upstream, once and in order."""
    cloud = Cloud()
    store = GuardedStore(path, settings_with(max_entries=1_000_000, max_bytes=1 << 30))
    try:
        assert store.rows("PRAGMA user_version") == [(LATEST,)]
        assert store.rows("PRAGMA integrity_check") == [("ok",)]
        assert not store.reports()
        while (batch := store.claim(max_writes=500)) is not None:
            assert cloud.take(batch) == "applied"
            store.settle(batch)
        findings = check(history, cloud.logs())
        assert not findings, str(findings)
        assert store.rows("SELECT sum(pending), sum(dead) FROM documents") == [(0, 0)]
    finally:
        store.stop()


def judge(tmp_path: Path, version: int, count: int, steps: int) -> int:
    """Kills a migration everywhere and completes each; how many there were."""
    history = write_old(tmp_path / "old" / "store.db", version, count)
    killed = kill_everywhere(tmp_path, steps)
    for number in range(1, killed + 2):
        complete(tmp_path / "cases" / str(number) / "store.db", history)
        shutil.rmtree(tmp_path / "cases" / str(number))
    return killed


@pytest.mark.parametrize("version", [1, LATEST - 1])
def test_a_migration_that_is_killed_is_completed(tmp_path: Path, version: int) -> None:
    killed = judge(tmp_path, version, 120, 0)
    statements = sum(len(statements_of(sql)) for _, sql in migrations()[version:])
    print(f"from schema {version}: killed before each of {killed} statements, of which {statements} are migrations'")
    assert killed > statements


@pytest.mark.torture
@pytest.mark.parametrize("version", range(1, LATEST))
@pytest.mark.parametrize("steps", [0, 20_000])
def test_with_ten_thousand_entries(tmp_path: Path, version: int, steps: int) -> None:
    killed = judge(tmp_path, version, 10_000, steps)
    print(f"from schema {version}: killed {killed} times")
    assert killed > 10
