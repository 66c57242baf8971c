"""What a collection's priority is, and what a document that is shown says of itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from deora.worker.context import DEFAULT_PRIORITY, Shown
from tests.fakes.worker import WorkerBench


@pytest.mark.parametrize(
    ("collection", "priority"),
    [
        ("orders", DEFAULT_PRIORITY),
        ("payments", 9),
        # A collection below a document goes by its last part, unless its whole path is named.
        ("orders/o1/payments", 9),
        ("venues/v1/payments", 7),
        ("stock", 0),
        ("payments/p1/notes", DEFAULT_PRIORITY),
    ],
)
def test_priorities(tmp_path: Path, collection: str, priority: int) -> None:
    named = {"payments": 9, "venues/v1/payments": 7, "stock": 0}
    assert WorkerBench(tmp_path, priorities=named).context.priority_of(collection) == priority


def test_an_answer_says_where_a_copy_is_from_and_how_old_it_is() -> None:
    sure = Shown("e-1", b"{}", 10.0)
    assert sure.headers(5.0) == b'ETag: "e-1"\r\n'
    copy = Shown("~1", b"{}", 10.0, b"cache", 3.5)
    assert copy.headers(5.0) == b'ETag: "~1"\r\nX-Deora-Source: cache\r\nAge: 1\r\n'
    assert b"Age: 0\r\n" in copy.headers(3.0)
