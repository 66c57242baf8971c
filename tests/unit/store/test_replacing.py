"""A new file in the place of a damaged one: a kill at any point leaves one of the two, and the notice stays."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from deora.store import replacing
from deora.store.replacing import Report, finish, replace, reports, reports_path
from deora.store.sums import load_sums

OLD, NEW = b"o" * 8192, b"n" * 4096
REPORT = Report("20260131T120000Z", "store.db.damaged-1", ["a page is wrong"], ["salvaged"], ["3 rows"])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    for ending, content in (("", OLD), ("-wal", b"wal"), ("-shm", b"shm"), ("-mark", b"mark"), (".new", NEW)):
        (tmp_path / f"store.db{ending}").write_bytes(content)
    return tmp_path / "store.db"


def put(path: Path) -> None:
    replace(path, path.with_name("store.db.new"), REPORT)


def is_new(path: Path) -> bool:
    """Whether the new file is in place; else all of the old one must be."""
    if path.read_bytes() == NEW:
        assert not path.with_name("store.db-wal").exists()
        assert not path.with_name("store.db.new").exists()
        assert load_sums(path) is not None
        return True
    assert path.read_bytes() == OLD
    assert path.with_name("store.db-wal").read_bytes() == b"wal"
    return False


def test_the_old_files_are_kept_and_the_new_one_stands(path: Path) -> None:
    put(path)
    assert is_new(path)
    folder = path.with_name("store.db.damaged-1")
    assert {file.name for file in folder.iterdir()} == {"store.db", "store.db-wal", "store.db-shm", "store.db-mark"}
    assert (folder / "store.db").read_bytes() == OLD


def test_the_notice_stays_until_the_folder_is_moved(path: Path) -> None:
    put(path)
    assert reports(path) == [REPORT]
    finish(path)
    assert reports(path) == [REPORT]
    path.with_name("store.db.damaged-1").rename(path.with_name("looked-at"))
    assert reports(path) == []


class Killed(BaseException):
    """The process ends here."""


def test_a_kill_at_any_point_leaves_one_of_the_two(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    seen = []
    for number in range(40):
        for file in path.parent.iterdir():
            if file.is_dir():
                for part in file.iterdir():
                    part.unlink()
                file.rmdir()
            else:
                file.unlink()
        for name, data in content.items():
            path.with_name(name).write_bytes(data)
        left = number

        def step(*_: object, real: object, **__: object) -> object:
            nonlocal left
            if left == 0:
                raise Killed
            left -= 1
            return real(*_, **__)  # type: ignore[operator]

        with monkeypatch.context() as patch:
            for owner, name in (
                (os, "link"),
                (os, "fsync"),
                (Path, "rename"),
                (Path, "unlink"),
                (replacing, "save_sums"),
                (Path, "mkdir"),
            ):
                real = getattr(owner, name)
                patch.setattr(owner, name, lambda *a, _real=real, **k: step(*a, real=_real, **k))
            try:
                put(path)
            except Killed:
                pass
            else:
                break
        finish(path)
        seen.append(is_new(path))
    assert len(seen) > 12
    assert seen == sorted(seen), "once decided on, it is done"
    assert set(seen) == {False, True}


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"reports": [{}], "new": null}', b'{"reports": 3}'])
def test_a_note_that_cannot_be_read_says_nothing(path: Path, content: bytes) -> None:
    reports_path(path).write_bytes(content)
    finish(path)
    assert reports(path) == []
    assert not is_new(path)


def test_the_text_says_what_is_lost_or_that_nothing_is() -> None:
    assert "lost: 3 rows" in REPORT.text()
    assert "store.db.damaged-1" in REPORT.hint
    assert "nothing is lost" in Report("t", "f", ["a"], ["b"]).text()
