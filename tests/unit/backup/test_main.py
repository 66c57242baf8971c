"""The process that makes one backup: an operator's, or the one that is due."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deora.backup.main import Teller, run, scheduled
from deora.backup.names import name_of
from deora.config.schema import Config
from deora.errors import DeoraError
from deora.observe.logs import release
from deora.wire.frames import Decoder, Kind, unpack
from deora.wire.link import BlockingLink
from tests.fakes.clock import ManualClock
from tests.fakes.store import StoreFile, set_

NOW_S = 1_769_860_800


def silent(_phase: str, _done: int, _total: int) -> None:
    pass


def config_of(**backup: Any) -> Config:
    return Config.from_wire({"logger": {"outputs": ["console"]}, "operations": {"backup": backup}})


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """The data directory of a store with one document; `node` is its node."""
    (tmp_path / "data").mkdir()
    store = StoreFile(tmp_path / "data" / "store.db")
    store.commit(set_("a/1", {}))
    yield tmp_path / "data"
    store.close()


@pytest.fixture
def node(data: Path) -> str:
    """The store's node, by a backup of it."""
    facts, _ = scheduled(config_of(dir="first"), data, "x", silent, NOW_S)
    return str(facts["node"])


def test_the_first_one_is_made_and_the_next_one_when_it_is_due(data: Path, node: str) -> None:
    config = config_of(dir="backups", every_minutes=15)
    made, age_s = scheduled(config, data, node, silent, NOW_S)
    assert (made["file"], age_s) == (str(data / "backups" / name_of(node, NOW_S, 1)), 0.0)
    assert (made["documents"], made["pending"]) == (1, 1)
    found, age_s = scheduled(config, data, node, silent, NOW_S + 600)
    assert (found["file"], found["size"], age_s) == (made["file"], made["size"], 600.0)
    later, age_s = scheduled(config, data, node, silent, NOW_S + 900)
    assert (later["file"], age_s) == (str(data / "backups" / name_of(node, NOW_S + 900, 1)), 0.0)
    # A clock that was put back says nothing of how old the last one is.
    assert scheduled(config, data, node, silent, NOW_S - 10**8)[1] == 0.0
    assert (data / "backups").stat().st_mode & 0o777 == 0o700


def test_so_many_stay_and_what_is_not_ours(data: Path, node: str) -> None:
    config = config_of(dir="backups", every_minutes=1, keep=2)
    (data / "upstream.db").write_bytes(b"")
    folder = data / "backups"
    folder.mkdir()
    others = ["photos.zip", name_of("another", NOW_S, 1), "deora-notes.db"]
    for name in others:
        (folder / name).touch()
    for turn in range(4):
        scheduled(config, data, node, silent, NOW_S + 60 * turn)
    kept = [name_of(node, NOW_S + 60 * turn, 1) for turn in (2, 3)]
    beside = [f"{name}.upstream-primary" for name in kept]
    assert sorted(os.listdir(folder)) == sorted([*others, *kept, *beside])


def test_a_disk_that_is_not_mounted_is_not_written_beside(data: Path, node: str, tmp_path: Path) -> None:
    with pytest.raises(DeoraError, match="cannot be used: No such file"):
        scheduled(config_of(dir=str(tmp_path / "stick")), data, node, silent, NOW_S)
    assert not (tmp_path / "stick").exists()


def asked(data: Path, file: Path) -> dict[str, Any]:
    """The INIT of an operator's backup."""
    return {"config": config_of().to_wire(), "data": str(data), "backup": {"file": str(file), "force": False}}


def events(theirs: socket.socket) -> list[list[Any]]:
    theirs.setblocking(False)
    frames = Decoder().feed(theirs.recv(1 << 20))
    assert {frame[0] for frame in frames} == {Kind.EVENT}
    return [unpack(frame[5]) for frame in frames]


def test_it_tells_its_supervisor(data: Path, tmp_path: Path) -> None:
    init, told = asked(data, tmp_path / "b.db"), []
    try:
        for code in (0, 1):
            ours, theirs = socket.socketpair()
            with ours, theirs:
                assert run(ours, init) == code
                told += events(theirs)
    finally:
        release()
    (name, facts, age_s), (failed, why, _) = [event for event in told if event[0] != "progress"]
    assert (name, facts["file"], facts["documents"], age_s) == ("done", str(tmp_path / "b.db"), 1, 0.0)
    assert failed == "failed"
    assert "is there already" in why


def test_it_ends_with_its_supervisor(data: Path, tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()
    theirs.close()
    init = asked(data, tmp_path / "b.db")
    try:
        assert run(ours, init) == 1
    finally:
        release()
        ours.close()
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_progress_is_told_now_and_then() -> None:
    ours, theirs = socket.socketpair()
    clock = ManualClock()
    teller = Teller(BlockingLink(ours), clock)
    for step in range(100):
        clock.advance(0.02)
        teller("copying", step, 100)
    told = events(theirs)
    assert 15 <= len(told) <= 21
    assert told[0] == ["progress", "copying", 0, 100]
    for sock in (ours, theirs):
        sock.close()
