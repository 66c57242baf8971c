"""1 % of the entries are refused by upstream (F19): each is dead with upstream's message, and nobody else waits long.

And what becomes of a dead letter: others of its document wait or go on (`on_dead`), it is retried, or dropped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.instance import Instance
from tests.fakes.checker import Outcome
from tests.fakes.lane import LaneBench
from tests.fakes.loop import run
from tests.fakes.postgres import Server, applied, documents, execute, keep_log, new_database
from tests.fakes.proxy import Proxy
from tests.fakes.tills import Tills, audit

SEED = 19
REFUSED = "ALTER TABLE deora_documents ADD CONSTRAINT no_refunds CHECK (collection <> 'refunds')"
ACCEPTED = "ALTER TABLE deora_documents DROP CONSTRAINT no_refunds"
ROUND_TRIPS = 60
# Where upstream names it: refused with its batch, cursor, fence; what was before it; refused alone, cursor, fence.
ROUND_TRIPS_EACH = 7


# -- round trips, counted


@pytest.mark.parametrize("every", [100, 499])
def test_round_trips_of_a_full_batch(tmp_path: Path, every: int) -> None:
    """500 entries in one batch, of which upstream refuses 1 %, or one, and names it: how long the last one waits."""
    bench = LaneBench(tmp_path, seed=SEED)
    bench.write_numbered(500, documents=500)
    dead = {f"d/{number}" for number in range(every - 1, 500, every)}
    bench.upstream.refused = dict.fromkeys(dead, "no refunds")
    run(bench.drain(), bench.clock)
    bench.check(dead=dead)
    assert {entry["error"] for entry in bench.store.entries("dead")} == {"no refunds"}
    cursor, whole = 1, 1
    print(f"{len(dead)} of 500 refused: {len(bench.upstream.calls)} round trips")
    assert len(bench.upstream.calls) <= cursor + ROUND_TRIPS_EACH * len(dead) + whole <= ROUND_TRIPS
    assert bench.slept_s == [], "a refusal is no reason to wait"
    bench.store.close()


def test_round_trips_where_upstream_does_not_say_which(tmp_path: Path) -> None:
    """One of 500, found by halving."""
    bench = LaneBench(tmp_path, seed=SEED)
    bench.write_numbered(500, documents=500)
    bench.upstream.refused = {"d/333": "no refunds"}
    bench.upstream.names_index = False
    run(bench.drain(), bench.clock)
    bench.check(dead={"d/333"})
    print(f"1 of 500 refused and not named: {len(bench.upstream.calls)} round trips")
    assert len(bench.upstream.calls) <= ROUND_TRIPS
    bench.store.close()


@pytest.mark.parametrize("rtt_s", [0.02, 0.05])
def test_the_delay_of_others_under_a_steady_load(tmp_path: Path, rtt_s: float) -> None:
    """A minute at 100 writes a second, each hundredth of them refused: no other write takes more than a second and 60
    round trips from its commit to upstream."""
    bench = LaneBench(tmp_path, seed=SEED)
    bench.upstream.delay_s = rtt_s
    bench.upstream.refused = {"d/99": "no refunds"}
    written_s: list[float] = []
    arrived_s: dict[bytes, float] = {}

    async def scenario() -> None:
        task = asyncio.ensure_future(bench.new_lane().run())
        for _ in range(600):
            bench.write_numbered(10, documents=100)
            written_s.extend([bench.clock.monotonic_s()] * 10)
            await asyncio.sleep(0.1)
            note()
        await bench.watch(task, lambda: bench.store.waiting() == 0)
        note()
        task.cancel()

    def note() -> None:
        for _, payload in bench.upstream.applied[len(arrived_s) :]:
            arrived_s[payload] = bench.clock.monotonic_s()

    run(scenario(), bench.clock)
    bench.check(dead={"d/99"})
    order = [number for number in range(6000) if number % 100 != 99]
    delays_s = sorted(arrived - written_s[number_of(payload)] for payload, arrived in arrived_s.items())
    assert len(delays_s) == len(order)
    print(
        f"round trip {rtt_s * 1000:g} ms: others wait {delays_s[-1]:.2f} s at most, half of them {delays_s[3000]:.2f} s"
    )
    assert delays_s[-1] <= 1 + ROUND_TRIPS * rtt_s
    bench.store.close()


def number_of(payload: bytes) -> int:
    """The number that a numbered write adds to its list."""
    return int(payload.partition(b'"arrayUnion",[')[2].partition(b"]")[0])


# -- a real PostgreSQL with a constraint


@pytest.fixture
def url(postgres_server: Server) -> str:
    """An empty database."""
    return asyncio.run(new_database(postgres_server))


def begin(instance: Callable[..., Instance], url: str, *statements: str, **config: Any) -> Instance:
    """An instance whose upstream has its tables, and then what the statements do to them."""
    database = {"primary": {"type": "postgres", "url": url}, "retry": {"base_s": 0.01}} | config.pop("database", {})
    one = instance(database=database, **config)
    assert one.request("PUT", "/v1/documents/warm/up", json={}, headers={"Prefer": "wait=20"}).status == 201
    asyncio.run(execute(url, *statements))
    return one


def dead(one: Instance) -> list[Any]:
    """The dead entries, oldest first."""
    found: list[Any] = one.get("/v1/queue/entries?state=dead&limit=1000")["entries"]
    return found


def delays_s(url: str, tills: list[Tills]) -> Iterator[float]:
    """For each acknowledged write the time from its answer to its arrival upstream. Each till is one thread's."""
    arrived = applied(url)
    logs = {path: data["log"] for path, data in documents(url, "tills").items()}
    wall_s = time.time() - time.monotonic()
    for some in tills:
        for sent, timed in zip(some.history, some.writes, strict=True):
            place = logs[sent.path].index(sent.token)
            at_s = next(one.at_s for one in arrived if one.path == sent.path and one.tokens > place)
            yield at_s - (wall_s + timed.began_s + timed.took_s)


