"""From conditions to alerts: a table, and a machine over it. Pure.

                  it holds for `after_s`, or is proven
    (nothing) --------------------------------------------> RAISED <---+
                                                            |   ^      | it got worse: told of again, not
                              it no longer holds            v   |      | more often than every AGAIN_S
                                                           GOING -+----+
    (nothing) <-------------------------------------------  |
                  it has not held for `clear_s`

So what comes and goes is one alert: raised at once or soon, cleared once it has been quiet. What holds for less than
`after_s` is none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from deora.observe.conditions import Condition, Key

CRITICAL: Final = "critical"
WARNING: Final = "warning"
AGAIN_S: Final = 600.0


class Kind(NamedTuple):
    """How one kind of alert is treated."""

    severity: str
    after_s: float
    clear_s: float


KINDS: Final[dict[str, Kind]] = {
    "process-down": Kind(CRITICAL, 5, 30),
    "store-damaged": Kind(CRITICAL, 0, 0),
    "writes-refused": Kind(CRITICAL, 0, 30),
    "upstream-stopped": Kind(CRITICAL, 0, 0),
    "upstream-unauthorised": Kind(CRITICAL, 0, 30),
    "breaker-open": Kind(WARNING, 0, 30),
    "queue-entries": Kind(WARNING, 5, 30),
    "queue-oldest": Kind(WARNING, 0, 30),
    "dead-letters": Kind(WARNING, 0, 0),
    "disk-low": Kind(WARNING, 0, 30),
    "error-rate": Kind(CRITICAL, 5, 60),
    "pool-exhausted": Kind(WARNING, 5, 30),
    "redis-lost": Kind(WARNING, 0, 30),
    "clock-wrong": Kind(WARNING, 0, 0),
    "backup-failed": Kind(WARNING, 0, 0),
    "backup-late": Kind(WARNING, 0, 0),
    "failed-over": Kind(WARNING, 0, 0),
    "worker-out": Kind(WARNING, 0, 0),
}


@dataclass(slots=True)
class Alert:
    """An alert, or what may become one. Times are the look's. `level` is the one that was told of."""

    condition: Condition
    since_s: float
    seen_s: float
    is_raised: bool = False
    level: int = 0
    told_s: float = 0.0

    def row(self, now_s: float) -> dict[str, Any]:
        """As `/status` shows it. `holds` is false once it is going."""
        name, _, detail, hint, _, _ = self.condition
        return {
            "name": name,
            "detail": detail,
            "hint": hint,
            "severity": KINDS[name].severity,
            "for_s": round(now_s - self.since_s, 1),
            "holds": self.seen_s == now_s,
        }

    def told(self) -> list[Any]:
        """As it is sent to who tells people: [name, subject, severity, detail, hint, level]."""
        name, subject, detail, hint, _, _ = self.condition
        return [name, subject, KINDS[name].severity, detail, hint, self.level]


class Alerts:
    """The alerts that there are. `step` with what holds at a look, as often as one likes."""

    def __init__(self) -> None:
        self._all: dict[Key, Alert] = {}

    @property
    def raised(self) -> dict[Key, Alert]:
        """Those that are raised."""
        return {key: alert for key, alert in self._all.items() if alert.is_raised}

    def step(self, conditions: Iterable[Condition], now_s: float) -> None:
        """Takes what holds now."""
        for condition in conditions:
            alert = self._all.setdefault(condition.key, Alert(condition, now_s, now_s))
            alert.condition, alert.seen_s = condition, now_s
            if not alert.is_raised:
                if condition.at_once or now_s - alert.since_s >= KINDS[condition.name].after_s:
                    alert.is_raised, alert.level, alert.told_s = True, condition.level, now_s
            elif condition.level > alert.level and now_s - alert.told_s >= AGAIN_S:
                alert.level, alert.told_s = condition.level, now_s
        for key, alert in list(self._all.items()):
            quiet_s = now_s - alert.seen_s
            if quiet_s > 0 and (not alert.is_raised or quiet_s >= KINDS[key[0]].clear_s):
                del self._all[key]
