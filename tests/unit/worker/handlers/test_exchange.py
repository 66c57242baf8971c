"""Pages of an export and of an import, against a real store file."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from deora.errors import Problem
from deora.store.service import Settings
from tests.fakes.store import settings_with
from tests.fakes.worker import WorkerBench

EXPORT, IMPORT = "/v1/queue:export", "/v1/queue:import"
SENDER = {"node": "old", "epoch": "e1", "upstreams": {"primary": {"seq": 7}}}
Talk = Callable[[WorkerBench], Awaitable[None]]
Work = Callable[..., None]


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """Runs a test's coroutine with a worker's context over a new store."""

    def run(talk: Talk, settings: Settings | None = None) -> None:
        async def main() -> None:
            async with WorkerBench(tmp_path, settings) as bench:
                await talk(bench)

        asyncio.run(main())

    return run


def line(number: int, *writes: Any, **members: Any) -> dict[str, Any]:
    return {
        "upstream": "primary",
        "node": "old",
        "epoch": "e1",
        "number": number,
        "state": "pending",
        "priority": 5,
        "created": "2026-01-31T12:00:00.000000Z",
        "commit": number,
        "attempts": 0,
        "error": None,
        "writes": list(writes) or [{"set": {"path": f"a/{number}", "data": {"n": number}}}],
    } | members


async def bring(bench: WorkerBench, *lines: dict[str, Any], sender: Any = None) -> tuple[int, int, int]:
    told = await bench.ask("POST", IMPORT, {"from": sender or SENDER, "entries": list(lines)})
    return told.json["imported"], told.json["alreadyUpstream"], told.json["alreadyHere"]


def test_an_export_is_what_an_import_takes(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        for number in range(5):
            await bench.put(f"a/{number}", {"n": number})
        bench.store.kill("refused")
        page = (await bench.ask("GET", f"{EXPORT}?limit=3")).json
        node, epoch = bench.store.service.identity
        assert (page["node"], page["epoch"]) == (node, epoch)
        assert page["upstreams"] == {"primary": {"seq": 1, "batchId": "fence:b1", "pending": 4, "dead": 1}}
        assert [entry["number"] for entry in page["entries"]] == [1, 2, 3]
        assert [entry["state"] for entry in page["entries"]] == ["dead", "pending", "pending"]
        rest = (await bench.ask("GET", f"{EXPORT}?limit=3&cursor={page['cursor']}")).json
        assert [entry["number"] for entry in rest["entries"]] == [4, 5]
        assert rest["cursor"] is None
        dead = (await bench.ask("GET", f"{EXPORT}?state=dead")).json["entries"]
        assert [(entry["number"], entry["error"]) for entry in dead] == [(1, "refused")]
        assert await bring(bench, *page["entries"], *rest["entries"], sender=page) == (0, 0, 5)

    work(talk)


def test_an_export_names_the_upstream_that_was_asked_for(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        await bench.put("a/1", {})
        page = (await bench.ask("GET", f"{EXPORT}?upstream=secondary")).json
        assert list(page["upstreams"]) == ["secondary"]
        assert [entry["upstream"] for entry in page["entries"]] == ["secondary"]
        assert (await bench.refusal("GET", f"{EXPORT}?upstream=x")).status == 400

    work(talk, settings_with(["primary", "secondary"]))


def test_cursors_are_taken_over_before_anything_comes_in(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        entries = [line(4), line(2, node="older", epoch="e0"), line(3, node="older", epoch="e0")]
        assert await bring(bench, *entries) == (3, 0, 0)
        assert bench.replayer.taken == [
            ["primary", "old", "e1", 7, "old.e1"],
            ["primary", "older", "e0", 0, "old.e1"],
        ]
        bench.replayer.taken.clear()
        assert await bring(bench) == (0, 0, 0)
        assert len(bench.replayer.taken) == 1, "a file without entries fences its box as well"
        bench.replayer.out = Problem("conflict", "taken over by another already")
        assert (await bench.refusal("POST", IMPORT, {"from": SENDER, "entries": [line(9)]})).status == 409
        assert len(bench.store.states()) == 3

    work(talk)


def test_what_upstream_has_decided_is_not_sent_again(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        bench.replayer.applied, bench.replayer.refused = {1}, {2, 3}
        entries = [line(1), line(2), line(3, state="dead", error="its own"), line(4, state="inflight")]
        assert await bring(bench, *entries) == (3, 1, 0)
        listed = (await bench.ask("GET", "/v1/queue/entries")).json["entries"]
        assert [(entry["origin"]["number"], entry["state"]) for entry in listed] == [
            (2, "dead"),
            (3, "dead"),
            (4, "pending"),
        ]
        assert "had refused this entry before" in listed[0]["error"]
        assert listed[1]["error"] == "its own"
        assert listed[2]["origin"] == {"node": "old", "epoch": "e1", "number": 4}

    work(talk)


def test_what_entries_build_on_is_adopted_first(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        bench.replayer.documents = {"a/far": b'{"n":10}', "a/blind": b'{"n":10}'}
        await bench.put("a/held", {"n": 1})
        update = {"data": {"n": {"$increment": 1}}, "upsert": True}
        writes = [{"update": {"path": f"a/{name}", **update}} for name in ("far", "held", "nowhere", "blind")]
        blind = {"set": {"path": "a/blind", "data": {"n": 0}}}
        assert await bring(bench, line(1, blind), line(2, *writes)) == (2, 0, 0)
        assert bench.replayer.asked == [("adoptReadable", ["a/far", "a/nowhere"])]
        shown = [await bench.get(f"a/{name}") for name in ("far", "held", "nowhere", "blind")]
        assert shown == [{"n": 11}, {"n": 2}, {"n": 1}, {"n": 1}]
        assert bench.store.column("a/far", "base") == '{"n":10}'
        # What it holds now is not asked for again.
        assert await bring(bench, line(3, *writes)) == (1, 0, 0)
        assert len(bench.replayer.asked) == 1

    work(talk)


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {"entries": []},
        {"from": SENDER},
        {"from": SENDER, "entries": {}},
        {"from": SENDER, "entries": [], "x": 1},
        {"from": {}, "entries": []},
        {"from": SENDER, "entries": [line(0)]},
        {"from": SENDER, "entries": [line(number) for number in range(1, 1002)]},
        {"from": SENDER, "entries": [line(1), line(2, {"set": {"path": "a", "data": {}}})]},
    ],
)
def test_a_bad_page_changes_nothing(work: Work, body: Any) -> None:
    async def talk(bench: WorkerBench) -> None:
        problem = await bench.refusal("POST", IMPORT, body)
        assert problem.status == 400
        assert bench.replayer.taken == []
        assert bench.store.states() == {}
        if isinstance(body, dict) and len(body.get("entries", [])) == 2:
            assert problem.detail.startswith("entries[1]: ")

    work(talk)
