"""What is done to a scratch instance under load: one function for each scenario, which returns the seconds to recover.

Each takes about `seconds`. All raise Broken where something had to come to pass and did not, and leave nothing of their
fault behind then either.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, Final

from deora.drill.firestore import Firestore
from deora.drill.promises import FULL, RECOVERY_S
from deora.drill.scratch import Broken, Scratch
from deora.drill.upstreams import Upstream

# Beyond RECOVERY_S the promise is broken; until then the drill waits on, to say by how much.
PATIENCE_S: Final = 2 * RECOVERY_S
KILLS: Final = 3
LOST_SHARE: Final = 0.5
STOPPED_S: Final = 0.4
PULSE_S: Final = 0.5
# What is written until a file may not grow any more, and by how much each may until then: more than the store keeps
# back for what must go on, as on a disk that fills up.
FILLER_BYTES: Final = 50_000
MARGIN_BYTES: Final = 8 * 1024 * 1024
PROBE_PATH: Final = "/v1/documents/probes/probe"

Fault = Callable[[Scratch, Upstream, float], float]


def kill_primary(scratch: Scratch, _: Upstream, seconds: float) -> float:
    """See `promises`."""
    return _kill_child(scratch, "primary", seconds)


def kill_store(scratch: Scratch, _: Upstream, seconds: float) -> float:
    """See `promises`."""
    return _kill_child(scratch, "store", seconds)


def kill_all(scratch: Scratch, _: Upstream, seconds: float) -> float:
    """The drill is the service manager that starts it again."""
    time.sleep(seconds / 2)
    began_s = time.monotonic()
    scratch.kill()
    scratch.start()
    return time.monotonic() - began_s


def upstream_outage(scratch: Scratch, upstream: Upstream, seconds: float) -> float:
    """See `promises`."""
    upstream.refuse()
    try:
        scratch.wait_until(lambda: scratch.waiting() > 0, "writes wait in the queue", PATIENCE_S)
        time.sleep(seconds)
    finally:
        upstream.mend()
    return drained(scratch)


def network_partition(scratch: Scratch, upstream: Upstream, seconds: float) -> float:
    """See `promises`."""
    server = _server(upstream)
    server.swallow()
    try:
        scratch.wait_until(lambda: server.swallowed > 0, "a batch is sent to an upstream that is silent", PATIENCE_S)
        time.sleep(seconds)
    finally:
        server.mend()
    return drained(scratch)


def lost_answers(scratch: Scratch, upstream: Upstream, seconds: float) -> float:
    """See `promises`."""
    server = _server(upstream)
    server.lose_answers(LOST_SHARE)
    try:
        time.sleep(seconds)
        scratch.wait_until(lambda: server.losses > 0, "an answer of upstream is lost", PATIENCE_S)
    finally:
        server.mend()
    return drained(scratch)


def disk_full(scratch: Scratch, _: Upstream, seconds: float) -> float:
    """See `promises`. The queue is held while the disk is full, for what drains makes room; then it has to drain all
    the same."""
    _is_refused(scratch, PROBE_PATH, 1)
    scratch.must("POST", "/v1/queue:pause")
    largest_bytes = max(file.stat().st_size for file in scratch.data.glob("store.db*"))
    with scratch.limited_files(largest_bytes + MARGIN_BYTES):
        numbers = itertools.count()

        def is_full() -> bool:
            return _is_refused(scratch, f"{PROBE_PATH}-{next(numbers)}")

        scratch.wait_until(is_full, "a 507", PATIENCE_S)
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            is_full()  # takes what a checkpoint gives back
        scratch.wait_until(lambda: _shows(scratch), "a read while the disk is full", PATIENCE_S)
        scratch.must("POST", "/v1/queue:resume")
        drained(scratch)
    return scratch.wait_until(lambda: not _is_refused(scratch, PROBE_PATH, 1), "a write is taken again", PATIENCE_S)


def slow_disk(scratch: Scratch, _: Upstream, seconds: float) -> float:
    """See `promises`."""
    store = scratch.children()["store"]
    until_s = time.monotonic() + seconds
    try:
        while time.monotonic() < until_s:
            os.kill(store, signal.SIGSTOP)
            time.sleep(STOPPED_S)
            os.kill(store, signal.SIGCONT)
            time.sleep(PULSE_S - STOPPED_S)
    except ProcessLookupError:
        raise Broken("the store ended while its disk was slow") from None
    finally:
        with suppress(ProcessLookupError):
            os.kill(store, signal.SIGCONT)
    if scratch.children().get("store") != store:
        raise Broken("the store was taken for hung, and replaced")
    return scratch.wait_until(lambda: not _is_refused(scratch, PROBE_PATH, 1), "a write is answered", PATIENCE_S)


def reload(scratch: Scratch, _: Upstream, seconds: float) -> float:
    """See `promises`."""
    before = scratch.children()
    scratch.configure("queue", {"max_entries": 900_000})
    began_s = time.monotonic()
    scratch.reload()
    took_s = time.monotonic() - began_s
    after = scratch.children()
    same = [name for name, pid in before.items() if after.get(name) == pid]
    if same:
        raise Broken(f"the reload has left the old process of {', '.join(same)}")
    time.sleep(max(0.0, seconds - took_s))
    return took_s


FAULTS: Final[Mapping[str, Fault]] = {
    "kill-primary": kill_primary,
    "kill-store": kill_store,
    "kill-all": kill_all,
    "upstream-outage": upstream_outage,
    "network-partition": network_partition,
    "lost-answers": lost_answers,
    "disk-full": disk_full,
    "slow-disk": slow_disk,
    "reload": reload,
}


def drained(scratch: Scratch) -> float:
    """Waits until upstream has all; the seconds that it took. Raises Broken."""
    return scratch.wait_until(lambda: scratch.waiting() == 0, "upstream has all that waits in the queue", PATIENCE_S)


def _kill_child(scratch: Scratch, name: str, seconds: float) -> float:
    """Kills a child KILLS times, evenly spread, each time once it is up again."""
    recovered_s = 0.0
    for _ in range(KILLS):
        time.sleep(seconds / KILLS)
        pid = scratch.children()[name]
        os.kill(pid, signal.SIGKILL)
        recovered_s = scratch.wait_until(lambda: scratch.has_new(name, pid), f"a new {name} serves", PATIENCE_S)  # noqa: B023 - called at once
    return recovered_s


def _server(upstream: Upstream) -> Firestore:
    """The drill's own upstream, which these faults need."""
    assert isinstance(upstream, Firestore)
    return upstream


def _is_refused(scratch: Scratch, path: str, size: int = FILLER_BYTES) -> bool:
    """Whether a write is refused for want of room. Raises Broken for any other answer but success."""
    status, answer = _answer(scratch, "PUT", path, {"text": "x" * size})
    if status not in (200, 201, FULL):
        raise Broken(f"a write is answered with {status}: {answer}")
    return status == FULL


def _shows(scratch: Scratch) -> bool:
    """Whether a document that was written before is shown."""
    return _answer(scratch, "GET", PROBE_PATH, None)[0] == 200


def _answer(scratch: Scratch, method: str, path: str, body: Any) -> tuple[int, Any]:
    """Raises Broken where there is none."""
    try:
        return scratch.ask(method, path, body)
    except OSError as error:
        raise Broken(f"{method} {path} has no answer: {error}") from error
