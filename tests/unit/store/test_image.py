"""The pages of a damaged store: which are believed, and which single bits are found again."""

from __future__ import annotations

import random
import sqlite3
import zlib
from contextlib import closing
from pathlib import Path

import pytest

from deora.store.image import Image, mend, sums_of
from deora.store.wal import Wal, read_wal


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "store.db"
    path.write_bytes(random.Random(1).randbytes(10 * 4096))
    return path


def test_one_bit_is_found_again_and_two_are_not() -> None:
    page = random.Random(2).randbytes(4096)
    for bits in ([0], [4095 * 8 + 7], [1000], [1000, 20000]):
        wrong = bytearray(page)
        for bit in bits:
            wrong[bit // 8] ^= 1 << bit % 8
        assert mend(bytes(wrong), zlib.crc32(page)) == (page if len(bits) == 1 else None)


def test_a_page_is_as_its_sum_says_or_is_not_believed(path: Path) -> None:
    whole = path.read_bytes()
    sums = sums_of(path, 4096)
    wrong = bytearray(whole)
    wrong[2 * 4096 + 5] ^= 8
    wrong[4 * 4096 : 5 * 4096] = bytes(4096)
    path.write_bytes(wrong[: 9 * 4096 + 7])
    image = Image(path, sums, Wal(), 4096)
    assert (image.size_pages, image.mended, image.bad) == (10, 1, {5, 10})
    assert image.page(3) == whole[2 * 4096 : 3 * 4096]
    assert image.page(5) is None
    assert image.doubtful(5) == bytes(4096)
    assert image.doubtful(10) is None
    assert image.page(11) is None
    assert image.page(0) is None


def test_without_sums_every_whole_page_counts(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])
    image = Image(path, None, Wal(), 4096)
    assert image.bad == {10}


def test_what_is_in_the_wal_counts(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("CREATE TABLE t (text TEXT)")
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        sums = sums_of(path, 4096)
        for number in range(20):
            db.execute("INSERT INTO t VALUES (?)", (str(number) * 1000,))
        wal = read_wal(tmp_path / "store.db-wal")
        image = Image(path, sums, wal, 4096)
        assert image.bad == set()
        assert image.size_pages > len(sums.crcs)
        image.write(tmp_path / "whole.db")
    with closing(sqlite3.connect(tmp_path / "whole.db")) as db:
        assert db.execute("SELECT count(*) FROM t").fetchall() == [(20,)]
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
