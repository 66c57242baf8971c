"""Load, pairs and results: how a figure is measured, and what is kept of it."""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from bench.processes import BenchError, find_program

LOAD_SCRIPT: Final = Path(__file__).with_name("load.lua")
WARM_UP_S: Final = 2
# Fewer pairs than this are an impression, not a figure.
PAIRS_OF_A_FIGURE: Final = 5


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line asked for. `directory` is on the disk that is measured; `say` shows progress."""

    pairs: int
    seconds: int
    directory: Path
    say: Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Bar:
    """What a figure must reach: at least `limit`, or with `at_most` no more than that."""

    limit: float
    at_most: bool = False

    def is_met(self, value: float) -> bool:
        """Whether `value` reaches the bar."""
        return value <= self.limit if self.at_most else value >= self.limit


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    `deora` and `peer` hold one value for each round; where there is a peer, equal positions are a pair, and the bar is
    for the ratio DEORA : peer. Without a peer it is for DEORA's value. `missing` says why nothing was measured.
    """

    work: str
    unit: str
    bar: Bar | None = None
    deora: Sequence[float] = ()
    peer: Sequence[float] = ()
    peer_name: str = ""
    missing: str = ""
    details: dict[str, Sequence[float]] = field(default_factory=dict)

    @property
    def judged(self) -> list[float]:
        """The values that the bar is for, one for each round: the ratios of the pairs, or DEORA's values."""
        if not self.peer:
            return list(self.deora)
        return [ours / theirs for ours, theirs in zip(self.deora, self.peer, strict=True)]

    @property
    def verdict(self) -> str:
        """What came of it."""
        if self.missing:
            return f"not measured: {self.missing}"
        if self.bar is None:
            return ""
        return "met" if self.bar.is_met(statistics.median(self.judged)) else "MISSED"


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of the load generator saw."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float


def put_load_on(
    url: str, connections: int, seconds: int, method: str = "GET", size_bytes: int = 0, documents: int = 0
) -> Load:
    """Run wrk against `url`. For a PUT, `url` is a collection and each request one of `documents` ids in it.

    Raises BenchError if any request failed: a rate that counts refusals would be worth nothing.
    """
    command = [
        find_program("wrk"),
        "-t1",
        f"-c{connections}",
        f"-d{seconds}s",
        "--timeout=10s",
        f"-s{LOAD_SCRIPT}",
        url,
    ]
    command += ["--", method, str(size_bytes), str(documents)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 60)
    if finished.returncode != 0:
        raise BenchError(f"wrk failed on {url}: {finished.stderr.strip() or finished.stdout.strip()}")
    seen = json.loads(finished.stdout.splitlines()[-1])
    if seen["failed"] or not seen["requests"]:
        raise BenchError(f"{seen['failed']} of {seen['requests']} requests to {url} failed: {seen['errors']}")
    return Load(seen["requests"] / (seen["duration_us"] / 1e6), seen["p50_us"] / 1000, seen["p99_us"] / 1000)


def in_pairs(
    settings: Settings,
    work: str,
    bar: Bar,
    deora: Callable[[int], Load],
    peer: Callable[[int], Load],
    peer_name: str,
    settle: Callable[[], None] = lambda: None,
) -> Row:
    """Measure DEORA and its peer in turns, after a warm-up of each; `settle` waits until DEORA has come to rest.

    Both get the seconds to run for. Every second pair begins with the peer, so that neither always comes first.
    """
    for target in (deora, peer):
        target(WARM_UP_S)
        settle()
    ours: list[Load] = []
    theirs: list[Load] = []
    for number in range(settings.pairs):
        for target, loads in [(deora, ours), (peer, theirs)][:: 1 if number % 2 == 0 else -1]:
            loads.append(target(settings.seconds))
            settle()
        ratio = ours[-1].requests_per_s / theirs[-1].requests_per_s
        settings.say(
            f"{work}: pair {number + 1} of {settings.pairs}: DEORA {ours[-1].requests_per_s:,.0f}/s, "
            f"peer {theirs[-1].requests_per_s:,.0f}/s, ratio {ratio:.2f}"
        )
    return Row(
        work,
        "requests/s",
        bar,
        [load.requests_per_s for load in ours],
        [load.requests_per_s for load in theirs],
        peer_name,
        details={
            "deora_p50_ms": [load.p50_ms for load in ours],
            "deora_p99_ms": [load.p99_ms for load in ours],
            "peer_p50_ms": [load.p50_ms for load in theirs],
            "peer_p99_ms": [load.p99_ms for load in theirs],
        },
    )
