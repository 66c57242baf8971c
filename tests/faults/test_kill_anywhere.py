"""F2: the store is killed at the Nth write, sync and removal of its files, for every N, and F3: the power is cut."""

from __future__ import annotations

import errno
import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.fakes.checker import Findings
from tests.fakes.failing_disk import Action, FailingDisk, Kind, power_cut
from tests.fakes.forked_store import FAULTS, StoreGone, StoreProcess, StoreServer
from tests.fakes.venue_of_one import VenueOfOne, WentBackError


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[FailingDisk]:
    disk = FailingDisk(tmp_path)
    yield disk
    disk.close()


@pytest.fixture
def server(tmp_path: Path, disk: FailingDisk) -> Iterator[StoreServer]:
    with StoreServer(tmp_path, disk.environment()) as server:
        yield server


def work(venue: VenueOfOne, store: StoreProcess, groups: int) -> None:
    """Some groups of writes, some of them delivered, and an end in peace. Raises StoreGone."""
    for number in range(groups):
        venue.write(store)
        if number % 2:
            venue.deliver(store, 1)
    if store.stop() != 0:
        raise StoreGone({})


def kill_everywhere(
    server: StoreServer, disk: FailingDisk, data: Path, kind: Kind, action: Action, groups: int, seed: int
) -> int:
    """Kills each store at one call more than the last one, on one file, until a store comes to its end; how many."""
    print(f"seed {seed}")
    data.mkdir()
    disk.heal()
    disk.watch(data / "store.")
    venue = VenueOfOne(seed)
    if kind is not Kind.PWRITE:
        # There is something to sync, to cut and to remove from the start.
        store = server.serve(data)
        venue.write(store)
        store.kill()
        store.end()
    at = 0
    survived = False
    while not survived:
        at += 1
        disk.plan(kind, action, at=at)
        store = server.start(data)
        try:
            if store.begin():
                work(venue, store, groups)
        except StoreGone:
            assert store.end() == -9
        else:
            survived = store.end() == 0
    disk.heal()
    store = server.serve(data)
    venue.write(store)
    venue.deliver(store)
    findings = venue.judge()
    print(f"{kind.name} {action.name}: {at} stores, {len(venue.history)} writes: {findings}")
    assert not findings
    assert store.stop() == 0
    return at


@pytest.mark.parametrize(
    ("kind", "action", "least"),
    [
        (Kind.PWRITE, Action.TEAR, 60),
        (Kind.FDATASYNC, Action.KILL, 5),
        (Kind.FSYNC, Action.KILL, 3),
        (Kind.UNLINK, Action.KILL, 2),
        (Kind.FTRUNCATE, Action.KILL, 2),
        (Kind.WRITE, Action.TEAR, 2),
        (Kind.RENAME, Action.KILL, 2),
    ],
)
def test_a_kill_at_any_call_loses_nothing(
    server: StoreServer, disk: FailingDisk, tmp_path: Path, kind: Kind, action: Action, least: int
) -> None:
    assert kill_everywhere(server, disk, tmp_path / "data", kind, action, 2, random.randrange(1 << 32)) >= least


# -- power cuts


def fail_once(server: StoreServer, disk: FailingDisk, data: Path, venue: VenueOfOne, dice: random.Random) -> None:
    """A store that is killed somewhere, or that finds that a sync fails while others read in its file: those then keep
    it from emptying its WAL when it ends, and are gone themselves when the next one comes."""
    store = server.serve(data)
    reader = sqlite3.connect(f"{(data / 'store.db').as_uri()}?mode=ro", uri=True)
    reader.execute("SELECT * FROM progress").fetchall()
    if dice.random() < 0.7:
        action = dice.choice([Action.FAIL, Action.KILL])
        disk.plan(Kind.FDATASYNC, action, at=dice.randrange(1, 8), value=errno.EIO)
    else:
        disk.plan(Kind.PWRITE, Action.KILL, at=dice.randrange(1, 60))
    with suppress(StoreGone):
        for _ in range(3):
            venue.write(store)
            venue.deliver(store, 1)
    store.kill()
    store.end()
    reader.close()
    disk.heal()


def cut_power(server: StoreServer, disk: FailingDisk, folder: Path, cuts: int, seed: int) -> Findings:
    """So many times: stores work, some are killed, some find that a sync fails, and then the power goes.

    What a store that is killed has written stays visible to the next one, and what failed to be written does, too, as
    it stays in Linux's cache; the power cut takes from the files whatever was not synced behind its last writing.
    """
    print(f"seed {seed}")
    dice = random.Random(seed)
    venue = VenueOfOne(seed)
    image = folder / "image-0"
    image.mkdir()
    for number in range(1, cuts + 1):
        data, journal = folder / f"data-{number}", folder / f"journal-{number}"
        shutil.copytree(image, data)
        disk.watch(data / "store.", journal)
        for _ in range(dice.randrange(3)):
            fail_once(server, disk, data, venue, dice)
        store = server.serve(data)
        venue.write_again(store)
        for _ in range(dice.randrange(3)):
            venue.write(store, writes=2)
        store.kill()
        store.end()
        image = folder / f"image-{number}"
        power_cut(folder / f"image-{number - 1}", journal, image, dice if dice.random() < 0.7 else None)
    disk.watch(folder / "nothing")
    store = server.serve(image)
    venue.write(store)
    venue.deliver(store)
    store.stop()
    findings = venue.judge()
    print(f"{cuts} power cuts, {len(venue.history)} writes: {findings}")
    return findings


def test_a_power_cut_loses_nothing_that_was_acknowledged(
    server: StoreServer, disk: FailingDisk, tmp_path: Path
) -> None:
    assert not cut_power(server, disk, tmp_path, 12, random.randrange(1 << 32))


@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_a_store_that_syncs_too_little_is_found_out(disk: FailingDisk, tmp_path: Path, fault: str) -> None:
    """A test of the test above, on seeds of which the first is known to find the fault."""
    with StoreServer(tmp_path, disk.environment(), fault=fault) as server:
        for seed in range(3):
            folder = tmp_path / f"{seed}"
            folder.mkdir()
            try:
                found = str(cut_power(server, disk, folder, 12, seed) or "")
            except WentBackError as error:
                found = str(error)
            if found:
                print(found)
                return
    pytest.fail("no power cut took anything")


@pytest.mark.torture
def test_a_thousand_power_cuts(server: StoreServer, disk: FailingDisk, tmp_path: Path) -> None:
    for number in range(20):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        assert not cut_power(server, disk, folder, 50, random.randrange(1 << 32))
        shutil.rmtree(folder)


@pytest.mark.torture
@pytest.mark.parametrize("action", [Action.KILL, Action.TEAR])
def test_a_kill_at_any_write_of_a_long_day(
    server: StoreServer, disk: FailingDisk, tmp_path: Path, action: Action
) -> None:
    assert kill_everywhere(server, disk, tmp_path / "data", Kind.PWRITE, action, 40, random.randrange(1 << 32)) > 500
