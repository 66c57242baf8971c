"""Lists and reads of many, against a real store file."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from deora.errors import Problem
from deora.worker.handlers import queries
from tests.fakes.store import set_
from tests.fakes.worker import WorkerBench, document

Work = Callable[[Callable[[WorkerBench], Awaitable[None]]], None]


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """Runs a test's coroutine with a worker's context over a new store."""

    def run(talk: Callable[[WorkerBench], Awaitable[None]]) -> None:
        async def main() -> None:
            async with WorkerBench(tmp_path) as bench:
                await talk(bench)

        asyncio.run(main())

    return run


def listing(collection: str, *parameters: tuple[str, Any]) -> str:
    return f"{document(collection)}?{urlencode(parameters)}" if parameters else document(collection)


async def pages(bench: WorkerBench, collection: str, *parameters: tuple[str, Any]) -> list[list[str]]:
    """The names on each page, from the first to the last."""
    found = []
    cursor: list[tuple[str, Any]] = []
    while True:
        told = await bench.ask("GET", listing(collection, *parameters, *cursor))
        assert told.status == 200
        assert set(told.json) == {"documents", "cursor"}
        found.append([each["path"].rpartition("/")[2] for each in told.json["documents"]])
        if told.json["cursor"] is None:
            return found
        cursor = [("cursor", told.json["cursor"])]


# -- lists


def test_an_empty_list(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        assert await pages(bench, "none") == [[]]

    work(talk)


def test_a_list_shows_what_a_read_shows(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        await bench.put("orders/ä b", {"total": 3, "rate": 1.0})
        await bench.put("orders/o1/items/i1", {})
        await bench.put("bills/b1", {})
        [shown] = (await bench.ask("GET", document("orders"))).json["documents"]
        assert shown == (await bench.ask("GET", document("orders/ä b"))).json
        [below] = (await bench.ask("GET", document("orders/o1/items"))).json["documents"]
        assert below["path"] == "orders/o1/items/i1"

    work(talk)


@pytest.mark.parametrize(("limit", "sizes"), [(1, [1] * 10), (3, [3, 3, 3, 1]), (5, [5, 5]), (10, [10]), (11, [10])])
def test_pages(work: Work, limit: int, sizes: list[int]) -> None:
    async def talk(bench: WorkerBench) -> None:
        bench.store.commit(*(set_(f"a/{number:02}", {"n": number % 3}) for number in range(10)))
        found = await pages(bench, "a", ("limit", limit))
        assert [len(page) for page in found] == sizes
        assert list(chain(*found)) == [f"{number:02}" for number in range(10)]
        ordered = await pages(bench, "a", ("limit", limit), ("orderBy", "-n"))
        assert list(chain(*ordered)) == ["08", "05", "02", "07", "04", "01", "09", "06", "03", "00"]

    work(talk)


def test_a_page_goes_on_where_the_last_one_ended_whatever_was_written_meanwhile(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        bench.store.commit(*(set_(f"a/{number}", {}) for number in range(1, 9)))
        first = (await bench.ask("GET", listing("a", ("limit", 3)))).json
        assert [each["path"] for each in first["documents"]] == ["a/1", "a/2", "a/3"]
        await bench.put("a/0", {})
        await bench.ask("DELETE", document("a/3"))
        await bench.ask("DELETE", document("a/5"))
        await bench.put("a/4x", {})
        second = (await bench.ask("GET", listing("a", ("limit", 3), ("cursor", first["cursor"])))).json
        assert [each["path"] for each in second["documents"]] == ["a/4", "a/4x", "a/6"]

    work(talk)


def test_filters_and_order(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        for name, total, status in (("a", 5, "open"), ("b", 20, "open"), ("c", 30, "paid"), ("d", 25.5, "open")):
            await bench.put(f"orders/{name}", {"total": total, "status": status})
        where = ("where", 'status:eq:"open"'), ("where", "total:gte:20"), ("orderBy", "-total")
        assert await pages(bench, "orders", *where) == [["d", "b"]]
        assert await pages(bench, "orders", *where, ("limit", 1)) == [["d"], ["b"]]

    work(talk)


def test_without_a_limit_there_are_a_hundred(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        bench.store.commit(*(set_(f"a/{number:03}", {}) for number in range(120)))
        assert [len(page) for page in await pages(bench, "a")] == [100, 20]
        assert [len(page) for page in await pages(bench, "a", ("limit", 1000))] == [120]

    work(talk)


def test_a_page_is_cut_where_it_grows_too_large(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "PAGE_BYTES", 3000)

    async def talk(bench: WorkerBench) -> None:
        for number in range(6):
            await bench.put(f"a/{number}", {"text": "x" * 1000})
        await bench.put("a/large", {"text": "x" * 10000})
        # At least one, or a list with a large document would never get past it.
        assert await pages(bench, "a") == [["0", "1"], ["2", "3"], ["4", "5"], ["large"]]

    work(talk)


@pytest.mark.parametrize(
    "parameters",
    [
        [("limit", 0)],
        [("limit", 1001)],
        [("limit", "x")],
        [("limit", 1), ("limit", 1)],
        [("where", "a")],
        [("where", "a:like:1")],
        [("where", "a:eq:nonsense")],
        [("orderBy", "")],
        [("cursor", "nonsense")],
        [("other", "1")],
    ],
)
def test_a_bad_query_is_refused(work: Work, parameters: list[tuple[str, Any]]) -> None:
    async def talk(bench: WorkerBench) -> None:
        refused = await bench.refusal("GET", listing("a", *parameters))
        assert (refused.kind, refused.status) == ("invalid-query", 400)

    work(talk)


def test_a_cursor_belongs_to_its_query(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        bench.store.commit(*(set_(f"a/{number}", {}) for number in range(3)))
        cursor = (await bench.ask("GET", listing("a", ("limit", 1)))).json["cursor"]
        assert (await bench.refusal("GET", listing("b", ("cursor", cursor)))).status == 400
        assert (await bench.refusal("GET", listing("a", ("orderBy", "n"), ("cursor", cursor)))).status == 400

    work(talk)


@pytest.mark.parametrize("collection", ["", "a//b", "__x__", "%00", "%"])
def test_a_bad_collection_is_refused(work: Work, collection: str) -> None:
    async def talk(bench: WorkerBench) -> None:
        assert (await bench.refusal("GET", f"/v1/documents/{collection}")).kind == "invalid-path"

    work(talk)


# -- batchGet

BATCH_GET = "/v1/documents:batchGet"


def test_batch_get_keeps_the_order_asked_for_and_names_what_is_missing(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        for path in ("a/1", "a/2", "b/ä"):
            await bench.put(path, {"path": path})
        told = await bench.ask("POST", BATCH_GET, {"paths": ["b/ä", "a/none", "a/2", "a/1", "a/2"]})
        assert told.status == 200
        assert [each["data"]["path"] for each in told.json["documents"]] == ["b/ä", "a/2", "a/1"]
        assert told.json["missing"] == ["a/none"]
        assert told.json["documents"][0] == (await bench.ask("GET", document("b/ä"))).json

    work(talk)


def test_batch_get_is_a_snapshot(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        for number in range(20):
            bench.store.commit(set_("a/1", {"n": number}), set_("a/2", {"n": number}))
            reads = [bench.ask("POST", BATCH_GET, {"paths": ["a/1", "a/2"]}) for _ in range(3)]
            for told in await asyncio.gather(*reads):
                assert [each["data"]["n"] for each in told.json["documents"]] == [number, number]

    work(talk)


def test_batch_get_of_what_was_deleted(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        await bench.put("a/1", {})
        await bench.ask("DELETE", document("a/1"))
        assert (await bench.ask("POST", BATCH_GET, {"paths": ["a/1"]})).json == {"documents": [], "missing": ["a/1"]}

    work(talk)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"{", "invalid-json"),
        ([], "bad-request"),
        ({}, "bad-request"),
        ({"paths": "a/b"}, "bad-request"),
        ({"paths": []}, "bad-request"),
        ({"paths": [1]}, "bad-request"),
        ({"paths": ["a/b"], "more": 1}, "bad-request"),
        ({"paths": ["a"]}, "invalid-path"),
        ({"paths": ["a/b", "a/__x__"]}, "invalid-path"),
        ({"paths": ["a/b"] * 501}, "bad-request"),
    ],
)
def test_a_bad_batch_get_is_refused(work: Work, body: Any, kind: str) -> None:
    async def talk(bench: WorkerBench) -> None:
        assert (await bench.refusal("POST", BATCH_GET, body)).kind == kind
        assert (await bench.refusal("POST", f"{BATCH_GET}?x=1", {"paths": ["a/b"]})).status == 400

    work(talk)


def test_batch_get_of_too_much_is_a_413(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queries, "BATCH_BYTES", 1500)

    async def talk(bench: WorkerBench) -> None:
        paths = [f"a/{number}" for number in range(3)]
        for path in paths:
            await bench.put(path, {"text": "x" * 1000})
        assert (await bench.ask("POST", BATCH_GET, {"paths": paths[:1]})).status == 200
        refused = await bench.refusal("POST", BATCH_GET, {"paths": paths})
        assert refused.status == 413
        assert "fewer" in (refused.hint or "")

    work(talk)


def test_batch_get_of_500(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        bench.store.commit(*(set_(f"a/{number}", {"n": number}) for number in range(400)))
        told = await bench.ask("POST", BATCH_GET, {"paths": [f"a/{number}" for number in range(500)]})
        assert len(told.json["documents"]) == 400
        assert len(told.json["missing"]) == 100

    work(talk)


def test_a_problem_is_raised_and_not_answered(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        with pytest.raises(Problem):
            await bench.ask("GET", listing("a", ("limit", 0)))

    work(talk)