@pytest.mark.parametrize(
    ("seconds", "slack"), [(6, 5.0), pytest.param(120, 1.0, marks=pytest.mark.torture)], ids=["short", "long"]
)
def test_one_percent_of_the_entries_is_refused(
    instance: Callable[..., Instance], postgres_server: Server, url: str, seconds: float, slack: float
) -> None:
    """100 writes a second beside one that PostgreSQL refuses, over a link of 10 ms there and back."""
    with Proxy(postgres_server.port) as proxy:
        proxy.latency_s = 0.005
        one = begin(instance, url.replace(str(postgres_server.port), str(proxy.port)), REFUSED)
        keep_log(url)
        good = [Tills(one.url, 1, seed=SEED, rate=25, documents=20, prefix=f"{number}/") for number in range(4)]
        bad = Tills(one.url, 1, seed=SEED, rate=1, collection="refunds", prefix="bad/")
        asked = proxy.requests
        with bad, good[0], good[1], good[2], good[3]:
            one.wait_until(lambda: len(bad.history) > seconds, timeout_s=seconds * 4)
        one.wait_until_drained(60)
        asked = proxy.requests - asked
        found = audit(one, *good, bad, documents=documents(url, "tills"))
        letters = dead(one)
        one.terminate()
    took_s = sorted(delays_s(url, good))
    print(
        f"{len(took_s)} writes and {len(letters)} refused ones: others wait {took_s[-1]:.2f} s at most, half of them "
        f"{took_s[len(took_s) // 2]:.2f} s; {asked} round trips on the wire; {found}"
    )
    assert not found, f"seed {SEED}: {found}"
    assert len(letters) == bad.count(Outcome.OK) >= seconds
    assert all('violates check constraint "no_refunds"' in letter["error"] for letter in letters)
    assert took_s[-1] <= slack * (1 + ROUND_TRIPS * 2 * proxy.latency_s)


# -- what becomes of a dead letter


def patch(one: Instance, path: str, number: int) -> None:
    changes = {"log": {"$arrayUnion": [number]}, "n": {"$increment": 1}}
    assert one.request("PATCH", f"/v1/documents/{path}?upsert=true", json=changes).status == 200


