"""Where a stream begins."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from deora.errors import Problem
from deora.worker.context import Stream
from tests.fakes.store import set_
from tests.fakes.worker import WorkerBench, request

Work = Callable[[Callable[[WorkerBench], Awaitable[None]]], None]


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """Runs a test's coroutine with a worker's context over a store of five commits, two of them pruned."""

    def run(talk: Callable[[WorkerBench], Awaitable[None]]) -> None:
        async def main() -> None:
            async with WorkerBench(tmp_path) as bench:
                for number in range(5):
                    bench.store.commit(set_("a/1", {"n": number}))
                bench.store.connection.execute("UPDATE progress SET pruned_commit = 2")
                await talk(bench)

        asyncio.run(main())

    return run


async def begin(bench: WorkerBench, query: str = "", last_id: str | None = None) -> Stream:
    """The stream that a request begins; EPOCH stands for the store's."""
    epoch = bench.store.service.identity[1]
    headers = {} if last_id is None else {"last-event-id": last_id.replace("EPOCH", epoch)}
    reply = await bench.reply(request("GET", f"/v1/changes{query.replace('EPOCH', epoch)}", headers=headers))
    assert isinstance(reply, Stream)
    reply.start = reply.start.replace(epoch, "EPOCH")
    reply.first = reply.first.replace(epoch.encode(), b"EPOCH")
    return reply


@pytest.mark.parametrize(
    ("query", "last_id", "start"),
    [
        ("", None, "EPOCH-5"),
        ("", "", "EPOCH-5"),
        ("?since=3", None, "EPOCH-3"),
        ("?since=2", None, "EPOCH-2"),
        ("?since=EPOCH-4.1", None, "EPOCH-4.1"),
        ("?since=3", "EPOCH-4", "EPOCH-4"),
        ("?since=3", "", "EPOCH-3"),
    ],
)
def test_it_goes_on_where_it_can(work: Work, query: str, last_id: str | None, start: str) -> None:
    async def talk(bench: WorkerBench) -> None:
        assert await begin(bench, query, last_id) == Stream(None, start, b"id: %b\n\n" % start.encode())

    work(talk)


@pytest.mark.parametrize(
    ("query", "last_id", "reason"),
    [
        ("?since=1", None, b"pruned"),
        ("?since=EPOCH-2.1", None, b"pruned"),
        ("?since=6", None, b"future"),
        (f"?since={10**18}", None, b"future"),
        ("", "EPOCH-5.1x", b"unknown"),
        ("?since=5", "0other-5", b"epoch"),
    ],
)
def test_else_the_client_reads_again_and_goes_on_from_now(
    work: Work, query: str, last_id: str | None, reason: bytes
) -> None:
    async def talk(bench: WorkerBench) -> None:
        stream = await begin(bench, query, last_id)
        assert stream.start == "EPOCH-5"
        assert stream.first.startswith(b"event: resync\nid: EPOCH-5\ndata: ")
        assert b'"reason":"%b"' % reason in stream.first

    work(talk)


def test_collections_are_named_once(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        assert (await begin(bench, "?collections=b,a,b,a/1/c")).collections == ["a", "a/1/c", "b"]

    work(talk)


@pytest.mark.parametrize("query", ["since=x", "since=-1", "since=", "collections=", "collections=a/b", "all=1"])
def test_what_is_refused(work: Work, query: str) -> None:
    async def talk(bench: WorkerBench) -> None:
        with pytest.raises(Problem) as refused:
            await begin(bench, f"?{query}")
        assert refused.value.status == 400

    work(talk)
