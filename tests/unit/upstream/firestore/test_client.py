"""The client against a server that fails as networks, proxies and Google do. tests/contracts has its contract."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest

from bench.peers.dropping import DroppingProxy
from bench.processes import free_port
from deora.documents.writes import encode_writes
from deora.upstream.base import (
    Applied,
    Cursor,
    CursorKey,
    Delivery,
    Failure,
    Moved,
    Outcome,
    Page,
    Refused,
    Unauthorised,
    Unclear,
)
from deora.upstream.firestore import client
from deora.upstream.firestore.client import FirestoreUpstream
from deora.upstream.firestore.rest import Rest
from tests.fakes.firestore import FakeFirestore
from tests.fakes.firestore_data import ApiFault
from tests.fakes.firestore_view import FirestoreView
from tests.fakes.store import set_, update

T = TypeVar("T")
KEY = CursorKey("box1", "epoch1", 0)
CURSOR = "/_deora/"


@pytest.fixture
def fake() -> Iterator[FakeFirestore]:
    with FakeFirestore() as server:
        yield server


def batch(number: int, *writes: Any) -> Delivery:
    """The batch `b<number>`, behind `b<number - 1>`, an entry for each write."""
    before = f"b{number - 1}" if number > 1 else ""
    return Delivery(KEY, number - 1, before, f"b{number}", b"", [encode_writes([write]) for write in writes])


def using(host: str, scenario: Callable[[FirestoreUpstream], Awaitable[T]]) -> T:
    """Runs a scenario with a client, and closes it."""

    async def whole() -> T:
        upstream = FirestoreUpstream.connect("p", "(default)", Path("none"), host)
        try:
            return await scenario(upstream)
        finally:
            await upstream.close()

    return asyncio.run(whole())


class Faults:
    """Raises `fault` for each call that `applies` to (method, names of its documents)."""

    def __init__(self, fault: ApiFault, applies: Callable[[str, list[str]], bool], times: int = 1000) -> None:
        self.fault = fault
        self.applies = applies
        self.times = times

    def __call__(self, method: str, body: Any) -> None:
        names = list(body.get("documents", []))
        names += [write.get("delete") or write["update"]["name"] for write in body.get("writes", [])]
        if self.times > 0 and self.applies(method, names):
            self.times -= 1
            raise self.fault


def every(method: str, names: list[str]) -> bool:
    return bool(method and names)


def only_commits(method: str, names: list[str]) -> bool:
    return method == "commit" and bool(names)


def with_documents(method: str, names: list[str]) -> bool:
    return method == "commit" and any(CURSOR not in name for name in names)


def test_the_cursor_comes_first_and_is_read_once(fake: FakeFirestore) -> None:
    async def scenario(upstream: FirestoreUpstream) -> None:
        for number in range(1, 5):
            assert await upstream.apply(batch(number, set_("a/1", {"n": number}))) == Applied()

    using(fake.host, scenario)
    assert [method for method, _ in fake.calls] == ["batchGet", "commit", "commit", "commit", "commit"]
    for method, body in fake.calls:
        if method == "commit":
            assert CURSOR in body["writes"][0]["update"]["name"]
            assert body["writes"][0]["currentDocument"]


@pytest.mark.parametrize("status", ["UNAVAILABLE", "ABORTED", "INTERNAL", "RESOURCE_EXHAUSTED"])
def test_passing_trouble_is_unclear_and_the_cursor_is_read_before_the_next_batch(
    fake: FakeFirestore, status: str
) -> None:
    fake.headers = {"Retry-After": "2"}

    async def scenario(upstream: FirestoreUpstream) -> None:
        assert await upstream.apply(batch(1, set_("a/1", {}))) == Applied()
        fake.faults = Faults(ApiFault(status, "busy"), only_commits, times=1)
        assert await upstream.apply(batch(2, set_("a/1", {}))) == Unclear(f"{status}: busy", 2.0)
        fake.calls.clear()
        assert await upstream.apply(batch(2, set_("a/1", {}))) == Applied()
        assert [method for method, _ in fake.calls] == ["batchGet", "commit"]

    using(fake.host, scenario)


def test_denied_on_a_document_is_a_refusal_of_the_batch(fake: FakeFirestore) -> None:
    fake.faults = Faults(ApiFault("PERMISSION_DENIED", "Missing or insufficient permissions."), with_documents)

    async def scenario(upstream: FirestoreUpstream) -> None:
        refused = Refused("PERMISSION_DENIED: Missing or insufficient permissions.")
        assert await upstream.apply(batch(1, set_("a/1", {}))) == refused
        assert await upstream.apply(batch(1)) == Applied()

    using(fake.host, scenario)


def test_denied_on_the_cursor_pauses(fake: FakeFirestore) -> None:
    denied = ApiFault("PERMISSION_DENIED", "Missing or insufficient permissions.")

    async def scenario(upstream: FirestoreUpstream) -> None:
        expected = Unauthorised("PERMISSION_DENIED: Missing or insufficient permissions.")
        fake.faults = Faults(denied, every)
        assert await upstream.read_cursor(KEY) == expected
        assert await upstream.apply(batch(1, set_("a/1", {}))) == expected
        # A role that may read and not write: the fence tells.
        fake.faults = Faults(denied, only_commits)
        assert isinstance(await upstream.apply(batch(1, set_("a/1", {}))), Refused)
        assert await upstream.apply(batch(1)) == expected

    using(fake.host, scenario)


def test_a_database_that_is_not_there_pauses_and_refuses_no_entry(fake: FakeFirestore) -> None:
    fake.faults = Faults(ApiFault("NOT_FOUND", "The database (default) does not exist for project p"), every)

    async def scenario(upstream: FirestoreUpstream) -> None:
        outcomes: list[Outcome | Failure | Cursor | None] = [
            await upstream.read_cursor(KEY),
            await upstream.apply(batch(1, set_("a/1", {}))),
        ]
        for outcome in outcomes:
            assert outcome == Unauthorised("NOT_FOUND: The database (default) does not exist for project p")

    using(fake.host, scenario)


@pytest.mark.parametrize("status", ["INVALID_ARGUMENT", "FAILED_PRECONDITION", "OUT_OF_RANGE"])
def test_a_refusal_for_good_is_told_apart_from_a_moved_cursor_by_reading_it(fake: FakeFirestore, status: str) -> None:
    async def scenario(upstream: FirestoreUpstream) -> None:
        fake.faults = Faults(ApiFault(status, "Transaction too big."), with_documents)
        assert await upstream.apply(batch(1, set_("a/1", {}))) == Refused(f"{status}: Transaction too big.")
        fake.faults = Faults(ApiFault(status, "m"), lambda *_: False)
        assert await upstream.apply(batch(1, set_("a/1", {}))) == Applied()
        fake.faults = Faults(ApiFault(status, "m"), with_documents)
        assert await upstream.apply(batch(1, set_("a/1", {}))) == Moved()

    using(fake.host, scenario)


def test_what_fails_while_a_refusal_is_looked_into_leaves_it_open(fake: FakeFirestore) -> None:
    async def scenario(upstream: FirestoreUpstream) -> None:
        assert await upstream.apply(batch(1, set_("a/1", {}))) == Applied()
        fake.faults = Faults(ApiFault("UNAVAILABLE", "busy"), lambda method, _: method == "batchGet")
        assert await upstream.apply(batch(2, update("a/2", {"n": 1}))) == Unclear("UNAVAILABLE: busy")

    using(fake.host, scenario)


def test_no_server_is_passing_trouble() -> None:
    host = f"127.0.0.1:{free_port()}"

    async def scenario(upstream: FirestoreUpstream) -> None:
        for outcome in (
            await upstream.read_cursor(KEY),
            await upstream.apply(batch(1, set_("a/1", {}))),
            await upstream.read_documents(KEY, ["a/1"]),
            await upstream.list_documents(KEY, "a", None, 1),
            await upstream.list_changes(KEY, "a", "", 1),
            await upstream.list_names("a", None, 1),
        ):
            assert isinstance(outcome, Unclear)
            assert "no connection" in outcome.message

    using(host, scenario)


@pytest.mark.parametrize("answer", [{}, [], "x", {"writeResults": []}, {"writeResults": [{"updateTime": "t"}]}, None])
def test_an_answer_that_is_no_commits_is_no_success(
    fake: FakeFirestore, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(upstream: FirestoreUpstream) -> None:
        assert await upstream.apply(batch(1, set_("a/1", {}))) == Applied()
        monkeypatch.setattr(fake, "answer", lambda *_: answer)
        outcome = await upstream.apply(batch(2, set_("a/1", {})))
        assert isinstance(outcome, Unclear)
        outcome = await upstream.list_names("a", None, 1)  # type: ignore[assignment]
        assert answer == [] or isinstance(outcome, Unclear)

    using(fake.host, scenario)


def test_a_call_that_is_given_up_leaves_no_belief_behind(fake: FakeFirestore) -> None:
    """The lane's deadline cancels a call. What it did is asked of the cursor, and not remembered wrongly."""
    held, release = threading.Event(), threading.Event()

    def hold(method: str, _: Any) -> None:
        if method == "commit":
            held.set()
            release.wait(10)

    async def scenario(upstream: FirestoreUpstream) -> None:
        assert await upstream.apply(batch(1, set_("a/1", {"n": 1}))) == Applied()
        fake.faults = hold
        call = asyncio.create_task(upstream.apply(batch(2, update("a/1", {"n": {"$increment": 1}}))))
        await asyncio.to_thread(held.wait, 10)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        release.set()
        fake.faults = lambda *_: None
        # The fake works on what it is given in turn, so this call comes behind the one that was given up.
        assert await upstream.apply(batch(2, update("a/1", {"n": {"$increment": 1}}))) == Moved()
        assert await upstream.read_cursor(KEY) == Cursor(2, "b2", b"")

    using(fake.host, scenario)
    assert FirestoreView(fake.host, "p").documents() == {"a/1": b'{"n":2}'}


