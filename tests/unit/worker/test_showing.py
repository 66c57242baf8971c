"""Documents as JSON text, and what one that is shown says of itself."""

from __future__ import annotations

import json

import pytest

from deora.worker.showing import Shown, document_json


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


def test_an_answer_says_where_a_copy_is_from_and_how_old_it_is() -> None:
    sure = Shown("e-1", b"{}", 10.0)
    assert sure.headers(5.0) == b'ETag: "e-1"\r\n'
    copy = Shown("~1", b"{}", 10.0, b"cache", 3.5)
    assert copy.headers(5.0) == b'ETag: "~1"\r\nX-Deora-Source: cache\r\nAge: 1\r\n'
    assert b"Age: 0\r\n" in copy.headers(3.0)
