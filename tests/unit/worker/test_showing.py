"""Documents as JSON text."""

from __future__ import annotations

import json

import pytest

from deora.worker.showing import document_json


@pytest.mark.parametrize(("pending", "shown"), [(0, False), (1, True), (7, True)])
def test_a_document(pending: int, shown: bool) -> None:
    text = document_json("a/b", "e-1", 1_769_860_800_000_000, 1_769_860_800_123_456, pending, b'{"n":1}')
    assert json.loads(text) == {
        "path": "a/b",
        "version": "e-1",
        "createTime": "2026-01-31T12:00:00.000000Z",
        "updateTime": "2026-01-31T12:00:00.123456Z",
        "pending": shown,
        "data": {"n": 1},
    }


def test_the_data_is_copied_and_the_path_is_quoted() -> None:
    text = document_json('a/"ä"\\', "e-1", 0, 0, 0, b'{ "n": 1.0 }')
    assert text.endswith(b'"data":{ "n": 1.0 }}')
    assert json.loads(text)["path"] == 'a/"ä"\\'
