"""The sums of pages and the mark: kept, found again, and passed over where they do not hold."""

from __future__ import annotations

import os
import random
from array import array
from collections.abc import Iterator
from pathlib import Path

import pytest

from deora.store.sums import (
    Mark,
    Sums,
    load_mark,
    load_sums,
    mark_path,
    mismatches,
    pack_mark,
    refresh,
    save_sums,
    sums_path,
)

PAGES = 600  # more than are read at once


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "store.db"
    path.write_bytes(random.Random(1).randbytes(PAGES * 4096))
    return path


@pytest.fixture
def descriptor(path: Path) -> Iterator[int]:
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def write_page(path: Path, page: int, content: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(content)


def test_sums_are_found_again(path: Path) -> None:
    sums = Sums(4096, 7, (1, 2), 3, array("I", [4, 5, 6]))
    save_sums(path, sums)
    assert load_sums(path) == sums


def test_sums_with_a_wrong_bit_say_nothing(path: Path) -> None:
    save_sums(path, Sums(4096, 7, (1, 2), 3, array("I", [4, 5, 6])))
    data = sums_path(path).read_bytes()
    for at in range(len(data)):
        wrong = bytearray(data)
        wrong[at] ^= 4
        sums_path(path).write_bytes(wrong)
        assert load_sums(path) is None
    sums_path(path).write_bytes(b"")
    assert load_sums(path) is None
    sums_path(path).unlink()
    assert load_sums(path) is None


def test_the_mark_is_found_again_and_is_of_one_size(path: Path) -> None:
    mark = Mark(7, (1, 2), 3, 40, 50, "node", "epoch")
    mark_path(path).write_bytes(pack_mark(mark))
    assert load_mark(path) == mark
    assert len(pack_mark(mark)) == len(pack_mark(Mark(0, (0, 0), 0, 0, 0, "", "")))


def test_a_mark_that_is_torn_says_nothing(path: Path) -> None:
    """It is overwritten in place: a power cut may leave a part of each."""
    first, second = (pack_mark(Mark(7, (1, 2), frames, 40, 50, "node", "epoch")) for frames in (3, 4))
    torn = first[:-4] + second[-4:]
    mark_path(path).write_bytes(torn)
    assert load_mark(path) is None


def test_every_page_that_differs_is_found(path: Path, descriptor: int) -> None:
    sums = Sums()
    refresh(sums, descriptor, ())
    assert len(sums.crcs) == PAGES
    assert mismatches(sums, descriptor, set(), 0, PAGES) == []
    for page in (1, 257, PAGES):
        write_page(path, page, b"x")
    assert mismatches(sums, descriptor, set(), 0, PAGES) == [1, 257, PAGES]
    assert mismatches(sums, descriptor, {257}, 0, PAGES) == [1, PAGES]
    assert mismatches(sums, descriptor, set(), 256, 512) == [257]


def test_pages_that_are_not_there_any_more_are_found(path: Path, descriptor: int) -> None:
    sums = Sums()
    refresh(sums, descriptor, ())
    os.truncate(path, 598 * 4096 + 100)
    assert mismatches(sums, descriptor, {600}, 0, PAGES) == [599]


def test_a_refresh_takes_what_changed_what_came_and_what_went(path: Path, descriptor: int) -> None:
    sums = Sums()
    refresh(sums, descriptor, ())
    write_page(path, 5, b"x")
    write_page(path, PAGES + 3, bytes(4096))
    refresh(sums, descriptor, {5})
    assert len(sums.crcs) == PAGES + 3
    assert mismatches(sums, descriptor, set(), 0, PAGES + 3) == []
    os.truncate(path, 10 * 4096)
    refresh(sums, descriptor, {700})
    assert len(sums.crcs) == 10
