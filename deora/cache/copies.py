"""A copy of an upstream document as bytes, for tiers that hold nothing else. Pure.

A msgpack list [FORMAT, path, version, updated_us, fetched_us, data]. What comes back from a tier is trusted in nothing:
bytes that are not such a list, that speak of another path, or whose version is not that of the data, are no copy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgpack

from deora.documents.versions import copy_version

FORMAT: Final = 1


@dataclass(frozen=True, slots=True)
class CachedCopy:
    """A document as upstream held it at `fetched_us`, by this box's clock (microseconds since 1970 UTC).

    `data` is canonical JSON text; None: upstream had no such document, and then `version` is empty. `updated_us` is
    when this box first saw `data`.
    """

    path: str
    version: str
    updated_us: int
    fetched_us: int
    data: bytes | None

    def age_s(self, now_us: int) -> float:
        """Seconds since it was fetched. One from the future (the clock was put back) is as old as it is ahead of us: it
        must not count as fresh until the clock has caught up."""
        return abs(now_us - self.fetched_us) / 1e6


def encode_copy(copy: CachedCopy) -> bytes:
    """The copy as bytes; `decode_copy` reads them back."""
    packed: bytes = msgpack.packb([FORMAT, copy.path, copy.version, copy.updated_us, copy.fetched_us, copy.data])
    return packed


def decode_copy(value: bytes, path: str) -> CachedCopy | None:
    """The copy of the document `path` in these bytes; None for anything else."""
    try:
        parts = msgpack.unpackb(value, raw=False, strict_map_key=False)
    except (ValueError, msgpack.UnpackException, RecursionError):
        return None
    if type(parts) is not list or len(parts) != 6 or parts[:2] != [FORMAT, path]:
        return None
    _, _, version, updated_us, fetched_us, data = parts
    if (type(version), type(updated_us), type(fetched_us)) != (str, int, int) or type(data) not in (bytes, type(None)):
        return None
    if version != ("" if data is None else copy_version(data)):
        return None
    return CachedCopy(path, version, updated_us, fetched_us, data)


def copy_of(path: str, data: bytes | None, now_us: int, last: CachedCopy | None) -> CachedCopy:
    """What was fetched now; `last` is the copy from before, which tells whether the data is new."""
    version = "" if data is None else copy_version(data)
    updated_us = last.updated_us if last is not None and last.version == version else now_us
    return CachedCopy(path, version, updated_us, now_us, data)
