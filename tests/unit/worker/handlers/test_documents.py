"""One document: every call against a real store file."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from deora.documents.writes import Write
from deora.errors import Problem
from deora.wire.frames import Kind, encode, unpack
from deora.wire.keys import key_of
from deora.worker.context import Answer, Commit
from tests.fakes.store import set_
from tests.fakes.worker import WorkerBench, document, request

Work = Callable[..., None]


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """Runs a test's coroutine with a worker's context over a new store."""

    def run(talk: Callable[[WorkerBench], Awaitable[None]], **more: Any) -> None:
        async def main() -> None:
            async with WorkerBench(tmp_path, **more) as bench:
                await talk(bench)

        asyncio.run(main())

    return run


def tag(version: str) -> str:
    return f'"{version}"'


# -- reading


def test_read(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        told = await bench.put("orders/o1", {"total": 3, "rate": 1.0, "at": {"$timestamp": "2026-01-31T12:00:00Z"}})
        assert (told.status, told.json["replication"]) == (201, "pending")
        for _ in range(2):  # from the file, then from memory
            read = await bench.ask("GET", document("orders/o1"))
            assert read.status == 200
            assert read.headers == f"ETag: {tag(told.version)}\r\n"
            assert read.json == {
                "path": "orders/o1",
                "version": told.version,
                "createTime": "2026-01-31T12:00:00.000000Z",
                "updateTime": "2026-01-31T12:00:00.000000Z",
                "pending": True,
                "data": {"total": 3, "rate": 1.0, "at": {"$timestamp": "2026-01-31T12:00:00.000000Z"}},
            }
            assert isinstance(read.json["data"]["rate"], float)
        assert bench.context.memory.hits == 1

    work(talk)


def test_pending_ends_with_the_delivery_whatever_the_memory_holds(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        await bench.put("a/b", {})
        assert (await bench.ask("GET", document("a/b"))).json["pending"] is True
        batch = bench.store.claim()
        assert batch is not None
        bench.context.memory.invalidate(bench.store.settle(batch).notices())
        assert (await bench.ask("GET", document("a/b"))).json["pending"] is False

    work(talk)


@pytest.mark.parametrize("path", ["a/ä", "a/b c", "a/100%", "a/a+b", "a/a:b", "a/'\"`", "a/" + "x" * 1500, "a/b/c/d"])
def test_any_valid_path(work: Work, path: str) -> None:
    async def talk(bench: WorkerBench) -> None:
        assert (await bench.put(path, {"n": 1})).json["path"] == path
        assert await bench.get(path) == {"n": 1}
        assert bench.store.view(path) == {"n": 1}

    work(talk)


def test_what_is_not_there(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        refused = await bench.refusal("GET", document("a/none"))
        assert (refused.kind, refused.status) == ("document-not-found", 404)
        assert "a/none" in refused.detail
        await bench.put("a/b", {})
        await bench.get("a/b")
        await bench.ask("DELETE", document("a/b"))
        assert (await bench.refusal("GET", document("a/b"))).status == 404
        # Such a read leaves nothing behind in the memory.
        assert not bench.context.memory._reading

    work(talk)


@pytest.mark.parametrize(
    ("header", "status"),
    [("{etag}", 304), ("*", 304), ('"x", {etag}', 304), ("W/{etag}", 304), ('"x"', 200), ('"x", W/"y"', 200)],
)
def test_if_none_match(work: Work, header: str, status: int) -> None:
    async def talk(bench: WorkerBench) -> None:
        version = (await bench.put("a/b", {"n": 1})).version
        for _ in range(2):
            asked = {"if-none-match": header.format(etag=tag(version))}
            read = await bench.ask("GET", document("a/b"), headers=asked)
            assert read.status == status
            assert read.headers == f"ETag: {tag(version)}\r\n"
            assert (read.json is None) == (status == 304)

    work(talk)


def test_if_none_match_of_what_is_not_there_is_a_404(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        assert (await bench.refusal("GET", document("a/b"), headers={"if-none-match": "*"})).status == 404

    work(talk)


def test_an_etag_is_good_until_the_data_change(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        first = (await bench.put("a/b", {"n": 1})).version
        assert (await bench.put("a/b", {"n": 1})).version == first
        assert (await bench.ask("GET", document("a/b"), headers={"if-none-match": tag(first)})).status == 304
        second = (await bench.put("a/b", {"n": 2})).version
        assert second != first
        assert (await bench.ask("GET", document("a/b"), headers={"if-none-match": tag(first)})).status == 200

    work(talk)


# -- the memory cache: a fill never undoes a notice


def test_a_read_that_a_notice_overtakes_is_not_kept(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(bench: WorkerBench) -> None:
        await bench.put("a/b", {"n": 1})
        reading = bench.reply(request("GET", document("a/b")))
        rows = bench.context.reader.rows

        async def slow(*arguments: Any) -> Any:
            found = await rows(*arguments)
            # After the file was read, and before the read is answered: another client's write.
            await bench.put("a/b", {"n": 2})
            return found

        monkeypatch.setattr(bench.context.reader, "rows", slow)
        answered = await reading
        assert isinstance(answered, Answer)
        monkeypatch.setattr(bench.context.reader, "rows", rows)
        # Its client may see the past, since it asked in the past; nobody who asks now may.
        assert json.loads(answered.content)["data"] == {"n": 1}
        assert await bench.get("a/b") == {"n": 2}

    work(talk)


def test_of_two_reads_the_older_is_not_kept(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk(bench: WorkerBench) -> None:
        await bench.put("a/b", {"n": 1})
        gates = [asyncio.Event(), asyncio.Event()]
        rows = bench.context.reader.rows

        async def gated(*arguments: Any) -> Any:
            gate = gates.pop(0)
            found = await rows(*arguments)
            await gate.wait()
            return found

        monkeypatch.setattr(bench.context.reader, "rows", gated)
        first_gate, second_gate = gates
        first = asyncio.ensure_future(bench.reply(request("GET", document("a/b"))))
        while len(gates) > 1:
            await asyncio.sleep(0)
        bench.store.commit(set_("a/b", {"n": 2}))
        bench.context.memory.invalidate(["a/b"])
        second = asyncio.ensure_future(bench.reply(request("GET", document("a/b"))))
        while gates:
            await asyncio.sleep(0)
        second_gate.set()
        answered = await second
        assert isinstance(answered, Answer)
        assert json.loads(answered.content)["data"] == {"n": 2}
        first_gate.set()
        await first
        monkeypatch.setattr(bench.context.reader, "rows", rows)
        assert await bench.get("a/b") == {"n": 2}
        assert bench.context.memory.hits == 1

    work(talk)


def test_a_read_that_fails_leaves_nothing_behind(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        bench.store.db.execute("ALTER TABLE documents RENAME TO away")
        for _ in range(3):
            with pytest.raises(Exception, match="no such table"):
                await bench.get("a/b")
        assert not bench.context.memory._reading

    work(talk)


# -- writing


def test_set_creates_and_replaces(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        assert (await bench.put("a/b", {"n": 1, "m": 1})).status == 201
        assert (await bench.put("a/b", {"n": 2})).status == 200
        assert await bench.get("a/b") == {"n": 2}

    work(talk)


def test_set_that_creates_only(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        only_new = {"headers": {"if-none-match": "*"}}
        assert (await bench.put("a/b", {"n": 1}, **only_new)).status == 201
        refused = await bench.refusal("PUT", document("a/b"), {"n": 2}, **only_new)
        assert refused.status == 412
        assert await bench.get("a/b") == {"n": 1}

    work(talk)


def test_guards(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        bodies: dict[str, Any] = {"PUT": {"n": 2}, "PATCH": {"n": 2}, "DELETE": None}
        for method, body in bodies.items():
            version = (await bench.put("a/b", {"n": method})).version
            stale = {"headers": {"if-match": tag("stale")}}
            assert (await bench.refusal(method, document("a/b"), body, **stale)).status == 412
            assert await bench.get("a/b") == {"n": method}
            told = await bench.ask(method, document("a/b"), body, headers={"if-match": tag(version)})
            assert told.status == 200
            any_version = {"headers": {"if-match": "*"}}
            assert (await bench.refusal(method, document("a/none"), body, **any_version)).status == 412

    work(talk)


@pytest.mark.parametrize(
    ("method", "path", "header"),
    [
        ("PUT", "a/b", {"if-none-match": '"e-1"'}),
        ("PUT", "a/b", {"if-none-match": '*, "e-1"'}),
        ("PATCH", "a/b", {"if-none-match": "*"}),
        ("DELETE", "a/b", {"if-none-match": "*"}),
        ("POST", "a", {"if-none-match": "*"}),
        ("POST", "a", {"if-match": '"e-1"'}),
        ("PUT", "a/b", {"if-match": 'W/"e-1"'}),
    ],
)
def test_a_guard_that_cannot_be_kept_is_refused(work: Work, method: str, path: str, header: dict[str, str]) -> None:
    async def talk(bench: WorkerBench) -> None:
        body: Any = None if method == "DELETE" else {}
        refused = await bench.refusal(method, document(path), body, headers=header)
        assert (refused.kind, refused.status) == ("invalid-header", 400)
        assert bench.store.rows("SELECT commit_no FROM progress") == [(0,)]

    work(talk)


def test_update(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        await bench.put("a/b", {"n": 1, "tags": ["x"], "deep": {"m": 1, "k": 1}})
        told = await bench.ask(
            "PATCH",
            document("a/b"),
            {
                "n": {"$increment": 2},
                "tags": {"$arrayUnion": ["y"]},
                "deep.m": {"$delete": True},
                "`a.b`": 1,
                "at": {"$serverTimestamp": True},
            },
        )
        assert told.status == 200
        assert await bench.get("a/b") == {
            "n": 3,
            "tags": ["x", "y"],
            "deep": {"k": 1},
            "a.b": 1,
            "at": {"$timestamp": "2026-01-31T12:00:00.000000Z"},
        }

    work(talk)


def test_update_of_what_is_not_there(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        refused = await bench.refusal("PATCH", document("a/b"), {"n": {"$increment": 1}})
        assert refused.status == 404
        for number in (1, 2):
            await bench.ask("PATCH", document("a/b") + "?upsert=true", {"n": {"$increment": 1}})
            assert await bench.get("a/b") == {"n": number}
        assert (await bench.refusal("PATCH", document("a/c") + "?upsert=false", {"n": 1})).status == 404

    work(talk)


@pytest.mark.parametrize("query", ["upsert=1", "upsert=", "upsert=TRUE", "upsert=true&upsert=true", "other=1"])
def test_parameters_are_checked(work: Work, query: str) -> None:
    async def talk(bench: WorkerBench) -> None:
        assert (await bench.refusal("PATCH", f"{document('a/b')}?{query}", {"n": 1})).status == 400
        for method in ("GET", "PUT", "DELETE"):
            refused = await bench.refusal(method, f"{document('a/b')}?{query}", {} if method == "PUT" else None)
            assert refused.status == 400
            assert "allowed: none" in refused.detail

    work(talk)


def test_delete(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        await bench.put("a/b", {})
        assert (await bench.ask("DELETE", document("a/b"))).status == 200
        assert (await bench.ask("DELETE", document("a/b"))).status == 200
        assert bench.store.view("a/b") is None

    work(talk)


def test_create(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        told = await bench.ask("POST", document("orders"), {"n": 1})
        assert told.status == 201
        collection, _, name = told.json["path"].partition("/")
        assert collection == "orders"
        assert len(name) == 20
        assert name.isalnum()
        assert await bench.get(told.json["path"]) == {"n": 1}
        assert (await bench.ask("POST", document("orders") + "?id=o%201", {})).json["path"] == "orders/o 1"
        refused = await bench.refusal("POST", document("orders") + "?id=o%201", {})
        assert (refused.kind, refused.status) == ("already-exists", 409)

    work(talk)


def test_a_generated_id_is_the_same_at_every_attempt(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        attempts = [await bench.reply(request("POST", document("orders"), {}, ident=5)) for _ in range(2)]
        assert attempts[0] == attempts[1]
        assert await bench.reply(request("POST", document("orders"), {}, ident=6)) != attempts[0]

    work(talk)


@pytest.mark.parametrize("ident", ["", "a%2Fb", ".", "..", "__a__", "a%00b", "x" * 1501])
def test_a_bad_id_is_refused(work: Work, ident: str) -> None:
    async def talk(bench: WorkerBench) -> None:
        refused = await bench.refusal("POST", f"{document('orders')}?id={ident}", {})
        assert (refused.kind, refused.status) == ("invalid-path", 400)

    work(talk)


@pytest.mark.parametrize("path", ["a//b", "a/", "a/.", "a/..", "a/__x__", "a/%00", "a/b%2Fc", "a/%ED%A0%80", "a/%"])
@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_a_bad_path_is_refused(work: Work, method: str, path: str) -> None:
    async def talk(bench: WorkerBench) -> None:
        body = {"a": 1} if method in ("PUT", "PATCH") else None
        target = f"/v1/documents/{path}"
        if path.count("/") % 2 == 0:
            target += "/c"
        refused = await bench.refusal(method, target, body)
        assert (refused.kind, refused.status) == ("invalid-path", 400)

    work(talk)


# -- commits


def test_commit(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        version = (await bench.put("a/old", {"n": 1})).version
        told = await bench.ask(
            "POST",
            "/v1/documents:commit",
            {
                "writes": [
                    {"set": {"path": "a/x", "data": {"n": 1}}},
                    {"update": {"path": "a/x", "data": {"n": {"$increment": 1}}}},
                    {"create": {"path": "a/y", "data": {}}},
                    {"delete": {"path": "a/old"}, "ifVersion": version},
                ]
            },
        )
        assert told.status == 200
        assert [write["path"] for write in told.json["writes"]] == ["a/x", "a/x", "a/y", "a/old"]
        assert told.json["commit"] == 2
        assert await bench.get("a/x") == {"n": 2}
        assert bench.store.view("a/old") is None

    work(talk)


def test_a_commit_is_all_or_nothing(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        await bench.put("a/b", {})
        writes = [{"set": {"path": "a/c", "data": {}}}, {"create": {"path": "a/b", "data": {}}}]
        refused = await bench.refusal("POST", "/v1/documents:commit", {"writes": writes})
        assert (refused.status, refused.fields) == (409, {"write": 1})
        assert bench.store.view("a/c") is None
        assert bench.store.rows("SELECT commit_no FROM progress") == [(1,)]

    work(talk)


# -- what a write is sent with


def sent(reply: Any) -> tuple[list[Any], int]:
    """The body of a Commit, and the seconds that its client waits."""
    assert isinstance(reply, Commit)
    body = unpack(reply.body)
    assert body[0] == "write"
    return body, reply.wait_s


def test_priorities(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        async def priority(method: str, target: str, body: Any, **headers: str) -> int:
            asked = {name.replace("_", "-"): value for name, value in headers.items()}
            found: int = sent(await bench.reply(request(method, target, body, headers=asked)))[0][3]
            return found

        assert await priority("PUT", document("a/b"), {}) == 5
        assert await priority("PUT", document("payments/b"), {}) == 9
        assert await priority("PUT", document("a/b/stock/c"), {}) == 1
        assert await priority("PUT", document("payments/b"), {}, x_deora_priority="0") == 0
        writes = [{"delete": {"path": path}} for path in ("stock/a", "payments/b", "a/b")]
        assert await priority("POST", "/v1/documents:commit", {"writes": writes}) == 9
        assert await priority("POST", "/v1/documents:commit", {"writes": writes[:1]}) == 1

    work(talk, priorities={"payments": 9, "stock": 1})


def test_preferences(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        asked = {"prefer": "wait=7, return=representation"}
        body, wait_s = sent(await bench.reply(request("PUT", document("a/b"), {}, headers=asked)))
        assert (body[6], wait_s) == (True, 7)
        told = await bench.ask("PATCH", document("a/b") + "?upsert=true", {"n": {"$increment": 1}}, headers=asked)
        assert told.wait_s == 7
        assert told.json["document"]["data"] == {"n": 1}
        assert told.json["document"]["version"] == told.version
        assert "document" not in (await bench.put("a/b", {})).json

    work(talk)


@pytest.mark.parametrize(
    "header", [{"prefer": "wait=x"}, {"x-deora-priority": "10"}, {"idempotency-key": ""}, {"idempotency-key": "ä"}]
)
def test_bad_headers_write_nothing(work: Work, header: dict[str, str]) -> None:
    async def talk(bench: WorkerBench) -> None:
        for method, target, body in (
            ("PUT", document("a/b"), {}),
            ("PATCH", document("a/b"), {"n": 1}),
            ("DELETE", document("a/b"), None),
            ("POST", document("a"), {}),
            ("POST", "/v1/documents:commit", {"writes": [{"delete": {"path": "a/b"}}]}),
        ):
            refused = await bench.refusal(method, target, body, headers=header)
            assert (refused.kind, refused.status) == ("invalid-header", 400)
        assert bench.store.rows("SELECT commit_no FROM progress") == [(0,)]

    work(talk)


# -- idempotency keys


def test_the_same_key_replays_the_first_answer(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        key = {"headers": {"idempotency-key": "k"}}
        first = await bench.ask("POST", document("orders"), {"n": 1}, **key)
        assert first == await bench.ask("POST", document("orders"), {"n": 1}, **key)
        assert bench.store.rows("SELECT count(*) FROM documents") == [(1,)]
        refused = await bench.refusal("POST", document("orders"), {"n": 2}, **key)
        assert (refused.kind, refused.status) == ("key-reused", 422)

    work(talk)


def test_the_same_key_elsewhere_is_another(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        requests: list[tuple[str, str, Any]] = [
            ("PUT", document("a/b"), {}),
            ("PATCH", document("a/b"), {"n": 1}),
            ("PATCH", document("a/b") + "?upsert=true", {"n": 1}),
            ("PUT", document("a/c"), {}),
            ("DELETE", document("a/b"), None),
        ]
        keys = set()
        for method, target, body in requests:
            for token in ("", "till"):
                asked = {"idempotency-key": "k", "token": token}
                keys.add(sent(await bench.reply(request(method, target, body, headers=asked)))[0][1])
        assert len(keys) == 2 * len(requests)

    work(talk)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (b'{"n": 2}', {}),
        (b'{"n":1}', {}),
        (b'{"n": 1}', {"if-match": '"a"'}),
        (b'{"n": 1}', {"if-none-match": "*"}),
        (b'{"n": 1}', {"x-deora-priority": "9"}),
    ],
)
def test_what_makes_it_another_request(work: Work, body: bytes, headers: dict[str, str]) -> None:
    async def talk(bench: WorkerBench) -> None:
        key = {"idempotency-key": "k"}
        first = sent(await bench.reply(request("PUT", document("a/b"), b'{"n": 1}', headers=key)))[0]
        second = sent(await bench.reply(request("PUT", document("a/b"), body, headers=key | headers)))[0]
        assert first[1] == second[1]
        assert first[2] != second[2]

    work(talk)


def test_without_a_key_there_is_none(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        body, _ = sent(await bench.reply(request("PUT", document("a/b"), {})))
        assert body[1] is None
        assert len(body) == 7

    work(talk)


def test_a_key_that_a_refusal_named_says_what_it_repeats(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        asked = ("PUT", document("a/b"), {"n": 1})
        without, _ = sent(await bench.reply(request(*asked)))
        named = {"idempotency-key": key_of(77).decode()}
        body, _ = sent(await bench.reply(request(*asked, headers=named)))
        assert body[7:] == [77, without[2]]
        for other in (("PUT", document("a/c"), {"n": 1}), ("PUT", document("a/b"), {"n": 2})):
            body, _ = sent(await bench.reply(request(*other, headers=named)))
            assert body[7:] != [77, without[2]]
        body, _ = sent(await bench.reply(request(*asked, headers=named | {"token": "other"})))
        assert body[7:] != [77, without[2]]

    work(talk)


# -- bad bodies


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"{'n': 1}", 400),
        (b"[]", 400),
        (b"null", 400),
        (b'"text"', 400),
        (b'{"n": NaN}', 400),
        (b'{"n": Infinity}', 400),
        (b'{"n": 1e999}', 400),
        (b'{"n": 9223372036854775808}', 400),
        (b'{"$n": 1}', 400),
        (b'{"n": {"$timestamp": "soon"}}', 400),
        (b'{"n": "\xff"}', 400),
        (b'{"a":' * 21 + b"1" + b"}" * 21, 400),
        (b'{"n": "' + b"x" * 1024 * 1024 + b'"}', 413),
    ],
)
def test_a_bad_document_is_refused_and_nothing_is_written(work: Work, body: bytes, status: int) -> None:
    async def talk(bench: WorkerBench) -> None:
        json_body = {"content-type": "application/json"}
        for method, target in (("PUT", document("a/b")), ("POST", document("a"))):
            refused = await bench.refusal(method, target, body, headers=json_body)
            assert refused.status == status
            assert refused.detail
        assert bench.store.rows("SELECT commit_no FROM progress") == [(0,)]

    work(talk)


def test_a_body_of_another_type_is_a_415(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        for method, target in (
            ("PUT", document("a/b")),
            ("PATCH", document("a/b")),
            ("POST", document("a")),
            ("POST", "/v1/documents:commit"),
        ):
            assert (await bench.refusal(method, target, b"{}", headers={"content-type": "text/plain"})).status == 415

    work(talk)


def test_a_worker_has_no_side_effect(work: Work) -> None:
    async def talk(bench: WorkerBench) -> None:
        reply = await bench.reply(request("PUT", document("a/b"), {}))
        assert isinstance(reply, Commit)
        assert bench.store.view("a/b") is None
        # Nothing is shown before the store has said so, and then at once.
        with pytest.raises(Problem):
            await bench.get("a/b")
        bench.store.handle(encode(Kind.COMMIT, 1, reply.body))
        answered = await bench.reply(request("GET", document("a/b")))
        assert isinstance(answered, Answer)
        assert answered.status == 200

    work(talk)


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("PUT", document("a/b"), {}),
        ("POST", document("a"), {}),
        ("PATCH", document("a/b"), {"n": 1}),
        ("DELETE", document("a/b"), None),
        ("POST", "/v1/documents:commit", {"writes": [{"set": {"path": "a/b", "data": {}}}]}),
    ],
)
def test_what_an_upstream_would_refuse_is_refused_before_it_is_acknowledged(
    work: Work, method: str, target: str, body: Any
) -> None:
    def check(writes: Sequence[Write]) -> None:
        assert [write.path.split("/")[0] for write in writes] == ["a"]
        raise Problem("invalid-document", "upstream would not take it")

    async def talk(bench: WorkerBench) -> None:
        bench.context.checks = (lambda _: None, check)
        assert (await bench.refusal(method, target, body)).detail == "upstream would not take it"
        assert bench.store.rows("SELECT commit_no FROM progress") == [(0,)]

    work(talk)
