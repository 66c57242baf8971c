"""What the cursor says of a batch."""

from __future__ import annotations

import pytest

from deora.replay.batches import STOPS, Batch, Verdict, cuts, judge
from deora.upstream.base import Cursor

FIRST = Batch("b1", 0, 0, "", [1], [b"x"])
LATER = Batch("b8", 2, 7, "b7", [20, 21], [b"x", b"y"])


@pytest.mark.parametrize(
    ("batch", "cursor", "verdict"),
    [
        # the first batch of all: no cursor is a cursor at 0
        (FIRST, None, Verdict.NOT_LANDED),
        (FIRST, (0, ""), Verdict.NOT_LANDED),
        (FIRST, (1, "b1"), Verdict.LANDED),
        (FIRST, (1, "fence:b1"), Verdict.FENCED),
        (FIRST, (1, "b2"), Verdict.MOVED),
        (FIRST, (2, "b1"), Verdict.MOVED),
        (FIRST, (0, "b0"), Verdict.MOVED),
        # a later one
        (LATER, (7, "b7"), Verdict.NOT_LANDED),
        (LATER, (8, "b8"), Verdict.LANDED),
        (LATER, (8, "fence:b8"), Verdict.FENCED),
        (LATER, (7, "other"), Verdict.MOVED),
        (LATER, (7, ""), Verdict.MOVED),
        (LATER, (7, "b8"), Verdict.MOVED),
        (LATER, (8, "other"), Verdict.MOVED),
        (LATER, (8, "fence:b7"), Verdict.MOVED),
        (LATER, (9, "b8"), Verdict.MOVED),
        (LATER, (6, "b6"), Verdict.WENT_BACK),
        (LATER, (6, "b8"), Verdict.WENT_BACK),
        (LATER, (0, ""), Verdict.WENT_BACK),
        (LATER, None, Verdict.WENT_BACK),
    ],
)
def test_the_cursor_judges(batch: Batch, cursor: tuple[int, str] | None, verdict: Verdict) -> None:
    found = Cursor(*cursor, b"") if cursor is not None else None
    assert judge(batch, found) is verdict


@pytest.mark.parametrize("cursor", [(0, ""), (7, "b7"), (8, "b8"), (8, "fence:b8"), (9, "x")])
def test_a_takeover_goes_before_everything(cursor: tuple[int, str]) -> None:
    assert judge(LATER, Cursor(*cursor, b"", "box2")) is Verdict.TAKEN_OVER


def test_a_fence_has_a_name_that_no_batch_has() -> None:
    assert LATER.fence_id == "fence:b8"
    assert Batch("fence:b8", 0, 0, "", [], []).fence_id != LATER.fence_id


def test_each_verdict_that_stops_a_lane_says_why() -> None:
    assert set(STOPS) == {Verdict.TAKEN_OVER, Verdict.MOVED}
    assert "box2" in STOPS[Verdict.TAKEN_OVER].format(taken_by="box2")
    assert all("sen" in text for text in STOPS.values())


@pytest.mark.parametrize(
    ("size", "index", "places"),
    [
        (500, None, [250]),
        (3, None, [1]),
        (2, None, [1]),
        (1, None, [0]),
        (500, 0, [0, 1]),
        (500, 17, [17, 18]),
        (500, 499, [499, 500]),
        (1, 0, [0, 1]),
        # an upstream that names what is not there names nothing
        (500, 500, [250]),
        (500, -1, [250]),
    ],
)
def test_a_refused_batch_is_cut_around_the_named_entry_or_in_half(
    size: int, index: int | None, places: list[int]
) -> None:
    assert cuts(size, index) == places


@pytest.mark.parametrize("size", range(2, 40))
def test_a_cut_always_makes_a_batch_smaller(size: int) -> None:
    for index in (None, *range(size)):
        inner = [place for place in cuts(size, index) if 0 < place < size]
        assert inner, (size, index)
