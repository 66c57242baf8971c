"""Figure (d): how fast a backlog reaches the sqlite upstream once it can be reached again."""

from __future__ import annotations

import time
from typing import Final

from bench.instance import Instance
from bench.measure import Bar, Row, Settings, put_load_on
from bench.processes import find_program

TITLE: Final = "drain of a backlog into the sqlite upstream"
BACKLOG: Final = 30_000
BAR: Final = Bar(5_000)


def measure(settings: Settings) -> list[Row]:
    """One row: from the call that resumes the upstream to the last entry confirmed, ramping up included."""
    find_program("wrk")
    directory = settings.directory / "drain"
    directory.mkdir()
    rates, backlogs = [], []
    with Instance(directory) as instance:
        instance.wait_until_ready()
        for number in range(settings.pairs):
            waiting = fill(instance)
            rates.append(drain(instance, waiting))
            backlogs.append(float(waiting))
            settings.say(f"{TITLE}: round {number + 1} of {settings.pairs}: {waiting:,} entries, {rates[-1]:,.0f}/s")
    return [Row(f"{TITLE}, {BACKLOG:,} entries", "entries/s", BAR, rates, details={"entries": backlogs})]


def fill(instance: Instance, backlog: int = BACKLOG) -> int:
    """Pause the upstream and write until the backlog is there; returns how many entries wait."""
    instance.post("/admin/upstreams/primary:pause")
    while (waiting := instance.waiting()) < backlog:
        collection = f"{instance.url}/v1/documents/bench"
        put_load_on(collection, 64, 1, method="PUT", size_bytes=300, documents=20_000)
    return waiting


def drain(instance: Instance, waiting: int) -> float:
    """Resume the upstream; returns entries/s until nothing waits."""
    started = time.monotonic()
    instance.post("/admin/upstreams/primary:resume")
    instance.wait_until_drained(poll_s=0.02)
    return waiting / (time.monotonic() - started)
