"""What a cursor remembers of the entries that upstream has: a watermark, what is applied above it, what was refused.

Entries are numbered for each upstream without gaps, but not applied in the order of their numbers: priority reorders
them across documents. All numbers up to the watermark are decided (applied, or in `refused`); above it `ranges` says
which are applied. After a restore or an import this tells which entries upstream already has.

Packed: a version byte, then unsigned varints: watermark, number of ranges, for each the gap to the one before and its
length, number of refused numbers, for each the gap to the one before.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from deora.errors import DeoraError
from deora.replay.batches import Batch

_VERSION: Final = 1
MAX_BYTES: Final = 64 * 1024

# Above this, claims go by age alone until the watermark has caught up: ranges of an urgent tenth of 1,000,000 entries
# would take more than MAX_BYTES.
CROWDED_BYTES: Final = 48 * 1024


@dataclass(slots=True)
class Coverage:
    """`ranges` are [first, last] pairs above the watermark, sorted, apart from each other by at least one number."""

    watermark: int = 0
    ranges: list[tuple[int, int]] = field(default_factory=list)
    refused: list[int] = field(default_factory=list)

    def covers(self, number: int) -> bool:
        """Whether upstream is known to have applied this entry."""
        place = bisect_left(self.refused, number)
        if place < len(self.refused) and self.refused[place] == number:
            return False
        if number <= self.watermark:
            return True
        index = bisect_right(self.ranges, (number, float("inf")))
        return index > 0 and self.ranges[index - 1][1] >= number

    def with_applied(self, numbers: Iterable[int]) -> Coverage:
        """This and these entries applied. One that was refused before is so no longer."""
        added = sorted(set(numbers))
        gone = set(added)
        return self._with(added, [number for number in self.refused if number not in gone])

    def with_refused(self, number: int) -> Coverage:
        """This and one entry refused."""
        return self._with([number], sorted({*self.refused, number}))

    def _with(self, added: list[int], refused: list[int]) -> Coverage:
        merged: list[tuple[int, int]] = []
        for first, last in sorted([*self.ranges, *_runs(added)]):
            if merged and first <= merged[-1][1] + 1:
                merged[-1] = (merged[-1][0], max(last, merged[-1][1]))
            else:
                merged.append((first, last))
        watermark = self.watermark
        while merged and merged[0][0] <= watermark + 1:
            watermark = max(watermark, merged.pop(0)[1])
        return Coverage(watermark, merged, refused)

    @property
    def is_crowded(self) -> bool:
        """Whether it remembers so many exceptions that claims must go by age for a while."""
        return len(self.encode()) > CROWDED_BYTES

    def encode(self) -> bytes:
        """The packed form."""
        values = [self.watermark, len(self.ranges)]
        previous = self.watermark
        for first, last in self.ranges:
            values += [first - previous, last - first]
            previous = last
        values.append(len(self.refused))
        previous = 0
        for number in self.refused:
            values.append(number - previous)
            previous = number
        return bytes([_VERSION]) + b"".join(_varint(value) for value in values)

    @classmethod
    def decode(cls, packed: bytes) -> Coverage:
        """What `encode` packed; empty bytes are an empty coverage. Raises DeoraError for anything else."""
        if not packed:
            return cls()
        if packed[0] != _VERSION:
            raise DeoraError(
                f"upstream's cursor has format {packed[0]}; this DEORA knows format {_VERSION}",
                hint="a newer DEORA has written it: start that one",
            )
        try:
            return cls._read(_varints(packed[1:]))
        except (StopIteration, ValueError):
            raise DeoraError(
                "upstream's cursor is damaged: its list of applied entries cannot be read",
                hint="stop, and ask for help with a support bundle: sending on could apply entries twice",
            ) from None

    @classmethod
    def _read(cls, values: Iterator[int]) -> Coverage:
        """The coverage in these numbers. Raises ValueError or StopIteration where `encode` never wrote them."""
        coverage = cls(next(values))
        previous = coverage.watermark
        for _ in range(next(values)):
            gap, length = next(values), next(values)
            if gap < 2:
                raise ValueError(gap)
            coverage.ranges.append((previous + gap, previous + gap + length))
            previous += gap + length
        previous = 0
        for _ in range(next(values)):
            gap = next(values)
            if gap < 1:
                raise ValueError(gap)
            previous += gap
            coverage.refused.append(previous)
        if next(values, None) is not None:
            raise ValueError("more numbers than were announced")
        return coverage


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a lane left a cursor, and what that covers."""

    seq: int
    batch_id: str
    coverage: Coverage

    def is_expected_by(self, batch: Batch) -> bool:
        """Whether a batch expects the lane's own cursor here. One that does not comes after a batch that another
        replayer of the same store sent: what that applied is not in this coverage."""
        return (self.seq, self.batch_id) == (batch.known_seq, batch.known_batch_id)


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(0x80 | value & 0x7F)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _varints(packed: bytes) -> Iterator[int]:
    """The numbers in these bytes, one by one. Raises ValueError where the last one does not end."""
    value = shift = 0
    for byte in packed:
        value |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            if byte == 0 and shift > 7:
                raise ValueError("a number is longer than it needs to be")
            yield value
            value = shift = 0
    if shift:
        raise ValueError("the last number does not end")
