"""The queue's entries, listed with every filter and changed by every call, against a real store file."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from deora.store.service import Settings
from deora.wire.frames import unpack
from deora.worker.context import Commit
from deora.worker.handlers import queue
from tests.fakes.store import create, set_, settings_with, update
from tests.fakes.worker import WorkerBench, document, request

ENTRIES = "/v1/queue/entries"
Work = Callable[..., None]


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """Runs a test's coroutine with a worker's context over a new store."""

    def run(talk: Callable[[WorkerBench], Awaitable[None]], settings: Settings | None = None) -> None:
        async def main() -> None:
            async with WorkerBench(tmp_path, settings) as bench:
                await talk(bench)

        asyncio.run(main())

    return run


TWO = settings_with(["primary", "secondary"])


async def listed(bench: WorkerBench, **parameters: Any) -> list[Any]:
    """All entries that a listing shows, page after page."""
    found: list[Any] = []
    while True:
        told = await bench.ask("GET", f"{ENTRIES}?{urlencode(parameters)}" if parameters else ENTRIES)
        assert told.status == 200
        assert set(told.json) == {"entries", "cursor"}
        found += told.json["entries"]
        if told.json["cursor"] is None:
            return found
        parameters["cursor"] = told.json["cursor"]


def ids(entries: list[Any]) -> list[int]:
    return [entry["id"] for entry in entries]


# -- listing


def test_an_empty_queue(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        assert await listed(bench) == []

    work(talk)


def test_an_entry(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        bench.store.commit(
            set_("a/b", {"n": 1}),
            update("a/c", {"n": {"$increment": 2}, "x.y": "z"}, upsert=True),
            priority=7,
        )
        [entry] = await listed(bench)
        assert entry == {
            "id": 1,
            "state": "pending",
            "upstream": "primary",
            "priority": 7,
            "created": "2026-01-31T12:00:00.000000Z",
            "commit": 1,
            "writes": [
                {"set": {"path": "a/b", "data": {"n": 1}}},
                {"update": {"path": "a/c", "data": {"n": {"$increment": 2}, "x.y": "z"}, "upsert": True}},
            ],
            "attempts": 0,
            "error": None,
        }
        assert (await bench.ask("GET", f"{ENTRIES}/1")).json == entry

    work(talk)


def fill(bench: WorkerBench) -> None:
    """Entry 1 is done, 2 is dead, 3 is inflight, 4 and 5 are pending; of documents a/1 to a/5."""
    bench.store.commit(set_("a/1", {}))
    bench.store.deliver()
    bench.store.commit(create("a/2", {}))
    assert bench.store.kill("no such column") == 2
    bench.store.commit(set_("a/3", {}))
    assert bench.store.claim() is not None
    bench.store.commit(set_("a/4", {}))
    bench.store.commit(set_("a/5", {}))


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ({}, [2, 3, 4, 5]),
        ({"state": "pending"}, [4, 5]),
        ({"state": "inflight"}, [3]),
        ({"state": "dead"}, [2]),
        ({"upstream": "primary"}, [2, 3, 4, 5]),
        ({"path": "a/1"}, []),
        ({"path": "a/2"}, [2]),
        ({"path": "a/3"}, [3]),
        ({"path": "a/4"}, [4]),
        ({"path": "a/none"}, []),
        ({"path": "a/4", "state": "pending"}, [4]),
        ({"path": "a/4", "state": "dead"}, []),
        ({"path": "a/3", "state": "inflight", "upstream": "primary"}, [3]),
        ({"cursor": "3"}, [4, 5]),
        ({"cursor": "5"}, []),
        ({"cursor": str(2**63 - 1)}, []),
    ],
)
@pytest.mark.parametrize("limit", [None, 1, 2])
def test_filters(work: Work, parameters: dict[str, str], found: list[int], limit: int | None) -> None:
    async def talk(bench: WorkerBench) -> None:
        fill(bench)
        more = {} if limit is None else {"limit": limit}
        assert ids(await listed(bench, **parameters, **more)) == found

    work(talk)


def test_the_states_and_why_an_entry_is_dead(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        fill(bench)
        assert [entry["state"] for entry in await listed(bench)] == ["dead", "inflight", "pending", "pending"]
        [dead] = await listed(bench, state="dead")
        assert dead["error"] == "no such column"
        # A done one is shown by its id alone, until it is pruned.
        assert (await bench.ask("GET", f"{ENTRIES}/1")).json["state"] == "done"

    work(talk)


def test_each_upstream_has_its_own(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        for number in range(3):
            bench.store.commit(set_(f"a/{number}", {}))
        bench.store.deliver("secondary")
        assert {entry["upstream"] for entry in await listed(bench)} == {"primary"}
        bench.store.commit(set_("a/3", {}))
        assert len(await listed(bench)) == 5
        assert [entry["commit"] for entry in await listed(bench, upstream="secondary")] == [4]
        assert [entry["upstream"] for entry in await listed(bench, path="a/3")] == ["primary", "secondary"]
        everything = await listed(bench, limit=2)
        assert ids(everything) == sorted(ids(everything))

    work(talk, settings=TWO)


@pytest.mark.parametrize("limit", [1, 7, 199, 200, 201, 1000])
def test_pages(work: Work, limit: int) -> None:
    async def talk(bench: WorkerBench) -> None:
        for number in range(230):
            bench.store.commit(set_(f"a/{number % 7}", {"n": number}))
        for number in range(0, 230, 10):
            batch = bench.store.claim(max_writes=1)
            assert batch is not None
            bench.store.settle(batch, "no" if number % 20 else None)
        everything = bench.store.states()
        assert ids(await listed(bench, limit=limit)) == [ident for ident, state in everything.items() if state != 1]
        assert ids(await listed(bench, limit=limit, state="dead")) == [
            ident for ident, state in everything.items() if state == 2
        ]
        queued = bench.store.rows("SELECT payload FROM entries WHERE state <> 1 ORDER BY id")
        of_one = await listed(bench, limit=limit, path="a/3")
        assert len(of_one) == sum(b"a/3" in payload for (payload,) in queued)
        assert ids(of_one) == sorted(set(ids(of_one)))

    work(talk, settings=settings_with(max_bytes=2**30))


def test_a_page_is_cut_where_it_grows_too_large(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "PAGE_BYTES", 3000)

    async def talk(bench: WorkerBench) -> None:
        for number in range(12):
            bench.store.commit(set_(f"a/{number % 3}", {"text": "x" * (800 + 10_000 * (number == 5))}))
        bench.store.kill()
        bench.store.kill()
        first = (await bench.ask("GET", ENTRIES)).json
        assert 1 <= len(first["entries"]) <= 4
        for parameters in ({}, {"path": "a/2"}, {"state": "pending"}, {"upstream": "secondary"}):
            found = await listed(bench, **parameters)
            assert ids(found) == sorted(set(ids(found)))
            assert len(found) == len(await listed(bench, **parameters, limit=1))
        assert len(await listed(bench)) == 24

    work(talk, settings=TWO)


def test_a_listing_does_not_read_more_than_it_shows(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(bench: WorkerBench) -> None:
        for number in range(40):
            bench.store.commit(set_(f"a/{number}", {"text": "x" * 20_000}))
        largest = 0

        async def watched(*arguments: Any, **named: Any) -> Any:
            nonlocal largest
            found = await read(*arguments, **named)
            largest = max(largest, sum(len(row[-1]) for row in found))
            return found

        read = bench.context.reader.rows_within
        monkeypatch.setattr(bench.context.reader, "rows_within", watched)
        monkeypatch.setattr(queue, "PAGE_BYTES", 100_000)
        await bench.ask("GET", f"{ENTRIES}?limit=1000")
        assert 0 < largest <= 100_000 + 21_000

    work(talk)


def test_inflight_ones_are_found_without_walking_the_queue(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(bench: WorkerBench) -> None:
        for number in range(450):
            bench.store.commit(set_(f"a/{number}", {}))
        batch = bench.store.claim(max_writes=5)
        assert batch is not None
        seen = 0

        async def counted(*arguments: Any, **named: Any) -> Any:
            nonlocal seen
            found = await read(*arguments, **named)
            seen += len(found)
            return found

        read = bench.context.reader.rows_within
        monkeypatch.setattr(bench.context.reader, "rows_within", counted)
        assert len(await listed(bench, state="inflight")) == 5
        assert 5 <= seen <= 10

    work(talk)


@pytest.mark.parametrize(
    ("parameter", "kind"),
    [
        ("state=done", "bad-request"),
        ("state=", "bad-request"),
        ("state=dead&state=dead", "bad-request"),
        ("upstream=none", "bad-request"),
        ("limit=0", "bad-request"),
        ("limit=1001", "bad-request"),
        ("limit=-1", "bad-request"),
        ("limit=1.0", "bad-request"),
        ("limit=%C2%B2", "bad-request"),
        ("cursor=x", "bad-request"),
        ("cursor=9223372036854775808", "bad-request"),
        ("cursor=99999999999999999999999999", "bad-request"),
        ("path=a", "invalid-path"),
        ("path=", "invalid-path"),
        ("other=1", "bad-request"),
    ],
)
def test_bad_parameters(work: Work, parameter: str, kind: str) -> None:
    async def talk(bench: WorkerBench) -> None:
        refused = await bench.refusal("GET", f"{ENTRIES}?{parameter}")
        assert (refused.kind, refused.status) == (kind, 400)

    work(talk)


@pytest.mark.parametrize(("ident", "status"), [("7", 404), ("0", 404), ("x", 400), ("-1", 400), ("1" * 19, 400)])
def test_no_such_entry(work: Work, ident: str, status: int) -> None:
    async def talk(bench: WorkerBench) -> None:
        assert (await bench.refusal("GET", f"{ENTRIES}/{ident}")).status == status
        for method, target in (("DELETE", f"{ENTRIES}/{ident}"), ("POST", f"{ENTRIES}/{ident}:retry")):
            assert (await bench.refusal(method, target)).status == status

    work(talk)


# -- changing


def test_retry(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        bench.store.commit(set_("a/1", {}))
        bench.store.kill()
        told = await bench.ask("POST", f"{ENTRIES}/1:retry")
        assert told.status == 200
        assert [entry["state"] for entry in await listed(bench)] == ["pending"]
        assert (await bench.refusal("POST", f"{ENTRIES}/1:retry")).status in (404, 409)

    work(talk)


def test_retry_with_later_writes_needs_force(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        bench.store.commit(set_("a/1", {"n": 1}))
        bench.store.kill()
        bench.store.commit(set_("a/1", {"n": 2}))
        refused = await bench.refusal("POST", f"{ENTRIES}/1:retry")
        assert refused.status == 409
        assert "force" in (refused.hint or refused.detail)
        assert (await bench.refusal("POST", f"{ENTRIES}/1:retry", {"force": False})).status == 409
        assert (await bench.ask("POST", f"{ENTRIES}/1:retry", {"force": True})).status == 200

    work(talk)


@pytest.mark.parametrize("body", [[], {"force": 1}, {"force": True, "more": 1}, "force", b"{"])
def test_a_bad_retry_changes_nothing(work: Work, body: Any) -> None:
    async def talk(bench: WorkerBench) -> None:
        bench.store.commit(set_("a/1", {}))
        bench.store.kill()
        assert (await bench.refusal("POST", f"{ENTRIES}/1:retry", body)).status == 400
        assert [entry["state"] for entry in await listed(bench)] == ["dead"]

    work(talk)


def test_drop(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        bench.store.commit(set_("a/1", {}))
        assert (await bench.refusal("DELETE", f"{ENTRIES}/1")).status == 409
        bench.store.kill()
        assert (await bench.ask("DELETE", f"{ENTRIES}/1")).status == 200
        assert await listed(bench) == []
        # What upstream refused and nobody retried was never there.
        assert (await bench.refusal("GET", document("a/1"))).status == 404

    work(talk)


def test_retry_dead(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        for number in range(3):
            bench.store.commit(set_(f"a/{number}", {}))
            bench.store.kill()
        bench.store.commit(set_("a/0", {}))
        told = await bench.ask("POST", "/v1/queue:retryDead")
        assert told.json["retried"] == 2
        assert [kept["id"] for kept in told.json["kept"]] == [1]
        assert len(await listed(bench, state="pending")) == 3
        assert (await bench.refusal("POST", "/v1/queue:retryDead?upstream=none")).status == 404
        assert (await bench.ask("POST", "/v1/queue:retryDead?upstream=primary")).json["retried"] == 0

    work(talk)


def test_pause_and_resume(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        bench.store.commit(set_("a/1", {}))
        told = await bench.ask("POST", "/v1/queue:pause")
        assert told.json == {"paused": True, "upstreams": ["primary", "secondary"]}
        assert bench.store.claim("primary") is None
        assert (await bench.ask("POST", "/v1/queue:resume?upstream=primary")).json["upstreams"] == ["primary"]
        assert bench.store.claim("secondary") is None
        # The claim that waited is answered with the group that resumed.
        assert len(await listed(bench, state="inflight", upstream="primary")) == 1

    work(talk, settings=TWO)


@pytest.mark.parametrize("call", ["pause", "resume", "retryDead"])
def test_parameters_of_changes(work: Work, call: str) -> None:
    async def talk(bench: WorkerBench) -> None:
        for query in ("upstream=none", "other=1", "upstream=primary&upstream=primary"):
            assert (await bench.refusal("POST", f"/v1/queue:{call}?{query}")).status in (400, 404)

    work(talk)


def test_a_change_is_the_stores_to_make(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        for method, target, body in (
            ("POST", f"{ENTRIES}/3:retry", ["retry", 3, False]),
            ("DELETE", f"{ENTRIES}/3", ["drop", 3]),
            ("POST", "/v1/queue:retryDead", ["retryDead", None]),
            ("POST", "/v1/queue:pause?upstream=x", ["pause", "x", True]),
            ("POST", "/v1/queue:resume", ["pause", None, False]),
        ):
            reply = await bench.reply(request(method, target))
            assert isinstance(reply, Commit)
            assert unpack(reply.body) == body

    work(talk)
