"""A worker's streams, read from a real store's file; the supervisor's end is a list of frames."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from deora.wire.frames import Decoder, Frame, Kind, encode, pack, unpack
from deora.worker import change_log
from deora.worker.changes import PACED_BYTES, Changes
from deora.worker.reader import Reader
from tests.fakes.store import StoreFile, delete, set_

GENERATION = 3


class Bench:
    """Changes over a store, and what they have sent."""

    def __init__(self, store: StoreFile, reader: Reader) -> None:
        self.store = store
        self.changes = Changes(reader, GENERATION, asyncio.get_running_loop().time)
        self.changes.send = self._sent
        self.texts: dict[int, bytes] = {}
        self.places: dict[int, str] = {}
        self.frames = 0
        self.unanswered: list[int] = []
        self.answers = True
        self._came = asyncio.Event()

    def _sent(self, data: bytes) -> None:
        [(kind, _, paced, generation, page, body)] = Decoder().feed(data)
        assert (kind, generation) == (Kind.EVENTS, GENERATION)
        streams, event_id, text = unpack(body)
        self.frames += 1
        for ident in streams:
            self.texts[ident] = self.texts.get(ident, b"") + text
            self.places[ident] = event_id
        if paced and self.answers:
            self.changes.on_frame(frame(Kind.EVENTS, page))
        elif paced:
            self.unanswered.append(page)
        self._came.set()

    @property
    def epoch(self) -> str:
        return self.store.service.identity[1]

    def open(self, ident: int, start: int | str, *collections: str, reason: str | None = None) -> None:
        """A stream behind a commit, or an event."""
        event_id = start if isinstance(start, str) else f"{self.epoch}-{start}"
        self.changes.on_frame(frame(Kind.STREAM, ident, [list(collections) or None, event_id, reason]))

    def write(self, path: str, data: Any, *, tell: bool = True) -> int:
        """A commit of one document."""
        commit = self.store.commit(set_(path, data)).commit
        if tell:
            self.changes.noticed()
        return commit

    def events(self, ident: int) -> list[tuple[str, Any]]:
        """Id and data of what a stream was shown."""
        found = []
        for text in self.texts.get(ident, b"").decode().split("\n\n")[:-1]:
            _, event_id, data = text.split("\n")
            found.append((event_id.removeprefix("id: ").partition("-")[2], json.loads(data.removeprefix("data: "))))
        return found

    def ids(self, ident: int) -> list[str]:
        return [event_id for event_id, _ in self.events(ident)]

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Returns once it is so."""
        async with asyncio.timeout(20):
            while not is_so():
                self._came.clear()
                await self._came.wait()


def frame(kind: Kind, ident: int, body: Any = None) -> Frame:
    [found] = Decoder().feed(encode(kind, ident, pack(body) if body is not None else b""))
    return found


def run(store: StoreFile, talk: Callable[[Bench], Awaitable[None]]) -> None:
    """Runs `talk` with streams over this store."""

    async def main() -> None:
        reader = Reader(store.path)
        await reader.open()
        bench = Bench(store, reader)
        try:
            await talk(bench)
        finally:
            await bench.changes.stop()
            await reader.close()

    asyncio.run(main())


@pytest.fixture
def store(tmp_path: Path) -> Any:
    found = StoreFile(tmp_path / "store.db")
    yield found
    found.close()


def test_what_is_new_is_shown_to_all(store: StoreFile) -> None:
    async def talk(bench: Bench) -> None:
        bench.open(1, 0)
        bench.open(2, 0, "bills")
        bench.open(3, 0)
        bench.write("orders/o1", {"n": 1})
        await bench.until(lambda: bench.ids(1) == ["1"] == bench.ids(3))
        bench.write("bills/b1", {})
        await bench.until(lambda: bench.ids(2) == ["2"] and bench.ids(1) == ["1", "2"] == bench.ids(3))
        bench.changes.on_frame(frame(Kind.UNSTREAM, 1))
        bench.write("orders/o1", {"n": 2})
        await bench.until(lambda: bench.ids(3) == ["1", "2", "3"])
        assert bench.ids(1) == ["1", "2"]

    run(store, talk)


def test_a_quiet_stream_tells_where_it_stands(store: StoreFile) -> None:
    async def talk(bench: Bench) -> None:
        bench.open(1, 0, "bills")
        bench.open(2, 0)
        bench.write("orders/o1", {})
        await bench.until(lambda: bench.ids(2) == ["1"])
        assert 1 not in bench.places
        bench.changes.tell()
        assert bench.places[1] == f"{bench.epoch}-1"
        told = bench.frames
        bench.changes.tell()
        assert bench.frames == told

    run(store, talk)


def test_who_is_behind_comes_to_the_front_and_misses_nothing(store: StoreFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_log, "COMMITS_AT_ONCE", 4)
    monkeypatch.setattr(change_log, "DOCUMENTS_AT_ONCE", 3)

    async def talk(bench: Bench) -> None:
        for number in range(30):
            bench.write(f"orders/o{number}", {})
        bench.open(1, 30)
        bench.open(2, 0)
        bench.open(3, 17)
        while bench.ids(3)[-1:] != ["40"] or bench.ids(2)[-1:] != ["40"] or bench.ids(1)[-1:] != ["40"]:
            if store.service.progress.commit_no < 40:
                bench.write("orders/new", {"n": store.service.progress.commit_no})
            frames = bench.frames
            await bench.until(lambda frames=frames: bench.frames > frames)  # type: ignore[misc]
        for ident, first in ((1, 31), (2, 1), (3, 18)):
            assert bench.ids(ident) == [str(commit) for commit in range(first, 41)]
        # They go together now: one frame for all.
        frames = bench.frames
        bench.write("orders/last", {})
        await bench.until(lambda: all(bench.ids(ident)[-1] == "41" for ident in (1, 2, 3)))
        assert bench.frames <= frames + 3

    run(store, talk)


