"""Store, outbox, replayer and upstreams under every fault at once, in simulated worlds (F29).

`make test` runs the same 1,000 worlds each time, `make torture` 100,000 others. A world that breaks a promise prints
the command that shows it again.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulation.simulation import command, simulate

SEEDS = 1000
CHUNKS = 20
TORTURE_SEEDS = 100_000
TORTURE_CHUNKS = 20


def check_seeds(first: int, count: int) -> None:
    """Every one of these worlds keeps all promises."""
    broken = []
    for seed in range(first, first + count):
        report = simulate(seed)
        if report.violation is not None:
            broken.append(f"{command(seed)}\n    {report.violation}")
    assert not broken, f"{len(broken)} of {count} worlds broke a promise:\n" + "\n".join(broken)


@pytest.mark.timeout(900)  # seconds; a few, but on a machine that is busy with much else
@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_no_world_breaks_a_promise(chunk: int) -> None:
    count = SEEDS // CHUNKS
    check_seeds(chunk * count, count)


@pytest.mark.torture
@pytest.mark.parametrize("chunk", range(TORTURE_CHUNKS))
def test_no_world_of_many_breaks_a_promise(chunk: int) -> None:
    first = random.SystemRandom().randrange(10**6, 10**9)
    count = TORTURE_SEEDS // TORTURE_CHUNKS
    print(f"chunk {chunk}: the seeds {first} to {first + count - 1}")
    check_seeds(first, count)


def test_a_seed_is_a_world() -> None:
    """The same seed gives the same trace, to the microsecond; another one gives another."""
    digests = {seed: simulate(seed).digest for seed in range(5000, 5006)}
    assert {seed: simulate(seed).digest for seed in digests} == digests
    assert len(set(digests.values())) == len(digests)


@pytest.mark.parametrize("hashing", ["1", "2"])
def test_the_command_shows_the_same_world(hashing: str) -> None:
    """In another process, which hashes strings otherwise, too."""
    report = simulate(5007)
    shown = subprocess.run(
        [sys.executable, *command(5007).split()[1:]],
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "PYTHONHASHSEED": hashing},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert report.digest in shown
    assert "everything heals" in shown


def test_worlds_are_busy_and_full_of_misfortune() -> None:
    """A simulation in which little happens would find little."""
    reports = [simulate(seed) for seed in range(6000, 6012)]
    assert sum(report.writes for report in reports) > 12 * 10
    assert sum(report.faults for report in reports) > 12 * 5