def test_lost_answers_double_nothing_and_lose_nothing(fake: FakeFirestore) -> None:
    """300 increments; a lane reduced to its bones asks the cursor after each outcome but success."""

    async def scenario(upstream: FirestoreUpstream) -> None:
        number = 1
        while number <= 300:
            if await upstream.apply(batch(number, update("a/1", {"n": {"$increment": 1}}))) != Applied():
                cursor = await upstream.read_cursor(KEY)
                assert isinstance(cursor, Cursor)
                assert cursor.seq in (number - 1, number)
                number = cursor.seq
            number += 1

    FirestoreView(fake.host, "p").call(
        "commit", {"writes": [{"update": {"name": "projects/p/databases/(default)/documents/a/1", "fields": {}}}]}
    )
    with DroppingProxy(fake.host, 0.3, seed=7) as proxy:
        using(proxy.host, scenario)
        assert proxy.counts["lost"] > 50
    assert FirestoreView(fake.host, "p").documents() == {"a/1": b'{"n":300}'}


class CountedTokens:
    """token-1, and after each refusal the next."""

    def __init__(self) -> None:
        self.number = 1

    async def token(self) -> str:
        return f"token-{self.number}"

    def refused(self, token: str) -> None:
        assert token == f"token-{self.number}"
        self.number += 1


