"""Upstream refuses us: credentials, a role without rights, a database that is gone, "too many requests" (F20).

Nothing goes dead, whatever lasts however long, and it goes on by itself within seconds. An hour of it is a matter for
the manual clock; seconds of it, real.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from json import loads
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from bench.instance import Instance
from deora.replay.lane import RECHECK_S, STRIKES
from deora.upstream.base import Unauthorised, Unclear
from tests.fakes.firestore import FakeFirestore
from tests.fakes.firestore_data import ApiFault
from tests.fakes.firestore_view import FirestoreView
from tests.fakes.lane import LaneBench
from tests.fakes.loop import run
from tests.fakes.postgres import Server, documents, execute, new_database
from tests.fakes.tills import Tills, audit
from tests.fakes.upstream import Call

SEED = 20
RESUMES_S = 5.0
# What a machine that is busy with other tests may take beyond that.
SLACK_S = 10.0


def first(one: Instance) -> Any:
    """The primary upstream as status shows it."""
    return one.status()["upstreams"][0]


def more(one: Instance, tills: Tills) -> None:
    """Returns once a few more writes have been acknowledged."""
    enough = len(tills.history) + 20
    one.wait_until(lambda: len(tills.history) > enough)


def resumed_s(one: Instance) -> float:
    """Seconds until the upstream is up, which must not take long."""
    began_s = time.monotonic()
    one.wait_until(lambda: first(one)["state"] == "up")
    took_s = time.monotonic() - began_s
    assert took_s < RESUMES_S + SLACK_S
    return took_s


# -- an hour on a manual clock


def hour(bench: LaneBench) -> float:
    """An hour of whatever the upstream does, with a write every 10 s; seconds until all is delivered after it."""
    took_s: list[float] = []

    async def scenario() -> None:
        task = asyncio.ensure_future(bench.new_lane().run())
        for _ in range(360):
            bench.write_numbered(1, documents=7)
            await asyncio.sleep(10)
        assert bench.store.waiting() == 360
        assert bench.store.entries("dead") == []
        # It ends just after a look, so that the next one is as far away as can be.
        calls = len(bench.upstream.calls)
        await bench.watch(task, lambda: len(bench.upstream.calls) > calls)
        bench.upstream.faults = lambda _: None
        well_s = bench.clock.monotonic_s()
        await bench.watch(task, lambda: bench.store.waiting() == 0, within_s=120)
        took_s.append(bench.clock.monotonic_s() - well_s)
        task.cancel()

    run(scenario(), bench.clock)
    found = bench.findings()
    assert not found, f"seed {SEED}: {found}"
    bench.store.close()
    return took_s[0]


@pytest.mark.parametrize("kinds", [("read", "apply", "fence"), ("apply", "fence")])
def test_an_hour_without_credentials(tmp_path: Path, kinds: tuple[str, ...]) -> None:
    bench = LaneBench(tmp_path, seed=SEED)
    bench.upstream.faults = lambda call: Unauthorised("the token has expired") if call.kind in kinds else None
    took_s = hour(bench)
    print(f"resumed after {took_s:.1f} s; {len(bench.upstream.calls)} calls in the hour")
    assert took_s <= RESUMES_S
    assert ("unauthorised", "the token has expired") in {(one.state, one.last_error) for _, one in bench.shown}
    assert len(bench.upstream.calls) <= 2 * 3600 / RECHECK_S + 20


@pytest.mark.parametrize("answered", ["apply", "all"])
def test_an_hour_of_too_many_requests(tmp_path: Path, answered: str) -> None:
    """Though the cursor can be read and moved all the while: what asks for patience is no fault of the entries."""
    bench = LaneBench(tmp_path, seed=SEED)
    called_s: list[float] = []

    def faults(call: Call) -> Unclear | None:
        called_s.append(bench.clock.monotonic_s())
        return Unclear("RESOURCE_EXHAUSTED", 20.0) if answered == "all" or call.kind == "apply" else None

    bench.upstream.faults = faults
    hour(bench)
    assert bench.upstream.count("fence") == 0
    assert len([call for call in bench.upstream.calls if call.kind == "apply"]) > (
        STRIKES if answered == "apply" else 0
    )
    pauses_s = [later - earlier for earlier, later in pairwise(called_s[:60]) if later - earlier > 1]
    # Or the breaker's minute, where nothing at all was answered for five calls.
    assert all(20.0 <= pause_s <= 22.0 or 60.0 <= pause_s <= 61.0 for pause_s in pauses_s), pauses_s
    assert any(pause_s <= 22.0 for pause_s in pauses_s)


# -- a real PostgreSQL


@pytest.fixture
def role(postgres_server: Server) -> str:
    """A role whose password is asked for, and that owns a database of its own name; its name."""
    url = asyncio.run(new_database(postgres_server))
    name = f"till_{url.rpartition('/')[2]}"
    rules = postgres_server.files / "pg_hba.conf"
    rules.write_text(f"host all {name} 127.0.0.1/32 scram-sha-256\n{rules.read_text()}")
    admin = postgres_server.url()
    made = (f"CREATE ROLE {name} LOGIN PASSWORD 'first'", f"CREATE DATABASE {name} OWNER {name}")
    asyncio.run(execute(admin, *made, "SELECT pg_reload_conf()"))
    return name


def change(server: Server, role: str, statement: str) -> None:
    """Does this to a role or to its database, which cannot be renamed while it has sessions: so they are ended."""
    for _ in range(200):
        end_sessions(server, role)
        with suppress(asyncpg.ObjectInUseError):
            asyncio.run(execute(server.url(), statement))
            return
    raise AssertionError(f"{statement}: there is always a session")


def end_sessions(server: Server, role: str) -> None:
    """Ends a role's sessions: those of before would keep what they were."""
    end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'"
    asyncio.run(execute(server.url(), end))


