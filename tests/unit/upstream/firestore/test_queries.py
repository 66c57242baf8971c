"""Bodies of reads and what their answers hold."""

from __future__ import annotations

from typing import Any

import pytest

from deora.upstream.base import Copy
from deora.upstream.firestore.queries import (
    batch_get,
    copy_of,
    found_documents,
    listed_documents,
    mark_of,
    run_query,
    transaction_of,
)
from deora.upstream.firestore.values import documents_root

ROOT = documents_root("p", "(default)")


def test_each_document_is_asked_for_once() -> None:
    assert batch_get(["a/2", "a/1", "a/2"], ROOT) == {"documents": [f"{ROOT}/a/2", f"{ROOT}/a/1"]}
    assert batch_get(["a/1"], ROOT, begin=True)["newTransaction"] == {"readOnly": {}}
    assert batch_get(["a/1"], ROOT, transaction="t")["transaction"] == "t"
    assert batch_get(["a/1"], ROOT, mask=["seq"])["mask"] == {"fieldPaths": ["seq"]}


def test_a_list_goes_by_name_from_behind_a_path() -> None:
    body = run_query("orders/o1/items", ROOT, "orders/o1/items/i7", 50, names=True, transaction="t")
    assert body == {
        "structuredQuery": {
            "from": [{"collectionId": "items"}],
            "select": {"fields": [{"fieldPath": "__name__"}]},
            "orderBy": [{"field": {"fieldPath": "__name__"}, "direction": "ASCENDING"}],
            "startAt": {"values": [{"referenceValue": f"{ROOT}/orders/o1/items/i7"}], "before": False},
            "limit": 50,
        },
        "transaction": "t",
    }
    assert run_query("orders", ROOT, None, 5)["structuredQuery"].keys() == {"from", "orderBy", "limit"}


def test_answers_are_taken_apart() -> None:
    document = {"name": f"{ROOT}/a/1", "fields": {"n": {"integerValue": "1"}}, "updateTime": "2026-01-31T12:00:00Z"}
    answer: list[Any] = [{"transaction": "t"}, {"missing": f"{ROOT}/a/2", "readTime": "r"}, {"found": document}]
    assert transaction_of(answer) == "t"
    assert found_documents(answer, ROOT) == {"a/2": None, "a/1": document}
    assert listed_documents([{"readTime": "r"}, {"document": document}, {"done": True}]) == [document]
    with pytest.raises(LookupError):
        transaction_of([{"missing": "x"}])


def test_marks_sort_by_time_and_differ_within_one_commit() -> None:
    times = {"a/2": "2026-01-31T12:00:00Z", "a/1": "2026-01-31T12:00:00.5Z", "a/3": "2026-01-31T12:00:00.500Z"}
    marks = [mark_of({"name": f"{ROOT}/{path}", "updateTime": time}, ROOT) for path, time in times.items()]
    assert marks == sorted(set(marks))


def test_a_copy_is_canonical_text_and_mark() -> None:
    document = {"name": f"{ROOT}/a/1", "fields": {"n": {"integerValue": "1"}}, "updateTime": "2026-01-31T12:00:00Z"}
    assert copy_of("a/1", document, ROOT) == Copy("a/1", b'{"n":1}', "2026-01-31T12:00:00.000000Z a/1")
    assert copy_of("a/1", None, ROOT) == Copy("a/1", None, "")
    assert copy_of("a/1", {"name": f"{ROOT}/a/1", "updateTime": "2026-01-31T12:00:00Z"}, ROOT).data == b"{}"
