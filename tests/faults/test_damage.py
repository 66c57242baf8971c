"""A damaged store (F24): a bit flipped, a file cut, a page overwritten, the WAL's index gone. Never silently wrong."""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from bench.instance import Instance
from deora.store.wal import read_wal
from tests.fakes.checker import Outcome
from tests.fakes.damaged import DAMAGES, Aftermath, begin_evening, reopen
from tests.fakes.tills import Tills, audit

SEED = random.SystemRandom().randrange(1 << 32)
# One wrong bit of the file is put right, wherever it is; and what can be made again is not missed.
HEALED = frozenset({"a bit of the file", "a bit of the sums", "a bit of the mark", "no index", "garbage as index"})


class Evenings:
    """Stores that were killed: in the middle of an evening, right after a checkpoint, and after they were stopped."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.seed = seed
        self.evening = begin_evening(folder / "evening", seed)
        self.kinds = ("killed", "checkpointed", "stopped")
        self.evening.crash(folder / "killed")
        self.evening.checkpoint()
        self.evening.crash(folder / "checkpointed")
        self.evening.store.stop()
        shutil.copytree(folder / "evening", folder / "stopped")

    def damaged(self, kind: str, damage: str, number: int) -> Aftermath | None:
        """What a store of this kind comes to after this damage; None where there is no such file."""
        folder = self.folder / f"case-{number}"
        shutil.copytree(self.folder / kind, folder)
        name, how = DAMAGES[damage]
        try:
            if not (folder / name).exists() or not (folder / name).stat().st_size:
                return None
            how(folder / name, random.Random(f"{self.seed}/{number}"))
            return reopen(self.evening, folder / "store.db")
        finally:
            shutil.rmtree(folder)


@pytest.fixture(scope="module", autouse=True)
def no_power_cut() -> Iterator[None]:
    """Nothing is synced, since only the machine's end would show it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="module")
def evenings(tmp_path_factory: pytest.TempPathFactory) -> Evenings:
    return Evenings(tmp_path_factory.mktemp("evenings"), SEED)


