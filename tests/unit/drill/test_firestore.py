"""The drill's own upstream: DEORA's client of Firestore speaks to it, and each of its faults is what it says."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from deora.documents.writes import Write, encode_writes
from deora.drill.firestore import PROJECT, Firestore
from deora.upstream.base import Applied, Cursor, CursorKey, Delivery, Moved, Page, Unclear
from deora.upstream.firestore.client import FirestoreUpstream

T = TypeVar("T")
ROOT = f"projects/{PROJECT}/databases/(default)/documents"
KEY = CursorKey("n-1", "e-1", 0)


@pytest.fixture
def upstream() -> Iterator[Firestore]:
    with Firestore() as one:
        yield one


def speak(upstream: Firestore, what: Callable[[FirestoreUpstream], Awaitable[T]]) -> T:
    """What DEORA's own client makes of it."""

    async def whole() -> T:
        client = FirestoreUpstream.connect(PROJECT, "(default)", Path("none"), upstream.config["emulator_host"])
        try:
            return await what(client)
        finally:
            await client.close()

    return asyncio.run(whole())


def batch(seq: int, *tokens: str) -> Delivery:
    """The batch that moves the cursor to `seq`."""
    payloads = [
        encode_writes(
            [
                Write(
                    "update",
                    "tills/d1",
                    json.dumps([[["log"], "arrayUnion", [token]], [["n"], "increment", 1]]).encode(),
                    upsert=True,
                )
            ]
        )
        for token in tokens
    ]
    before = f"b{seq - 1}" if seq > 1 else ""
    return Delivery(KEY, seq - 1, before, f"b{seq}", b"\x01", payloads)


def test_a_batch_lands_once(upstream: Firestore) -> None:
    async def twice(client: FirestoreUpstream) -> list[Any]:
        outcomes = [await client.apply(batch(1, "a", "b")), await client.apply(batch(1, "a", "b"))]
        return [*outcomes, await client.apply(batch(2, "c")), await client.read_cursor(KEY)]

    assert speak(upstream, twice) == [Applied(), Moved(), Applied(), Cursor(2, "b2", b"\x01")]
    assert upstream.documents() == {"tills/d1": {"log": ["a", "b", "c"], "n": 3}}


def test_it_is_a_witness_of_what_comes_twice(upstream: Firestore) -> None:
    """Without a cursor in its way, what is sent twice counts twice."""
    transforms = [
        {"fieldPath": "log", "appendMissingElements": {"values": [{"stringValue": "a"}]}},
        {"fieldPath": "n", "increment": {"integerValue": "1"}},
    ]
    update = {"update": {"name": f"{ROOT}/tills/d1"}, "updateMask": {"fieldPaths": []}, "updateTransforms": transforms}
    assert [status for status, _ in (call(upstream, "commit", writes=[update]) for _ in range(2))] == [200, 200]
    assert upstream.documents() == {"tills/d1": {"log": ["a"], "n": 2}}


def test_a_read_sees_one_moment(upstream: Firestore) -> None:
    async def read(client: FirestoreUpstream) -> Any:
        await client.apply(batch(1, "a"))
        return await client.read_documents(KEY, ["tills/d1", "tills/none"])

    page = speak(upstream, read)
    assert isinstance(page, Page)
    assert page.seq == 1
    assert [copy.data is None for copy in page.copies] == [False, True]


def test_an_answer_that_is_lost_is_one_of_a_commit_that_took_effect(upstream: Firestore) -> None:
    upstream.lose_answers(1.0)

    async def send(client: FirestoreUpstream) -> tuple[Any, Any]:
        return await client.apply(batch(1, "a")), await client.read_cursor(KEY)

    outcome, cursor = speak(upstream, send)
    assert isinstance(outcome, Unclear)
    assert cursor == Cursor(1, "b1", b"\x01")
    assert upstream.losses == 1


def test_an_outage_takes_nothing(upstream: Firestore) -> None:
    upstream.refuse()
    assert isinstance(speak(upstream, lambda client: client.apply(batch(1, "a"))), Unclear)
    assert upstream.documents() == {}
    upstream.mend()
    assert speak(upstream, lambda client: client.apply(batch(1, "a"))) == Applied()


