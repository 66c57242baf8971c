"""Kills children of an instance with -9, at random."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress

from bench.instance import Instance


def children(one: Instance) -> dict[str, int]:
    """Slot or name -> process id of every child that runs, as status shows them."""
    status = one.status()
    rows = (*status["workers"], *status["processes"])
    return {row.get("slot") or row["name"]: row["pid"] for row in rows if row["pid"] is not None}


def kill(*pids: int) -> int:
    """Kills these processes; how many were still there."""
    kills = 0
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
            kills += 1
    return kills


def kill_at_random(one: Instance, dice: random.Random, seconds: float) -> int:
    """Kills one to three children a few times a second, ready or not; how many that were."""
    kills = 0
    deadline_s = time.monotonic() + seconds
    while time.monotonic() < deadline_s:
        time.sleep(dice.uniform(0.05, 0.5))
        pids = sorted(children(one).values())
        kills += kill(*dice.sample(pids, min(len(pids), dice.choice([1, 1, 1, 2, 3]))))
    return kills
