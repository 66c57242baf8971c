"""What every upstream answers to readers (deora/upstream/base.py says it in words): one suite for all of them.

What another program changes is played by another box: its batches move a cursor of its own.
"""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest

from deora.documents.values import canonical
from deora.upstream.base import Applied, Copy, CursorKey, Names, Page, Upstream
from tests.contracts.conftest import Bench
from tests.contracts.test_upstream import KEY, Sender, delete, entry, set_, update

OTHER = CursorKey("box2", "epoch9", 0)
NAMES = ["10", "9", "A", "B b", "a", "a-b", "a.b", "aa", "z", "Ü", "é", "日本"]


async def put(sender: Sender, *writes: Any) -> None:
    """One batch that must land."""
    assert await sender.send(f"b{sender.seq + 1}", entry(*writes)) == Applied()


async def read(upstream: Upstream, *paths: str) -> Page:
    """`read_documents`, which must succeed."""
    page = await upstream.read_documents(KEY, list(paths))
    assert isinstance(page, Page), page
    return page


async def copy_of(upstream: Upstream, path: str) -> Copy:
    """One copy."""
    [copy] = (await read(upstream, path)).copies
    return copy


async def listed(upstream: Upstream, collection: str, limit: int) -> list[Copy]:
    """Every page of `list_documents`; no page is larger than asked, and none but the last is empty."""
    copies: list[Copy] = []
    after: str | None = None
    while True:
        page = await upstream.list_documents(KEY, collection, after, limit)
        assert isinstance(page, Page), page
        assert len(page.copies) <= limit
        copies += page.copies
        if page.next is None:
            return copies
        assert page.copies
        after = page.next


async def changed(upstream: Upstream, collection: str, since: str, limit: int) -> list[Copy]:
    """Every page of `list_changes`, a document twice where it stands on two pages."""
    copies: list[Copy] = []
    while True:
        page = await upstream.list_changes(KEY, collection, since, limit)
        assert isinstance(page, Page), page
        copies += page.copies
        if page.next is None:
            return copies
        assert page.next != since, "the next page would be the same"
        since = page.next


async def named(upstream: Upstream, collection: str, limit: int) -> list[str]:
    """Every page of `list_names`."""
    paths: list[str] = []
    after: str | None = None
    while True:
        names = await upstream.list_names(collection, after, limit)
        assert isinstance(names, Names), names
        assert len(names.paths) <= limit
        paths += names.paths
        if names.next is None:
            return paths
        after = names.next


# -- documents by path


async def test_an_empty_upstream_has_nothing_to_read(bench: Bench) -> None:
    upstream = bench.make()
    assert await upstream.read_documents(KEY, ["a/1"]) == Page(0, [Copy("a/1", None, "")])
    assert await upstream.list_documents(KEY, "a", None, 10) == Page(0, [])
    assert await upstream.list_changes(KEY, "a", "", 10) == Page(0, [])
    assert await upstream.list_names("a", None, 10) == Names([])


async def test_copies_come_in_the_order_of_the_paths_also_of_what_is_not_there(bench: Bench) -> None:
    sender = Sender(bench.make())
    await put(sender, set_("a/1", {"n": 1}), set_("a/2", {"n": 2}), set_("b/1/c/1", {"n": 3}))
    page = await read(sender.upstream, "b/1/c/1", "a/3", "a/1", "b/1")
    assert [(copy.path, copy.data) for copy in page.copies] == [
        ("b/1/c/1", b'{"n":3}'),
        ("a/3", None),
        ("a/1", b'{"n":1}'),
        ("b/1", None),
    ]
    assert [copy.mark == "" for copy in page.copies] == [False, True, False, True]


async def test_data_is_canonical_text_with_its_types(bench: Bench) -> None:
    sender = Sender(bench.make())
    data = {
        "whole": 3,
        "double": 3.0,
        "large": 2**63 - 1,
        "text": 'ü"\\\n日本',
        "none": None,
        "yes": True,
        "list": [1, {"x": 1.5, "y": []}],
        "empty": {},
        "when": {"$timestamp": "2026-01-31T12:00:00.123456Z"},
        "bytes": {"$bytes": "AAEC"},
        "where": {"$geopoint": {"latitude": 1.5, "longitude": -2.0}},
        "who": {"$reference": "users/u1"},
    }
    await put(sender, set_("a/1", data))
    assert (await copy_of(sender.upstream, "a/1")).data == canonical(data)
    assert [copy.data for copy in await listed(sender.upstream, "a", 10)] == [canonical(data)]
    assert [copy.data for copy in await changed(sender.upstream, "a", "", 1000)] == [canonical(data)]


# -- the cursor's seq


async def test_a_page_carries_the_seq_of_this_lanes_cursor(bench: Bench) -> None:
    sender = Sender(bench.make())
    for number in range(1, 4):
        await put(sender, set_("a/1", {"n": number}))
    assert (await read(sender.upstream, "a/1")).seq == 3
    other = Sender(sender.upstream, OTHER)
    await put(other, set_("a/2", {}))
    assert (await read(sender.upstream, "a/1", "a/2")).seq == 3
    for page in (
        await sender.upstream.list_documents(OTHER, "a", None, 10),
        await sender.upstream.list_changes(OTHER, "a", "", 1000),
        await sender.upstream.read_documents(OTHER, ["a/1"]),
    ):
        assert isinstance(page, Page)
        assert page.seq == 1


