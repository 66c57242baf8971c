"""Copies as bytes, and all the bytes that are none."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deora.cache.copies import CachedCopy, copy_of, decode_copy, encode_copy
from deora.documents.versions import copy_version

COPY = copy_of("menu/espresso", b'{"price":2}', 2, None)


@pytest.mark.parametrize("copy", [COPY, copy_of("a/ü", None, 2**62, None), copy_of("a/b", b"", -1, None)])
def test_a_copy_comes_back_as_it_went(copy: CachedCopy) -> None:
    assert decode_copy(encode_copy(copy), copy.path) == copy


def test_a_copy_of_another_document_is_none() -> None:
    assert decode_copy(encode_copy(COPY), "menu/latte") is None


@given(st.binary(max_size=200))
def test_any_bytes_are_survived(value: bytes) -> None:
    assert decode_copy(value, COPY.path) is None


@given(st.integers(0, 200), st.integers(1, 255))
def test_damaged_bytes_are_survived(place: int, change: int) -> None:
    value = bytearray(encode_copy(COPY))
    value[place % len(value)] ^= change
    found = decode_copy(bytes(value), COPY.path)
    assert found is None or (found.path, found.version, found.data) == (COPY.path, COPY.version, COPY.data)


@pytest.mark.parametrize(
    "parts",
    [
        [2, COPY.path, COPY.version, 1, 2, COPY.data],
        [1, COPY.path, COPY.version, 1, 2],
        [1, COPY.path, COPY.version.encode(), 1, 2, COPY.data],
        [1, COPY.path, COPY.version, "1", 2, COPY.data],
        [1, COPY.path, COPY.version, 1, 2.5, COPY.data],
        [1, COPY.path, COPY.version, 1, True, COPY.data],
        [1, COPY.path, COPY.version, 1, 2, '{"price":2}'],
        [1, COPY.path, COPY.version, 1, 2, None],
        [1, COPY.path, COPY.version, 1, 2, b'{"price":3}'],
        {"path": "menu/espresso"},
        None,
    ],
)
def test_what_has_another_form_is_none(parts: object) -> None:
    assert decode_copy(msgpack.packb(parts), COPY.path) is None


def test_a_copy_from_the_future_is_not_fresh() -> None:
    assert COPY.age_s(3_500_002) == 3.5
    assert copy_of("a/b", None, 60_000_000, None).age_s(0) == 60


def test_the_update_time_moves_with_the_data_alone() -> None:
    again = copy_of(COPY.path, COPY.data, 10, COPY)
    assert (again.updated_us, again.fetched_us, again.version) == (COPY.updated_us, 10, copy_version(b'{"price":2}'))
    changed = copy_of(COPY.path, b'{"price":3}', 20, again)
    assert (changed.updated_us, changed.fetched_us) == (20, 20)
    gone = copy_of(COPY.path, None, 30, changed)
    assert (gone.updated_us, gone.version, gone.data) == (30, "", None)
