"""`deora backup` and `deora restore`."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import Result

from deora.cli.backup import Progress
from deora.store.database import open_writer
from deora.store.identity import load_identity
from tests.fakes.control import ControlServer, Routes

Deora = Callable[..., Result]

FACTS = {
    "file": "/mnt/b.db",
    "size": 3 * 1024 * 1024,
    "took_s": 1.25,
    "documents": 5,
    "pending": 2,
    "dead": 1,
    "upstreams": {"primary": "b.db.upstream-primary"},
}
SHOWN = {"number": 3, "running": False, "phase": "verifying", "done": 1, "total": 1, "backup": FACTS}


def test_the_instance_makes_it(deora: Deora, instance: ControlServer, routes: Routes) -> None:
    routes["POST /admin/backup"] = (200, {"number": 3})
    routes["GET /admin/backup"] = (200, {**SHOWN, "error": None, "hint": None})
    result = deora("backup", "/mnt/b.db", "--force")
    assert result.exit_code == 0, result.output
    assert result.stdout == (
        "/mnt/b.db: 3.0 MiB in 1.2 s, with b.db.upstream-primary beside it\n"
        "5 documents, 2 entries that wait, 1 dead; verified\n"
    )
    assert instance.requests[0] == ("POST", "/admin/backup", {"file": "/mnt/b.db", "force": True})
    assert json.loads(deora("backup", "/mnt/b.db", "--json").stdout) == FACTS


@pytest.mark.usefixtures("instance")
def test_what_hinders_it_is_said(deora: Deora, routes: Routes) -> None:
    routes["POST /admin/backup"] = (200, {"number": 3})
    routes["GET /admin/backup"] = (200, {**SHOWN, "backup": None, "error": "no room", "hint": "make some"})
    result = deora("backup", "b.db")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "no room" in result.stderr
    assert "make some" in result.stderr
    routes["GET /admin/backup"] = (200, {**SHOWN, "number": 4, "error": None, "hint": None})
    assert "another backup has begun" in deora("backup", "b.db").stderr


def make_store(data: Path) -> None:
    data.mkdir(parents=True)
    with closing(open_writer(data / "store.db")) as db:
        db.execute("BEGIN")
        load_identity(db)
        db.execute("COMMIT")


def test_without_an_instance_it_is_made_here_and_restored(deora: Deora, tmp_path: Path) -> None:
    make_store(tmp_path / "old")
    file = str(tmp_path / "b.db")
    made = json.loads(deora("backup", file, "--data", str(tmp_path / "old"), "--json").stdout)
    assert (made["file"], made["documents"], made["upstreams"]) == (file, 0, {})
    assert deora("backup", file, "--data", str(tmp_path / "old")).exit_code == 1
    result = deora("restore", file, "--data", str(tmp_path / "new" / "data"))
    assert result.exit_code == 0, result.output
    assert "next: `deora start`" in result.stdout
    with closing(sqlite3.connect(tmp_path / "new" / "data" / "store.db")) as db:
        [(epoch,)] = db.execute("SELECT epoch FROM identity").fetchall()
    assert epoch != made["epoch"]
    again = deora("restore", file, "--data", str(tmp_path / "new" / "data"))
    assert again.exit_code == 1
    assert "a restore overwrites nothing" in again.stderr
    told = json.loads(deora("restore", file, "--data", str(tmp_path / "third"), "--json").stdout)
    assert told["former_epoch"] == made["epoch"] != told["epoch"]


def test_where_there_is_nothing_to_back_up(deora: Deora, tmp_path: Path) -> None:
    assert "there is no data directory" in deora("backup", "b.db", "--data", str(tmp_path / "no")).stderr
    (tmp_path / "empty").mkdir()
    assert "there is no store" in deora("backup", "b.db", "--data", str(tmp_path / "empty")).stderr


def test_the_time_left_is_that_of_the_phase() -> None:
    now_s = [100.0]
    progress = Progress(lambda: now_s[0])
    mib = 1024 * 1024
    assert progress.line("copying", 0, 100 * mib) == "copying .."
    now_s[0] += 3
    assert progress.line("copying", 25 * mib, 100 * mib) == "copying 25 % of 100.0 MiB, 9 s left"
    assert progress.line("verifying", 0, 0) == "verifying .."
