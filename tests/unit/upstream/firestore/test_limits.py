"""What the door refuses where a Firestore upstream is configured."""

from __future__ import annotations

from typing import Any

import pytest

from deora.documents.updates import read_update
from deora.documents.values import canonical
from deora.documents.writes import Write
from deora.errors import Problem
from deora.upstream.firestore.limits import MAX_REQUEST_BYTES, MAX_VALUE_BYTES, check_writes

NOW = {"$timestamp": "2026-01-31T12:00:00.000000Z"}


def set_(data: Any, path: str = "a/1") -> Write:
    return Write("set", path, canonical(data))


def update(fields: dict[str, Any], path: str = "a/1") -> Write:
    return Write("update", path, read_update(fields))


def refused(*writes: Write) -> Problem:
    with pytest.raises(Problem) as caught:
        check_writes(writes)
    return caught.value


@pytest.mark.parametrize(
    "write",
    [
        set_({}),
        set_({"l": [1, {"a": [2]}], "text": ",[ and [[ in a text"}),
        update(
            {"l": [{"a": [1]}], "m": {"$arrayUnion": [{"a": [1]}]}, "n": {"$increment": 1}, "gone": {"$delete": True}}
        ),
        Write("delete", "a/1", None),
        set_({}, "_deora2/x"),
        set_({"l": ["x"] * 39_000}),
        set_({"t": "x" * (MAX_VALUE_BYTES - 1)}),
        set_(
            {
                "b": {"$bytes": "AAAA" * 250_000},
                "r": {"$reference": "a/1"},
                "at": {"$timestamp": "2026-01-31T12:00:00.0Z"},
            }
        ),
    ],
    ids=lambda write: write.op,
)
def test_what_firestore_takes_comes_through(write: Write) -> None:
    check_writes([write])


@pytest.mark.parametrize(
    ("write", "place"),
    [
        (set_({"l": [[1]]}), "in l:"),
        (set_({"a": {"l": [1, {"m": [2, []]}]}}), "in a:"),
        (update({"a.`b c`": [[1]]}), "in a.`b c`:"),
        (update({"l": {"$arrayUnion": [1, [2]]}}), "in l:"),
        (update({"l": {"$arrayRemove": [[2]]}}), "in l:"),
        (Write("create", "a/1", canonical({"l": [[], 1]})), "in l:"),
    ],
)
def test_an_array_in_an_array_is_refused_by_its_field(write: Write, place: str) -> None:
    problem = refused(set_({}), write)
    assert (problem.kind, problem.status) == ("invalid-document", 400)
    assert problem.detail.startswith(place)
    assert problem.hint


@pytest.mark.parametrize("op", ["set", "delete"])
def test_the_cursors_are_not_for_clients(op: str) -> None:
    problem = refused(Write(op, "_deora/box1.epoch1.0", b"{}" if op == "set" else None))
    assert problem.kind == "invalid-path"


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (set_({"t": "x" * MAX_VALUE_BYTES}), "in t: a value takes 1048488 bytes"),
        (update({"a.t": "x" * MAX_VALUE_BYTES}), "in a.t: a value takes"),
        (set_({"b": {"$bytes": "AAAA" * 350_000}}), "in b: a value takes 1050000 bytes"),
        (set_({"t": "x" * 600_000, "m": {"u": "x" * 460_000}}), "would take 1060060 bytes"),
        (set_({"l": [1] * 140_000}), "would take 1120054 bytes"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_document_that_is_too_large_there_is_a_413(write: Write, words: str) -> None:
    problem = refused(write)
    assert (problem.kind, problem.status) == ("too-large", 413)
    assert words in problem.detail


def test_too_many_index_entries_are_refused() -> None:
    assert "would make 40001 index entries" in refused(set_({"l": ["x"] * 40_001})).detail
    many = {f"field{number}": 1 for number in range(20_001)}
    assert "would make 40002 index entries" in refused(set_({"m": many})).detail


def test_an_entry_that_is_too_large_for_one_request_is_a_413() -> None:
    # Each document is small; together, and with Firestore's names of types, they are not.
    writes = [set_({"l": [1] * 20_000, "n": number}, f"a/{number}") for number in range(30)]
    assert sum(len(write.data or b"") for write in writes) < MAX_REQUEST_BYTES / 8
    problem = refused(*writes)
    assert (problem.kind, problem.status) == ("too-large", 413)
    check_writes(writes[:15])


def test_the_operators_of_a_commit_are_counted_for_each_document() -> None:
    two = {"n": {"$increment": 1}, "m": {"$max": 1}, "o": 1}
    check_writes([update(two)] * 250)
    check_writes([update(two, f"a/{number % 2}") for number in range(500)])
    problem = refused(*[update(two)] * 251)
    assert problem.kind == "invalid-commit"
    assert "502 operators for the document 'a/1'" in problem.detail
