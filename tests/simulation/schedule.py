"""What befalls a world, and when: drawn from its seed.

Each seed has its own climate: only some kinds of faults, each with its own rate, so that some worlds know nothing but
lost answers, and others everything at once (swarm testing: a mix of all faults in every world would find less, since
faults hide each other). In the end everything heals, and the world must come to rest by itself.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from deora.config.schema import Config
from tests.simulation.network import Weather

FAULTS = (
    "store killed",
    "store killed inside",
    "commit unclear",
    "disk full",
    "replayer killed",
    "replayer given up",
    "replayer frozen",
    "box killed",
    "power cut",
    "two blows",
    "weather",
    "upstream down",
    "unauthorised",
    "refusals",
    "operator",
    "stranger",
    "wall clock",
)


@dataclass(frozen=True, slots=True)
class Climate:
    """What one world is like."""

    names: tuple[str, ...]
    """the upstreams"""
    holds: bool
    replicated: bool
    wary: bool
    clients: int
    turns: int
    lasts_s: float
    faults: tuple[str, ...]
    gap_s: float
    """the mean time between two faults"""
    check_share: float
    config: Config


def climate_of(dice: random.Random) -> Climate:
    """Draws a world."""
    names = ("primary", "secondary") if dice.random() < 0.35 else ("primary",)
    holds, replicated = dice.random() < 0.3, dice.random() < 0.5
    faults = tuple(fault for fault in FAULTS if dice.random() < 0.4) or ("weather",)
    if not replicated:
        faults = tuple(fault for fault in faults if fault != "stranger")
    sqlite = {"type": "sqlite", "file": "primary.db"}
    database: dict[str, Any] = {
        "primary": sqlite,
        "secondary": {**sqlite, "file": "secondary.db"} if len(names) == 2 else None,
        "health_check_interval_s": 5,
        "sync_interval_s": dice.choice((1.5, 4.0)),
        "replicate": ["d"] if replicated else [],
        "breaker": {"threshold": dice.choice((1, 3, 5)), "timeout_s": dice.choice((0.5, 2.0, 5.0))},
        "retry": {"attempts": dice.choice((1, 3)), "base_s": dice.choice((0.02, 0.1))},
        "batch": {"max_writes": dice.choice((2, 5, 9, 500))},
    }
    queue = {"on_dead": "hold" if holds else "continue", "max_entries": dice.choice((9, 1000, 1000, 1000))}
    cache = {"disk": {"ttl_s": dice.choice((1.0, 3600.0))}}
    return Climate(
        names=names,
        holds=holds,
        replicated=replicated,
        wary=dice.random() < 0.5,
        clients=dice.randint(2, 3),
        turns=dice.randint(5, 9),
        lasts_s=dice.choice((2.0, 4.0, 6.0)),
        faults=faults,
        gap_s=dice.choice((0.15, 0.4, 1.0)),
        check_share=0.06,
        config=Config.from_wire({"database": database, "queue": queue, "cache": cache}),
    )


def weather_of(dice: random.Random) -> Weather:
    """Draws the state of a network."""
    kind = dice.choice(("lossy", "forgetful", "haunted", "hanging", "slow", "all"))
    share = dice.choice((0.1, 0.3, 0.6))
    if kind == "lossy":
        return Weather(lost=share)
    if kind == "forgetful":
        return Weather(unanswered=share)
    if kind == "haunted":
        return Weather(late=share / 2, doubled=share / 2)
    if kind == "hanging":
        return Weather(silent=share / 3)
    if kind == "slow":
        return Weather(slow_s=dice.choice((0.3, 2.0)))
    return Weather(*(share / 5,) * 5, slow_s=0.2)
