"""A queue moves to another box, with real instances and the command line: a dead disk, a box that lives."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.instance import PROJECT, Instance
from tests.fakes.checker import Outcome, Sent, check, logged, logs_of
from tests.fakes.tills import embedded_documents, queued_tokens

Start = Callable[..., Instance]

# The embedded upstream takes no field path below a value that is no object, and says so for ever.
BLOCKED = "tills/blocked"


class Venue:
    """Boxes at one upstream, a file; what their clients were told; and the command line."""

    def __init__(self, start: Start, folder: Path) -> None:
        self.upstream = folder / "cloud.db"
        self.folder = folder
        self._start = start
        self.history: list[Sent] = []
        self._written = 0

    def box(self) -> Instance:
        """A new box."""
        return self._start(database={"primary": {"type": "sqlite", "file": str(self.upstream)}})

    def write(self, box: Instance, count: int, documents: int = 3) -> None:
        """So many writes, one after the other."""
        for number in range(self._written, self._written + count):
            token, path = f"t{number}", f"tills/d{number % documents}"
            self.history.append(write(box, token, path))
        self._written += count

    def wait(self, box: Instance, holds: Callable[[], bool]) -> None:
        """Until something holds."""
        box.wait_until(holds, 60.0)

    def queue(self, box: Instance, *words: str, expect: int = 0) -> str:
        """What `deora queue WORDS` prints, with its errors."""
        done = subprocess.run(
            [sys.executable, "-m", "deora", "queue", *words, "--data", str(box.data)],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=self.folder,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(PROJECT)},
            check=False,
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout + done.stderr

    def check(self, box: Instance) -> None:
        """The checker's zeros, with what is left in one box's queue."""
        documents = embedded_documents(self.upstream)
        findings = check(self.history, logs_of(documents), queued_tokens(box))
        assert not findings, str(findings)


def write(box: Instance, token: str, path: str) -> Sent:
    """A write that the checker can tell, and what its client was told."""
    answer = box.request("PATCH", f"/v1/documents/{path}?upsert=true", logged(token))
    assert answer.status in (200, 201), answer.text
    return Sent(token, path, Outcome.OK, answer.json["commit"])


def kill(box: Instance) -> None:
    """The power goes: every process of the box, at once."""
    for process in box.tree():
        with suppress(psutil.NoSuchProcess):
            process.kill()
    assert box.terminate() is not None


@pytest.fixture
def venue(instance: Start, tmp_path: Path) -> Venue:
    """A venue without a box yet."""
    return Venue(instance, tmp_path)


def block(venue: Venue, box: Instance, count: int = 2) -> None:
    """Has upstream refuse `count` writes for good: what it holds of their document has no list to add to."""
    assert box.request("PUT", f"/v1/documents/{BLOCKED}", {"log": [], "n": 0}).status in (200, 201)
    box.wait_until_drained()
    with closing(sqlite3.connect(venue.upstream)) as db, db:
        db.execute("UPDATE deora_documents SET data = '{broken' WHERE path = ?", (BLOCKED,))
    for number in range(count):
        venue.history.append(write(box, f"dead{number}", BLOCKED))
    venue.wait(box, lambda: box.get("/v1/queue")["dead"] == count)


def mend(venue: Venue) -> None:
    """Upstream's document is one again, so that it can be judged."""
    with closing(sqlite3.connect(venue.upstream)) as db, db:
        db.execute("""UPDATE deora_documents SET data = '{"log":[],"n":0}' WHERE path = ?""", (BLOCKED,))


def half_drained(venue: Venue) -> Instance:
    """A box with writes that are upstream, writes that wait, and dead ones; it is paused."""
    box = venue.box()
    venue.write(box, 40)
    block(venue, box)
    box.post("/v1/queue:pause")
    venue.write(box, 50)
    return box


def test_after_a_dead_disk_a_new_box_goes_on(venue: Venue) -> None:
    a = half_drained(venue)
    assert "52 entries written" in venue.queue(a, "export", "queue.jsonl")
    # What the file has may yet be sent before the disk dies.
    a.post("/v1/queue:resume")
    venue.wait(a, lambda: int(a.get("/v1/queue")["pending"]) < 50)
    kill(a)
    shutil.rmtree(a.data)
    b = venue.box()
    told = venue.queue(b, "import", "queue.jsonl")
    imported = int(told.split()[0])
    assert 0 <= imported <= 52
    assert f"{52 - imported} already upstream, 0 already here" in told
    b.wait_until_drained()
    dead = b.get("/v1/queue/entries?state=dead")["entries"]
    assert [entry["origin"]["number"] for entry in dead] == sorted(entry["origin"]["number"] for entry in dead)
    assert len(dead) == 2
    assert all("upstream holds it" in entry["error"] for entry in dead)
    for number in range(3):
        assert b.get(f"/v1/documents/tills/d{number}")["data"]["n"] == 30
    mend(venue)
    venue.check(b)
    assert f"0 entries imported, {52 - 2} already upstream, 2 already here" in venue.queue(b, "import", "queue.jsonl")
    venue.check(b)