def is_refused(one: Instance, server: Server, role: str) -> bool:
    """Whether the instance has found out; what it has opened meanwhile is ended."""
    if first(one)["state"] == "unauthorised":
        return True
    end_sessions(server, role)
    return False


CHANGES = {
    "password": ("ALTER ROLE {0} PASSWORD 'second'", "ALTER ROLE {0} PASSWORD 'first'", "password authentication"),
    "no login": ("ALTER ROLE {0} NOLOGIN", "ALTER ROLE {0} LOGIN", "not permitted to log in"),
    "read only": (
        "ALTER ROLE {0} SET default_transaction_read_only = on",
        "ALTER ROLE {0} RESET default_transaction_read_only",
        "read-only",
    ),
    "no database": ("ALTER DATABASE {0} RENAME TO {0}_away", "ALTER DATABASE {0}_away RENAME TO {0}", "does not exist"),
}


def test_what_a_role_may_not_is_waited_for(
    instance: Callable[..., Instance], postgres_server: Server, role: str
) -> None:
    """Its password is changed, its login taken, it is cut to read-only, its database is gone: one after the other."""
    url = postgres_server.url(role).replace("deora@", f"{role}:first@")
    admin = postgres_server.url(role)
    one = instance(database={"primary": {"type": "postgres", "url": url}})
    with Tills(one.url, 2, seed=SEED, rate=40) as tills:
        for what, (taken, given, words) in CHANGES.items():
            change(postgres_server, role, taken.format(role))
            one.wait_until(lambda: is_refused(one, postgres_server, role))
            assert words in first(one)["last_error"]
            assert "first" not in first(one)["last_error"]
            more(one, tills)
            assert one.get("/v1/queue")["dead"] == 0
            change(postgres_server, role, given.format(role))
            print(f"{what}: up again after {resumed_s(one):.1f} s")
    one.wait_until_drained(30)
    found = audit(one, tills, documents=documents(admin, "tills"))
    assert not found, f"seed {SEED}: {found}"
    assert one.get("/v1/queue")["dead"] == 0


# -- Firestore


class Firestore:
    """The fake, with an instance that writes to it, and the moments at which it was called."""

    def __init__(self, fake: FakeFirestore) -> None:
        self.fake = fake
        self.called_s: list[tuple[float, str]] = []
        self.fault: ApiFault | None = None
        fake.faults = self._on_call

    def _on_call(self, method: str, _: Any) -> None:
        self.called_s.append((time.monotonic(), method))
        if self.fault is not None:
            raise self.fault

    def held(self, project: str) -> dict[str, Any]:
        found = FirestoreView(self.fake.host, project).documents()
        return {path: loads(data) for path, data in found.items()}


def test_firestores_word_on_credentials_and_patience(instance: Callable[..., Instance]) -> None:
    with FakeFirestore() as fake:
        firestore = Firestore(fake)
        primary = {"type": "firestore", "project": "deora-refused", "emulator_host": fake.host}
        one = instance(database={"primary": primary})
        with Tills(one.url, 2, seed=SEED, rate=40) as tills:
            one.wait_until(lambda: len(tills.history) > 20)
            firestore.fault = ApiFault("UNAUTHENTICATED", "Request had invalid authentication credentials.")
            one.wait_until(lambda: first(one)["state"] == "unauthorised")
            more(one, tills)
            firestore.fault = None
            print(f"up again after {resumed_s(one):.1f} s")
            fake.headers["Retry-After"] = "2"
            exhausted_s = time.monotonic()
            firestore.fault = ApiFault("RESOURCE_EXHAUSTED", "Quota exceeded.")
            one.wait_until(lambda: "RESOURCE_EXHAUSTED" in str(first(one)["last_error"]))
            refused = len(firestore.called_s)
            one.wait_until(lambda: len(firestore.called_s) > refused + 1)
            firestore.fault = None
            fake.headers.clear()
        one.wait_until_drained(30)
        found = audit(one, tills, documents=firestore.held("deora-refused"))
        assert not found, f"seed {SEED}: {found}"
        assert one.get("/v1/queue")["dead"] == 0
    asked_s = [moment for moment, _ in firestore.called_s if moment > exhausted_s]
    pauses_s = [later - earlier for earlier, later in pairwise(asked_s)][:2]
    print(f"asked for 2 s, waited {', '.join(f'{pause_s:.2f}' for pause_s in pauses_s)} s")
    assert all(2.0 <= pause_s <= 2.2 + SLACK_S for pause_s in pauses_s)
