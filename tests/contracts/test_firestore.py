"""What is Firestore's own beside the contract: against Google's emulator, where it is installed, and the fake."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import orjson
import pytest

from deora.documents.values import canonical
from deora.documents.writes import encode_writes
from deora.upstream.base import Applied, Copy, Cursor, CursorKey, Delivery, Moved, Page, Refused, Unauthorised
from deora.upstream.firestore.client import FirestoreUpstream
from deora.upstream.firestore.rest import Rest
from tests.contracts.test_upstream import Sender, create, delete, entry, set_, update
from tests.fakes.firestore_view import FirestoreView

T = TypeVar("T")
KEY = CursorKey("box1", "epoch1", 0)
CURSOR = "_deora/box1.epoch1.0"


class Server:
    """A project of its own on one of the servers."""

    def __init__(self, host: str, *, is_emulator: bool) -> None:
        self.host = host
        self._is_emulator = is_emulator
        self.project = f"deora-{uuid.uuid4().hex[:12]}"
        self.view = FirestoreView(host, self.project)

    def run(self, scenario: Callable[[Sender], Awaitable[T]]) -> T:
        """Runs a scenario with a new client, and closes it."""

        async def whole() -> T:
            rest = Rest(f"http://{self.host}", None)
            upstream = FirestoreUpstream(rest, self.project, begins_apart=self._is_emulator)
            try:
                return await scenario(Sender(upstream))
            finally:
                await upstream.close()

        return asyncio.run(whole())

    def put(self, path: str, fields: dict[str, Any]) -> None:
        """What another program writes."""
        self.view.call("commit", {"writes": [{"update": {"name": f"{self.view.root}/{path}", "fields": fields}}]})


@pytest.fixture(params=["firestore_emulator", "firestore_fake"])
def server(request: pytest.FixtureRequest) -> Server:
    """Each of the two."""
    return Server(request.getfixturevalue(request.param), is_emulator=request.param == "firestore_emulator")


def page(answer: object) -> Page:
    assert isinstance(answer, Page), answer
    return answer


# -- the cursor and commits


def test_documents_and_cursor_are_stored_in_firestores_own_types(server: Server) -> None:
    async def scenario(sender: Sender) -> None:
        write = set_("orders/o1", {"n": 1, "total": 2.0, "at": {"$timestamp": "2026-01-31T12:00:00.5Z"}})
        assert await sender.send("b1", entry(write), applied=b"\x01") == Applied()

    server.run(scenario)
    fields = server.view.fields()
    assert fields["orders/o1"]["n"] == {"integerValue": "1"}
    assert fields["orders/o1"]["total"] == {"doubleValue": 2.0}
    assert fields["orders/o1"]["at"]["timestampValue"].startswith("2026-01-31T12:00:00.5")
    assert fields[CURSOR] == {
        "seq": {"integerValue": "1"},
        "batch_id": {"stringValue": "b1"},
        "applied": {"bytesValue": "AQ=="},
    }


def test_only_the_fields_of_an_update_are_touched(server: Server) -> None:
    server.put("a/1", {"theirs": {"doubleValue": "NaN"}, "n": {"integerValue": "1"}})

    async def scenario(sender: Sender) -> None:
        assert await sender.send("b1", entry(update("a/1", {"n": {"$increment": 1}, "m": 2}))) == Applied()
        read = page(await sender.upstream.read_documents(KEY, ["a/1"]))
        assert read.copies[0].data == b'{"m":2,"n":2,"theirs":null}'

    server.run(scenario)
    assert server.view.fields()["a/1"]["theirs"] == {"doubleValue": "NaN"}


def test_a_remembered_cursor_that_another_one_moved_is_found_out(server: Server) -> None:
    async def scenario(sender: Sender) -> None:
        assert await sender.send("b1", entry(set_("a/1", {}))) == Applied()
        other = FirestoreUpstream(Rest(f"http://{server.host}", None), server.project)
        assert await other.apply(Delivery(KEY, 1, "b1", "fence:b2", b"", [])) == Applied()
        await other.close()
        assert await sender.send("b2", entry(set_("a/2", {}))) == Moved()
        assert await sender.upstream.read_cursor(KEY) == Cursor(2, "fence:b2", b"")

    server.run(scenario)
    assert "a/2" not in server.view.documents()


def test_a_cursor_that_was_deleted_is_not_made_anew(server: Server) -> None:
    async def scenario(sender: Sender) -> None:
        assert await sender.send("b1", entry(set_("a/1", {}))) == Applied()
        server.view.call("commit", {"writes": [{"delete": f"{server.view.root}/{CURSOR}"}]})
        assert await sender.send("b2", entry(set_("a/2", {}))) == Moved()
        assert await sender.upstream.read_cursor(KEY) is None

    server.run(scenario)


def test_a_cursor_that_something_else_has_changed_stops_and_says_so(server: Server) -> None:
    server.put(CURSOR, {"seq": {"stringValue": "1"}})

    async def scenario(sender: Sender) -> None:
        outcomes = [await sender.upstream.read_cursor(KEY), await sender.send("b1", entry(set_("a/1", {})))]
        outcomes.append(await sender.upstream.read_documents(KEY, ["a/1"]))  # type: ignore[arg-type]
        for outcome in outcomes:
            assert isinstance(outcome, Unauthorised)
            assert "is no cursor of DEORA" in outcome.message

    server.run(scenario)
    assert server.view.documents() == {}


def test_a_refusal_names_the_first_entry_that_contradicts(server: Server) -> None:
    server.put("a/there", {})

    async def scenario(sender: Sender) -> None:
        change = update("a/missing", {"n": 1})
        outcome = await sender.send("b1", entry(set_("a/1", {})), entry(create("a/there", {})), entry(change))
        assert isinstance(outcome, Refused)
        assert outcome.index == 1
        assert outcome.message.startswith("the document 'a/there' exists already (ALREADY_EXISTS: ")
        # An entry that can never be applied, behind one that cannot be now.
        outcome = await sender.send("b1", entry(change), entry(delete("a/2"), update("a/2", {"n": 1})))
        assert outcome == Refused(
            "the document 'a/missing' does not exist, so it cannot be updated"
            " (the document 'a/2' does not exist, so it cannot be updated)",
            0,
        )

    server.run(scenario)


def test_a_batch_that_is_too_large_is_refused_without_a_name_and_can_be_halved(server: Server) -> None:
    async def scenario(sender: Sender) -> None:
        entries = [entry(set_(f"a/{number}", {"t": "x" * 1_000_000})) for number in range(11)]
        assert isinstance(await sender.send("b1", *entries), Refused)
        outcome = await sender.send("b1", *entries)
        assert isinstance(outcome, Refused)
        assert outcome.index is None
        assert await sender.send("fence:b1") == Applied()
        for number in range(0, 11, 3):
            assert await sender.send(f"b{number + 2}", *entries[number : number + 3]) == Applied()

    server.run(scenario)
    assert len(server.view.documents()) == 11


def test_500_increments_of_one_document_in_one_commit(server: Server) -> None:
    async def scenario(sender: Sender) -> None:
        increment = update("a/1", {"n": {"$increment": 1}, "last": "x"}, upsert=True)
        assert await sender.send("b1", entry(*[increment] * 250), *[entry(increment)] * 250) == Applied()

    server.run(scenario)
    assert server.view.documents() == {"a/1": b'{"last":"x","n":500}'}


# -- reading


def test_documents_are_read_with_the_cursor_of_the_same_moment(server: Server) -> None:
    async def scenario(sender: Sender) -> None:
        empty = page(await sender.upstream.read_documents(KEY, ["a/1"]))
        assert empty == Page(0, [Copy("a/1", None, "")])
        await sender.send("b1", entry(set_("a/1", {"n": 1}), set_("a/2", {"n": 2})))
        read = page(await sender.upstream.read_documents(KEY, ["a/2", "a/none", "a/1", "a/2"]))
        assert (read.seq, read.next) == (1, None)
        assert [copy.data for copy in read.copies] == [b'{"n":2}', None, b'{"n":1}', b'{"n":2}']
        assert [copy.path for copy in read.copies] == ["a/2", "a/none", "a/1", "a/2"]
        assert page(await sender.upstream.read_documents(KEY, [])).copies == []
        first = read.copies[2].mark
        await sender.send("b2", entry(update("a/1", {"n": {"$increment": 1}})))
        [again] = page(await sender.upstream.read_documents(KEY, ["a/1"])).copies
        assert again.mark > first

    server.run(scenario)


def test_counters_agree_with_the_cursor_while_batches_land(server: Server) -> None:
    """What a snapshot is for: n is always exactly the cursor's seq, in every way of reading."""

    async def scenario(sender: Sender) -> None:
        increment = entry(update("a/1", {"n": {"$increment": 1}}, upsert=True))
        assert await sender.send("b1", increment) == Applied()
        for number in range(2, 20):
            landed, *reads = await asyncio.gather(
                sender.send(f"b{number}", increment),
                sender.upstream.read_documents(KEY, ["a/1"]),
                sender.upstream.list_documents(KEY, "a", None, 5),
                sender.upstream.list_changes(KEY, "a", "", 5),
            )
            assert landed == Applied()
            for read in reads:
                [copy] = page(read).copies
                assert orjson.loads(copy.data or b"")["n"] == page(read).seq
                assert page(read).seq in (number - 1, number)

    server.run(scenario)


