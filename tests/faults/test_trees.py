"""The whole tree is killed with -9 at random points, again and again, while clients write: zeros, soon served again.

Clients stay: some repeat what is unclear under its key until it is answered, others let it be. A part of the kills
comes during the start.
"""

from __future__ import annotations

import os
import random
import secrets
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from bench.instance import Instance
from bench.processes import answers, lasting_port
from tests.fakes.checker import Outcome
from tests.fakes.tills import Tills, audit
from tests.process.conftest import is_running, stop

TORTURE_CYCLES = int(os.environ.get("DEORA_KILL_CYCLES", "10000"))
SERVED_AGAIN_S = 1.5


@dataclass
class Cycles:
    """Instances on one directory and one port, one after the other."""

    directory: Path
    dice: random.Random
    port: int = field(default_factory=lasting_port)
    served_s: list[float] = field(default_factory=list)
    """From each start to the first 200."""

    def start(self) -> Instance:
        """The next instance, which has begun to start."""
        return Instance(self.directory, port=self.port)

    def serve(self, one: Instance) -> None:
        """Waits for the first 200."""
        one.wait_until(lambda: answers(f"{one.url}/v1/documents/known/d"))
        self.served_s.append(time.monotonic() - one.started_at)

    def turn(self) -> None:
        """One life, from its start to its kill."""
        one = self.start()
        if self.dice.random() < 0.2:
            time.sleep(self.dice.uniform(0, 0.6))
            kill(one.tree())
        else:
            self.serve(one)
            tree = one.tree()
            time.sleep(self.dice.uniform(0, 0.3))
            kill(tree)
        one.wait_for_end()
        one.stop()

    def p99_s(self) -> float:
        """The 99th percentile from a start to the first 200."""
        return sorted(self.served_s)[int(len(self.served_s) * 0.99)]


def kill(tree: list[psutil.Process]) -> None:
    """Kills all of a tree, and waits until it is gone."""
    for process in tree:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    deadline_s = time.monotonic() + 10
    while any(map(is_running, tree)):
        assert time.monotonic() < deadline_s, "a process has outlived its kill"
        time.sleep(0.002)


def kill_again_and_again(directory: Path, count: int) -> Cycles:
    seed = secrets.randbelow(1_000_000)
    print(f"seed {seed}")
    cycles = Cycles(directory, random.Random(seed))
    one = cycles.start()
    one.wait_until_ready()
    assert one.request("PUT", "/v1/documents/known/d", json={}).status == 201
    with (
        Tills(one.url, 4, seed=seed, rate=100, patience_s=60, prefix="patient-") as patient,
        Tills(one.url, 4, seed=seed, rate=100, patience_s=0, prefix="impatient-") as impatient,
    ):
        kill(one.tree())
        one.stop()
        for _ in range(count):
            cycles.turn()
        one = cycles.start()
        one.wait_until_ready()
    try:
        one.wait_until_whole()
        one.wait_until_drained(60)
        # What stands beside the tills' documents is no part of their history.
        assert one.request("DELETE", "/v1/documents/known/d").status == 200
        one.wait_until_drained(60)
        findings = audit(one, patient, impatient)
        assert not findings, str(findings)
        assert all(sent.outcome is Outcome.OK for sent in patient.history)
        assert stop(one) == []
    finally:
        one.stop()
    told = {outcome.value: patient.count(outcome) + impatient.count(outcome) for outcome in Outcome}
    served = sorted(cycles.served_s)
    print(
        f"{count} kills, {told}; start to the first 200: median {served[len(served) // 2]:.2f} s, "
        f"p99 {cycles.p99_s():.2f} s, longest {served[-1]:.2f} s"
    )
    return cycles


def test_the_tree_is_killed_again_and_again(tmp_path: Path) -> None:
    kill_again_and_again(tmp_path, 12)


@pytest.mark.torture
def test_the_tree_is_killed_ten_thousand_times(tmp_path: Path) -> None:
    cycles = kill_again_and_again(tmp_path, TORTURE_CYCLES)
    assert cycles.p99_s() < SERVED_AGAIN_S
