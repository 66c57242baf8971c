"""The service on a watched file: noted before anybody is told, and damage is told when it changes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from deora.store.damage import prepare
from deora.store.guard import Damaged
from deora.store.replacing import reports
from deora.store.sums import load_mark, load_sums
from tests.fakes.damaged import NOW, GuardedStore
from tests.fakes.store import decode_group, set_


@pytest.fixture
def store(tmp_path: Path) -> Iterator[GuardedStore]:
    store = GuardedStore(tmp_path / "store.db")
    yield store
    store.close()


def test_each_group_is_noted(store: GuardedStore) -> None:
    for number in range(1, 4):
        store.commit(set_("a/1", {"n": number}))
        mark = load_mark(store.path)
        assert mark is not None
        assert (mark.commit_no, (mark.node, mark.epoch)) == (number, store.guarded.identity)


def test_damage_is_told_until_it_is_put_away(store: GuardedStore) -> None:
    store.commit(set_("a/1", {}))
    store.stop()
    data = bytearray(store.path.read_bytes())
    data[2 * 4096 - 1] ^= 1
    store.path.write_bytes(data)
    store.open()
    [[text, hint]] = store.guarded.told
    assert "one wrong bit" in text
    [folder] = store.path.parent.glob("store.db.damaged-*")
    assert folder.name in hint
    answers, _ = store.guarded.housekeep()
    assert decode_group(answers).events("damage") == []
    shutil.rmtree(folder)
    answers, _ = store.guarded.housekeep()
    assert decode_group(answers).events("damage") == [[]]


def test_housekeeping_looks_through_the_file(store: GuardedStore) -> None:
    store.commit(set_("a/1", {}))
    store.stop()
    store.open()
    with open(store.path, "r+b", buffering=0) as file:
        file.seek(4096 * 2 - 1)
        file.write(b"\x07")
        with pytest.raises(Damaged):
            store.guarded.housekeep()


def test_what_makes_room_is_noted_between_its_steps(store: GuardedStore) -> None:
    """The checkpoint that has the WAL begin anew, and the reading of the file behind it, which may write."""
    for number in range(30):
        store.commit(set_(f"a/{number}", {"text": "x" * 500}))
    before = load_sums(store.path)
    store.guarded.make_room()
    after = load_sums(store.path)
    assert before is not None
    assert after is not None
    assert after.number == before.number + 1
    store.commit(set_("a/1", {}))
    aside = store.path.parent / "aside"
    aside.mkdir()
    for ending in ("", "-wal", "-sums", "-mark"):
        shutil.copy(f"{store.path}{ending}", aside)
    assert prepare(aside / "store.db", ["primary"], NOW) is not None
    assert not reports(aside / "store.db")