def with_tokens(fake: FakeFirestore, wall_s: float) -> tuple[Outcome | Cursor | None, CountedTokens]:
    tokens = CountedTokens()

    async def scenario() -> Outcome | Cursor | None:
        upstream = FirestoreUpstream(Rest(f"http://{fake.host}", tokens, wall_s=lambda: wall_s), "p")
        try:
            return await upstream.read_cursor(KEY)
        finally:
            await upstream.close()

    return asyncio.run(scenario()), tokens


def test_a_refused_token_is_renewed_once() -> None:
    fake = FakeFirestore(token="token-2")
    fake.headers = {"Date": "Sat, 31 Jan 2026 12:00:00 GMT"}
    with fake:
        outcome, tokens = with_tokens(fake, 1_769_860_800.0)
        assert outcome is None
        assert tokens.number == 2
        fake.token = "token-9"
        outcome, tokens = with_tokens(fake, 1_769_860_800.0)
        assert outcome == Unauthorised("UNAUTHENTICATED: Request had invalid authentication credentials.")
        assert tokens.number == 3
        outcome, _ = with_tokens(fake, 1_769_860_800.0 - 86400 * 3)
        assert isinstance(outcome, Unauthorised)
        assert "the clock of this box is wrong" in outcome.message
        assert "3 days behind" in outcome.message


