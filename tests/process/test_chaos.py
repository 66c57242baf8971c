"""Whatever dies, in whatever order, one or several at once: no request fails, nothing is lost, nothing is left over."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable
from contextlib import suppress

import psutil
import pytest

from bench.instance import Instance
from tests.fakes.clients import Clients, expected_counters, upstream_counters
from tests.fakes.killer import kill_at_random

EVERYBODY = ["deora:primary", "deora:replayer", "deora:secondary", "deora:store", "deora:zygote"]


def chaos(instance: Callable[..., Instance], seconds: float) -> None:
    seed = secrets.randbelow(1_000_000)
    one = instance()
    with Clients(one.url, 20) as clients:
        kills = kill_at_random(one, random.Random(seed), seconds)
    print(f"seed {seed}: {kills} kills, {clients.acknowledged} acknowledged")
    assert clients.failed == clients.stale == []
    one.wait_until_drained(30)
    assert upstream_counters(one.data / "upstream.db") == expected_counters(clients)
    one.wait_until_whole(10)
    # Store, replayer, zygote and two workers: no zombie, and nobody who was forgotten. A zygote that was the last to
    # die is replaced within moments; what it left behind is reaped when the next one has started.
    one.wait_until(lambda: names(one) == EVERYBODY, 10)
    assert len(psutil.Process(one.pid).children(recursive=True)) <= 7


def names(one: Instance) -> list[str]:
    """The processes of an instance by name, but for the supervisor; no zombies."""
    found = []
    for child in psutil.Process(one.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if child.status() != psutil.STATUS_ZOMBIE:
                found.append(child.name())
    return sorted(found)


def test_everything_is_killed_at_random(instance: Callable[..., Instance]) -> None:
    chaos(instance, 5)


@pytest.mark.torture
def test_everything_is_killed_at_random_for_an_hour(instance: Callable[..., Instance]) -> None:
    chaos(instance, 3600)
