"""Sets of numbers, against sets."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from deora.outbox.numbers import Covered, Spans, extend, joined, size, without

spans = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 5)).map(lambda pair: (pair[0], sum(pair))), max_size=8)


def numbers(found: Spans) -> set[int]:
    return {number for first, last in found for number in range(first, last + 1)}


def is_whole(found: Spans) -> bool:
    """Sorted, none empty, none touching the next."""
    return all(first <= last for first, last in found) and all(
        last + 1 < first for (_, last), (first, _) in pairwise(found)
    )


@given(spans, spans)
def test_what_is_in_one_and_not_in_the_other(one: Spans, other: Spans) -> None:
    left = without(joined(one), joined(other))
    assert numbers(left) == numbers(one) - numbers(other)
    assert is_whole(left)
    assert size(left) == len(numbers(left))


@given(spans)
def test_spans_in_any_order_make_a_set(some: Spans) -> None:
    assert numbers(joined(some)) == numbers(some)
    assert is_whole(joined(some))


@given(st.sets(st.integers(1, 40)))
def test_numbers_in_their_order_stay_short(some: set[int]) -> None:
    found: Spans = []
    for number in sorted(some):
        extend(found, number)
    assert found == joined(found)
    assert numbers(found) == some


@given(st.integers(0, 20), spans, st.sets(st.integers(1, 30)), st.integers(0, 50))
def test_what_a_cursor_says(watermark: int, above: Spans, refused: set[int], upto: int) -> None:
    ranges = without(joined(above), [(1, watermark)])
    covered = Covered.from_wire(watermark, [list(span) for span in ranges], sorted(refused))
    decided = set(range(1, watermark + 1)) | numbers(ranges)
    for number in range(1, 60):
        assert covered.holds(number) == (number in decided and number not in refused)
    assert numbers(covered.undecided(upto)) == set(range(1, upto + 1)) - decided