def test_closing_leaves_no_connection_and_the_client_can_go_on(fake: FakeFirestore) -> None:
    async def scenario(upstream: FirestoreUpstream) -> None:
        assert await upstream.apply(batch(1, set_("a/1", {}))) == Applied()
        await upstream.close()
        await upstream.close()
        assert await upstream.apply(batch(2, set_("a/1", {}))) == Applied()

    using(fake.host, scenario)


def test_names_are_listed_in_parts_of_one_moment(fake: FakeFirestore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A document that is written while the names are listed does not slip between two parts."""
    monkeypatch.setattr(client, "NAMES_PER_QUERY", 3)
    view = FirestoreView(fake.host, "p")

    async def scenario(upstream: FirestoreUpstream) -> None:
        writes = [set_(f"a/{number}", {"n": number}) for number in range(8)]
        assert await upstream.apply(batch(1, *writes)) == Applied()
        queries = 0

        def write_between(method: str, _: Any) -> None:
            nonlocal queries
            queries += method == "runQuery"
            if queries == 2:
                database = fake.database(view.root)
                database.commit(
                    [{"delete": f"{view.root}/a/1"}, {"update": {"name": f"{view.root}/a/00", "fields": {}}}]
                )

        fake.faults = write_between
        listed = await upstream.list_changes(KEY, "a", "", 100)
        assert isinstance(listed, Page)
        assert [copy.path for copy in listed.copies] == [f"a/{number}" for number in range(8)]
        assert queries == 3
        assert listed.copies[1].data == b'{"n":1}'

    using(fake.host, scenario)


@pytest.mark.parametrize("part", [{}, {"found": 1}, {"found": {}}, {"missing": []}, {"document": 1}, {"document": {}}])
def test_an_answer_that_is_no_reads_is_never_raised(
    fake: FakeFirestore, part: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fake, "answer", lambda *_: [part])

    async def scenario(upstream: FirestoreUpstream) -> None:
        outcomes = (
            await upstream.read_cursor(KEY),
            await upstream.apply(batch(1, set_("a/1", {}))),
            await upstream.read_documents(KEY, ["a/1"]),
            await upstream.list_documents(KEY, "a", None, 1),
            await upstream.list_changes(KEY, "a", "", 1),
        )
        # A list is no answer to `beginTransaction` either.
        assert all(isinstance(outcome, Unauthorised | Unclear) for outcome in outcomes), outcomes
        apart = FirestoreUpstream(Rest(f"http://{fake.host}", None), "p")
        assert isinstance(await apart.read_documents(KEY, ["a/1"]), Unauthorised)
        assert isinstance(await apart.list_documents(KEY, "a", None, 1), Unauthorised)
        await apart.close()
        if "document" in part:
            assert isinstance(await upstream.list_names("a", None, 1), Unauthorised)

    using(fake.host, scenario)
