"""The figures of an instance, gathered from where they arise: children, queue, upstreams, machine."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final

import psutil

from deora import __version__
from deora.clock import since_boot_s
from deora.config.schema import Config, upstreams
from deora.gateway.dispatch import Dispatch
from deora.observe.alerts import Alerts
from deora.observe.conditions import Conditions, Thresholds
from deora.observe.health import BackupState, ProcessState, Snapshot, UpstreamState, WorkerState
from deora.observe.metrics import Metrics
from deora.supervisor.arbiter import Arbiter
from deora.supervisor.children import Child
from deora.supervisor.roster import State, serving

# Rates are over this many seconds: long enough to be steady, short enough to see a drain begin.
RATE_WINDOW_S: Final = 10.0


class Gauges:
    """Takes a `Snapshot` when asked. `tick` is called about once a second for what needs two looks. Each look at the
    figures is one for the alerts, too."""

    def __init__(
        self, config: Config, arbiter: Arbiter, dispatch: Dispatch, metrics: Metrics, started_s: float
    ) -> None:
        self._config = config
        self._arbiter = arbiter
        self._dispatch = dispatch
        self._metrics = metrics
        self._started_s = started_s
        self._replayed: dict[str, tuple[int, int]] = {}
        self._looks: deque[tuple[float, int, int]] = deque()
        self._processes: dict[int, psutil.Process] = {}
        self._cpu: dict[int, float] = {}
        self._labels = _labels(config)
        self._conditions = Conditions(_thresholds(config))
        self._alerts = Alerts()
        self.backup: Callable[[float], BackupState | None] = lambda _: None

    def configure(self, config: Config) -> None:
        """Shows the upstreams and the cache of this configuration from now on."""
        self._config = config
        self._labels = _labels(config)
        self._conditions.thresholds = _thresholds(config)

    def tick(self, now_s: float) -> None:
        """Looks at what flows through the queue, and at what the processes use."""
        accepted, settled = self._flow()
        self._looks.append((now_s, accepted, settled))
        self._count_replayed()
        while len(self._looks) > 2 and now_s - self._looks[0][0] > RATE_WINDOW_S:
            self._looks.popleft()
        pids = {child.pid for child in self._arbiter.children.values() if child.pid is not None}
        self._processes = {pid: process for pid, process in self._processes.items() if pid in pids}
        self._cpu = {pid: percent for pid, percent in self._cpu.items() if pid in pids}
        for pid in pids:
            try:
                if pid not in self._processes:
                    self._processes[pid] = psutil.Process(pid)
                self._cpu[pid] = self._processes[pid].cpu_percent()
            except psutil.Error:
                continue

    def snapshot(self, now_s: float) -> Snapshot:
        """All figures, now."""
        found = self._figures_of_now(now_s)
        self._alerts.step(self._conditions.look(found, self._alerts.raised), found.uptime_s)
        return replace(found, alerts=[alert.row(found.uptime_s) for alert in self._alerts.raised.values()])

    @property
    def server_id(self) -> str:
        """The name of this instance."""
        return self._config.servers.id or str(self._arbiter.queue.get("node", ""))

    def alerts(self, now_s: float) -> list[list[Any]]:
        """The alerts of now, as those are told of them who send them to people (`Alert.told`)."""
        self.snapshot(now_s)
        return [alert.told() for alert in self._alerts.raised.values()]

    def _figures_of_now(self, now_s: float) -> Snapshot:
        children = self._arbiter.children.values()
        queue = self._queue(now_s)
        store = self._arbiter.queue
        node = store.get("node", "")
        serve = {member.slot for member in serving(child.member for child in self._arbiter.workers())}
        workers = [self._worker(child, now_s, serves=child.member.slot in serve) for child in self._arbiter.workers()]
        processes = [self._process(child, now_s) for child in children if child.member.role != "worker"]
        processes.append(self._zygote(now_s))
        disk = self._arbiter.children["store"].figures
        return Snapshot(
            version=__version__,
            node=node,
            server_id=self.server_id,
            pid=os.getpid(),
            timestamp=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            uptime_s=now_s - self._started_s,
            workers=workers,
            processes=processes,
            upstreams=list(self._upstreams()),
            queue=queue,
            disk_free_bytes=disk.get("disk_free"),
            disk_total_bytes=disk.get("disk_total"),
            wal_bytes=disk.get("wal"),
            ballast_bytes=disk.get("ballast"),
            refusal=disk.get("refusal"),
            memory_available_bytes=psutil.virtual_memory().available,
            cache=self._cache(),
            redis=self._redis(),
            damage=[(text, hint) for text, hint in self._arbiter.damage],
            streams=len(self._dispatch.streams),
            replayed={name: total for name, (_, total) in self._replayed.items()},
            latencies=disk.get("latencies", {}),
            answers=self._metrics.answers(),
            errors=self._metrics.failures(),
            clock_offset_s=time.time() - since_boot_s(),
            backup=self.backup(now_s),
        )

    def _worker(self, child: Child, now_s: float, *, serves: bool) -> WorkerState:
        figures = self._metrics.slots.get(child.member.slot)
        return WorkerState(
            slot=child.member.slot,
            role=child.name,
            pid=child.pid if child.member.shown != State.DOWN.value else None,
            state=child.member.shown,
            uptime_s=round(now_s - child.since_s, 1),
            restarts=child.member.restarts,
            cpu_percent=self._cpu.get(child.pid) if child.pid is not None else None,
            memory_bytes=self._memory(child.pid),
            requests_per_s=round(figures.per_second, 1) if figures is not None else 0.0,
            p99_ms=self._metrics.p99_ms(child.member.slot),
            inflight=self._dispatch.inflight(child.member.slot),
            latency_ms=child.latency_ms,
            reason=child.member.reason,
            serves=serves,
            stands_by=child.member.stands_by,
            crashes=child.member.crashes,
        )

    def _process(self, child: Child, now_s: float) -> ProcessState:
        return ProcessState(
            name=child.member.slot,
            pid=child.pid,
            state=child.member.state.value,
            uptime_s=round(now_s - child.since_s, 1),
            restarts=child.member.restarts,
            memory_bytes=self._memory(child.pid),
            latency_ms=child.latency_ms,
            reason=child.member.reason,
            crashes=child.member.crashes,
        )

    def _zygote(self, now_s: float) -> ProcessState:
        zygotes = self._arbiter.zygotes
        pid = zygotes.pid
        return ProcessState(
            name="zygote",
            pid=pid,
            state="up" if pid is not None else "down",
            uptime_s=round(now_s - zygotes.since_s, 1),
            restarts=zygotes.restarts,
            memory_bytes=self._memory(pid),
        )

    def _memory(self, pid: int | None) -> int | None:
        if pid is None:
            return None
        try:
            process = self._processes.get(pid) or psutil.Process(pid)
            return int(process.memory_info().rss)
        except psutil.Error:
            return None

    # -- queue and upstreams

    def _flow(self) -> tuple[int, int]:
        figures = self._arbiter.queue.get("upstreams", {}).values()
        accepted = sum(each["accepted"] for each in figures)
        return accepted, accepted - sum(each["pending"] + each["inflight"] + each["dead"] for each in figures)

    def queue(self, now_s: float) -> dict[str, Any]:
        """The members of `GET /v1/queue`."""
        members = self._queue(now_s)
        del members["accepted"]
        return {
            **members,
            "upstreams": [
                {
                    "name": each.name,
                    "type": each.type,
                    "state": each.state,
                    "breaker": each.breaker,
                    "pending": each.pending,
                    "oldest_s": each.oldest_s,
                    "paused": self._figures(each.name).get("paused", False),
                    "last_error": each.last_error,
                }
                for each in self._upstreams()
            ],
        }

    def line(self, now_s: float) -> str:
        """The instance in one line, for `systemctl status`."""
        queue = self._queue(now_s)
        serving = sum(child.worker is not None for child in self._arbiter.workers())
        kept = f"; {queue['dead']} refused by upstream" if queue["dead"] else ""
        paused = " (paused)" if queue["paused"] else ""
        return f"{serving} workers up; {queue['pending'] + queue['inflight']} entries wait for upstream{paused}{kept}"

    def _queue(self, now_s: float) -> dict[str, Any]:
        figures = list(self._arbiter.queue.get("upstreams", {}).values())
        pending = sum(each["pending"] for each in figures)
        inflight = sum(each["inflight"] for each in figures)
        in_per_s, out_per_s = self._rates(now_s)
        by_priority: dict[str, int] = {}
        for each in figures:
            for level, number in each["by_priority"].items():
                by_priority[str(level)] = by_priority.get(str(level), 0) + number
        oldest = [since_s for since_s in (self._oldest_s(each) for each in figures) if since_s is not None]
        waiting = pending + inflight
        shrinking = out_per_s - in_per_s
        eta_s = 0 if waiting == 0 else (round(waiting / shrinking, 1) if shrinking > 0 else None)
        return {
            "pending": pending,
            "inflight": inflight,
            "dead": sum(each["dead"] for each in figures),
            "oldest_s": max(oldest, default=None),
            "in_per_s": in_per_s,
            "out_per_s": out_per_s,
            "drain_eta_s": eta_s,
            "paused": bool(figures) and all(each["paused"] for each in figures),
            "by_priority": dict(sorted(by_priority.items(), reverse=True)),
            "accepted": sum(each["accepted"] for each in figures),
        }

    def _oldest_s(self, figures: dict[str, Any]) -> int | None:
        since_s = figures["oldest_since_s"]
        return max(0, self._arbiter.queue["running_s"] - since_s) if since_s is not None else None

    def _count_replayed(self) -> None:
        """Counts what upstreams have taken. Entries that are queued again, after a restore of upstream, count again."""
        for name, figures in self._arbiter.queue.get("upstreams", {}).items():
            settled = figures["accepted"] - figures["pending"] - figures["inflight"] - figures["dead"]
            before, total = self._replayed.get(name, (settled, 0))
            self._replayed[name] = settled, total + max(0, settled - before)

    def _rates(self, now_s: float) -> tuple[float, float]:
        if not self._looks:
            return 0.0, 0.0
        then_s, accepted, settled = self._looks[0]
        elapsed_s = max(now_s - then_s, 0.001)
        accepted_now, settled_now = self._flow()
        return (
            round((accepted_now - accepted) / elapsed_s, 1),
            round(max(0, settled_now - settled) / elapsed_s, 1),
        )

    def _figures(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self._arbiter.queue.get("upstreams", {}).get(name, {})
        return found

    def _upstreams(self) -> Iterable[UpstreamState]:
        threshold = self._config.database.breaker.threshold
        for name, settings in upstreams(self._config).items():
            figures = self._figures(name)
            status = self._arbiter.upstreams.get(name, {})
            paused, state = figures.get("paused", False), status.get("state", "unknown")
            latency_ms = status.get("latency_ms")
            yield UpstreamState(
                name=name,
                label=self._labels[name],
                type=settings.type,
                # A pause must not hide that upstream refuses us or cannot be reached.
                state="paused" if paused and state in ("up", "unknown") else state,
                breaker=status.get("breaker", "CLOSED"),
                failures=status.get("failures", 0),
                threshold=threshold,
                latency_ms=round(latency_ms, 3) if latency_ms is not None else None,
                pending=figures.get("pending", 0) + figures.get("inflight", 0),
                oldest_s=self._oldest_s(figures) if figures else None,
                last_error=status.get("last_error"),
                pool=status.get("pool"),
            )

    def _cache(self) -> dict[str, Any]:
        """Tier -> hits and misses of all workers; a configured tier is there from the start."""
        tiers = ["memory", "disk"] + (["redis"] if self._config.cache.redis.url is not None else [])
        totals = {tier: {"hits": 0, "misses": 0} for tier in tiers}
        for child in self._arbiter.children.values():
            for tier, figures in child.figures.get("cache", {}).items():
                for name, number in figures.items():
                    totals[tier][name] += number
        return totals

    def _redis(self) -> bool | None:
        if self._config.cache.redis.url is None:
            return None
        return all(child.figures.get("redis", True) for child in self._arbiter.children.values())


def _thresholds(config: Config) -> Thresholds:
    limits = config.operations.alerts
    return Thresholds(limits.queue_entries, limits.queue_oldest_s, limits.disk_free, limits.error_rate)


def _labels(config: Config) -> dict[str, str]:
    """How upstreams are named among the services: by type, the second of one type with its name behind."""
    labels: dict[str, str] = {}
    for name, settings in upstreams(config).items():
        taken = settings.type in labels.values()
        labels[name] = f"{settings.type}-{name}" if taken else settings.type
    return labels
