"""What readers are given: snapshots that carry the cursor's seq, pages by id, changes of which none is passed over."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import orjson
import pytest

from deora.upstream.base import Applied, Names, Page
from tests.fakes.venue import KEY, Venue, delete, set_, update

GENERIC = "generic"
MAPPED = "mapped"


@pytest.fixture(params=[GENERIC, MAPPED])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def opened(venue: Venue, kind: str) -> Venue:
    """A venue whose collection `c` is of this kind."""
    if kind == MAPPED:
        await venue.execute("CREATE TABLE things (id text PRIMARY KEY, n int)")
        venue.connect({"c": "things"})
    return venue


async def changes(venue: Venue, since: str, limit: int = 100) -> tuple[dict[str, Any], str]:
    """All documents that changed since the mark, page after page, and the last mark."""
    found: dict[str, Any] = {}
    marks = [since]
    asked = since
    while True:
        page = await venue.client.list_changes(KEY, "c", asked, limit)
        assert isinstance(page, Page), page
        assert len(page.copies) <= limit
        marks += [copy.mark for copy in page.copies]
        found |= {copy.path: orjson.loads(copy.data or b"null") for copy in page.copies}
        if page.next is None:
            assert marks == sorted(marks)
            return found, marks[-1]
        asked = page.next


async def test_documents_come_in_the_order_asked_with_the_seq(venue: Venue, kind: str) -> None:
    await opened(venue, kind)
    page = await venue.client.read_documents(KEY, ["c/1"])
    assert isinstance(page, Page)
    assert (page.seq, page.copies[0].data, page.copies[0].mark) == (0, None, "")
    assert await venue.send(set_("c/1", {"n": 1}), set_("c/2", {"n": 2}), set_("other/1", {"n": 3})) == Applied()
    page = await venue.client.read_documents(KEY, ["other/1", "c/2", "c/0", "c/1", "c/2"])
    assert isinstance(page, Page)
    assert page.seq == 1
    assert [copy.data for copy in page.copies] == [b'{"n":3}', b'{"n":2}', None, b'{"n":1}', b'{"n":2}']
    assert [copy.path for copy in page.copies] == ["other/1", "c/2", "c/0", "c/1", "c/2"]


async def test_a_collection_is_listed_by_id_page_after_page(venue: Venue, kind: str) -> None:
    await opened(venue, kind)
    ids = sorted(["a", "B", "ä", "\U0001f37d", "a0", "a b", "z", "10", "9"], key=str.encode)
    below = [set_("c/a/items/i1", {}), set_("c0/x", {}), set_("b/x", {}), set_("c-/x", {})]
    assert await venue.send(*(set_(f"c/{ident}", {"n": 1}) for ident in ids), *below) == Applied()
    for limit in (1, 2, 4, 8, 9, 100):
        listed: list[str] = []
        named: list[str] = []
        after = None
        while True:
            page = await venue.client.list_documents(KEY, "c", after, limit)
            names = await venue.client.list_names("c", after, limit)
            assert isinstance(page, Page)
            assert isinstance(names, Names)
            assert page.next == names.next
            assert page.seq == 1
            listed += [copy.path for copy in page.copies]
            named += names.paths
            after = page.next
            if after is None:
                break
        assert listed == named == [f"c/{ident}" for ident in ids]


async def test_changes_are_found_from_a_mark_on(venue: Venue, kind: str) -> None:
    await opened(venue, kind)
    await venue.send(*(set_(f"c/{number}", {"n": number}) for number in range(20)), set_("other/1", {"n": 0}))
    everything, mark = await changes(venue, "", 7)
    assert everything == {f"c/{number}": {"n": number} for number in range(20)}
    assert await venue.send(update("c/3", {"n": {"$increment": 1}})) == Applied()
    assert await venue.send(set_("c/20", {"n": 20}), delete("c/5")) == Applied()
    changed, following = await changes(venue, mark, 1)
    assert {"c/3", "c/20"} <= changed.keys()
    assert (changed["c/3"], "c/5" in changed) == ({"n": 4}, False)
    assert following > mark
    again, _ = await changes(venue, following)
    assert again["c/20"] == {"n": 20}
    assert "c/3" not in again


async def test_a_change_that_becomes_visible_late_is_not_passed_over(venue: Venue, kind: str) -> None:
    """One transaction takes its number first and commits last; a reading in between must not skip it."""
    await opened(venue, kind)
    assert await venue.send(set_("c/1", {"n": 1}), set_("c/2", {"n": 1})) == Applied()
    _, mark = await changes(venue, "")
    blocker = await asyncpg.connect(venue.url)
    transaction = blocker.transaction()
    await transaction.start()
    table = "things" if kind == MAPPED else "deora_documents"
    ident = "id = '1'" if kind == MAPPED else "path = 'c/1'"
    await blocker.execute(f"SELECT FROM {table} WHERE {ident} FOR UPDATE")
    # Takes its number with the first document (in the order of their paths), and waits for the other one.
    slow = Venue(venue.url)
    slow.key = KEY.__class__("box2", "epoch1", 0)
    if kind == MAPPED:
        slow.connect({"c": "things"})
    late = asyncio.create_task(slow.send(set_("c/0", {"n": 5}), set_("c/1", {"n": 5})))
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    while await venue.rows(waiting) == [(0,)]:
        await asyncio.sleep(0.01)
    assert await venue.send(set_("c/2", {"n": 2})) == Applied()
    _, between = await changes(venue, mark)
    await transaction.rollback()
    await blocker.close()
    assert await late == Applied()
    afterwards, _ = await changes(venue, between)
    await slow.close()
    assert afterwards == {"c/0": {"n": 5}, "c/1": {"n": 5}, "c/2": {"n": 2}}


async def test_a_snapshot_holds_neither_more_nor_less_than_its_seq_says(venue: Venue) -> None:
    """A reader beside a writer: each copy is of the very batch that the page's seq names."""
    reader = Venue(venue.url)
    assert await venue.send(*(set_(f"c/{number}", {"n": 1}) for number in range(30))) == Applied()
    paths = [f"c/{number}" for number in range(30)]
    done = False

    async def write() -> None:
        nonlocal done
        for number in range(2, 60):
            assert await venue.send(*(set_(path, {"n": number}) for path in paths)) == Applied()
        done = True

    writing = asyncio.create_task(write())
    seen = set()
    while not done:
        for page in (
            await reader.client.read_documents(KEY, paths),
            await reader.client.list_documents(KEY, "c", None, 50),
        ):
            assert isinstance(page, Page)
            assert {copy.data for copy in page.copies} == {b'{"n":%d}' % page.seq}
            seen.add(page.seq)
        await asyncio.sleep(0)
    await writing
    await reader.close()
    assert len(seen) > 1


