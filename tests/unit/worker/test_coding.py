"""Large answers, gzipped where that is asked for."""

from __future__ import annotations

import gzip

import pytest

from deora.worker.coding import FROM_BYTES, coded

LARGE = b'{"n": 1}' * FROM_BYTES


def test_a_large_answer_is_coded_for_who_asks() -> None:
    content, headers = coded(LARGE, b"X: y\r\n", as_gzip=True)
    assert gzip.decompress(content) == LARGE
    assert len(content) < len(LARGE) / 10
    assert headers == b"X: y\r\nVary: Accept-Encoding\r\nContent-Encoding: gzip\r\n"
    assert coded(LARGE, b"X: y\r\n", as_gzip=True)[0] == content


def test_who_does_not_ask_gets_it_plain_and_caches_are_told() -> None:
    assert coded(LARGE, b"", as_gzip=False) == (LARGE, b"Vary: Accept-Encoding\r\n")


@pytest.mark.parametrize("as_gzip", [True, False])
def test_a_small_answer_stays_as_it_is(as_gzip: bool) -> None:
    small = b"a" * (FROM_BYTES - 1)
    assert coded(small, b"X: y\r\n", as_gzip=as_gzip) == (small, b"X: y\r\n")