def test_later_writes_of_its_document_wait_for_it(instance: Callable[..., Instance], url: str) -> None:
    """`on_dead: hold`: they wait, in order, until it is retried, and no other document does."""
    one = begin(instance, url, REFUSED, queue={"on_dead": "hold"})
    for number in range(3):
        patch(one, "refunds/a", number)
        patch(one, "refunds/b", number)
        patch(one, "tills/c", number)
    one.wait_until(lambda: len(dead(one)) == 2 and len(documents(url, "tills")) == 1)
    one.wait_until(lambda: documents(url, "tills")["tills/c"]["n"] == 3)
    queue = one.get("/v1/queue")
    assert (queue["pending"], queue["inflight"], queue["dead"]) == (4, 0, 2)
    first, second = dead(one)
    asyncio.run(execute(url, ACCEPTED))
    # Nothing was sent behind it, so it may go without force.
    assert one.request("POST", f"/v1/queue/entries/{first['id']}:retry").json["state"] == "pending"
    one.wait_until(lambda: documents(url, "refunds") == {"refunds/a": {"log": [0, 1, 2], "n": 3}})
    assert one.request("DELETE", f"/v1/queue/entries/{second['id']}").status == 200
    one.wait_until_drained(20)
    assert documents(url, "refunds")["refunds/b"] == {"log": [1, 2], "n": 2}
    assert one.request("GET", "/v1/documents/refunds/b").json["data"] == {"log": [1, 2], "n": 2}
    assert one.get("/v1/queue")["dead"] == 0


def test_later_writes_of_its_document_go_on(instance: Callable[..., Instance], url: str) -> None:
    """`on_dead: continue`: they go on, so a retry would come behind them: 409, until it is forced."""
    no_seven = "ALTER TABLE deora_documents ADD CONSTRAINT no_seven CHECK (NOT data @> '{\"last\": 7}')"
    one = begin(instance, url, no_seven)
    for number in (6, 7, 8):
        change = {"last": number, "log": {"$arrayUnion": [number]}}
        assert one.request("PATCH", "/v1/documents/tills/a?upsert=true", json=change).status == 200
        # One batch writes a document once, as its last write leaves it: PostgreSQL has to see the 7.
        one.wait_until_drained(20)
    assert one.request("PUT", "/v1/documents/tills/b", json={"last": 7}).status == 201
    one.wait_until_drained(20)
    assert documents(url, "tills") == {"tills/a": {"last": 8, "log": [6, 8]}}
    older, alone = dead(one)
    refused = one.request("POST", f"/v1/queue/entries/{older['id']}:retry")
    assert (refused.status, refused.json["documents"]) == (409, ["tills/a"])
    assert "force" in refused.json["hint"]
    asyncio.run(execute(url, "ALTER TABLE deora_documents DROP CONSTRAINT no_seven"))
    told = one.post("/v1/queue:retryDead")
    assert (told["retried"], [kept["id"] for kept in told["kept"]]) == (1, [older["id"]])
    one.wait_until_drained(20)
    assert documents(url, "tills")["tills/b"] == {"last": 7}
    assert alone["id"] not in [entry["id"] for entry in dead(one)]
    assert one.request("POST", f"/v1/queue/entries/{older['id']}:retry", json={"force": True}).status == 200
    one.wait_until_drained(20)
    assert documents(url, "tills")["tills/a"] == {"last": 7, "log": [6, 8, 7]}
    assert one.get("/v1/queue")["dead"] == 0


def test_an_entry_that_the_server_chokes_on_is_dead_at_last(instance: Callable[..., Instance], url: str) -> None:
    """It fails as passing trouble ten times while the cursor can be moved: it is the trouble, and the others go on."""
    choking = (
        """CREATE FUNCTION choke() RETURNS trigger LANGUAGE plpgsql AS
           $$ BEGIN RAISE EXCEPTION 'out of breath' USING ERRCODE = '53200'; END $$""",
        """CREATE TRIGGER choke BEFORE INSERT ON deora_documents FOR EACH ROW
           WHEN (NEW.path = 'tills/a') EXECUTE FUNCTION choke()""",
    )
    one = begin(instance, url, *choking, database={"retry": {"base_s": 0.001}})
    one.post("/v1/queue:pause")
    for number in range(20):
        patch(one, f"tills/{'abcdefghij'[number % 10]}", number)
    one.post("/v1/queue:resume")
    one.wait_until_drained(60)
    letters = dead(one)
    assert [letter["writes"][0]["update"]["path"] for letter in letters] == ["tills/a", "tills/a"]
    assert all("failed 10 times" in letter["error"] and "out of breath" in letter["error"] for letter in letters)
    assert {path: data["n"] for path, data in documents(url, "tills").items()} == {
        f"tills/{letter}": 2 for letter in "bcdefghij"
    }
    assert one.status()["upstreams"][0]["state"] == "up"
