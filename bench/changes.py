"""Change streams: how long after a write's answer its event is there. Run by itself: `python -m bench.changes`.

Prints figures and judges none. The subscribers run in a process of their own; delivery is counted from the moment at
which the writer has the answer, by the clock that all processes of a machine share. It can come before that.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import psutil

from bench.instance import Instance
from tests.fakes.subscribers import Subscribers, commits_of, wait_until

WATCHED: Final = 5  # streams whose events are looked at, those that are sent theirs last; the others only take them
ADDRESSES: Final = 8  # of the loopback network; one address has a limit of connections


def subscribe(url: str, count: int) -> None:
    """Opens the streams and prints how many are watched; reads the last commit; prints when each event came until then:
    (commit, monotonic seconds)."""
    with Subscribers(url) as streams:
        every = [
            streams.open(source=f"127.0.0.{2 + number % ADDRESSES}", looks=number >= count - WATCHED)
            for number in range(count)
        ]
        watched = every[-WATCHED:]
        print(len(watched), flush=True)
        last = int(input())
        wait_until(lambda: all(commits_of(each)[-1:] == [last] for each in watched), "all have the last commit", 60)
        print(json.dumps([(event.data["commit"], event.at_s) for each in watched for event in each.events]))


def measure(count: int, per_s: float, seconds: float) -> str:
    """One line of figures."""
    with tempfile.TemporaryDirectory() as folder, Instance(Path(folder)) as one:
        one.wait_until_ready()
        one.wait_until_whole()
        command = [sys.executable, "-m", "bench.changes", "--subscribe", one.url, "--streams", str(count)]
        reader = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert reader.stdout is not None
        watched = int(reader.stdout.readline())
        supervisor = psutil.Process(one.status()["supervisor"]["pid"])
        cpu_s = sum(supervisor.cpu_times()[:2])
        acknowledged, took = write(one, per_s, seconds)
        cpu_s = sum(supervisor.cpu_times()[:2]) - cpu_s
        printed, _ = reader.communicate(f"{max(acknowledged)}\n", timeout=90)
        late = sorted(max(0.0, at_s - acknowledged[commit]) * 1000 for commit, at_s in json.loads(printed))
        assert len(late) == watched * len(acknowledged), "an event is missing, or came twice"
        return (
            f"{count} streams, {len(acknowledged) / seconds:.0f} commits/s: delivered {at(late, 0.5):.1f} ms (median), "
            f"{at(late, 0.99):.1f} ms (p99), {late[-1]:.1f} ms (most) behind the answer; "
            f"the writes' own p99 {at(sorted(took), 0.99):.1f} ms; supervisor {cpu_s / seconds:.0%} of a core"
        )


def write(one: Instance, per_s: float, seconds: float) -> tuple[dict[int, float], list[float]]:
    """Writes at a rate: commit -> when its answer came, and how long each took in ms."""
    acknowledged: dict[int, float] = {}
    took: list[float] = []
    began_s = time.monotonic()
    for number in range(int(per_s * seconds)):
        time.sleep(max(0.0, began_s + number / per_s - time.monotonic()))
        sent_s = time.monotonic()
        answer = one.request("PUT", f"/v1/documents/orders/o{number}", {"n": number, "note": "x" * 200})
        now_s = time.monotonic()
        acknowledged[answer.json["commit"]] = now_s
        took.append((now_s - sent_s) * 1000)
    return acknowledged, took


def at(values: list[float], part: float) -> float:
    """The value below which this part of sorted values is."""
    return values[min(len(values) - 1, int(len(values) * part))]


def main() -> None:
    """Reads the command line and prints a line for each number of streams."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--streams", type=int, nargs="+", default=[1, 100, 200])
    options.add_argument("--rate", type=float, default=100, help="commits a second")
    options.add_argument("--seconds", type=float, default=10)
    options.add_argument("--subscribe", metavar="URL", help="be the subscribers of this instance")
    chosen = options.parse_args()
    if chosen.subscribe:
        subscribe(chosen.subscribe, chosen.streams[0])
        return
    for count in chosen.streams:
        print(measure(count, chosen.rate, chosen.seconds), flush=True)


if __name__ == "__main__":
    main()