async def test_what_other_programs_wrote_is_read(venue: Venue) -> None:
    await venue.execute(
        """CREATE TABLE things (id int PRIMARY KEY, at timestamptz, plain timestamp, day date, amount numeric, whole
             numeric(6,0), ratio float4, big bigint, raw bytea, ats timestamptz[], raws bytea[], span tstzrange)""",
        """INSERT INTO things VALUES (1, '2026-01-31 13:00:00.5+01', '2026-01-31 12:00', '2026-01-31', 12.50, 7, 2,
             9223372036854775807, '\\x00ff', '{2026-01-31 12:00+00}', '{"\\\\x01"}', 'empty')""",
        "INSERT INTO things (id, at, amount, ratio) VALUES (2, 'infinity', 'NaN', 'NaN')",
    )
    venue.connect({"c": "things"})
    noon = {"$timestamp": "2026-01-31T12:00:00.000000Z"}
    first, second = await venue.read("c/1", "c/2")
    assert first == {
        "at": {"$timestamp": "2026-01-31T12:00:00.500000Z"},
        "plain": noon,
        "day": "2026-01-31",
        "amount": 12.5,
        "whole": 7,
        "ratio": 2.0,
        "big": 2**63 - 1,
        "raw": {"$bytes": "AP8="},
        "ats": [noon],
        "raws": [{"$bytes": "AQ=="}],
        "span": "empty",
    }
    assert (type(first["whole"]), type(first["ratio"])) == (int, float)
    assert second == {"at": "infinity", "amount": "NaN", "ratio": "NaN"}


async def test_a_document_of_another_program_that_is_none_is_named(venue: Venue) -> None:
    assert await venue.send(set_("c/1", {"n": 1})) == Applied()
    await venue.execute(
        "ALTER TABLE deora_documents DROP CONSTRAINT deora_documents_data_check",
        "INSERT INTO deora_documents (path, collection, id, data) VALUES ('c/2', 'c', '2', '[1]')",
    )
    outcome = await venue.client.read_documents(KEY, ["c/2"])
    assert "'c/2', as upstream holds it, is none" in getattr(outcome, "message", "")
    refused = await venue.send(set_("c/3", {}), update("c/2", {"n": 1}))
    assert getattr(refused, "index", None) == 1
    assert await venue.read("c/1") == [{"n": 1}]
