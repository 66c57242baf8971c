"""Upstream's packets are dropped: nobody answers, nobody refuses (F17), and SIGTERM in the middle of that (F16).

At 200 writes a second clients notice nothing, one probe at a time looks for the end of it, and the drain afterwards
begins small. A real PostgreSQL behind a link of the test's own (tests/fakes/link.py); ten minutes on a manual clock.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from json import loads
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.instance import Instance
from deora.replay.policy import RAMP_FIRST_WRITES
from tests.fakes.firestore import FakeFirestore
from tests.fakes.firestore_view import FirestoreView
from tests.fakes.lane import LaneBench
from tests.fakes.link import Link, link
from tests.fakes.loop import run
from tests.fakes.postgres import Server, applied, documents, keep_log, new_database
from tests.fakes.proxy import Proxy
from tests.fakes.tills import Tills, audit, p99_ms
from tests.fakes.upstream import Call, Fault

SEED = 17
RATE = 200
QUICK: Mapping[str, Any] = {"breaker": {"threshold": 2, "timeout_s": 1}}
QUICK_POOL: Mapping[str, Any] = {"pool": {"connect_timeout_s": 1, "statement_timeout_s": 1}}
EXIT_S = 10.0


@dataclass
class Probes:
    """What a process tries upstream while nobody answers: its connections without an answer, as the kernel shows them.

    `most`: how many were under way at once; `ports`: one for each.
    """

    pid: int
    host: str
    most: int = 0
    ports: set[int] = field(default_factory=set)
    over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Probes:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._thread.join()

    def _watch(self) -> None:
        process = psutil.Process(self.pid)
        while not self.over.wait(0.05):
            with suppress(psutil.NoSuchProcess):
                trying = {
                    one.laddr.port
                    for one in process.net_connections("tcp")
                    if one.status == psutil.CONN_SYN_SENT and one.raddr.ip == self.host
                }
                self.most = max(self.most, len(trying))
                self.ports |= trying


def behind(made: Link, url: str) -> str:
    """A database's URL through the link."""
    before, _, address = url.partition("@")
    return f"{before}@{made.host}:{made.port}/{address.rpartition('/')[2]}"


def begin(instance: Callable[..., Instance], database: Mapping[str, Any]) -> Instance:
    """An instance whose upstream has its tables."""
    one = instance(database=database)
    assert one.request("PUT", "/v1/documents/warm/up", json={}, headers={"Prefer": "wait=20"}).status == 201
    return one


def replayer_of(one: Instance) -> int:
    """The process that owns every connection upstream."""
    [pid] = [process["pid"] for process in one.status()["processes"] if process["name"] == "replayer"]
    return int(pid)


def swallowed(
    instance: Callable[..., Instance], server: Server, seconds: float, extra: Mapping[str, Any], pool: Mapping[str, Any]
) -> float:
    """So many seconds of a blackhole under load, and what must hold; returns the writes' p99 in it, in ms."""
    url = asyncio.run(new_database(server))
    with link(server.port) as made:
        one = begin(instance, {"primary": {"type": "postgres", "url": behind(made, url), **pool}, **extra})
        keep_log(url)
        with Tills(one.url, 8, seed=SEED, rate=RATE) as tills:
            one.wait_until(lambda: len(tills.history) > RATE)
            made.cut()
            began_s, first = time.monotonic(), len(tills.writes)
            with Probes(replayer_of(one), made.host) as probes:
                one.wait_until(lambda: one.status()["upstreams"][0]["breaker"] == "OPEN", timeout_s=seconds)
                time.sleep(max(0.0, began_s + seconds - time.monotonic()))
            during = tills.writes[first:]
            backlog, mended_s = one.waiting(), time.time()
            made.mend()
            one.wait_until(lambda: one.status()["upstreams"][0]["state"] == "up", timeout_s=150)
        one.wait_until_drained(300)
        drained_s = time.time() - mended_s
        found = audit(one, tills, documents=tilled(documents(url)))
        one.terminate()
    sizes: Counter[int] = Counter()
    for some in applied(url):
        if some.at_s > mended_s:
            sizes[some.batch] += some.writes
    ramp = list(sizes.values())[:8]
    print(
        f"{seconds:g} s: {len(during)} writes, p99 {p99_ms(during):.1f} ms; {len(probes.ports)} probes, at most "
        f"{probes.most} at once; {backlog} waited, drained in {drained_s:.1f} s, batches of {ramp}, ...; {found}"
    )
    assert not found, f"seed {SEED}: {found}"
    assert not tills.errors, tills.errors[:5]
    assert len(during) > RATE * seconds / 2, "the load was not there"
    assert probes.ports, "nobody looked for the end of it"
    assert probes.most == 1
    assert backlog > RATE * seconds / 2
    assert all(size <= RAMP_FIRST_WRITES << step for step, size in enumerate(ramp[1:], 1)), ramp
    return p99_ms(during)


