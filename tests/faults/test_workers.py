"""Workers are killed with -9 under 200 requests a second: no request fails, zeros."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from bench.instance import Instance
from tests.fakes.checker import Sent
from tests.fakes.killer import children, kill
from tests.fakes.tills import Tills, judge

TILLS = 20


def load(one: Instance) -> Tills:
    """200 requests a second, half of them writes. The first answer counts."""
    return Tills(one.url, TILLS, rate=100, reads=1, patience_s=0)


def kill_the_primary(instance: Callable[..., Instance], seconds: int) -> None:
    one = instance()
    kills = 0
    with load(one) as tills:
        began_s = time.monotonic()
        for second in range(1, seconds + 1):
            time.sleep(max(0.0, began_s + second - time.monotonic()))
            pid = children(one).get("primary")
            kills += kill(*[pid] if pid is not None else [])
    judge(one, tills)
    print(f"{kills} kills")
    assert kills > seconds / 2


def kill_both(instance: Callable[..., Instance], rounds: int) -> list[float]:
    """Both workers at once, again and again; the seconds until each time a request that came later was answered."""
    one = instance()
    away_s = []
    with load(one) as tills:
        for _ in range(rounds):
            one.wait_until_whole()
            pids = children(one)
            killed_s, written = time.monotonic(), len(tills.history)
            assert kill(pids["primary"], pids["secondary"]) == 2
            one.wait_until(lambda: served_since(tills, killed_s) is not None)  # noqa: B023 - called at once
            away_s.append((served_since(tills, killed_s) or 0.0) - killed_s)
            # What the two held is tried alone; killed twice on its trial it would be guilty, and a 502.
            one.wait_until(lambda: len({who(sent) for sent in tills.history[written:]}) == TILLS)  # noqa: B023
    judge(one, tills)
    print(f"both killed: served again after {', '.join(f'{one_s:.2f}' for one_s in away_s)} s")
    return away_s


def who(sent: Sent) -> str:
    """The till that has sent this."""
    return sent.token.partition("-")[0]


def served_since(tills: Tills, since_s: float) -> float | None:
    """When the first of the requests that came after a moment was answered."""
    ends = [one.began_s + one.took_s for one in [*tills.writes, *tills.reads] if one.began_s > since_s]
    return min(ends, default=None)


def test_the_primary_is_killed_each_second(instance: Callable[..., Instance]) -> None:
    kill_the_primary(instance, 4)


@pytest.mark.torture
def test_the_primary_is_killed_each_second_for_a_minute(instance: Callable[..., Instance]) -> None:
    kill_the_primary(instance, 60)


def test_both_are_killed_at_once(instance: Callable[..., Instance]) -> None:
    assert max(kill_both(instance, 2)) < 10


@pytest.mark.torture
def test_both_are_killed_at_once_and_soon_back(instance: Callable[..., Instance]) -> None:
    assert max(kill_both(instance, 50)) < 1.0
