"""The order of hand-overs: an overtaken copy is read again, and no frame grows beyond its share."""

from __future__ import annotations

import asyncio

import pytest

from deora.replay import adoptions
from deora.replay.adoptions import Adoptions, Copies


class KeptStore:
    """What was handed over, and what is to be read again of it."""

    def __init__(self) -> None:
        self.frames: list[tuple[str, int, Copies]] = []
        self.again: list[str] = []

    async def adopt(self, upstream: str, seq: int, copies: Copies) -> list[str]:
        """See `Adopting.adopt`."""
        self.frames.append((upstream, seq, copies))
        return [path for path, _ in copies if path in self.again]


def test_copies_go_to_the_store_and_what_it_cannot_take_comes_back() -> None:
    store = KeptStore()
    ours = Adoptions(store)
    store.again = ["a/2"]
    copies: Copies = [("a/1", b"{}"), ("a/2", None)]
    assert asyncio.run(ours.hand_over("primary", ours.begin(), 7, copies)) == ["a/2"]
    assert store.frames == [("primary", 7, copies)]


def test_a_copy_that_was_overtaken_is_read_again() -> None:
    store = KeptStore()
    ours = Adoptions(store)

    async def scenario() -> None:
        slow, quick = ours.begin(), ours.begin()
        assert await ours.hand_over("primary", quick, 5, [("a/1", b"new")]) == []
        assert await ours.hand_over("primary", slow, 5, [("a/1", b"old"), ("a/2", b"x")]) == ["a/1"]
        assert await ours.hand_over("primary", ours.begin(), 5, [("a/1", b"newer")]) == []

    asyncio.run(scenario())
    assert [path for _, _, copies in store.frames for path, _ in copies] == ["a/1", "a/2", "a/1"]


def test_a_read_older_than_what_is_remembered_counts_as_overtaken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adoptions, "REMEMBERED", 3)
    ours = Adoptions(KeptStore())

    async def scenario() -> None:
        old = ours.begin()
        await ours.hand_over("primary", ours.begin(), 0, [(f"a/{number}", None) for number in range(5)])
        assert await ours.hand_over("primary", old, 0, [("a/0", b"x"), ("b/1", b"y")]) == ["a/0", "b/1"]
        assert await ours.hand_over("primary", ours.begin(), 0, [("a/0", b"x"), ("b/1", b"y")]) == []

    asyncio.run(scenario())


def test_a_frame_holds_only_so_much() -> None:
    store = KeptStore()
    ours = Adoptions(store)
    copies: Copies = [(f"a/{number}", b"x" * 1024 * 1024) for number in range(10)]
    asyncio.run(ours.hand_over("primary", ours.begin(), 0, copies))
    assert [len(frame[2]) for frame in store.frames] == [4, 4, 2]
    assert [copy for frame in store.frames for copy in frame[2]] == copies
    asyncio.run(ours.hand_over("primary", ours.begin(), 0, []))
    assert len(store.frames) == 3
