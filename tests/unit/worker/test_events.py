"""Changes as text: what a client of a stream reads."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deora.documents.positions import WHOLE, Position
from deora.worker.events import (
    REASONS,
    Change,
    Now,
    change_event,
    changes_of,
    place_event,
    resync_event,
    shows,
)
from tests.fakes.clock import NOON_US

EPOCH = "0abc"
NOON = "2026-01-31T12:00:00.000000Z"


def event(text: bytes) -> tuple[str, str, Any]:
    """Kind, id and data of one event."""
    kind, ident, data, *rest = text.decode().split("\n")
    assert rest == ["", ""]
    return kind.removeprefix("event: "), ident.removeprefix("id: "), json.loads(data.removeprefix("data: "))


def test_the_last_document_of_a_commit_ends_it() -> None:
    assert changes_of(7, {"a/1": False, "a/2": True, "a/3": None}) == [
        Change(7, 1, "a/1", False),
        Change(7, 2, "a/2", True),
        Change(7, WHOLE, "a/3", None),
    ]


def test_a_change_shows_what_the_document_holds() -> None:
    now = Now("0abc-7", NOON_US, b'{"n":1.0}')
    assert event(change_event(EPOCH, Change(7, WHOLE, 'a/"1', False), now)) == (
        "change",
        "0abc-7",
        {"path": 'a/"1', "version": "0abc-7", "commit": 7, "updateTime": NOON, "data": {"n": 1.0}},
    )


@pytest.mark.parametrize(
    ("now", "deleted", "members"),
    [
        (Now("0abc-7", NOON_US, None), True, {"version": "0abc-7", "updateTime": NOON, "data": None}),
        # Swept since: gone for good, and nothing else is known.
        (None, True, {"version": None, "updateTime": None, "data": None}),
        (None, None, {"version": None, "updateTime": None, "data": None}),
        (None, False, {"superseded": True}),
        # The same data was set once more: the version is of the earlier commit.
        (Now("0abc-5", NOON_US, b"{}"), False, {"version": "0abc-5", "updateTime": NOON, "data": {}}),
        # A copy from upstream, and a version of an earlier life of the store, are older than any commit of this one.
        (Now("~0f-9", NOON_US, b"{}"), None, {"version": "~0f-9", "updateTime": NOON, "data": {}}),
        (Now("zzzz-99", NOON_US, b"{}"), None, {"version": "zzzz-99", "updateTime": NOON, "data": {}}),
        (Now("0abc-8", NOON_US, b"{}"), False, {"superseded": True}),
        (Now("0abc-8", NOON_US, None), False, {"superseded": True}),
    ],
)
def test_what_came_of_a_document_since(now: Now | None, deleted: bool | None, members: dict[str, Any]) -> None:
    change = Change(7, 2, "a/1", deleted)
    assert event(change_event(EPOCH, change, now)) == ("change", "0abc-7.2", {"path": "a/1", "commit": 7, **members})


@pytest.mark.parametrize("reason", REASONS)
def test_a_resync_says_why(reason: str) -> None:
    kind, ident, data = event(resync_event(EPOCH, Position(9), reason))
    assert (kind, ident) == ("resync", "0abc-9")
    assert data == {"commit": 9, "reason": reason, "detail": REASONS[reason]}


def test_a_place_is_no_event() -> None:
    assert place_event("0abc-9") == b"id: 0abc-9\n\n"


@pytest.mark.parametrize(
    ("collections", "path", "is_shown"),
    [
        (None, "a/1", True),
        ({"a"}, "a/1", True),
        ({"a"}, "b/1", False),
        ({"a"}, "a/1/items/2", False),
        ({"items"}, "a/1/items/2", True),
        ({"a/1/items"}, "a/1/items/2", True),
        ({"a/2/items"}, "a/1/items/2", False),
    ],
)
def test_a_collection_by_its_path_or_its_last_part(collections: set[str] | None, path: str, is_shown: bool) -> None:
    assert shows(frozenset(collections) if collections is not None else None, path) is is_shown
