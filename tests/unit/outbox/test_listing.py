"""The queue as operators read it, from the rows of a real store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from deora.documents.updates import read_update
from deora.documents.writes import Write
from deora.outbox import listing
from deora.outbox.states import State
from tests.fakes.store import StoreFile, create, delete, set_, settings_with, update


@pytest.fixture
def store(tmp_path: Path) -> Iterator[StoreFile]:
    found = StoreFile(tmp_path / "store.db", settings_with(("primary", "secondary")))
    yield found
    found.close()


def listed(store: StoreFile, sql: str, *parameters: Any) -> list[dict[str, Any]]:
    """The entries that a statement finds, as JSON."""
    inflight = listing.members(store.rows(listing.BATCHES))
    return [orjson.loads(orjson.dumps(listing.entry_json(row, inflight))) for row in store.rows(sql, parameters)]


def test_an_entry_shows_what_will_be_sent(store: StoreFile) -> None:
    data = {"at": {"$timestamp": "2026-01-31T12:00:00.000000Z"}, "total": 2}
    store.commit(set_("orders/o1", data), priority=7)
    assert listed(store, listing.ONE, 1) == [
        {
            "id": 1,
            "state": "pending",
            "upstream": "primary",
            "priority": 7,
            "created": "2026-01-31T12:00:00.000000Z",
            "commit": 1,
            "writes": [{"set": {"path": "orders/o1", "data": data}}],
            "attempts": 0,
            "error": None,
        }
    ]
    assert listed(store, listing.ONE, 2)[0]["upstream"] == "secondary"
    assert listed(store, listing.ONE, 3) == []


def test_every_state_is_named(store: StoreFile) -> None:
    for number in range(4):
        store.commit(set_(f"orders/o{number}", {}))
    dead = store.kill("no such project")
    done = store.claim(max_writes=1)
    assert done is not None
    store.settle(done)
    assert store.claim(max_writes=1) is not None
    [found] = listed(store, listing.DEAD, 0, 0, 10)
    assert (found["id"], found["state"], found["attempts"], found["error"]) == (dead, "dead", 1, "no such project")
    live = {entry["id"]: entry["state"] for entry in listed(store, listing.LIVE, 0, 0, 10)}
    assert sorted(live.values()) == ["inflight", "pending"]
    others = {1, 3, 5, 7} - {dead} - live.keys()
    assert [listed(store, listing.ONE, ident)[0]["state"] for ident in others] == ["done"]
    assert [entry["state"] for entry in listed(store, listing.LIVE, 1, 0, 10)] == ["pending"] * 4


def test_a_page_begins_after_an_id_and_ends_at_its_limit(store: StoreFile) -> None:
    for number in range(4):
        store.commit(set_(f"orders/o{number}", {}))
    assert [entry["id"] for entry in listed(store, listing.LIVE, 0, 1, 2)] == [3, 5]
    assert [entry["id"] for entry in listed(store, listing.DEAD, 0, 0, 2)] == []


def test_the_entries_of_a_document(store: StoreFile) -> None:
    store.commit(set_("orders/o1", {}))
    store.commit(set_("orders/o2", {}))
    store.commit(set_("orders/o1", {"a": 1}), set_("orders/o2", {}))
    store.kill()
    store.commit(delete("orders/o1"))
    of_document = [entry["id"] for entry in listed(store, listing.OF_DOCUMENT, "orders", "o1", 0, 0, 10)]
    assert of_document == [1, 5, 7]
    assert [entry["id"] for entry in listed(store, listing.OF_DOCUMENT, "orders", "o1", 1, 0, 10)] == [2, 6, 8]
    assert [entry["id"] for entry in listed(store, listing.OF_DOCUMENT, "orders", "o1", 0, 1, 1)] == [5]
    assert listed(store, listing.OF_DOCUMENT, "orders", "o3", 0, 0, 10) == []


def test_the_upstreams_by_their_ids(store: StoreFile) -> None:
    assert store.rows(listing.UPSTREAMS) == [(0, "primary"), (1, "secondary")]


@pytest.mark.parametrize(
    ("write", "shown"),
    [
        (create("a/b", {"n": 1}), {"create": {"path": "a/b", "data": {"n": 1}}}),
        (delete("a/b"), {"delete": {"path": "a/b"}}),
        (
            update("a/b", {"n": {"$increment": 1}, "o.x": 2, "`o.y`": {"$delete": True}}),
            {"update": {"path": "a/b", "data": {"n": {"$increment": 1}, "o.x": 2, "`o.y`": {"$delete": True}}}},
        ),
        (
            update("a/b", {"l": {"$arrayUnion": [1]}}, upsert=True),
            {"update": {"path": "a/b", "data": {"l": {"$arrayUnion": [1]}}, "upsert": True}},
        ),
    ],
)
def test_a_write_has_the_form_of_a_commit(write: Write, shown: dict[str, Any]) -> None:
    assert orjson.loads(orjson.dumps(listing.write_json(write))) == shown


@pytest.mark.parametrize(
    "fields",
    [
        {"n": {"$max": 1.5}},
        {"n": {"$min": 0}},
        {"t": {"$serverTimestamp": True}},
        {"l": {"$arrayRemove": ["x"]}},
        {"t": {"$timestamp": "2026-01-31T12:00:00.000000Z"}},
        {"o": {}},
    ],
)
def test_an_update_reads_as_it_was_sent(fields: dict[str, Any]) -> None:
    assert orjson.loads(orjson.dumps(listing.update_json(read_update(fields)))) == fields


def test_the_members_of_all_batches() -> None:
    assert listing.members([("[1,2]",), ("[5]",)]) == {1, 2, 5}
    assert listing.members([]) == set()


def test_pending_and_inflight_are_stored_as_live() -> None:
    assert {state for state in State if state is not State.GONE and listing.is_live(state)} == {
        State.PENDING,
        State.INFLIGHT,
    }
    assert State.DONE not in listing.LISTED
