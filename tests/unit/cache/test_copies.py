"""Copies as bytes, and all the bytes that are none."""

from __future__ import annotations

import msgpack
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deora.cache.copies import FORMAT, CachedCopy, Moment, copy_of, decode_copy, encode_copy
from deora.documents.versions import copy_version

BOOT = "this boot"
NOW = Moment(2, BOOT, 100.0)
COPY = copy_of("menu/espresso", b'{"price":2}', NOW, None)
FUTURE, PAST = Moment(2**62, "ü", 1e9), Moment(-1, "", 0.0)


@pytest.mark.parametrize("copy", [COPY, copy_of("a/ü", None, FUTURE, None), copy_of("a/b", b"", PAST, None)])
def test_a_copy_comes_back_as_it_went(copy: CachedCopy) -> None:
    assert decode_copy(encode_copy(copy), copy.path) == copy


def test_a_copy_of_another_document_is_none() -> None:
    assert decode_copy(encode_copy(COPY), "menu/latte") is None


@example(b"\x83\x00\x00\x00\x00\x90\x00")  # a map with a list for a key
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
        [FORMAT + 1, COPY.path, COPY.version, 1, *NOW, COPY.data],
        [1, COPY.path, COPY.version, 1, 2, COPY.data],
        [FORMAT, COPY.path, COPY.version, 1, *NOW],
        [FORMAT, COPY.path, COPY.version.encode(), 1, *NOW, COPY.data],
        [FORMAT, COPY.path, COPY.version, "1", *NOW, COPY.data],
        [FORMAT, COPY.path, COPY.version, 1, 2.5, BOOT, 100.0, COPY.data],
        [FORMAT, COPY.path, COPY.version, 1, True, BOOT, 100.0, COPY.data],
        [FORMAT, COPY.path, COPY.version, 1, 2, BOOT, 100, COPY.data],
        [FORMAT, COPY.path, COPY.version, 1, 2, BOOT.encode(), 100.0, COPY.data],
        [FORMAT, COPY.path, COPY.version, 1, *NOW, '{"price":2}'],
        [FORMAT, COPY.path, COPY.version, 1, *NOW, None],
        [FORMAT, COPY.path, COPY.version, 1, *NOW, b'{"price":3}'],
        {"path": "menu/espresso"},
        None,
    ],
)
def test_what_has_another_form_is_none(parts: object) -> None:
    assert decode_copy(msgpack.packb(parts), COPY.path) is None


@pytest.mark.parametrize("wall_us", [-(10**15), 0, 2, 10**15])
def test_within_a_boot_the_wall_clock_says_nothing_of_a_copy_s_age(wall_us: int) -> None:
    later = Moment(wall_us, BOOT, 160.0)
    assert COPY.age_s(later) == 60
    assert COPY.is_fresh(later, 60.0)
    assert not COPY.is_fresh(later, 59.9)
    assert COPY.has_expired(later, 59.9)
    assert not COPY.has_expired(later, 60.0)


def test_a_copy_from_before_the_boot_is_never_fresh_and_goes_once_the_box_is_up_for_its_time() -> None:
    soon, later = Moment(2_000_002, "next boot", 30.0), Moment(2_000_002, "next boot", 3601.0)
    assert not COPY.is_fresh(soon, 3600.0)
    assert not COPY.has_expired(soon, 3600.0)
    assert COPY.has_expired(later, 3600.0)
    # Its age as it is shown: by the wall clock, but no less than is certain.
    assert COPY.age_s(soon) == 30
    assert COPY.age_s(Moment(90_000_002, "next boot", 30.0)) == 90
    assert COPY.age_s(Moment(-90_000_000, "next boot", 30.0)) == pytest.approx(90)


def test_the_update_time_moves_with_the_data_alone() -> None:
    again = copy_of(COPY.path, COPY.data, NOW._replace(wall_us=10), COPY)
    assert (again.updated_us, again.fetched.wall_us, again.version) == (2, 10, copy_version(b'{"price":2}'))
    changed = copy_of(COPY.path, b'{"price":3}', NOW._replace(wall_us=20), again)
    assert (changed.updated_us, changed.fetched.wall_us) == (20, 20)
    gone = copy_of(COPY.path, None, NOW._replace(wall_us=30), changed)
    assert (gone.updated_us, gone.version, gone.data) == (30, "", None)
