"""A copy of an upstream document as bytes, for tiers that hold nothing else. Pure.

A msgpack list [FORMAT, path, version, updated_us, fetched_us, boot, fetched_s, data]. What comes back from a tier is
trusted in nothing: bytes that are not such a list, that speak of another path, or whose version is not that of the
data, are no copy.

How old a copy is, the clock since boot tells, since a wall clock that is put back would make an old one fresh, and let
it outlive the row that says its document is deleted. One from before the boot is at least as old as the boot: it is
never fresh, and is let go of once the box has been up for its time to live.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import msgpack

from deora.documents.versions import copy_version

FORMAT: Final = 2


class Moment(NamedTuple):
    """A time by this box's clocks: the wall's, in microseconds since 1970 UTC, and seconds since which boot."""

    wall_us: int
    boot: str
    since_boot_s: float


@dataclass(frozen=True, slots=True)
class CachedCopy:
    """A document as upstream held it at `fetched`.

    `data` is canonical JSON text; None: upstream had no such document, and then `version` is empty. `updated_us` is
    when this box first saw `data`.
    """

    path: str
    version: str
    updated_us: int
    fetched: Moment
    data: bytes | None

    def age_s(self, now: Moment) -> float:
        """Seconds since it was fetched; of one from before the boot, as well as that can be known."""
        if now.boot == self.fetched.boot:
            return max(0.0, now.since_boot_s - self.fetched.since_boot_s)
        return max(now.since_boot_s, abs(now.wall_us - self.fetched.wall_us) / 1e6)

    def is_fresh(self, now: Moment, interval_s: float) -> bool:
        """Whether it was certainly fetched within the last `interval_s`."""
        return now.boot == self.fetched.boot and self.age_s(now) <= interval_s

    def has_expired(self, now: Moment, ttl_s: float) -> bool:
        """Whether it is certainly older than `ttl_s`."""
        return (self.age_s(now) if now.boot == self.fetched.boot else now.since_boot_s) > ttl_s


def encode_copy(copy: CachedCopy) -> bytes:
    """The copy as bytes; `decode_copy` reads them back."""
    packed: bytes = msgpack.packb([FORMAT, copy.path, copy.version, copy.updated_us, *copy.fetched, copy.data])
    return packed


def decode_copy(value: bytes, path: str) -> CachedCopy | None:
    """The copy of the document `path` in these bytes; None for anything else."""
    try:
        parts = msgpack.unpackb(value, raw=False, strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException, RecursionError):
        return None
    if type(parts) is not list or len(parts) != 8 or parts[:2] != [FORMAT, path]:
        return None
    _, _, version, updated_us, *fetched, data = parts
    if [type(part) for part in (version, updated_us, *fetched)] != [str, int, int, str, float]:
        return None
    if type(data) not in (bytes, type(None)):
        return None
    if version != ("" if data is None else copy_version(data)):
        return None
    return CachedCopy(path, version, updated_us, Moment(*fetched), data)


def copy_of(path: str, data: bytes | None, now: Moment, last: CachedCopy | None) -> CachedCopy:
    """What was fetched now; `last` is the copy from before, which tells whether the data is new."""
    version = "" if data is None else copy_version(data)
    updated_us = last.updated_us if last is not None and last.version == version else now.wall_us
    return CachedCopy(path, version, updated_us, now, data)
