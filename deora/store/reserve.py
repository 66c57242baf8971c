"""How much of the disk is kept back, and when new writes must stop so that what was accepted can go on. Pure.

    |  the store's files  | WAL up to its limit |  watermark  |  ballast  |  others' and free ... |

Room is what is free once the WAL has its full size, together with what is free inside the store's file. Below the
watermark new writes are refused, while settlements, deletes and checkpoints go on in what is left. Where even those
find no room the ballast is given up for them; new writes have to wait until it is there again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PAGE_BYTES: Final = 4096
FRAME_BYTES: Final = PAGE_BYTES + 24
MIB: Final = 1024 * 1024

# Pages in the WAL before a commit also checkpoints, 39 MiB. Fewer cost work, since a page that many writes share is
# written to the file once for all of them; more would not leave a transaction room below the 64 MiB that the WAL may
# have: one that brings 4 MiB of content writes three times as much.
CHECKPOINT_PAGES: Final = 10_000
# What a WAL that was longer is cut to once it begins anew.
WAL_KEPT_BYTES: Final = 40 * MIB
# A WAL beyond the first cannot begin anew, for somebody reads in it: no new writes. Beyond the second nothing at all is
# written until it can.
WAL_SOFT_BYTES: Final = 48 * MIB
WAL_HARD_BYTES: Final = 56 * MIB

# The same while room is short: the little that is written stays in the WAL's first blocks, which are there already.
SHORT_CHECKPOINT_PAGES: Final = 256
BALLAST_BYTES: Final = 16 * MIB
# Of the ballast, what is given up at a time.
BALLAST_PARTS: Final = 4
WATERMARK_BYTES: Final = 32 * MIB


@dataclass(frozen=True, slots=True)
class Reserve:
    """The sizes that fit a disk."""

    checkpoint_pages: int
    wal_kept_bytes: int
    wal_soft_bytes: int
    wal_hard_bytes: int
    ballast_bytes: int
    watermark_bytes: int


@dataclass(frozen=True, slots=True)
class Seen:
    """What was found on the disk, in bytes.

    `headroom_bytes`: what the process's limit for a file's size leaves the store's file; None without such a limit.
    """

    free_bytes: int
    wal_bytes: int
    ballast_bytes: int
    headroom_bytes: int | None = None


def reserve_for(capacity_bytes: int) -> Reserve:
    """The reserve on a disk of this size: on one below 512 MiB all of it is smaller, a quarter of the disk together."""

    def scaled(size: int) -> int:
        return min(size, size * capacity_bytes // (512 * MIB))

    return Reserve(
        checkpoint_pages=max(16, scaled(CHECKPOINT_PAGES)),
        wal_kept_bytes=max(16 * FRAME_BYTES, scaled(WAL_KEPT_BYTES)),
        wal_soft_bytes=min(WAL_SOFT_BYTES, capacity_bytes // 4),
        wal_hard_bytes=min(WAL_HARD_BYTES, capacity_bytes // 2),
        ballast_bytes=scaled(BALLAST_BYTES) // PAGE_BYTES * PAGE_BYTES,
        watermark_bytes=scaled(WATERMARK_BYTES),
    )


def room_bytes(seen: Seen, reserve: Reserve, spare_bytes: int = 0) -> int:
    """What new writes may take before the watermark counts; negative where not even the reserve is there.

    `spare_bytes`: what is free inside the store's file. A ballast that is missing is to be made first.
    """
    unmade_bytes = max(0, reserve.wal_kept_bytes - seen.wal_bytes) + reserve.ballast_bytes - seen.ballast_bytes
    room = seen.free_bytes - unmade_bytes
    if seen.headroom_bytes is not None:
        room = min(room, seen.headroom_bytes)
    return room + spare_bytes


def may_write(room: int, reserve: Reserve, *, refused: bool) -> bool:
    """Whether new writes are taken. Once they are refused, a quarter more is asked for, so that it does not flicker."""
    return room >= reserve.watermark_bytes * (5 if refused else 4) // 4
