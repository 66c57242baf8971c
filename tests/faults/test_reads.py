"""64 clients that write and at once read, through whichever worker comes, under kills, orders and reloads: nothing
stale."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable

import pytest

from bench.instance import Instance
from tests.fakes.killer import children, kill
from tests.fakes.meanwhile import meanwhile
from tests.fakes.tills import Tills, judge
from tests.faults.test_orders import ORDERS, order


def read_your_writes(instance: Callable[..., Instance], seconds: float) -> None:
    """Each client reads twice what it has just written, while workers are killed, drained and replaced, and everything
    is reloaded all the time."""
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    dice = random.Random(seed)
    one = instance()
    before = served_by(one)
    done: Counter[str] = Counter()

    def reload() -> None:
        """One whose new worker is killed at its start is given up, and says so."""
        done[f"reloads answered {one.request('POST', '/admin/reload', timeout_s=120).status}"] += 1

    load = Tills(one.url, 64, rate=150, reads=2, patience_s=0, seed=seed, timeout_s=40)
    with load as tills, meanwhile(reload, 0.1):
        deadline_s = time.monotonic() + seconds
        while time.monotonic() < deadline_s:
            pids = [pid for slot, pid in children(one).items() if slot in ("primary", "secondary")]
            if pids and dice.random() < 0.5:
                done["kills"] += kill(dice.choice(pids))
            else:
                done["orders"] += order(one, dice.choice(ORDERS))
            served = len(tills.reads)
            one.wait_until(lambda: len(tills.reads) > served + 64)  # noqa: B023 - called at once
    for path in ("recover", "workers/primary:ready", "workers/secondary:ready"):
        assert order(one, path)
    judge(one, tills)
    shares = served_by(one) - before
    print(f"{dict(done)}, {len(tills.writes)} writes, {len(tills.reads)} reads, served by {dict(shares)}")
    assert min(done[name] for name in ("kills", "orders", "reloads answered 200")) > 0
    assert done.keys() <= {"kills", "orders", "reloads answered 200", "reloads answered 503"}
    assert min(shares["primary"], shares["secondary"]) > 0


def served_by(one: Instance) -> Counter[str]:
    """How many answers each worker has given, by the instance's own count."""
    lines = one.request("GET", "/metrics").text.splitlines()
    found: Counter[str] = Counter()
    for slot in ("primary", "secondary"):
        name = f'deora_requests_total{{slot="{slot}",code="200"}}'
        found[slot] = sum(int(float(line.rsplit(" ", 1)[1])) for line in lines if line.startswith(name))
    return found


def test_never_a_stale_read(instance: Callable[..., Instance]) -> None:
    read_your_writes(instance, 5)


@pytest.mark.torture
def test_never_a_stale_read_for_long(instance: Callable[..., Instance]) -> None:
    read_your_writes(instance, 120)
