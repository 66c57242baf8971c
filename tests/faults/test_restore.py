"""A disk dies, and a backup goes on in its box's place: real instances, the command line, kills in the middle."""

from __future__ import annotations

import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.instance import PROJECT, Instance
from tests.fakes.checker import Outcome, Sent, check, logged, logs_of
from tests.fakes.tills import Tills, embedded_documents, queued_tokens

Start = Callable[..., Instance]
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(PROJECT)}


class Venue:
    """Boxes at one upstream, a file on another disk, and the command line."""

    def __init__(self, start: Start, folder: Path) -> None:
        self.folder = folder
        self.cloud = folder / "cloud"
        self.cloud.mkdir()
        self._start = start
        self._boxes = 0
        self.history: list[Sent] = []

    @property
    def config(self) -> dict[str, Any]:
        """That of every box."""
        return {"primary": {"type": "sqlite", "file": str(self.cloud / "upstream.db")}, "breaker": {"timeout_s": 1}}

    def box(self, on: Path | None = None) -> Instance:
        """A box, on a directory that a restore may have filled."""
        return self._start(on=on, database=self.config)

    def command(self, *words: str, expect: int = 0) -> str:
        """What `deora WORDS` prints, with its errors."""
        done = subprocess.run(
            [sys.executable, "-m", "deora", *words],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=self.folder,
            env=ENVIRONMENT,
            check=False,
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout + done.stderr

    def backup(self, box: Instance, name: str = "backup.db", *more: str) -> dict[str, Any]:
        """A backup of a box; what it holds."""
        told = self.command("backup", str(self.folder / name), "--data", str(box.data), "--json", *more)
        found: dict[str, Any] = json.loads(told)
        return found

    def restored(self, name: str = "backup.db") -> Path:
        """The directory of a fresh box with a backup in it."""
        self._boxes += 1
        directory = self.folder / f"fresh-{self._boxes}"
        self.command("restore", str(self.folder / name), "--data", str(directory / "data"))
        return directory

    def upstream(self) -> dict[str, dict[str, Any]]:
        """What upstream holds."""
        return embedded_documents(self.cloud / "upstream.db")

    def tokens(self) -> set[str]:
        """Every token that upstream has."""
        return {token for log in logs_of(self.upstream()).values() for token in log}


def write(box: Instance, token: str, path: str) -> Sent:
    """A write that the checker can tell, and what its client was told."""
    answer = box.request("PATCH", f"/v1/documents/{path}?upsert=true", logged(token))
    assert answer.status in (200, 201), answer.text
    return Sent(token, path, Outcome.OK, answer.json["commit"])


def power_off(box: Instance) -> None:
    """Every process of the box is gone at once, and so is its disk."""
    for process in box.tree():
        with suppress(psutil.NoSuchProcess):
            process.kill()
    assert box.terminate() is not None
    shutil.rmtree(box.data)


@pytest.fixture
def venue(instance: Start, tmp_path: Path) -> Venue:
    """A venue without a box yet."""
    return Venue(instance, tmp_path)


def test_a_dead_disk_costs_what_the_recovery_point_says_and_nothing_else(venue: Venue) -> None:
    box = venue.box()
    with Tills(box.url, 4, rate=150, documents=6, patience_s=0) as tills:
        box.wait_until(lambda: len(tills.history) > 100, 60.0)
        made = venue.backup(box)
        # What comes now and reaches upstream is in no backup.
        count = len(tills.history)
        box.wait_until(lambda: len(tills.history) > count + 60, 60.0)
        box.post("/v1/queue:pause")
        count = len(tills.history)
        box.wait_until(lambda: len(tills.history) > count + 60, 60.0)
        power_off(box)
    reached = venue.tokens()
    acknowledged = [sent for sent in tills.history if sent.outcome is Outcome.OK]
    saved = {sent.token for sent in acknowledged if sent.commit <= made["commit"]}
    lost = {sent.token for sent in acknowledged} - saved - reached
    assert reached - saved, "some must have reached upstream behind the backup"
    assert len(lost) > 40
    fresh = venue.box(venue.restored())
    began = len(venue.tokens())
    fresh.wait_until(lambda: fresh.status()["upstreams"][0]["state"] == "up", 60.0)
    assert began == len(reached)
    fresh.wait_until_drained()
    assert venue.tokens() >= reached | saved
    assert venue.tokens().isdisjoint(lost)
    history = [replace(sent, commit=None) for sent in tills.history if sent.token not in lost]
    findings = check(history, logs_of(venue.upstream()), queued_tokens(fresh))
    assert not findings, str(findings)
    # The copies bring back what the backup had not, and new writes go on top.
    there = venue.upstream()
    fresh.wait_until(lambda: {path: fresh.get(f"/v1/documents/{path}")["data"] for path in there} == there, 30.0)
    more = [write(fresh, f"new{number}", f"tills/{number % 3}") for number in range(30)]
    fresh.wait_until_drained()
    findings = check(history + more, logs_of(venue.upstream()), queued_tokens(fresh))
    assert not findings, str(findings)


@pytest.mark.torture
def test_of_two_boxes_from_one_backup_one_has_it_and_the_other_says_so(venue: Venue) -> None:
    box = venue.box()
    box.post("/v1/queue:pause")
    history = [write(box, f"t{number}", f"tills/{number % 3}") for number in range(40)]
    venue.backup(box)
    power_off(box)
    directories = [venue.restored(), venue.restored()]
    first = venue.box(directories[0])
    first.post("/v1/queue:resume")
    first.wait_until_drained()
    second = venue.box(directories[1])
    second.post("/v1/queue:resume")
    later = [write(second, "t-late", "tills/late")]
    second.wait_until(lambda: second.status()["upstreams"][0]["state"] == "stopped", 60.0)
    said = second.status()["upstreams"][0]["last_error"]
    assert first.status()["node"] + "." in said
    assert "the backup that this box was restored from is in use elsewhere" in said
    findings = check(history, logs_of(venue.upstream()), queued_tokens(first))
    assert not findings, str(findings)
    # What the second one took meanwhile goes where its hint says.
    venue.command("queue", "export", "late.jsonl", "--data", str(second.data))
    assert venue.command("queue", "import", "late.jsonl", "--data", str(first.data)).startswith("1 entries imported")
    first.wait_until_drained()
    findings = check(history + later, logs_of(venue.upstream()), queued_tokens(first))
    assert not findings, str(findings)


@pytest.mark.torture
def test_while_upstream_is_out_a_restored_box_takes_writes_and_settles_all_later(venue: Venue) -> None:
    box = venue.box()
    history = [write(box, f"t{number}", f"tills/{number % 3}") for number in range(30)]
    box.wait_until_drained()
    box.post("/v1/queue:pause")
    history += [write(box, f"w{number}", f"tills/{number % 3}") for number in range(30)]
    venue.backup(box)
    box.post("/v1/queue:resume")
    box.wait_until_drained()
    power_off(box)
    away = venue.folder / "away"
    venue.cloud.rename(away)
    fresh = venue.box(venue.restored())
    history += [write(fresh, f"n{number}", f"tills/{number % 3}") for number in range(30)]
    fresh.post("/v1/queue:resume")
    assert fresh.get("/v1/documents/tills/0")["data"]["n"] == 30
    assert fresh.get("/v1/queue")["pending"] == 60
    away.rename(venue.cloud)
    fresh.wait_until_drained()
    findings = check(history, logs_of(venue.upstream()), queued_tokens(fresh))
    assert not findings, str(findings)
    assert fresh.get("/v1/documents/tills/0")["data"] == venue.upstream()["tills/0"]


@pytest.mark.torture
def test_a_backup_and_a_restore_that_are_killed_leave_nothing_that_hurts(venue: Venue) -> None:
    box = venue.box()
    box.post("/v1/queue:pause")
    history = [write(box, f"t{number}", f"tills/{number % 3}") for number in range(30)]
    # Each kill comes a little later; the last ones come too late.
    for step in range(6):
        before = box.status()["supervisor"]["pid"]
        run = subprocess.Popen(
            [sys.executable, "-m", "deora", "backup", "backup.db", "--force", "--data", str(box.data)],
            cwd=venue.folder,
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        makers: list[psutil.Process] = []
        end_s = time.monotonic() + 20
        while run.poll() is None and not makers and time.monotonic() < end_s:
            makers = [process for process in box.tree() if name_of(process) == "deora:backup"]
        time.sleep(0.01 * step)
        for process in makers:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        run.wait(60)
        assert box.status()["supervisor"]["pid"] == before
    venue.backup(box, "backup.db", "--force")
    assert sorted(path.name for path in venue.folder.glob("*backup*")) == ["backup.db"]
    power_off(box)
    data = venue.folder / "fresh" / "data"
    for step in range(6):
        restore = [sys.executable, "-m", "deora", "restore", "backup.db", "--data", str(data)]
        run = subprocess.Popen(
            restore, cwd=venue.folder, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        with suppress(subprocess.TimeoutExpired):
            run.wait(0.1 + 0.06 * step)
        run.send_signal(signal.SIGKILL)
        run.wait()
        if (data / "store.db").exists():
            break
    else:
        venue.command("restore", "backup.db", "--data", str(data))
    fresh = venue.box(venue.folder / "fresh")
    fresh.post("/v1/queue:resume")
    fresh.wait_until_drained()
    findings = check(history, logs_of(venue.upstream()), queued_tokens(fresh))
    assert not findings, str(findings)


def name_of(process: psutil.Process) -> str:
    """What `ps` shows; empty for one that has gone."""
    with suppress(psutil.NoSuchProcess):
        return str(process.name())
    return ""


def test_a_restore_refuses_what_it_must_not_do(venue: Venue) -> None:
    box = venue.box()
    write(box, "t1", "tills/1")
    venue.backup(box)
    backup = venue.folder / "backup.db"
    said = venue.command("backup", str(backup), "--data", str(box.data), expect=1)
    assert "is there already" in said
    config = box.directory / "config" / "database.json"
    said = venue.command("backup", str(config), "--force", "--data", str(box.data), expect=1)
    assert "is there already and is no backup" in said
    assert "a restore overwrites nothing" in venue.command("restore", str(backup), "--data", str(box.data), expect=1)
    cut = venue.folder / "cut.db"
    cut.write_bytes(backup.read_bytes()[: backup.stat().st_size // 2])
    assert "is no whole backup" in venue.command("restore", str(cut), "--data", "elsewhere", expect=1)
    (venue.folder / "text").write_text("no backup")
    assert "is no backup of a store" in venue.command("restore", "text", "--data", "elsewhere", expect=1)
    assert not (venue.folder / "elsewhere" / "store.db").exists()
    later = shutil.copyfile(backup, venue.folder / "later.db")
    with closing(sqlite3.connect(later)) as db:
        db.execute("PRAGMA user_version = 99")
    assert "schema 99" in venue.command("restore", "later.db", "--data", "elsewhere", expect=1)
    assert oct(backup.stat().st_mode & 0o777) == "0o600"


@pytest.mark.torture
def test_the_embedded_upstream_shares_the_disk_and_comes_back_with_it(venue: Venue, instance: Start) -> None:
    box = instance()
    history = [write(box, f"t{number}", f"tills/{number % 3}") for number in range(30)]
    box.wait_until_drained()
    box.post("/v1/queue:pause")
    history += [write(box, f"w{number}", f"tills/{number % 3}") for number in range(10)]
    made = venue.backup(box)
    assert made["upstreams"] == {"primary": "backup.db.upstream-primary"}
    # Also of an instance that has ended, without a word to its disk.
    for process in box.tree():
        with suppress(psutil.NoSuchProcess):
            process.kill()
    assert box.terminate() is not None
    again = venue.backup(box, "second.db")
    assert (again["commit"], again["documents"], again["pending"]) == (made["commit"], 3, 10)
    shutil.rmtree(box.data)
    fresh = instance(on=venue.restored("second.db"))
    fresh.post("/v1/queue:resume")
    fresh.wait_until_drained()
    documents = embedded_documents(fresh.data / "upstream.db")
    findings = check(history, logs_of(documents), queued_tokens(fresh))
    assert not findings, str(findings)
