"""Sets of entry numbers, as sorted spans (first, last) that do not touch each other. Pure.

A million entries have a million numbers, but few gaps: what a cursor covers, what the outbox keeps and what is missing
are each a handful of spans.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass

Spans = list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Covered:
    """What an upstream's cursor says of entries: all up to `watermark` and in `spans` are decided there, applied but
    for those in `refused`."""

    watermark: int
    spans: Spans
    refused: frozenset[int]

    @classmethod
    def from_wire(cls, watermark: int, spans: list[list[int]], refused: list[int]) -> Covered:
        """What the replayer packed."""
        return cls(watermark, [(first, last) for first, last in spans], frozenset(refused))

    def holds(self, number: int) -> bool:
        """Whether upstream has applied this entry."""
        if number in self.refused:
            return False
        if number <= self.watermark:
            return True
        index = bisect_right(self.spans, (number, float("inf")))
        return index > 0 and self.spans[index - 1][1] >= number

    def undecided(self, upto: int) -> Spans:
        """The numbers from 1 to `upto` of which the cursor says nothing."""
        return without([(1, upto)] if upto else [], joined([(1, self.watermark), *self.spans]))


def joined(spans: Iterable[tuple[int, int]]) -> Spans:
    """Spans in any order, which may touch or overlap, as a set."""
    found: Spans = []
    for first, last in sorted(spans):
        if last < first:
            continue
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found


def without(spans: Spans, others: Spans) -> Spans:
    """What is in `spans` and not in `others`."""
    left: Spans = []
    index = 0
    for first, last in spans:
        while index < len(others) and others[index][1] < first:
            index += 1
        behind = index
        while behind < len(others) and others[behind][0] <= last:
            if first < others[behind][0]:
                left.append((first, others[behind][0] - 1))
            first = others[behind][1] + 1
            behind += 1
        if first <= last:
            left.append((first, last))
    return left


def size(spans: Spans) -> int:
    """How many numbers there are."""
    return sum(last - first + 1 for first, last in spans)


def extend(spans: Spans, number: int) -> None:
    """Adds a number to a list of spans for `joined`, which stays short where numbers come in their order."""
    if spans and spans[-1][1] == number - 1:
        spans[-1] = (spans[-1][0], number)
    else:
        spans.append((number, number))
