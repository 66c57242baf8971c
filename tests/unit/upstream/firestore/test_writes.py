"""A batch's entries as the writes of a commit."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest

from deora.documents.updates import read_update
from deora.documents.writes import Write, encode_writes
from deora.upstream.firestore.values import documents_root
from deora.upstream.firestore.writes import Fault, Guard, encode_write, first_fault, plan
from tests.fakes.store import delete, set_, update

ROOT = documents_root("p", "(default)")
NAME = f"{ROOT}/a/1"
EXISTS = {"exists": True}
ABSENT = {"exists": False}


def upsert(path: str, fields: dict[str, Any]) -> Write:
    return Write("update", path, read_update(fields), upsert=True)


def create(path: str, data: bytes = b"{}") -> Write:
    return Write("create", path, data)


def planned(*entries: list[Write]) -> Any:
    return plan([encode_writes(entry) for entry in entries], ROOT)


def preconditions(*entries: list[Write]) -> list[Any]:
    return [write.get("currentDocument") for write in planned(*entries).writes]


@pytest.mark.parametrize(
    ("write", "encoded"),
    [
        (set_("a/1", {"n": 1}), {"update": {"name": NAME, "fields": {"n": {"integerValue": "1"}}}}),
        (create("a/1"), {"update": {"name": NAME, "fields": {}}}),
        (delete("a/1"), {"delete": NAME}),
        (
            update("a/1", {"n": 1, "gone": {"$delete": True}}),
            {
                "update": {"name": NAME, "fields": {"n": {"integerValue": "1"}}},
                "updateMask": {"fieldPaths": ["gone", "n"]},
            },
        ),
        (
            update("a/1", {"a.b": 1, "a.c.d": "x", "`a.b`.`ü`": None, "`\\``": 2}),
            {
                "update": {
                    "name": NAME,
                    "fields": {
                        "`": {"integerValue": "2"},
                        "a": {
                            "mapValue": {
                                "fields": {
                                    "b": {"integerValue": "1"},
                                    "c": {"mapValue": {"fields": {"d": {"stringValue": "x"}}}},
                                }
                            }
                        },
                        "a.b": {"mapValue": {"fields": {"ü": {"nullValue": None}}}},
                    },
                },
                "updateMask": {"fieldPaths": ["`\\``", "a.b", "a.c.d", "`a.b`.`ü`"]},
            },
        ),
        (
            update("a/1", {"n": {"$increment": -1.5}, "m": {"$max": 3}, "l.k": {"$min": 2}}),
            {
                "update": {"name": NAME, "fields": {}},
                "updateMask": {"fieldPaths": []},
                "updateTransforms": [
                    {"fieldPath": "l.k", "minimum": {"integerValue": "2"}},
                    {"fieldPath": "m", "maximum": {"integerValue": "3"}},
                    {"fieldPath": "n", "increment": {"doubleValue": -1.5}},
                ],
            },
        ),
        (
            update("a/1", {"l": {"$arrayUnion": ["x"]}, "m": {"$arrayRemove": []}, "s": 1}),
            {
                "update": {"name": NAME, "fields": {"s": {"integerValue": "1"}}},
                "updateMask": {"fieldPaths": ["s"]},
                "updateTransforms": [
                    {"fieldPath": "l", "appendMissingElements": {"values": [{"stringValue": "x"}]}},
                    {"fieldPath": "m", "removeAllFromArray": {"values": []}},
                ],
            },
        ),
    ],
)
def test_each_write_has_its_form(write: Write, encoded: dict[str, Any]) -> None:
    assert encode_write(write, ROOT) == encoded


def test_preconditions_say_what_an_update_and_a_create_need() -> None:
    found = preconditions([update("a/1", {"n": 1}), create("a/2"), set_("a/3", {}), upsert("a/4", {"n": 1})])
    assert found == [EXISTS, ABSENT, None, None]
    assert planned([set_("b/1", {})], [update("a/1", {"n": 1})], [create("a/2")]).guards == [
        Guard(1, "a/1", must_exist=True),
        Guard(2, "a/2", must_exist=False),
    ]


def test_what_the_batch_itself_makes_certain_needs_no_precondition() -> None:
    change = update("a/1", {"n": 1})
    assert preconditions([set_("a/1", {}), change]) == [None, None]
    assert preconditions([create("a/1"), change], [change]) == [ABSENT, None, None]
    assert preconditions([change], [change], [delete("a/1"), create("a/1")]) == [EXISTS, None, None, None]
    assert preconditions([delete("a/1"), upsert("a/1", {"n": 1}), change]) == [None, None, None]


@pytest.mark.parametrize(
    ("entries", "index", "words"),
    [
        ([[delete("a/1")], [update("a/1", {"n": 1})]], 1, "the document 'a/1' does not exist, so it cannot be updated"),
        ([[set_("a/1", {})], [set_("b/1", {}), create("a/1")]], 1, "the document 'a/1' exists already"),
        ([[update("a/1", {"n": 1}), create("a/1")]], 0, "the document 'a/1' exists already"),
        ([[create("a/1"), delete("a/1"), update("a/1", {"n": 1})], [set_("b/1", {})]], 0, "does not exist"),
    ],
)
def test_what_the_batch_itself_makes_impossible_is_its_fault(entries: list[Any], index: int, words: str) -> None:
    fault = planned(*entries).fault
    assert fault.index == index
    assert words in fault.message


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc1",
        msgpack.packb([[7]]),
        msgpack.packb([[2, "a/1", b"x"]]),
        msgpack.packb([[0, "a/1"]]),
        msgpack.packb([[0, "a/1", b"[]"]]),
        msgpack.packb([[2, "a/1", b"[1]"]]),
    ],
)
def test_an_entry_that_cannot_be_read_is_a_fault_and_no_exception(payload: bytes) -> None:
    result = plan([encode_writes([set_("a/1", {})]), payload], ROOT)
    assert result.fault is not None
    assert result.fault.index == 1
    assert result.fault.message


def test_the_first_contradiction_is_the_one_that_counts() -> None:
    result = planned([update("a/1", {"n": 1})], [create("a/2")], [delete("a/3"), update("a/3", {"n": 1})])
    missing = Fault(0, "the document 'a/1' does not exist, so it cannot be updated")
    there = Fault(1, "the document 'a/2' exists already")
    assert first_fault(result, {"a/1": False, "a/2": True}) == missing
    assert first_fault(result, {"a/1": True, "a/2": True}) == there
    assert first_fault(result, {"a/1": True, "a/2": False}) == result.fault
    assert first_fault(result, {}) == result.fault
    assert first_fault(planned([set_("a/1", {})]), {"a/1": False}) is None