def judge(evenings: Evenings, cases: int) -> Counter[str]:
    """Damages so many stores and looks at each; what became of them."""
    seen: Counter[str] = Counter()
    names = list(DAMAGES)
    for number in range(cases):
        damage, kind = names[number % len(names)], evenings.kinds[number // len(names) % len(evenings.kinds)]
        what = f"seed {evenings.seed}, case {number}: {damage}, {kind}"
        after = evenings.damaged(kind, damage, number)
        if after is None:
            continue
        seen["cases"] += 1
        assert not after.wrong, f"{what}: shows what never was: {after.wrong}"
        assert not after.findings.doubled, f"{what}: {after.findings}"
        assert not after.findings.disordered, f"{what}: {after.findings}"
        assert not after.findings.strange, f"{what}: {after.findings}"
        if not after.is_whole:
            assert after.losses, f"{what}: nobody is told: {after.findings}, less: {after.missing}"
            assert damage not in HEALED, f"{what}: {after.losses}, {after.findings}, {after.missing}"
        seen["whole" if after.is_whole else "told"] += 1
        seen["reported"] += bool(after.reports)
        seen["held"] += after.stopped
    return seen


def test_no_damage_is_silent(evenings: Evenings) -> None:
    seen = judge(evenings, len(DAMAGES) * 4)
    print(f"seed {SEED}: {dict(seen)}")
    assert seen["cases"] >= 40
    assert seen["whole"] >= 20
    assert seen["told"] >= 3


@pytest.mark.torture
def test_no_damage_is_silent_in_a_thousand_cases(tmp_path: Path) -> None:
    total: Counter[str] = Counter()
    for turn in range(5):
        total += judge(Evenings(tmp_path / str(turn), SEED + turn), 220)
    print(f"seed {SEED}: {dict(total)}")
    assert total["cases"] >= 1000


def test_no_alarm_without_damage(evenings: Evenings, tmp_path: Path) -> None:
    """A kill is no damage, and neither is a file whose sums are of another one: they are begun anew."""
    for kind in evenings.kinds:
        for without in ((), ("store.db-sums",), ("store.db-mark",), ("store.db-sums", "store.db-mark")):
            folder = tmp_path / f"{kind}-{len(without)}-{''.join(without)}"
            shutil.copytree(evenings.folder / kind, folder)
            for name in without:
                (folder / name).unlink()
            after = reopen(evenings.evening, folder / "store.db")
            assert after.is_whole, f"{kind} without {without}: {after}"
            assert not after.reports
            again = reopen(evenings.evening, folder / "store.db")
            assert not again.reports


def test_a_torn_end_of_the_wal_is_no_damage(evenings: Evenings, tmp_path: Path) -> None:
    """What a power cut leaves of a transaction that nobody was told of: frames without an end."""
    folder = tmp_path / "torn"
    shutil.copytree(evenings.folder / "killed", folder)
    with open(folder / "store.db-wal", "ab") as file:
        file.write(os.urandom(3000))
    after = reopen(evenings.evening, folder / "store.db")
    assert after.is_whole
    assert not after.reports


# -- a real instance


@contextmanager
def started(on: Instance, ready: bool = True) -> Iterator[Instance]:
    """A further instance on the data of one that has ended."""
    one = Instance(on.directory)
    try:
        if ready:
            one.wait_until_ready()
        yield one
    finally:
        one.stop()


def kill(one: Instance) -> None:
    """All of its processes at once."""
    tree = one.tree()
    for process in tree:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(tree, 20)


def is_told(one: Instance) -> bool:
    """Whether an alert speaks of a damaged file."""
    return any(alert["name"] == "store-damaged" for alert in one.status()["alerts"])


def cold_page(file: Path, dice: random.Random) -> int:
    """Where a page of the file begins that its WAL does not have."""
    pages = set(range(1, file.stat().st_size // 4096 + 1)) - set(read_wal(file.with_name(file.name + "-wal")).pages)
    return (dice.choice(sorted(pages)) - 1) * 4096


def flip_at(file: Path, at: int) -> None:
    """One bit, in place, as a disk does it under a running store."""
    with open(file, "r+b", buffering=0) as opened:
        opened.seek(at)
        byte = opened.read(1)[0]
        opened.seek(at)
        opened.write(bytes([byte ^ 16]))


def test_a_damaged_store_starts_degraded_and_says_so(instance: Callable[..., Instance]) -> None:
    first = instance()
    first.post("/admin/upstreams/primary:pause")
    with Tills(first.url, 4, seed=SEED, documents=20) as tills:
        first.wait_until(lambda: tills.count(Outcome.OK) > 200, 60)
    first.terminate()
    cut_at = (first.data / "store.db").stat().st_size // 2 + 100
    os.truncate(first.data / "store.db", cut_at)
    with started(first) as one:
        health = one.request("GET", "/health")
        assert (health.status, health.json["status"]) == (200, "degraded"), health.text
        assert is_told(one)
        [folder] = first.data.glob("store.db.damaged-*")
        assert (folder / "store.db").stat().st_size == cut_at
        kill(one)
    with started(first) as one:
        assert is_told(one), "the notice did not survive a restart"
        one.post("/admin/upstreams/primary:resume")
        one.wait_until_drained()
        findings = audit(one, tills)
        assert not findings.doubled, str(findings)
        assert not findings.strange, str(findings)
        folder.rename(first.directory / folder.name)
        one.wait_until(lambda: not is_told(one), 30)
        assert one.get("/health")["status"] == "healthy"


def test_a_bit_that_flips_under_a_running_store_is_put_right(instance: Callable[..., Instance]) -> None:
    first = instance()
    with Tills(first.url, 4, seed=SEED, documents=20, collection="before") as before:
        first.wait_until(lambda: before.count(Outcome.OK) > 100, 60)
    first.terminate()
    with started(first) as one, Tills(one.url, 4, seed=SEED, rate=100, documents=20, prefix="after") as tills:
        one.wait_until(lambda: tills.count(Outcome.OK) > 20, 60)
        flip_at(one.data / "store.db", cold_page(one.data / "store.db", random.Random(SEED)) + 4000)
        one.wait_until(lambda: is_told(one), 60)
        count = tills.count(Outcome.OK)
        one.wait_until(lambda: tills.count(Outcome.OK) > count + 50, 60)
        tills.stop()
        one.wait_until_drained()
        findings = audit(one, before, tills)
        assert not findings, f"seed {SEED}: {findings}"
        [alert] = [alert for alert in one.status()["alerts"] if alert["name"] == "store-damaged"]
        assert "nothing is lost" in alert["detail"], alert


def test_the_index_of_the_wal_deleted_under_a_running_store(instance: Callable[..., Instance]) -> None:
    """Whoever opens the file then builds another index, which does not see what the store goes on to write."""
    one = instance()
    with Tills(one.url, 4, seed=SEED, rate=200, reads=1, documents=20) as tills:
        one.wait_until(lambda: tills.count(Outcome.OK) > 50, 60)
        (one.data / "store.db-shm").unlink()
        workers = {each["pid"] for each in one.status()["workers"]}
        for pid in workers:
            psutil.Process(pid).kill()
        one.wait_until(lambda: restarts_of_the_store(one) > 0, 30)
        count = tills.count(Outcome.OK)
        one.wait_until(lambda: tills.count(Outcome.OK) > count + 50, 60)
    one.wait_until_drained()
    findings = audit(one, tills)
    assert not findings, f"seed {SEED}: {findings}"


def test_what_is_no_store_is_left_alone(instance: Callable[..., Instance]) -> None:
    first = instance()
    first.terminate()
    for part in first.data.glob("store.db*"):
        part.unlink()
    (first.data / "store.db").write_text("a shopping list")
    with started(first, ready=False) as one:
        one.wait_until(lambda: "not a SQLite file" in said(one), 30)
        assert one.request("GET", "/health").status == 503
    assert (first.data / "store.db").read_text() == "a shopping list"
    (first.data / "store.db").unlink()
    (first.data / "store.db").mkdir()
    with started(first, ready=False) as one:
        one.wait_until(lambda: "directory" in said(one), 30)


def restarts_of_the_store(one: Instance) -> int:
    """How often the store was started again."""
    return int(next(each["restarts"] for each in one.status()["processes"] if each["name"] == "store"))


def said(one: Instance) -> str:
    """What /health says, as text."""
    try:
        return one.request("GET", "/health").text
    except OSError:
        return ""