def tilled(held: Mapping[str, Any]) -> dict[str, Any]:
    """What tills wrote of it."""
    return {path: data for path, data in held.items() if path.startswith("tills/")}


def test_dropped_packets(instance: Callable[..., Instance], postgres_server: Server) -> None:
    """A short one. A machine that is busy with other tests may be slow, so the limit of the figure is wide here."""
    assert swallowed(instance, postgres_server, 11, QUICK, QUICK_POOL) < 1000


@pytest.mark.torture
def test_ten_minutes_of_dropped_packets(instance: Callable[..., Instance], postgres_server: Server) -> None:
    assert swallowed(instance, postgres_server, 600, {}, {}) < 50


@pytest.mark.parametrize("rate", [5, pytest.param(RATE, marks=pytest.mark.torture)])
def test_ten_minutes_without_an_answer(tmp_path: Path, rate: int) -> None:
    """On a manual clock: one call at a time, one a minute once the breaker is open, and a drain that begins small."""
    bench = LaneBench(tmp_path, seed=SEED)
    end_s = bench.clock.monotonic_s() + 600
    called_s: list[float] = []

    def faults(_: Call) -> Fault | None:
        now_s = bench.clock.monotonic_s()
        called_s.append(now_s)
        return Fault.SILENT if now_s < end_s else None

    bench.upstream.faults = faults

    async def scenario() -> None:
        task = asyncio.ensure_future(bench.new_lane().run())
        for _ in range(600):
            bench.write_numbered(rate, documents=50 * rate)
            await asyncio.sleep(1)
        waiting = bench.store.waiting()
        await bench.watch(task, lambda: bench.store.waiting() == 0, within_s=120)
        print(f"{waiting} waited after 10 minutes")
        task.cancel()

    run(scenario(), bench.clock)
    found = bench.findings()
    assert not found, f"seed {SEED}: {found}"
    during = [moment for moment in called_s if moment < end_s]
    pauses_s = [later - earlier for earlier, later in pairwise(during)]
    deadline_s = bench.settings.cursor_deadline_s
    assert all(pause_s >= deadline_s for pause_s in pauses_s), "two calls at once"
    assert all(pause_s >= deadline_s + bench.timeout_s for pause_s in pauses_s[bench.threshold - 1 :])
    assert 10 < len(during) <= bench.threshold + 600 / (bench.timeout_s + deadline_s) + 1
    sizes = [len(call.delivery.payloads) for call in bench.upstream.calls if call.delivery is not None]
    old, *ramp = sizes
    assert old <= rate
    assert ramp[:4] == [RAMP_FIRST_WRITES << step for step in range(1, 5)]
    bench.store.close()


# -- SIGTERM


def ended(one: Instance) -> float:
    """Seconds from SIGTERM to the end of the last process."""
    began_s = time.monotonic()
    tree = one.tree()
    assert one.terminate(EXIT_S + 2) == 0
    assert psutil.wait_procs(tree, timeout=1)[1] == []
    return time.monotonic() - began_s


def sigterm_while_silent(
    instance: Callable[..., Instance],
    one: Instance,
    silence: Callable[[], None],
    mend: Callable[[], None],
    held: Callable[[], Mapping[str, Any]],
) -> None:
    """An instance whose upstream is silent ends in time, and the next one sends what waits; `held` is what came."""
    with Tills(one.url, 4, seed=SEED, rate=RATE) as tills:
        one.wait_until(lambda: len(tills.history) > 50)
        silence()
        first = len(tills.history)
        one.wait_until(lambda: len(tills.history) > first + 200)
    took_s = ended(one)
    mend()
    again = instance(on=one)
    again.wait_until_drained(60)
    found = audit(again, tills, documents=tilled(held()))
    again.terminate()
    print(f"exit within {took_s:.1f} s with {len(tills.history) - first} in the backlog; {found}")
    assert took_s <= EXIT_S
    assert not found, f"seed {SEED}: {found}"


def test_sigterm_while_packets_are_dropped(instance: Callable[..., Instance], postgres_server: Server) -> None:
    url = asyncio.run(new_database(postgres_server))
    with link(postgres_server.port) as made:
        one = begin(instance, {"primary": {"type": "postgres", "url": behind(made, url)}, **QUICK})
        sigterm_while_silent(instance, one, made.cut, made.mend, lambda: documents(url))


def test_sigterm_while_firestore_hangs(instance: Callable[..., Instance]) -> None:
    with FakeFirestore() as fake, Proxy(fake.port) as proxy:
        primary = {"type": "firestore", "project": "deora-hung", "emulator_host": f"127.0.0.1:{proxy.port}"}
        one = begin(instance, {"primary": primary, **QUICK})
        view = FirestoreView(fake.host, "deora-hung")

        def held() -> dict[str, Any]:
            return {path: loads(data) for path, data in view.documents().items()}

        sigterm_while_silent(instance, one, proxy.swallow, proxy.mend, held)
