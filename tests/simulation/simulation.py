"""One world from its first step to its verdict."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from deora.replay.puller import NAMES_EVERY
from deora.store.service import Service
from tests.fakes.ram import ram_directory
from tests.simulation.clients import ADDED_TO, REPLACED, Clients
from tests.simulation.disk import Disk
from tests.simulation.judge import check_end, check_store
from tests.simulation.network import Network
from tests.simulation.schedule import climate_of, weather_of
from tests.simulation.store import StoreProcess
from tests.simulation.supervisor import Supervisor
from tests.simulation.world import Violation, World

# A world that has healed must come to rest within this: the longest deadline, and what hung in it, several times.
REST_S = 600.0


@dataclass(frozen=True, slots=True)
class Report:
    """How a world went. `violation` is None where all that is promised held."""

    seed: int
    violation: str | None
    digest: str
    steps: int
    took_s: float
    """by the world's clock"""
    writes: int
    faults: int
    trace: list[str] = field(repr=False)


class Simulation:
    """The box, its clients, its upstreams and its misfortunes."""

    def __init__(self, seed: int, folder: Path, *, traced: bool = False) -> None:
        self.world = world = World(seed, traced=traced)
        self.climate = climate = climate_of(world.dice)
        self.disk = Disk(world, folder)
        self.networks = [Network(world, name) for name in climate.names]
        self.store = StoreProcess(world, self.disk, climate.config)
        self.store.watch = self._between_groups
        self.clients = Clients(world, self.disk, self.networks, wary=climate.wary)
        self.supervisor: Supervisor | None = None
        self.faults = 0
        self.over = False
        self._healing = False
        self._power_cut = False

    def run(self) -> None:
        """Lives it. Raises Violation."""
        world, climate = self.world, self.climate
        world.note("world", f"{climate.names} {climate.faults} holds={climate.holds} replicated={climate.replicated}")
        self._boot()
        self.clients.start(climate.clients, climate.turns)
        self.clients.loop.start(self._rest())
        world.after(world.dice.random() * climate.gap_s, self._fault)
        while not self.over:
            if self.store.starting is not None:
                self.store.run()
            elif self._power_cut:
                self._power_cut = False
                self.disk.cut_power()
            else:
                world.step()
        check_end(
            self.disk.reader,
            self.networks,
            self.clients.history,
            replicated=climate.replicated,
            note=lambda line: world.note("judge", line),
        )

    # -- the box

    def _boot(self) -> None:
        self.supervisor = Supervisor(self.world, self.climate.config, self.store, self.networks)
        self.clients.connect(self.supervisor)

    def _kill_box(self, *, power: bool) -> None:
        if self.supervisor is None:
            return
        self.supervisor.kill()
        self.supervisor = None
        self.clients.disconnect()
        self._power_cut = self._power_cut or power
        self.world.after(0.05 + self.world.dice.random(), self._boot)

    def _between_groups(self, service: Service, db: sqlite3.Connection) -> None:
        if self.world.chance(self.climate.check_share):
            check_store(service, db)

    # -- misfortune

    def _fault(self) -> None:
        """Something goes wrong, and later something else."""
        if self._healing:
            return
        world = self.world
        fault = world.dice.choice(self.climate.faults)
        world.note("fault", fault)
        self.faults += 1
        self._befall(fault)
        world.after(world.dice.expovariate(1 / self.climate.gap_s), self._fault)

    def _befall(self, fault: str) -> None:
        world, dice = self.world, self.world.dice
        for_s = dice.random() * 4
        network = dice.choice(self.networks)
        supervisor = self.supervisor
        if fault == "store killed":
            self.store.kill()
        elif fault == "store killed inside":
            self._arm_store()
        elif fault == "commit unclear":
            self.disk.at_commit = dice.choice(("lost", "unclear"))
        elif fault == "disk full":
            self.disk.full, self.disk.shows_full = True, dice.random() < 0.5
            world.after(for_s, self._disk_has_room)
        elif fault == "two blows":
            # What the next store finds was never synced, and the power fails as soon as it has answered from it.
            self.disk.at_commit = "within"
            self.store.at_open = lambda: world.after(dice.random() * 0.01, lambda: self._kill_box(power=True))
        elif fault in ("box killed", "power cut"):
            self._kill_box(power=fault == "power cut")
        elif fault == "weather":
            network.weather = weather_of(dice)
        elif fault == "upstream down":
            network.go_down()
            world.after(for_s, network.come_up)
        elif fault == "unauthorised":
            network.unauthorised = dice.random() < 0.5
        elif fault == "refusals":
            path = dice.choice((*ADDED_TO, *REPLACED))
            if network.server.refused.pop(path, None) is None:
                network.server.refused[path] = f"{path} is refused"
            network.server.names_index = dice.random() < 0.5
        elif fault == "operator":
            self.clients.loop.start(self._operate())
        elif fault == "stranger":
            self.clients.write_upstream()
        elif fault == "wall clock":
            world.clock.wall_now_us += dice.choice((-3600, 86_400, -86_400 * 20_000, 86_400 * 4000)) * 1_000_000
        elif supervisor is not None:
            self._befall_replayer(supervisor, fault, for_s)

    def _befall_replayer(self, supervisor: Supervisor, fault: str, for_s: float) -> None:
        if fault == "replayer frozen":
            supervisor.freeze_replayer(for_s * 4)
        elif fault == "replayer given up":
            supervisor.give_up_replayer(for_s * 4)
        else:
            child = supervisor.children.get("replayer")
            if child is not None and child.loop is not None:
                # So many callbacks from now on: between any two steps, where they follow each other closely, too.
                child.loop.on_count[child.loop.ran + self.world.dice.randint(1, 12)] = supervisor.kill_replayer

    def _arm_store(self) -> None:
        dice = self.world.dice
        where = dice.choice(("statement", "commit", "send"))
        if where == "statement":
            self.disk.kill_in = dice.randint(0, 40)
        elif where == "commit":
            self.disk.at_commit = dice.choice(("before", "within", "after"))
        else:
            self.store.at_send = dice.choice(("before", "middle", "after"))

    def _disk_has_room(self) -> None:
        self.disk.full = False

    async def _operate(self) -> None:
        dice = self.world.dice
        draw = dice.random()
        if draw < 0.25:
            await self.clients.operate("pause", dice.choice((None, *self.climate.names)), True)
        elif draw < 0.5:
            await self.clients.operate("pause", dice.choice((None, *self.climate.names)), False)
        elif draw < 0.65:
            await self.clients.operate("retryDead", None)
        else:
            await self.clients.decide(drops=dice.random() < 0.4, forces=dice.random() < 0.3)

    # -- healing

    async def _rest(self) -> None:
        """Waits for the time of misfortune to end, heals everything, and waits until nothing is on its way."""
        await asyncio.sleep(self.climate.lasts_s)
        while self.clients.busy:
            await asyncio.sleep(0.5)
        self._heal()
        begun_s = self.world.now_s
        await self._until_told("pause", None, False)
        await self._until_told("retryDead", None)
        for attempt in range(1000):
            if self.world.now_s > begun_s + REST_S:
                raise Violation(f"{self.clients.waiting()} entries still wait {REST_S:g} s after everything has healed")
            await asyncio.sleep(1.0)
            if any(network.under_way for network in self.networks):
                continue
            if self.clients.waiting() == 0:
                break
            # What a dead entry holds up waits for a hand: the operator gives it up.
            if attempt % 5 == 4:
                await self.clients.decide(drops=True, forces=False)
        await self._until_pulled()
        self.over = True
        self.store.kill()

    async def _until_pulled(self) -> None:
        """Waits for one pull, for another with what it had to leave, and where a stranger has deleted something for the
        one that compares the names."""
        if self.climate.replicated:
            primary = self.networks[0]
            wanted = primary.pulls + (NAMES_EVERY + 2 if self.clients.stranger_deletes else 3)
            ends_s = self.world.now_s + REST_S
            while primary.pulls < wanted:
                if self.world.now_s > ends_s:
                    raise Violation(f"nothing is pulled {REST_S:g} s after everything has healed")
                await asyncio.sleep(0.5)
        await asyncio.sleep(1.5)

    async def _until_told(self, *parts: object) -> None:
        """Asks an operator's request until it is answered."""
        for _ in range(100):
            received = await self.clients.operate(*parts)
            if received is not None and received.status == 200:
                return
            await asyncio.sleep(0.5)
        raise Violation(f"{parts} is not answered although everything has healed")

    def _heal(self) -> None:
        self.world.note("world", "everything heals")
        self._healing = True
        self.disk.full = False
        self.disk.disarm()
        self.store.at_send, self.store.at_open = "", None
        for network in self.networks:
            network.heal()
        for loop in self.world.loops:
            loop.thaw()


