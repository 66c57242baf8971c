"""A slot and the process in it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from deora.config.schema import Config
from deora.gateway.balancer import Server
from deora.gateway.requests import Worker
from deora.supervisor.pulse import Pulse
from deora.supervisor.roster import Duty, Member, State
from deora.wire.link import Link

FIRST_ROLE = "primary"
"""the role that stands by while failed over"""


@dataclass(slots=True, eq=False)
class Child:
    """A slot and the process in it. `name` is what answers show: the role of a worker. `edition` is the configuration
    that it was started with (`Arbiter.edition`).

    While a worker is replaced there are two of one slot: the one that leaves, and the one that comes.
    """

    member: Member
    name: str
    server: Server | None = None
    pid: int | None = None
    pidfd: int | None = None
    link: Link | None = None
    worker: Worker | None = None
    since_s: float = 0.0
    figures: dict[str, Any] = field(default_factory=dict)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    pulse: Pulse = field(default_factory=Pulse)
    pinged_s: float = 0.0
    latency_ms: float | None = None
    edition: int = 0
    is_asked: bool = False
    """it was asked to end, so that another one takes its place"""

    @property
    def is_judged(self) -> bool:
        """Whether it is one that has to answer in time. In maintenance nobody waits for it: it may be debugged."""
        return self.member.state is State.UP and self.link is not None and self.member.duty is not Duty.MAINT

    @property
    def held(self) -> int:
        """How many requests it holds."""
        return len(self.worker.held) if self.worker is not None else 0

    def successor(self) -> Child:
        """A child for the same slot, that is to take this one's place."""
        former = self.member
        member = Member(former.slot, former.role, generation=former.generation, crashes=former.crashes)
        return Child(member, self.name, self.server)


def children_of(config: Config) -> list[Child]:
    """The children that an instance has, in the order in which they are started."""
    children = [Child(Member("store", "store"), "store")]
    servers = config.servers
    for name, role in ((FIRST_ROLE, servers.primary), ("secondary", servers.secondary)):
        for number in range(1, role.workers + 1):
            slot = name if number == 1 else f"{name}-{number}"
            children.append(Child(Member(slot, "worker"), name, Server(slot, role.weight, role.priority)))
    children.append(Child(Member("replayer", "replayer"), "replayer"))
    return children
