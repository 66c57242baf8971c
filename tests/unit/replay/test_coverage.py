"""What a cursor remembers, against plain sets."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deora.errors import DeoraError
from deora.replay.coverage import CROWDED_BYTES, MAX_BYTES, Coverage

NUMBERS = st.integers(1, 80)
# A step: a batch that is applied, or an entry that is refused.
STEPS = st.lists(st.one_of(st.sets(NUMBERS, min_size=1), NUMBERS), max_size=25)


def check_shape(coverage: Coverage) -> None:
    """What its docstring says of ranges and refused numbers."""
    previous = coverage.watermark
    for first, last in coverage.ranges:
        assert previous + 1 < first <= last, coverage
        previous = last
    assert coverage.refused == sorted(set(coverage.refused))


@given(STEPS)
def test_it_covers_what_is_applied_and_not_what_is_refused(steps: list[set[int] | int]) -> None:
    coverage = Coverage()
    applied: set[int] = set()
    refused: set[int] = set()
    for step in steps:
        if isinstance(step, set):
            coverage = coverage.with_applied(step)
            applied |= step
            refused -= step
        else:
            coverage = coverage.with_refused(step)
            refused.add(step)
            applied.discard(step)
        check_shape(coverage)
        assert coverage.refused == sorted(refused)
    decided = applied | refused
    assert coverage.watermark == next(number for number in range(82) if number + 1 not in decided)
    for number in range(1, 82):
        assert coverage.covers(number) == (number in applied), number


@given(STEPS)
def test_it_comes_back_from_its_packed_form(steps: list[set[int] | int]) -> None:
    coverage = Coverage()
    for step in steps:
        coverage = coverage.with_applied(step) if isinstance(step, set) else coverage.with_refused(step)
    assert Coverage.decode(coverage.encode()) == coverage


def test_what_was_there_before_is_not_changed() -> None:
    before = Coverage(3, [(6, 8)], [2])
    before.with_applied([2, 4, 5])
    before.with_refused(9)
    assert before == Coverage(3, [(6, 8)], [2])


@pytest.mark.parametrize(
    ("before", "added", "after"),
    [
        (Coverage(), [1, 2, 3], Coverage(3)),
        (Coverage(3), [5], Coverage(3, [(5, 5)])),
        (Coverage(3, [(5, 5)]), [4], Coverage(5)),
        (Coverage(3, [(5, 5), (7, 9)]), [6], Coverage(3, [(5, 9)])),
        (Coverage(3, [(5, 9)]), [6, 7], Coverage(3, [(5, 9)])),
        (Coverage(3, [(5, 9)]), [1, 2], Coverage(3, [(5, 9)])),
        (Coverage(3), [], Coverage(3)),
        (Coverage(3), [4, 4, 4], Coverage(4)),
        (Coverage(5, [], [2, 4]), [4], Coverage(5, [], [2])),
        (Coverage(), [2**40], Coverage(0, [(2**40, 2**40)])),
    ],
)
def test_applied_entries_join_what_is_beside_them(before: Coverage, added: list[int], after: Coverage) -> None:
    assert before.with_applied(added) == after


def test_nothing_is_covered_at_first() -> None:
    assert Coverage.decode(b"") == Coverage()
    assert not Coverage().covers(1)


def test_the_packed_form_stays_as_it_is() -> None:
    """It lies in upstreams for years: another version of DEORA must read it."""
    coverage = Coverage(300, [(302, 302), (400, 500)], [7, 299])
    assert coverage.encode() == bytes.fromhex("01 ac02 02 02 00 62 64 02 07 a402")
    assert Coverage.decode(bytes.fromhex("01 ac02 02 02 00 62 64 02 07 a402")) == coverage


@given(STEPS, st.data())
def test_damaged_bytes_are_never_taken_for_something_else(steps: list[set[int] | int], data: st.DataObject) -> None:
    """Cut short, lengthened or changed: either an error, or something that has exactly these bytes."""
    coverage = Coverage(5)
    for step in steps:
        coverage = coverage.with_applied(step) if isinstance(step, set) else coverage.with_refused(step)
    packed = coverage.encode()
    with pytest.raises(DeoraError):
        Coverage.decode(packed[: data.draw(st.integers(1, len(packed) - 1))])
    with pytest.raises(DeoraError):
        Coverage.decode(packed + data.draw(st.binary(min_size=1, max_size=3)))


@settings(max_examples=500)
@given(st.binary(max_size=12))
def test_any_bytes_are_an_error_or_their_own_packed_form(damage: bytes) -> None:
    packed = b"\x01" + damage
    try:
        coverage = Coverage.decode(packed)
    except DeoraError:
        return
    check_shape(coverage)
    assert coverage.encode() == packed


@pytest.mark.parametrize(
    "packed",
    [
        "01",  # nothing behind the version
        "01 05",  # no number of ranges
        "01 05 00",  # no number of refused ones
        "01 05 02 02 00 00",  # fewer ranges than announced
        "01 05 01 00 00 00",  # a range that begins at the watermark
        "01 05 01 01 00 00",  # a range beside the watermark
        "01 05 00 02 03 00",  # a number refused twice
        "01 05 00 01 00",  # number 0, which no entry has
        "01 05 00 00 00",  # something behind the end
        "01 85 00 00 00",  # a number longer than it needs to be
        "01 05 00 80",  # a number that does not end
    ],
)
def test_what_was_never_packed_is_refused(packed: str) -> None:
    with pytest.raises(DeoraError):
        Coverage.decode(bytes.fromhex(packed))


def test_damage_is_named_with_what_to_do() -> None:
    with pytest.raises(DeoraError, match="cursor is damaged") as caught:
        Coverage.decode(b"\x01\x05\x09\x01")
    assert caught.value.hint is not None


def test_a_format_of_a_newer_version_is_named() -> None:
    with pytest.raises(DeoraError, match="format 2; this DEORA knows format 1") as caught:
        Coverage.decode(b"\x02\x00\x00\x00")
    assert caught.value.hint is not None


def test_claims_by_age_begin_before_the_field_is_full() -> None:
    """A tenth of 1,000,000 waiting entries is urgent and goes first. Where claims turn to age, one more batch of 500
    that is under way must still fit, in the worst case each entry of it far from the next."""
    coverage = Coverage(0, [(number, number) for number in range(10, 1_000_000, 10)][: CROWDED_BYTES // 2 - 4])
    assert len(coverage.encode()) <= CROWDED_BYTES
    last = coverage.ranges[-1][1]
    fuller = coverage.with_applied(range(last + 10**9, last + 501 * 10**9, 10**9))
    assert len(fuller.ranges) == len(coverage.ranges) + 500
    assert CROWDED_BYTES < len(fuller.encode()) < MAX_BYTES
