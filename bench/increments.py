"""Figure (e): what a counter in Firestore shows after increments of which 30 % lost their answer on the way back.

The server is Google's emulator. DEORA's replayer goes through a proxy that loses answers over HTTP, Google's own Python
client (gRPC) through one that loses as many of its. The right counter is the number of increments.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Final

from bench.instance import PROJECT, Instance
from bench.measure import Bar, Row, Settings
from bench.peers.dropping import DroppingProxy
from bench.peers.firestore_emulator import start_emulator
from bench.processes import BenchError, NotMeasuredError

TITLE: Final = "a counter in Firestore while answers get lost"
INCREMENTS: Final = 200
SHARE: Final = 0.3
ROUNDS: Final = 3
PEER: Final = "google-cloud-firestore (Google's Python client)"
# One write a batch, so that as many answers can get lost as with one call for each increment.
DATABASE: Final = {
    "batch": {"max_writes": 1},
    "breaker": {"timeout_s": 0.2},
    "retry": {"base_s": 0.01},
}


def measure(settings: Settings) -> list[Row]:
    """Two rows: the counter after DEORA's increments, and after those of Google's client."""
    if not has_googles_client():
        raise NotMeasuredError("google-cloud-firestore is not installed (pip install 'deora[dev]')")
    directory = settings.directory / "increments"
    directory.mkdir()
    host, emulator = start_emulator(directory)
    ours, theirs = [], []
    with emulator:
        for number in range(min(settings.pairs, ROUNDS)):
            ours.append(by_deora(host, f"deora-{number}", directory / str(number), number))
            theirs.append(by_google(host, f"google-{number}", directory, number))
            settings.say(f"{TITLE}: round {number + 1}: of {INCREMENTS} DEORA made {ours[-1]}, Google's {theirs[-1]}")
    work = f"counter after {INCREMENTS} increments, {SHARE:.0%} of the answers lost"
    return [
        Row(f"{work}: DEORA", "counted", Bar(INCREMENTS, at_most=True), ours),
        Row(f"{work}: {PEER}", "counted", None, theirs),
    ]


def has_googles_client() -> bool:
    """Whether google-cloud-firestore is installed."""
    try:
        return importlib.util.find_spec("google.cloud.firestore") is not None
    except ModuleNotFoundError:
        # Not even a package around it.
        return False


def by_deora(host: str, project: str, directory: Path, seed: int) -> int:
    """Increments through an instance; the counter once all are confirmed. Raises BenchError if one is missing."""
    directory.mkdir()
    with DroppingProxy(host, SHARE, seed) as proxy:
        upstream = {"type": "firestore", "project": project, "emulator_host": proxy.host}
        with Instance(directory, {"database": {**DATABASE, "primary": upstream}}) as instance:
            instance.wait_until_ready()
            for _ in range(INCREMENTS):
                increment = {"n": {"$increment": 1}}
                answer = instance.request("PATCH", "/v1/documents/bench/counter?upsert=true", increment)
                if answer.status != 200:
                    raise BenchError(f"an increment was answered {answer.status}: {answer.text}")
            instance.wait_until_drained()
    counted = counter(host, project)
    if counted < INCREMENTS:
        raise BenchError(f"{INCREMENTS - counted} acknowledged increments are missing")
    return counted


def by_google(host: str, project: str, directory: Path, seed: int) -> int:
    """Increments by Google's client; the counter after that."""
    from bench.peers.dropping_grpc import DroppingGrpcProxy

    with DroppingGrpcProxy(host, SHARE, seed) as proxy:
        command = [sys.executable, "-m", "bench.peers.google_increments", project, str(INCREMENTS)]
        environment = {"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": str(PROJECT)}
        environment["FIRESTORE_EMULATOR_HOST"] = proxy.host
        finished = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=300)
    if finished.returncode != 0:
        raise BenchError(f"Google's client failed: {finished.stderr.strip()[-2000:]}")
    return counter(host, project)


def counter(host: str, project: str) -> int:
    """What the server holds."""
    url = f"http://{host}/v1/projects/{project}/databases/(default)/documents/bench/counter"
    request = urllib.request.Request(url, headers={"Authorization": "Bearer owner"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return int(json.load(response)["fields"]["n"]["integerValue"])