def test_what_a_partition_swallowed_takes_effect_late_and_nobody_hears_of_it(upstream: Firestore) -> None:
    async def send(client: FirestoreUpstream) -> Any:
        assert await client.apply(batch(1, "a")) == Applied()
        upstream.swallow()
        sending = asyncio.create_task(client.apply(batch(2, "b")))
        while not upstream.swallowed:
            await asyncio.sleep(0)
        assert not sending.done()
        assert upstream.documents() == {"tills/d1": {"log": ["a"], "n": 1}}
        upstream.mend()
        return await sending

    assert isinstance(speak(upstream, send), Unclear)
    assert upstream.documents() == {"tills/d1": {"log": ["a", "b"], "n": 2}}
    assert speak(upstream, lambda client: client.apply(batch(2, "b"))) == Moved()


def call(upstream: Firestore, method: str, **request: Any) -> tuple[int, Any]:
    answer = upstream.handle(f"/v1/{ROOT}:{method}", json.dumps(request).encode())
    assert answer is not None
    return answer[0], json.loads(answer[1])


def a_write(name: str, **more: Any) -> dict[str, Any]:
    return {"update": {"name": f"{ROOT}/{name}", "fields": {"n": {"integerValue": "1"}}}, **more}


@pytest.mark.parametrize(
    ("writes", "status"),
    [
        ([a_write("t/1"), a_write("t/2", currentDocument={"exists": True})], "NOT_FOUND"),
        ([a_write("t/1"), a_write("t/1", currentDocument={"exists": False})], "ALREADY_EXISTS"),
        (
            [a_write("t/1"), a_write("t/1", currentDocument={"updateTime": "2020-01-01T00:00:00Z"})],
            "FAILED_PRECONDITION",
        ),
        ([a_write("t/1"), {"delete": f"{ROOT}/t/1"}], "INVALID_ARGUMENT"),
        ([a_write("t/1", updateTransforms=[{"fieldPath": "n", "maximum": {}}])], "INVALID_ARGUMENT"),
    ],
)
def test_a_commit_is_all_or_nothing(upstream: Firestore, writes: list[dict[str, Any]], status: str) -> None:
    code, answer = call(upstream, "commit", writes=writes)
    assert (code >= 400, answer["error"]["status"]) == (True, status)
    assert upstream.documents() == {}


def test_a_mask_names_what_is_replaced(upstream: Firestore) -> None:
    fields = {"a": {"integerValue": "1"}, "b": {"stringValue": "x"}}
    call(upstream, "commit", writes=[{"update": {"name": f"{ROOT}/t/1", "fields": fields}}])
    masked = {"update": {"name": f"{ROOT}/t/1", "fields": {"c": {"stringValue": "y"}}}}
    call(upstream, "commit", writes=[{**masked, "updateMask": {"fieldPaths": ["b", "c"]}}])
    assert upstream.documents() == {"t/1": {"a": 1, "c": "y"}}


def test_what_it_does_not_know_it_says(upstream: Firestore) -> None:
    code, answer = call(upstream, "runQuery")
    assert (code, answer[0]["error"]["status"]) == (400, "INVALID_ARGUMENT")
    code, answer = call(upstream, "batchGet", documents=[], transaction="AAAA")
    assert (code, answer[0]["error"]["status"]) == (400, "INVALID_ARGUMENT")


def test_a_transaction_sees_its_moment(upstream: Firestore) -> None:
    begun = call(upstream, "beginTransaction")[1]["transaction"]
    call(upstream, "commit", writes=[a_write("t/1")])
    names = [f"{ROOT}/t/1"]
    [then] = call(upstream, "batchGet", documents=names, transaction=begun)[1]
    [now] = call(upstream, "batchGet", documents=names)[1]
    assert ("missing" in then, "found" in now) == (True, True)


def test_old_snapshots_are_let_go_of(upstream: Firestore) -> None:
    first = call(upstream, "beginTransaction")[1]["transaction"]
    base64.b64decode(first, validate=True)
    assert call(upstream, "batchGet", documents=[], transaction=first) == (200, [])
    for _ in range(64):
        call(upstream, "beginTransaction")
    assert call(upstream, "batchGet", documents=[], transaction=first)[0] == 400


def test_a_large_body_comes_in_pieces(upstream: Firestore) -> None:
    """Beyond 512 KiB DEORA's client streams."""
    tokens = [f"{number:0200}" for number in range(2500)]
    assert speak(upstream, lambda client: client.apply(batch(1, *tokens))) == Applied()
    assert upstream.documents()["tills/d1"]["n"] == len(tokens)


def test_a_batch_of_another_place_is_refused(upstream: Firestore) -> None:
    assert speak(upstream, lambda client: client.apply(replace(batch(2, "a"), expected_batch_id="else"))) == Moved()
