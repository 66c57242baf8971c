"""An instance's figures without an instance: an arbiter that has started nobody, and what children would have said."""

from __future__ import annotations

from typing import Any

from deora.config.schema import Config
from deora.gateway.balancer import RoundRobin
from deora.gateway.dispatch import Dispatch
from deora.gateway.requests import Patience
from deora.observe.metrics import Metrics
from deora.supervisor.arbiter import Arbiter
from deora.supervisor.roster import State
from deora.supervisor.snapshot import Gauges
from tests.fakes.clock import ManualClock


def upstream_figures(**changed: Any) -> dict[str, Any]:
    """What the store says of one upstream's queue."""
    figures = {
        "pending": 0,
        "inflight": 0,
        "dead": 0,
        "done": 0,
        "paused": False,
        "by_priority": {},
        "oldest_since_s": None,
        "accepted": 0,
    }
    assert set(changed) <= set(figures)
    return figures | changed


class GaugesBench:
    """Gauges over an arbiter whose children are all down to begin with."""

    def __init__(self, **config: Any) -> None:
        self.clock = ManualClock()
        self.metrics = Metrics()
        self.config = Config.from_wire(config)
        self.dispatch = Dispatch(RoundRobin(), Patience(30, 2), self.metrics, self.clock.monotonic_s, lambda _: None)
        self.arbiter = Arbiter(self.config, "/data", self.dispatch)
        self.gauges = Gauges(self.config, self.arbiter, self.dispatch, self.metrics, self.clock.monotonic_s())

    def up(self, *slots: str) -> None:
        """These are up; without names, all."""
        for slot in slots or self.arbiter.children:
            self.arbiter.children[slot].member.state = State.UP

    def queue(self, running_s: int = 0, **upstreams: dict[str, Any]) -> None:
        """What the store says of the queue."""
        self.arbiter.queue = {
            "upstreams": upstreams,
            "bytes": 0,
            "running_s": running_s,
            "commit": 0,
            "node": "node1",
            "epoch": "epoch1",
        }

    def tick(self, seconds: float = 1.0) -> None:
        """Time passes, and the gauges look."""
        self.clock.advance(seconds)
        self.gauges.tick(self.clock.monotonic_s())

    @property
    def now_s(self) -> float:
        """The clock's monotonic seconds."""
        return self.clock.monotonic_s()
