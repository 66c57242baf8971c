"""What the replayer is told of alerts, which sends them to people: the supervisor itself speaks to nobody outside.

It is told which alerts there are, not what changed: so whichever of the two processes starts anew, nothing is told
twice or forgotten (`observe.courier` knows what people have been told).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

from deora.config.schema import Config
from deora.errors import Problem
from deora.supervisor.arbiter import Arbiter
from deora.supervisor.orders import Done
from deora.supervisor.snapshot import Gauges
from deora.wire.frames import Role, pack, unpack

# An instance that has run for less does not know yet what is over: what was so before may only take its time to show.
SETTLED_S: Final = 60.0


class Alarm:
    """`tick` once a second."""

    def __init__(self, config: Config, arbiter: Arbiter, gauges: Gauges, now_s: Callable[[], float]) -> None:
        self._arbiter = arbiter
        self._gauges = gauges
        self._now_s = now_s
        self._started_s = now_s()
        self._is_asking = False
        self._known: tuple[Any, ...] = ()
        self.configure(config)

    def configure(self, config: Config) -> None:
        """Tells of alerts where this configuration names somebody to tell."""
        alerts = config.operations.alerts
        self._is_wanted = alerts.webhook is not None or alerts.sentry_dsn is not None

    def tick(self) -> None:
        """Tells the replayer what has changed since it was told last."""
        now_s = self._now_s()
        alerts = self._gauges.alerts(now_s)
        if not self._is_wanted or self._is_asking:
            return
        is_settled = now_s - self._started_s >= SETTLED_S
        # Another replayer may have found its file gone.
        generation = self._arbiter.children["replayer"].member.generation
        present = (generation, is_settled, *((name, subject, level) for name, subject, *_, level in alerts))
        if present == self._known:
            return

        def answered(failed: int, _: bytes) -> None:
            self._is_asking = False
            if not failed:
                self._known = present

        self._is_asking = True
        self._arbiter.ask(Role.REPLAYER, pack(["alerts", self._gauges.server_id, alerts, is_settled]), answered)

    async def test(self) -> Done:
        """Has a test sent, and returns what came back: `{"sent": [{"target", "place", "sent", "status", "detail"}]}`.
        Raises Problem."""
        if not self._is_wanted:
            raise Problem(
                "conflict",
                "nobody is to be told of alerts: neither a webhook nor a Sentry is configured",
                hint="set alerts.webhook in operations.json, then `deora reload`",
            )
        answer: asyncio.Future[list[dict[str, Any]]] = asyncio.get_running_loop().create_future()

        def answered(failed: int, body: bytes) -> None:
            if answer.done():
                return
            if failed:
                answer.set_exception(Problem.from_wire(unpack(body)))
            else:
                answer.set_result(unpack(body))

        self._arbiter.ask(Role.REPLAYER, pack(["alertsTest", self._gauges.server_id]), answered)
        return {"sent": await answer}
