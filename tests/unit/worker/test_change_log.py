"""The order of changes, page by page, from a real store's file."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from deora.documents.positions import WHOLE, Position
from deora.worker import change_log
from deora.worker.change_log import Head, read_documents, read_head, read_page
from deora.worker.events import Change
from deora.worker.reader import Reader
from tests.fakes.store import StoreFile, set_, settings_with


def read(store: StoreFile, talk: Callable[[Reader], Awaitable[None]]) -> None:
    """Runs `talk` with a reader of this store."""

    async def main() -> None:
        reader = Reader(store.path)
        await reader.open()
        try:
            await talk(reader)
        finally:
            await reader.close()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("epoch", "position", "why"),
    [
        ("e", Position(5), ""),
        ("e", Position(2), ""),
        ("e", Position(3, 1), ""),
        ("e", Position(2, 1), "pruned"),
        ("e", Position(1), "pruned"),
        ("e", Position(6), "future"),
        ("f", Position(5), "epoch"),
    ],
)
def test_who_can_go_on(epoch: str, position: Position, why: str) -> None:
    assert Head("e", 5, 2).missed(epoch, position) == why


def test_a_place_is_found_by_halves() -> None:
    dice = random.Random(seed := random.randrange(2**32))
    print(f"seed {seed}")
    db = sqlite3.connect(":memory:")
    db.execute("CREATE TABLE entries (id INTEGER PRIMARY KEY, commit_no INTEGER)")
    assert db.execute(change_log._FIND, (5,)).fetchall() == [(0,)]
    rows, commit = [], 0
    for ident in range(1, 500):
        if dice.random() < 0.5:
            commit += dice.choice([0, 1, 1, 3])
            rows.append((ident, commit))
    db.executemany("INSERT INTO entries VALUES (?, ?)", rows)
    for wanted in range(commit + 3):
        [(found,)] = db.execute(change_log._FIND, (wanted,)).fetchall()
        assert [row for row in rows if row[0] >= found] == [row for row in rows if row[1] > wanted]
    db.close()


def test_pages_of_entries_and_of_what_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_log, "COMMITS_AT_ONCE", 3)
    monkeypatch.setattr(change_log, "NOTED_AT_ONCE", 2)
    store = StoreFile(tmp_path / "store.db", settings_with(("primary", "secondary")))
    for number in range(1, 5):
        store.commit(set_("a/1", {"n": number}))
    store.call("adopt", "primary", 0, [[f"b/{number}", b"{}"] for number in range(4)])
    store.call("adopt", "primary", 0, [["c/1", b"{}"]])
    store.commit(set_("a/1", {"n": 5}), set_("a/2", {}))

    async def talk(reader: Reader) -> None:
        head = await read_head(reader)
        assert (head.commit, head.pruned) == (7, 0)
        position, next_id, found, pages = Position(0), None, [], 0
        while True:
            page = await read_page(reader, position, next_id)
            found += page.changes
            position, next_id, pages = Position(page.end), page.next_id, pages + 1
            if page.is_last:
                break
        assert pages > 2
        assert page.head == head
        assert found == [
            *(Change(number, WHOLE, "a/1", False) for number in range(1, 5)),
            *(Change(5, number + 1 if number < 3 else WHOLE, f"b/{number}", None) for number in range(4)),
            Change(6, WHOLE, "c/1", None),
            Change(7, 1, "a/1", False),
            Change(7, WHOLE, "a/2", False),
        ]
        within = await read_page(reader, Position(5, 2), None, (5, 100))
        assert ([each.path for each in within.changes], within.end) == (["b/2", "b/3"], 5)

    read(store, talk)
    store.close()


def test_documents_within_a_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_log, "PAGE_BYTES", 250)
    store = StoreFile(tmp_path / "store.db")
    for number in range(4):
        store.commit(set_(f"a/{number}", {"text": "x" * 90}))
    wanted = ["a/0", "a/none", "a/0", "a/1", "a/2", "a/3"]
    changes = [Change(commit, WHOLE, path, False) for commit, path in enumerate(wanted, 1)]

    async def talk(reader: Reader) -> None:
        good, found = await read_documents(reader, changes)
        assert (good, sorted(found)) == (4, ["a/0", "a/1"])
        good, found = await read_documents(reader, changes[4:])
        assert (good, sorted(found)) == (2, ["a/2", "a/3"])
        assert found["a/2"].view is not None

    read(store, talk)
    store.close()