def test_a_collection_is_listed_page_by_page(server: Server) -> None:
    names = sorted(["1", "10", "2", "A", "a b", "b/below/x", "e\u0301", "\u00e9", "\U0001f37d", "%2F"])
    inside = [f"orders/{name}" for name in names if "/" not in name]

    async def scenario(sender: Sender) -> None:
        await sender.send(
            "b1", *(entry(set_(f"orders/{name}", {"name": name})) for name in names), entry(set_("o/1", {}))
        )
        for limit in (1, 4, len(inside), 100):
            found: list[Copy] = []
            paths: list[str] = []
            after = None
            while True:
                listed = page(await sender.upstream.list_documents(KEY, "orders", after, limit))
                assert len(listed.copies) <= limit
                found += listed.copies
                after = listed.next
                if after is None:
                    break
            while True:
                part = await sender.upstream.list_names("orders", after, limit)
                assert not isinstance(part, Unauthorised), part
                paths += part.paths  # type: ignore[union-attr]
                after = part.next  # type: ignore[union-attr]
                if after is None:
                    break
            assert [copy.path for copy in found] == paths == inside
            assert [copy.data for copy in found] == [canonical({"name": path[7:]}) for path in inside]
        deep = page(await sender.upstream.list_documents(KEY, "orders/b/below", None, 5))
        assert [copy.path for copy in deep.copies] == ["orders/b/below/x"]
        assert page(await sender.upstream.list_documents(KEY, "nothing", None, 5)) == Page(1, [])

    server.run(scenario)


