"""What a collection's priority is."""

from __future__ import annotations

from pathlib import Path

import pytest

from deora.worker.context import DEFAULT_PRIORITY
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