def test_a_box_that_lives_is_fenced_and_says_who_has_its_queue(venue: Venue) -> None:
    a = half_drained(venue)
    venue.queue(a, "export", "queue.jsonl")
    b = venue.box()
    b.post("/v1/queue:pause")
    assert venue.queue(b, "import", "queue.jsonl").startswith("52 entries imported, 0 already upstream")
    shown = b.get("/v1/documents/tills/d0")
    assert shown["data"]["n"] == 30, "what waits is shown"
    assert shown["pending"] is True
    a.post("/v1/queue:resume")
    venue.write(a, 9)
    taker = b.status()["node"]
    venue.wait(a, lambda: a.status()["upstreams"][0]["state"] == "stopped")
    assert f"taken this one's queue over: {taker}." in a.status()["upstreams"][0]["last_error"]
    assert "deora queue export" in venue.queue(a)
    assert taker in venue.queue(a, "import", "queue.jsonl", expect=1)
    # What it accepted since goes the same way.
    venue.queue(a, "export", "later.jsonl")
    assert venue.queue(b, "import", "later.jsonl").startswith("9 entries imported, 0 already upstream, 52 already here")
    b.post("/v1/queue:resume")
    b.wait_until_drained()
    mend(venue)
    venue.check(b)


def test_of_two_boxes_one_has_the_queue(venue: Venue) -> None:
    a = half_drained(venue)
    venue.queue(a, "export", "queue.jsonl")
    kill(a)
    shutil.rmtree(a.data)
    b, c = venue.box(), venue.box()
    venue.queue(b, "import", "queue.jsonl")
    refusal = venue.queue(c, "import", "queue.jsonl", expect=1)
    assert f"was taken over by {b.status()['node']}." in refusal
    assert "go on there" in refusal
    assert c.get("/v1/queue/entries")["entries"] == []
    b.wait_until_drained()
    mend(venue)
    venue.check(b)


def test_an_import_that_is_killed_is_run_again(venue: Venue) -> None:
    a = venue.box()
    a.post("/v1/queue:pause")
    venue.write(a, 120, documents=6)
    venue.queue(a, "export", "queue.jsonl")
    kill(a)
    shutil.rmtree(a.data)
    b = venue.box()
    # In pages of a few entries, each of which is a chance to be killed.
    header, *lines = (venue.folder / "queue.jsonl").read_bytes().splitlines()[:-1]
    for round_, start in enumerate(range(0, len(lines), 20)):
        page = {"from": json.loads(header), "entries": [json.loads(line) for line in lines[start : start + 20]]}
        assert b.request("POST", "/v1/queue:import", page).status == 200
        victims = [each for each in b.status()["processes"] if each["name"] in ("store", "replayer")]
        victim = victims[round_ % 2]
        with suppress(psutil.NoSuchProcess):
            psutil.Process(victim["pid"]).kill()
        b.wait_until_whole()
    told = venue.queue(b, "import", "queue.jsonl")
    assert told.startswith("0 entries imported")
    b.wait_until_drained()
    venue.check(b)


def test_a_bad_file_and_ones_own_change_nothing(venue: Venue) -> None:
    a = half_drained(venue)
    venue.queue(a, "export", "queue.jsonl")
    whole = (venue.folder / "queue.jsonl").read_bytes()
    lines = whole.splitlines(keepends=True)
    later = json.dumps({**json.loads(lines[0]), "version": 2}).encode() + b"\n"
    bad: dict[str, tuple[bytes, str]] = {
        "half a line": (whole[: len(whole) // 2], "is cut off"),
        "another value": (whole.replace(b'"t45"', b'"t44"'), "was changed"),
        "another version": (b"".join([later, *lines[1:]]), "has version 2; this DEORA reads version 1"),
    }
    before: Any = a.get("/v1/queue/entries")
    for what, (content, message) in bad.items():
        (venue.folder / "bad.jsonl").write_bytes(content)
        said = venue.queue(a, "import", "bad.jsonl", expect=1)
        assert message in said, what
        assert "hint: " in said, what
    assert venue.queue(a, "import", "queue.jsonl").startswith("0 entries imported, 0 already upstream, 52 already here")
    assert a.get("/v1/queue/entries") == before
    assert venue.queue(a, "export", "queue.jsonl", expect=1).startswith("error: queue.jsonl is there already")
    a.post("/v1/queue:resume")
    a.wait_until_drained()
    mend(venue)
    venue.check(a)


def test_an_upstream_that_is_not_the_same_is_refused(venue: Venue, instance: Start) -> None:
    a = half_drained(venue)
    venue.queue(a, "export", "queue.jsonl")
    elsewhere = instance()
    refusal = venue.queue(elsewhere, "import", "queue.jsonl", expect=1)
    assert "this is another upstream" in refusal
    assert elsewhere.get("/v1/queue/entries")["entries"] == []
    both = instance(
        database={
            "primary": {"type": "sqlite", "file": str(venue.upstream)},
            "secondary": {"type": "sqlite", "file": str(venue.folder / "second.db")},
        }
    )
    both.post("/v1/queue:pause")
    both.request("PUT", "/v1/documents/a/1", {})
    venue.queue(both, "export", "both.jsonl")
    refusal = venue.queue(a, "import", "both.jsonl", expect=1)
    assert "'secondary'; configured here: primary" in refusal
    assert both.get("/v1/documents/a/1")["pending"] is True
    told = venue.queue(a, "import", "both.jsonl", "--upstream", "primary")
    assert told.startswith("1 entries imported")