def test_a_collection_below_any_document_is_listed(server: Server) -> None:
    parent = "K\u00fc?che/%2F%00 '\"`;--\u00e9#&+"

    async def scenario(sender: Sender) -> None:
        await sender.send("b1", entry(set_(f"{parent}/x y/1", {"n": 1})))
        listed = page(await sender.upstream.list_documents(KEY, f"{parent}/x y", None, 5))
        assert [copy.path for copy in listed.copies] == [f"{parent}/x y/1"]

    server.run(scenario)


def test_changes_come_oldest_first_and_none_is_missed(server: Server) -> None:
    async def scenario(sender: Sender) -> None:
        await sender.send("b1", *(entry(set_(f"a/{number}", {"n": 0})) for number in range(6)), entry(set_("b/1", {})))
        await sender.send("b2", entry(set_("a/3", {"n": 1})))
        await sender.send("b3", entry(set_("a/1", {"n": 1}), delete("a/2")))
        whole = page(await sender.upstream.list_changes(KEY, "a", "", 100))
        assert [copy.path for copy in whole.copies] == ["a/0", "a/4", "a/5", "a/3", "a/1"]
        assert [copy.mark for copy in whole.copies] == sorted(copy.mark for copy in whole.copies)
        assert (whole.seq, whole.next) == (3, None)
        # All documents of one commit have one time; a small page gets past them all the same.
        found: dict[str, Copy] = {}
        since: str | None = ""
        while since is not None:
            part = page(await sender.upstream.list_changes(KEY, "a", since, 2))
            found.update((copy.path, copy) for copy in part.copies)
            since = part.next
        assert list(found.values()) == whole.copies
        latest = whole.copies[-1].mark
        assert [copy.path for copy in page(await sender.upstream.list_changes(KEY, "a", latest, 9)).copies] == ["a/1"]
        await sender.send("b4", entry(set_("a/0", {"n": 2})))
        changed = page(await sender.upstream.list_changes(KEY, "a", latest, 9))
        assert [copy.path for copy in changed.copies] == ["a/1", "a/0"]
        assert page(await sender.upstream.list_changes(KEY, "nothing", "", 9)) == Page(4, [])

    server.run(scenario)


def test_a_write_that_changes_nothing_keeps_its_mark(server: Server) -> None:
    async def scenario(sender: Sender) -> None:
        same = entry(set_("a/1", {"n": 1}))
        await sender.send("b1", same)
        [before] = page(await sender.upstream.read_documents(KEY, ["a/1"])).copies
        assert await sender.send("b2", same) == Applied()
        [after] = page(await sender.upstream.read_documents(KEY, ["a/1"])).copies
        assert after == before
        assert await sender.send("b3", encode_writes([])) == Applied()

    server.run(scenario)