def test_a_page_waits_until_it_is_taken(store: StoreFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_log, "DOCUMENTS_AT_ONCE", 2)

    async def talk(bench: Bench) -> None:
        for number in range(6):
            bench.write(f"orders/o{number}", {})
        bench.answers = False
        bench.open(1, 0)
        await bench.until(lambda: len(bench.unanswered) == 1)
        bench.open(2, 6)
        bench.write("orders/o9", {})
        await bench.until(lambda: bench.ids(2) == ["7"])
        assert bench.ids(1) == ["1", "2"]
        bench.answers = True
        bench.changes.on_frame(frame(Kind.EVENTS, bench.unanswered[0]))
        await bench.until(lambda: bench.ids(1) == [str(commit) for commit in range(1, 8)])

    run(store, talk)


def test_even_the_front_waits_for_what_is_large(store: StoreFile) -> None:
    async def talk(bench: Bench) -> None:
        bench.open(1, 0)
        bench.write("orders/o1", {})
        await bench.until(lambda: bench.ids(1) == ["1"])
        bench.answers = False
        bench.write("orders/o2", {"text": "x" * PACED_BYTES})
        await bench.until(lambda: len(bench.unanswered) == 1)
        bench.write("orders/o3", {})
        bench.open(2, 2)
        assert bench.ids(1) == ["1", "2"]
        bench.changes.on_frame(frame(Kind.EVENTS, bench.unanswered[0]))
        await bench.until(lambda: bench.ids(1) == ["1", "2", "3"] and bench.ids(2) == ["3"])

    run(store, talk)


def test_in_the_middle_of_a_commit(store: StoreFile) -> None:
    async def talk(bench: Bench) -> None:
        store.commit(set_("a/1", {}), delete("a/2"), set_("a/3", {}), set_("a/1", {"n": 1}))
        bench.open(1, f"{bench.epoch}-1.2")
        bench.open(2, 0)
        await bench.until(lambda: len(bench.ids(1)) == 1 and len(bench.ids(2)) == 3)
        assert (bench.ids(1), bench.ids(2)) == (["1"], ["1.1", "1.2", "1"])
        assert [data["data"] for _, data in bench.events(2)] == [{"n": 1}, None, {}]

    run(store, talk)


def test_commits_without_an_entry_are_shown(store: StoreFile) -> None:
    async def talk(bench: Bench) -> None:
        bench.open(1, 0)
        store.call("adopt", "primary", 0, [["a/1", b'{"n":1}'], ["a/2", b"{}"]])
        bench.write("a/3", {})
        ident = store.kill()
        store.operate("drop", ident)
        bench.changes.noticed()
        await bench.until(lambda: len(bench.ids(1)) == 4)
        assert [(event_id, data["path"]) for event_id, data in bench.events(1)] == [
            ("1.1", "a/1"),
            ("1", "a/2"),
            ("2", "a/3"),
            ("3", "a/3"),
        ]
        bench.open(2, 0)
        await bench.until(lambda: len(bench.ids(2)) == 4)
        assert bench.ids(2) == bench.ids(1)

    run(store, talk)


@pytest.mark.parametrize(
    ("start", "reason", "found"),
    [("zzzzzzzz-1", None, "epoch"), (0, "slow", "slow"), (0, None, "pruned")],
)
def test_who_cannot_go_on_reads_again(store: StoreFile, start: Any, reason: str | None, found: str) -> None:
    async def talk(bench: Bench) -> None:
        for number in range(3):
            bench.write("a/1", {"n": number})
        if found == "pruned":
            store.connection.execute("UPDATE progress SET pruned_commit = 2")
        for front in (False, True):
            if front:
                bench.open(9, 3)
                bench.write("a/2", {})
                await bench.until(lambda: bench.ids(9) == ["4"])
            ident = 1 + front
            bench.open(ident, start, reason=reason)
            await bench.until(lambda ident=ident: bench.ids(ident) != [])  # type: ignore[misc]
            [(event_id, data)] = bench.events(ident)
            assert (event_id, data["reason"]) == ("4" if front else "3", found)
            if not front:
                bench.changes.on_frame(frame(Kind.UNSTREAM, ident))
        bench.write("a/3", {})
        await bench.until(lambda: bench.ids(2) == ["4", "5"] and bench.ids(9) == ["4", "5"])

    run(store, talk)


def test_another_life_of_the_store_is_read_again_by_all(store: StoreFile) -> None:
    async def talk(bench: Bench) -> None:
        bench.open(1, 0)
        bench.write("a/1", {})
        await bench.until(lambda: bench.ids(1) == ["1"])
        store.connection.execute("UPDATE identity SET epoch = 'restored'")
        bench.open(2, 1)
        bench.changes.noticed()
        await bench.until(lambda: len(bench.ids(1)) == 2 and len(bench.ids(2)) == 1)
        assert bench.events(1)[-1][1]["reason"] == "epoch" == bench.events(2)[-1][1]["reason"]
        assert bench.places[1] == bench.places[2] == "restored-1"

    run(store, talk)
