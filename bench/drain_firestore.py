"""Figure (f): how fast a backlog reaches Firestore, here Google's emulator, once it can be reached again."""

from __future__ import annotations

from typing import Final

from bench.drain import BACKLOG, drain, fill
from bench.instance import Instance
from bench.measure import Bar, Row, Settings
from bench.peers.firestore_emulator import start_emulator
from bench.processes import find_program

TITLE: Final = "drain of a backlog into the Firestore emulator"
BAR: Final = Bar(5_000)


def measure(settings: Settings) -> list[Row]:
    """One row: from the call that resumes the upstream to the last entry confirmed, ramping up included.

    A first round does not count: the emulator's Java compiles itself during it.
    """
    find_program("wrk")
    directory = settings.directory / "drain-firestore"
    directory.mkdir()
    host, emulator = start_emulator(directory)
    rates, backlogs = [], []
    upstream = {"type": "firestore", "project": "deora-bench", "emulator_host": host}
    with emulator, Instance(directory, {"database": {"primary": upstream}}) as instance:
        instance.wait_until_ready()
        drain(instance, fill(instance))
        for number in range(settings.pairs):
            waiting = fill(instance)
            rates.append(drain(instance, waiting))
            backlogs.append(float(waiting))
            settings.say(f"{TITLE}: round {number + 1} of {settings.pairs}: {waiting:,} entries, {rates[-1]:,.0f}/s")
    return [Row(f"{TITLE}, {BACKLOG:,} entries", "entries/s", BAR, rates, details={"entries": backlogs})]