async def test_documents_and_seq_are_of_one_snapshot(bench: Bench) -> None:
    """While batches land, each page shows exactly what the batches up to its seq did, of every document alike."""
    sender, reader = Sender(bench.make()), bench.make()
    await put(sender, set_("a/1", {"n": 1}), set_("a/2", {"n": 1}))

    async def write() -> None:
        add = {"n": {"$increment": 1}}
        for _ in range(15):
            await put(sender, update("a/1", add), update("a/2", add))

    writing = asyncio.ensure_future(write())
    seen = set()
    while not writing.done():
        changed = await reader.list_changes(KEY, "a", "", 1000)
        for page in (await read(reader, "a/1", "a/2"), await reader.list_documents(KEY, "a", None, 10), changed):
            assert isinstance(page, Page)
            counts = [orjson.loads(copy.data or b"{}")["n"] for copy in page.copies]
            # What changes meanwhile may be left to the next reading of changes.
            assert counts == [page.seq] * (len(counts) if page is changed else 2)
            seen.add(page.seq)
    await writing
    assert (await read(reader, "a/1")).seq == 16


# -- collections


@pytest.mark.parametrize("limit", [1, 3, len(NAMES), 1000])
async def test_a_collection_is_listed_once_and_in_order(bench: Bench, limit: int) -> None:
    sender = Sender(bench.make())
    await put(sender, *(set_(f"a/{name}", {"name": name}) for name in reversed(NAMES)))
    await put(sender, set_("a/10/items/1", {}), set_("a/zz/items/1", {}), set_("b/1", {}), set_("aa/1", {}))
    copies = await listed(sender.upstream, "a", limit)
    # In the order of the bytes, which is not a database's idea of an alphabet.
    assert [copy.path for copy in copies] == [f"a/{name}" for name in NAMES]
    assert [orjson.loads(copy.data or b"")["name"] for copy in copies] == NAMES
    assert await named(sender.upstream, "a", limit) == [f"a/{name}" for name in NAMES]
    assert [copy.path for copy in await listed(sender.upstream, "a/10/items", limit)] == ["a/10/items/1"]
    assert await named(sender.upstream, "a/10/items", limit) == ["a/10/items/1"]


async def test_what_is_deleted_is_neither_listed_nor_named(bench: Bench) -> None:
    sender = Sender(bench.make())
    await put(sender, *(set_(f"a/{number}", {}) for number in range(5)))
    await put(sender, delete("a/2"))
    left = ["a/0", "a/1", "a/3", "a/4"]
    assert [copy.path for copy in await listed(sender.upstream, "a", 2)] == left
    assert await named(sender.upstream, "a", 2) == left
    assert sorted(copy.path for copy in await changed(sender.upstream, "a", "", 1000)) == left
    assert await copy_of(sender.upstream, "a/2") == Copy("a/2", None, "")


# -- changes


async def test_changes_come_oldest_first_and_from_the_mark_on(bench: Bench) -> None:
    sender = Sender(bench.make())
    for number in range(4):
        await put(sender, set_(f"a/{number}", {"n": 0}))
    await put(sender, update("a/1", {"n": 1}), set_("b/1", {}))
    copies = await changed(sender.upstream, "a", "", 1000)
    assert [copy.path for copy in copies] == ["a/0", "a/2", "a/3", "a/1"]
    marks = [copy.mark for copy in copies]
    assert marks == sorted(marks)
    assert all(marks)
    later = await changed(sender.upstream, "a", marks[2], 1000)
    assert [copy.path for copy in later][-2:] == ["a/3", "a/1"]


async def test_the_marks_of_all_reads_are_the_same(bench: Bench) -> None:
    sender = Sender(bench.make())
    await put(sender, set_("a/1", {}), set_("a/2", {}))
    await put(sender, set_("a/1", {"n": 1}))
    by_path = {copy.path: copy.mark for copy in (await read(sender.upstream, "a/1", "a/2")).copies}
    assert {copy.path: copy.mark for copy in await listed(sender.upstream, "a", 10)} == by_path
    assert {copy.path: copy.mark for copy in await changed(sender.upstream, "a", "", 1000)} == by_path


async def test_a_puller_that_goes_on_from_its_last_mark_misses_no_change(bench: Bench) -> None:
    """Changes of two boxes, deletions among them; each pull goes on from the highest mark that the last one saw."""
    sender = Sender(bench.make())
    other = Sender(sender.upstream, OTHER)
    held: dict[str, bytes | None] = {}
    since = ""
    for round_number in range(6):
        await put(sender, *(set_(f"a/{number}", {"by": 1, "n": round_number}) for number in range(0, 8, 2)))
        await put(other, set_("a/7", {"by": 2, "n": round_number}), set_(f"a/new{round_number}", {}))
        if round_number % 2:
            # The youngest change of all is deleted, and with it the highest mark that anybody could have seen.
            await put(other, set_("a/gone", {}))
            await put(other, delete("a/gone"))
        copies = await changed(sender.upstream, "a", since, 1000)
        held.update({copy.path: copy.data for copy in copies})
        since = max([since, *(copy.mark for copy in copies)])
    assert held == await bench.all_documents()


async def test_a_mark_is_never_used_again(bench: Bench) -> None:
    sender = Sender(bench.make())
    await put(sender, set_("a/1", {}), set_("a/2", {}))
    marks = []
    for number in range(3):
        await put(sender, set_("a/2", {"n": number}))
        marks.append((await copy_of(sender.upstream, "a/2")).mark)
        await put(sender, delete("a/2"))
    await put(sender, set_("a/3", {}))
    marks.append((await copy_of(sender.upstream, "a/3")).mark)
    assert marks == sorted(set(marks))


async def test_pages_of_changes_lose_none(bench: Bench) -> None:
    sender = Sender(bench.make())
    for number in range(0, 40, 4):
        await put(sender, *(set_(f"a/{each}", {}) for each in range(number, number + 4)))
    found = {copy.path for copy in await changed(sender.upstream, "a", "", 7)}
    assert found == {f"a/{number}" for number in range(40)}
