"""Room that is held, and given up."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from deora.store.ballast import Ballast

SIZE = 1024 * 1024


def test_it_holds_real_blocks_and_gives_them_up(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "store.ballast")
    assert ballast.size_bytes() == 0
    assert ballast.make(SIZE)
    assert ballast.size_bytes() == SIZE
    assert ballast.path.stat().st_blocks * 512 >= SIZE
    assert ballast.path.stat().st_mode & 0o777 == 0o600
    assert ballast.release()
    assert not ballast.path.exists()
    assert not ballast.release()


def test_one_that_is_whole_is_left_alone_and_a_smaller_one_is_made_whole(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "store.ballast")
    ballast.make(SIZE)
    inode = ballast.path.stat().st_ino
    assert ballast.make(SIZE // 2)
    assert ballast.size_bytes() == SIZE
    assert ballast.make(2 * SIZE)
    assert (ballast.size_bytes(), ballast.path.stat().st_ino) == (2 * SIZE, inode)


def test_it_is_given_up_in_parts(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "store.ballast")
    ballast.make(SIZE)
    ballast.give(SIZE // 4)
    assert ballast.path.stat().st_blocks * 512 == SIZE * 3 // 4
    ballast.give(SIZE // 4)
    ballast.give(SIZE // 2)
    assert not ballast.path.exists()
    ballast.give(SIZE)
    assert ballast.size_bytes() == 0


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_half_a_ballast_is_not_left_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def fall_short(descriptor: int, offset: int, length: int) -> None:
        os.pwrite(descriptor, b"x" * (length // 2), offset)
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "posix_fallocate", fall_short)
    ballast = Ballast(tmp_path / "store.ballast")
    assert not ballast.make(SIZE)
    assert not ballast.path.exists()
