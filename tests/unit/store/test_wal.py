"""Reading a WAL without SQLite: what holds, what was put right, and what stands behind a break."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from deora.store.wal import (
    FRAME_HEADER_BYTES,
    HEADER_BYTES,
    Wal,
    mend_header,
    page_numbers,
    read_index,
    read_wal,
)

FRAME_BYTES = FRAME_HEADER_BYTES + 4096


@pytest.fixture
def path(tmp_path: Path) -> Iterator[Path]:
    """A file whose WAL holds six transactions, while it is open."""
    path = tmp_path / "t.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)")
        for number in range(6):
            db.execute("INSERT INTO t (text) VALUES (?)", (f"{number}" * 900,))
        yield path


def wal_of(path: Path) -> Path:
    return path.with_name("t.db-wal")


def copied(path: Path, data: bytes) -> Wal:
    """The WAL with other content, read from another place."""
    target = path.with_name("copy-wal")
    target.write_bytes(data)
    return read_wal(target)


def as_sqlite_has_it(path: Path) -> list[bytes]:
    """The pages of the file with its WAL, by SQLite's own checkpoint of a copy."""
    for ending in ("", "-wal"):
        shutil.copy(path.with_name(path.name + ending), path.with_name(f"checkpointed.db{ending}"))
    target = path.with_name("checkpointed.db")
    with closing(sqlite3.connect(target)) as db:
        db.execute("SELECT count(*) FROM t").fetchall()
    data = target.read_bytes()
    return [data[at : at + 4096] for at in range(0, len(data), 4096)]


def test_frames_are_those_that_sqlite_takes(path: Path) -> None:
    wal = read_wal(wal_of(path))
    shm = os.open(path.with_name("t.db-shm"), os.O_RDONLY)
    index = read_index(shm)
    os.close(shm)
    assert index is not None
    assert (wal.salts, wal.frames) == (index.salts, index.frames)
    assert index.backfilled == 0
    assert not wal.broken
    data = wal_of(path).read_bytes()
    pages = as_sqlite_has_it(path)
    assert wal.size_pages == len(pages)
    for page, frame in wal.pages.items():
        at = HEADER_BYTES + frame * FRAME_BYTES + FRAME_HEADER_BYTES
        assert data[at : at + 4096] == pages[page - 1]


def test_page_numbers_of_some_frames(path: Path) -> None:
    """By the index, in which the first block has room for 4,062 frames and each other one for 4,096."""
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA wal_autocheckpoint = 0")
        db.execute(
            "INSERT INTO t (text) WITH RECURSIVE n(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM n LIMIT 9000)"
            " SELECT printf('%.4000c', 'x') FROM n"
        )
        data = wal_of(path).read_bytes()
        pages = [int.from_bytes(data[at : at + 4], "big") for at in range(HEADER_BYTES, len(data), FRAME_BYTES)]
        assert len(pages) > 4062 + 4096
        shm = os.open(path.with_name("t.db-shm"), os.O_RDONLY)
        for first, last in ((0, len(pages)), (7, 9), (4060, 4064), (4061, 4062), (4062, 4063), (8157, 8160), (5, 5)):
            assert page_numbers(shm, first, last) == set(pages[first:last])
        os.close(shm)


def test_a_checkpoint_shows_in_the_index(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        [(_, frames, copied_frames)] = db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        shm = os.open(path.with_name("t.db-shm"), os.O_RDONLY)
        index = read_index(shm)
        os.close(shm)
    assert index is not None
    assert (index.frames, index.backfilled) == (frames, copied_frames)


def test_one_wrong_bit_is_put_right_or_seen(path: Path) -> None:
    """Never is another one changed: of the sums of a WAL the high bits say little of where a change was."""
    data = wal_of(path).read_bytes()
    whole = read_wal(wal_of(path))
    seed = random.SystemRandom().randrange(1 << 32)
    dice = random.Random(seed)
    positions = [8 * dice.randrange(len(data)) + dice.randrange(8) for _ in range(20)]
    # The header, and of a frame: its page, size, salts, sums; its last bit.
    positions += [3, 8 * 20, 8 * 31, *(8 * (HEADER_BYTES + 2 * FRAME_BYTES + at) for at in (3, 5, 9, 13, 17, 22))]
    positions.append(8 * (HEADER_BYTES + 3 * FRAME_BYTES) - 1)
    mended = 0
    for position in positions:
        wrong = bytearray(data)
        wrong[position // 8] ^= 1 << position % 8
        found = copied(path, bytes(wrong))
        what = f"seed {seed}, bit {position}"
        if not found.mended:
            assert found.frames < whole.frames, what
            continue
        mended += 1
        assert (found.frames, found.pages, found.broken) == (whole.frames, whole.pages, False), what
        [(frame, content)] = found.mended.items()
        if frame >= 0:
            at = HEADER_BYTES + frame * FRAME_BYTES + FRAME_HEADER_BYTES
            assert content == data[at : at + 4096], what
    print(f"seed {seed}: {mended} of {len(positions)} put right")
    assert mended > len(positions) // 3


def test_two_wrong_bits_end_it_and_what_was_synced_behind_is_seen(path: Path) -> None:
    data = bytearray(wal_of(path).read_bytes())
    for at in (100, 2000):
        data[HEADER_BYTES + 4 * FRAME_BYTES + FRAME_HEADER_BYTES + at] ^= 1
    found = copied(path, bytes(data))
    assert 0 < found.frames <= 4
    assert found.broken
    assert not found.mended


def test_a_torn_end_is_no_break(path: Path) -> None:
    """The last transaction is not whole: it had not been synced, and nobody was told of it."""
    data = wal_of(path).read_bytes()
    whole = read_wal(wal_of(path))
    found = copied(path, data[: HEADER_BYTES + (whole.frames - 1) * FRAME_BYTES + 1000])
    assert 0 < found.frames < whole.frames
    assert not found.broken


@pytest.mark.parametrize("content", [b"", b"x" * 20, b"x" * 5000])
def test_what_is_no_wal_holds_nothing(path: Path, content: bytes) -> None:
    assert copied(path, content) == Wal()
    assert mend_header(content[:32]) is None


def test_no_wal_holds_nothing(tmp_path: Path) -> None:
    assert read_wal(tmp_path / "none") == Wal()
