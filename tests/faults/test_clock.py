"""F22: the wall clock jumps back an hour, on a day, to 1970 and to 2038, and nothing but what is shown follows it.

Durations go by the monotonic clock, order by sequence. libfaketime gives a real instance a clock that a file moves
while tills write, the upstream drains, pauses and resumes, and a collection is pulled each second. "Late by at most
twice its period" is judged with slack for a loaded machine; the figures are printed.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from pathlib import Path

import pytest

from bench.instance import PROJECT, Instance
from tests.fakes.tills import Tills, audit, p99_ms
from tests.process.test_kills import wait_for

LIBRARIES = tuple(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
HOUR_S = 3600
DAY_S = 24 * HOUR_S
PULL_S = 1.0
# A loaded machine may be so late by itself; a timer that follows the wall clock is late by an hour, or never comes.
SLACK_S = 15.0
HANG_S = 20.0
YEAR_1970_S, YEAR_2038_S = 100_000, 2_147_483_640  # eight seconds before a signed 32-bit time overflows
# Python sleeps until a monotonic moment, which libfaketime 0.9.10 takes for one of the clock that it fakes: EINVAL.
SLEEP = "import select, time\ntime.sleep = lambda seconds: select.select([], [], [], seconds)\n"
EMPTY = {"log": [], "n": 0}  # a document that the audit takes for a log
LOGS = {"app.log", "error.log", "audit.log"}


class Wall:
    """The wall clock of an instance, moved by a file. `jump` says how far it is off the real one; `before` is the
    program that becomes an instance with this clock."""

    def __init__(self, directory: Path) -> None:
        if not LIBRARIES:
            pytest.skip("libfaketime is not installed (Debian: apt-get install libfaketime)")
        self._file = directory / "wall"
        self.jump(0)
        (directory / "sitecustomize.py").write_text(SLEEP)
        self.before = [
            "env",
            f"LD_PRELOAD={LIBRARIES[0]}",
            f"FAKETIME_TIMESTAMP_FILE={self._file}",
            "FAKETIME_NO_CACHE=1",
            "FAKETIME_DONT_FAKE_MONOTONIC=1",
            "NO_FAKE_STAT=1",
            f"PYTHONPATH={directory}:{PROJECT}",
        ]

    def jump(self, offset_s: float) -> None:
        """From now on the instance's clock is `offset_s` off. Replaced at once: a process may be reading the file."""
        fresh = self._file.with_name("wall.next")
        fresh.write_text(f"{offset_s:+.0f}\n")
        fresh.replace(self._file)


def pulled_us(one: Instance) -> int:
    """The wall clock's word for when the collection was last pulled."""
    with closing(sqlite3.connect(f"{(one.data / 'store.db').as_uri()}?mode=ro", uri=True)) as db:
        found = db.execute("SELECT synced_us FROM replicas").fetchone()
    return int(found[0]) if found else 0


def next_pull_s(one: Instance) -> float:
    """Seconds until the next pull has come; each leaves another time behind."""
    before, began_s = pulled_us(one), time.monotonic()
    wait_for(lambda: pulled_us(one) != before, "a pull", 60.0)
    return time.monotonic() - began_s


def write_once(one: Instance, number: int) -> tuple[int, str]:
    """Commit and version of a PUT that waits for upstream's word, and that its read shows."""
    answer = one.request(
        "PUT", "/v1/documents/clock/one", json={**EMPTY, "number": number}, headers={"Prefer": "wait=30"}
    )
    assert answer.status in (200, 201), answer.text
    assert answer.json["replication"] == "done"
    shown = one.request("GET", "/v1/documents/clock/one")
    assert shown.json["data"] == {**EMPTY, "number": number}
    assert shown.headers["ETag"] == f'"{answer.json["version"]}"'
    return answer.json["commit"], answer.json["version"]


def outage(one: Instance, number: int, jump: Callable[[], None]) -> float:
    """An upstream that is paused while the clock jumps; how long a `Prefer: wait=1` waited for it."""
    one.post("/v1/queue:pause")
    began_s = time.monotonic()
    jump()
    answer = one.request(
        "PUT", "/v1/documents/clock/two", json={**EMPTY, "number": number}, headers={"Prefer": "wait=1"}
    )
    took_s = time.monotonic() - began_s
    assert (answer.status, answer.json["replication"]) == (202, "pending")
    queue = one.get("/v1/queue")
    assert 0 <= queue["oldest_s"] <= 60
    one.post("/v1/queue:resume")
    return took_s


def check_shown(one: Instance, uptime_s: float) -> float:
    """What operators see is valid; returns the uptime, which only grows."""
    one.wait_until_whole()
    status = one.status()
    assert all(row["state"] == "up" and row["restarts"] == 0 for row in (*status["workers"], *status["processes"]))
    uptime: float = status["supervisor"]["uptime_s"]
    assert uptime_s <= uptime <= uptime_s + 120
    assert one.request("GET", "/metrics").status == 200
    assert {file.name for file in (one.data / "logs").iterdir()} <= LOGS
    for file in (one.data / "logs").iterdir():
        for line in file.read_text().splitlines():
            assert isinstance(json.loads(line), dict), line
    return uptime


def test_a_clock_that_jumps_breaks_nothing(instance: Callable[..., Instance], tmp_path: Path) -> None:
    wall = Wall(tmp_path)
    one = instance(
        before=wall.before,
        database={"replicate": ["menu"], "sync_interval_s": PULL_S},
        # A clock that reads a file each time is slow on a busy machine, and nobody is to be killed for that: no restart
        # is allowed. Each jump is far longer than this.
        loadbalancer={"health_check": {"hang_timeout_s": HANG_S}},
    )
    now_s = time.time()
    jumps = {
        "back an hour": -HOUR_S,
        "on a day": DAY_S,
        "1970": YEAR_1970_S - now_s,
        "2038": YEAR_2038_S - now_s,
        "right again": 0,
    }
    kept = one.request("PUT", "/v1/documents/keys/k", json=EMPTY, headers={"Idempotency-Key": "k"})
    written = [write_once(one, 0)]
    uptime_s = check_shown(one, 0.0)
    with Tills(one.url, 4, seed=22, rate=100, reads=1) as tills:
        for number, (name, offset_s) in enumerate(jumps.items(), 1):
            waited_s = outage(one, number, lambda offset_s=offset_s: wall.jump(offset_s))  # type: ignore[misc]
            updated = one.request("GET", "/v1/documents/clock/two").json["updateTime"]
            pull_s = next_pull_s(one)
            written.append(write_once(one, number))
            again = one.request("PUT", "/v1/documents/keys/k", json=EMPTY, headers={"Idempotency-Key": "k"})
            assert again.json == kept.json
            uptime_s = check_shown(one, uptime_s)
            print(f"{name}: a wait of 1 s took {waited_s:.2f} s, a pull of each second came after {pull_s:.2f} s")
            assert waited_s < 3 * 1.0 + SLACK_S
            assert pull_s < 3 * PULL_S + SLACK_S
            assert abs(datetime.fromisoformat(updated).timestamp() - time.time() - offset_s) < 60, updated
    one.wait_until_drained(120)
    found = audit(one, tills)
    print(f"{len(tills.history)} writes, p99 {p99_ms(tills.writes):.0f} ms: {found}")
    assert not found, str(found)
    assert tills.errors == tills.stale == []
    commits, versions = zip(*written, strict=True)
    assert list(commits) == sorted(set(commits))
    assert len(set(versions)) == len(versions)
