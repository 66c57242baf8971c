"""Many tills on few documents while everything dies around them: zeros, order included."""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable

from bench.instance import Instance
from tests.fakes.checker import Outcome
from tests.fakes.command import deora
from tests.fakes.killer import kill_at_random
from tests.fakes.tills import Tills, audit


def test_sixty_four_tills_on_few_documents(instance: Callable[..., Instance]) -> None:
    seed = secrets.randbelow(1_000_000)
    print(f"seed {seed}")
    dice = random.Random(seed)
    one = instance()
    one.post("/v1/queue:pause")
    with Tills(one.url, 64, seed=seed, rate=300, patience_s=60, documents=4) as tills:
        kills = kill_at_random(one, dice, 2.5)
        waiting = one.waiting()
        one.post("/v1/queue:resume")
        kills += kill_at_random(one, dice, 2.5)
    print(f"{kills} kills, {tills.count(Outcome.OK)} acknowledged, {waiting} waited when upstream was resumed")
    assert waiting > 100
    # No till has noticed, and none has had to repeat anything.
    assert tills.errors == []
    one.wait_until_drained(60)
    findings = audit(one, tills)
    assert not findings, str(findings)


def test_a_stop_during_a_backlog(instance: Callable[..., Instance]) -> None:
    one = instance()
    one.post("/v1/queue:pause")
    with Tills(one.url, 16, patience_s=0, documents=10) as tills:
        one.wait_until(lambda: tills.count(Outcome.OK) > 500)
        one.post("/v1/queue:resume")
        asked_s = time.monotonic()
        stopped = deora("stop", on=one)
        took_s = time.monotonic() - asked_s
    assert stopped.returncode == 0, stopped.stderr
    assert one.ended() == 0
    assert took_s < 12
    again = instance(on=one)
    waiting = again.waiting()
    again.wait_until_drained(30)
    findings = audit(again, tills)
    print(f"stopped in {took_s:.1f} s; {waiting} of {tills.count(Outcome.OK)} waited at the next start")
    assert not findings, str(findings)
