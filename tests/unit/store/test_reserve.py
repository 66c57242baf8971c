"""How much is kept back on disks of any size, and when new writes stop."""

from __future__ import annotations

import pytest

from deora.store.reserve import (
    CHECKPOINT_PAGES,
    FRAME_BYTES,
    MIB,
    WAL_HARD_BYTES,
    WAL_KEPT_BYTES,
    WAL_SOFT_BYTES,
    Seen,
    may_write,
    reserve_for,
    room_bytes,
)

LARGE = reserve_for(100 * 1024 * MIB)


def test_a_log_between_two_checkpoints_fits_what_is_kept_of_it_and_all_of_it_64_mib() -> None:
    assert CHECKPOINT_PAGES * FRAME_BYTES <= WAL_KEPT_BYTES < WAL_SOFT_BYTES < WAL_HARD_BYTES <= 56 * MIB


@pytest.mark.parametrize("capacity", [MIB, 2 * MIB, 64 * MIB, 512 * MIB, 10**12])
def test_the_reserve_is_a_quarter_of_a_small_disk_at_most(capacity: int) -> None:
    reserve = reserve_for(capacity)
    assert reserve.ballast_bytes + reserve.watermark_bytes + reserve.checkpoint_pages * FRAME_BYTES <= capacity / 4
    assert reserve.ballast_bytes <= LARGE.ballast_bytes
    assert reserve.watermark_bytes <= LARGE.watermark_bytes
    assert reserve.checkpoint_pages >= 16


def test_room_does_not_change_when_the_log_grows_to_its_size_or_is_truncated() -> None:
    free = 200 * MIB
    rooms = {
        room_bytes(Seen(free - wal_bytes, wal_bytes, LARGE.ballast_bytes), LARGE)
        for wal_bytes in (0, MIB, LARGE.wal_kept_bytes)
    }
    assert rooms == {free - LARGE.wal_kept_bytes}


def test_a_ballast_that_is_missing_is_counted_as_if_it_were_there() -> None:
    there = Seen(100 * MIB, 0, LARGE.ballast_bytes)
    given_up = Seen(100 * MIB + LARGE.ballast_bytes, 0, 0)
    assert room_bytes(there, LARGE) == room_bytes(given_up, LARGE)


def test_a_limit_for_files_counts_where_it_is_nearer_than_the_disk_s_end() -> None:
    seen = Seen(100 * MIB, LARGE.wal_kept_bytes, LARGE.ballast_bytes, headroom_bytes=3 * MIB)
    assert room_bytes(seen, LARGE) == 3 * MIB
    assert room_bytes(seen, LARGE, spare_bytes=5 * MIB) == 8 * MIB


def test_once_refused_writes_need_a_quarter_more() -> None:
    mark = LARGE.watermark_bytes
    assert may_write(mark, LARGE, refused=False)
    assert not may_write(mark - 1, LARGE, refused=False)
    assert not may_write(mark * 5 // 4 - 1, LARGE, refused=True)
    assert may_write(mark * 5 // 4, LARGE, refused=True)
