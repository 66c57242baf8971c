"""Watching the children: pings, silence, heartbeats, memory. It tells the arbiter whom to take out or to replace.

What it costs: a look every tenth of a second at a handful of children, and a read of /proc for each worker a second.
"""

from __future__ import annotations

import logging
from typing import Final

from deora.config.schema import Config
from deora.supervisor.arbiter import Arbiter
from deora.supervisor.children import Child
from deora.supervisor.process import resident_bytes
from deora.supervisor.pulse import Attention, Pulse
from deora.supervisor.roster import State
from deora.wire.frames import Kind, encode

_log = logging.getLogger("deora.supervisor")

LOOK_S: Final = 0.1
PING_S: Final = 0.4
MEMORY_S: Final = 1.0
# The store commits on its own loop, and the replayer decodes what upstream sends: they may be away for longer.
OTHERS_HANG_S: Final = 30.0
# A worker that comes back as large as it went is not replaced again and again.
REPLACE_AGAIN_S: Final = 60.0


class Watch:
    """Looks when told to: `look` ten times a second."""

    def __init__(self, config: Config, arbiter: Arbiter) -> None:
        self.configure(config)
        self._arbiter = arbiter
        self._attention = Attention()
        self._pings = 0
        self._ping_due_s = 0.0
        self._beat_due_s = 0.0
        self._memory_due_s = 0.0
        self._replaced_s: dict[str, float] = {}

    def configure(self, config: Config) -> None:
        """Judges by this configuration from now on."""
        self._check = config.loadbalancer.health_check
        self._max_memory = config.servers.max_memory

    def look(self, now_s: float) -> None:
        """One look at everybody, at this moment of the monotonic clock."""
        step_s = self._attention.step(now_s)
        for child in self._arbiter.everyone():
            if child.is_judged:
                self._listen(child, step_s)
        if now_s >= self._ping_due_s:
            self._ping_due_s = now_s + min(PING_S, self._check.interval_s)
            self.ping(now_s)
        if now_s >= self._beat_due_s:
            self._beat_due_s = now_s + self._check.interval_s
            self._beat(now_s)
        if now_s >= self._memory_due_s:
            self._memory_due_s = now_s + MEMORY_S
            self._weigh(now_s)

    def ping(self, now_s: float) -> None:
        """Asks everybody who is up, and owes no answer, for a sign of life and for figures."""
        self._pings += 1
        for child in self._arbiter.everyone():
            if child.link is not None and child.member.state is State.UP and not child.pulse.owed_ping:
                child.pulse.owed_ping = self._pings
                child.pinged_s = now_s
                child.link.send(encode(Kind.PING, self._pings, generation=child.member.generation))

    def _listen(self, child: Child, step_s: float) -> None:
        assert child.link is not None
        heard, child.link.heard = child.link.heard, False
        pulse = child.pulse
        silent_s = pulse.listen(step_s, heard=heard, owes=bool(pulse.owed_ping or child.held))
        limit_s = self._check.hang_timeout_s if child.member.role == "worker" else OTHERS_HANG_S
        if silent_s > limit_s:
            child.pulse = Pulse()
            self._arbiter.take_out(child, f"it has not answered for {silent_s:.1f} s")

    def _beat(self, now_s: float) -> None:
        for child in self._arbiter.children.values():
            member = child.member
            is_new = now_s - child.since_s < self._check.interval_s
            if member.role != "worker" or not child.is_judged or is_new:
                continue
            is_sound = child.pulse.beat(is_sound=member.is_sound, rise=self._check.rise, fall=self._check.fall)
            if is_sound != member.is_sound:
                member.is_sound = is_sound
                member.reason = None if is_sound else f"{self._check.fall} heartbeats in a row had no answer"
                _log.warning("%s %s", member.slot, "is heard again" if is_sound else f"is out: {member.reason}")
                self._arbiter.rebalance()

    def _weigh(self, now_s: float) -> None:
        for slot, child in self._arbiter.children.items():
            if child.member.role != "worker" or child.member.state is not State.UP or child.pid is None:
                continue
            size_bytes = resident_bytes(child.pid)
            is_due = now_s >= self._replaced_s.get(slot, now_s - REPLACE_AGAIN_S) + REPLACE_AGAIN_S
            if size_bytes > self._max_memory and is_due:
                self._replaced_s[slot] = now_s
                _log.warning("%s uses %d bytes, more than max_memory; replacing it", slot, size_bytes)
                self._arbiter.succession.start_replacing(slot)