class _Faults(logging.Handler):
    """Keeps what production code logs with a traceback: a fault of its own, which a restart would only hide."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info is not None:
            self.found.append(f"{record.getMessage()}: {record.exc_info[1]!r}")


@contextmanager
def listening() -> Iterator[_Faults]:
    """What DEORA logs meanwhile goes nowhere but here."""
    logger, faults = logging.getLogger("deora"), _Faults()
    level, propagates = logger.level, logger.propagate
    logger.setLevel(logging.ERROR)
    logger.addHandler(faults)
    logger.propagate = False
    try:
        yield faults
    finally:
        logger.removeHandler(faults)
        logger.setLevel(level)
        logger.propagate = propagates


def simulate(seed: int, *, traced: bool = False) -> Report:
    """Runs the world of a seed."""
    violation = None
    with ram_directory() as folder, listening() as faults:
        simulation = Simulation(seed, Path(folder), traced=traced)
        with patch.object(os, "statvfs", simulation.disk.statvfs):
            try:
                simulation.run()
            except Violation as found:
                violation = str(found)
        if faults.found:
            violation = f"a fault of its own was logged: {faults.found[0]}"
        simulation.world.enter(None)
        for loop in simulation.world.loops:
            loop.kill()
        simulation.disk.close()
        world = simulation.world
    return Report(
        seed,
        violation,
        world.digest,
        world.steps,
        world.now_s,
        len(simulation.clients.history.sent),
        simulation.faults,
        world.trace,
    )


def command(seed: int) -> str:
    """What shows the world of a seed again."""
    return f"python -m tests.simulation {seed} --trace"
