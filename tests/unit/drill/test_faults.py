"""What each fault does to an instance, on a scratch instance that is played."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deora.drill import faults
from deora.drill.faults import FAULTS
from deora.drill.firestore import Firestore
from deora.drill.promises import NAMES
from deora.drill.scratch import Broken, Scratch
from deora.drill.upstreams import Embedded


class Played(Scratch):
    """It notes what is done to it; conditions are looked at `patience` times."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, {})
        self.done: list[str] = []
        self.pids: dict[str, int] = {"zygote": 1, "primary": 2, "store": 3}
        self.waits = iter([1, 0])
        self.answers: Iterator[int] = iter([])
        self.looks: Iterator[bool] = iter([])
        self.patience = 5

    def children(self) -> dict[str, int]:
        return dict(self.pids)

    def is_whole(self) -> bool:
        return True

    def has_new(self, name: str, old: int) -> bool:
        assert self.pids[name] == old
        return next(self.looks, False)

    def start(self) -> None:
        self.done.append("start")

    def kill(self) -> None:
        self.done.append("kill")

    def reload(self) -> None:
        self.done.append("reload")

    def waiting(self) -> int:
        return next(self.waits)

    def must(self, method: str, path: str, body: Any = None) -> Any:
        assert body is None
        self.done.append(f"{method} {path}")

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        assert (body is None) == (method == "GET")
        self.done.append(f"{method} {path.rpartition('/')[2]}")
        return next(self.answers), None

    @contextmanager
    def limited_files(self, size_bytes: int) -> Iterator[None]:
        self.done.append(f"limit {size_bytes}")
        yield
        self.done.append("free")

    def wait_until(self, is_so: Callable[[], bool], what: str, timeout_s: float) -> float:
        assert timeout_s == faults.PATIENCE_S
        for looks in range(self.patience):
            if is_so():
                return float(looks)
        raise Broken(what)


@pytest.fixture
def scratch(tmp_path: Path) -> Played:
    return Played(tmp_path / "x")


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process
        process.kill()


def test_each_scenario_has_a_fault() -> None:
    assert tuple(FAULTS) == NAMES


@pytest.mark.parametrize(("name", "child"), [("kill-primary", "primary"), ("kill-store", "store")])
def test_a_child_is_killed_until_another_one_serves(
    scratch: Played, sleeper: subprocess.Popen[bytes], monkeypatch: pytest.MonkeyPatch, name: str, child: str
) -> None:
    monkeypatch.setattr(faults, "KILLS", 1)
    scratch.pids[child] = sleeper.pid
    scratch.looks = iter([False, False, True])
    assert FAULTS[name](scratch, Embedded(scratch.data), 0) == 2
    assert sleeper.wait() == -signal.SIGKILL


def test_a_child_that_does_not_come_back_is_a_broken_promise(scratch: Played, sleeper: subprocess.Popen[bytes]) -> None:
    scratch.pids["store"] = sleeper.pid
    with pytest.raises(Broken, match="a new store serves"):
        FAULTS["kill-store"](scratch, Embedded(scratch.data), 0)


def test_everything_is_killed_and_started_again(scratch: Played) -> None:
    assert FAULTS["kill-all"](scratch, Embedded(scratch.data), 0) >= 0
    assert scratch.done == ["kill", "start"]


@pytest.mark.parametrize("name", ["upstream-outage", "network-partition"])
def test_upstream_is_mended_also_where_the_scenario_breaks(scratch: Played, name: str) -> None:
    with Firestore() as upstream:
        scratch.waits = iter([0] * 5)
        with pytest.raises(Broken, match=r"writes wait|is silent"):
            FAULTS[name](scratch, upstream, 0)
        assert upstream.handle("/v1/x/documents:batchGet", b'{"documents": []}') == (200, b"[]")


def test_an_outage_ends_with_an_empty_queue(scratch: Played) -> None:
    scratch.waits = iter([0, 3, 2, 1, 0])
    with Firestore() as upstream:
        assert FAULTS["upstream-outage"](scratch, upstream, 0) == 2


def test_a_partition_needs_a_batch_that_was_swallowed(scratch: Played) -> None:
    with Firestore() as upstream:
        upstream.swallowed = 1
        scratch.waits = iter([0])
        assert FAULTS["network-partition"](scratch, upstream, 0) == 0


def test_answers_have_to_be_lost(scratch: Played) -> None:
    with Firestore() as upstream:
        with pytest.raises(Broken, match="an answer of upstream is lost"):
            FAULTS["lost-answers"](scratch, upstream, 0)
        upstream.losses = 1
        scratch.waits = iter([0])
        assert FAULTS["lost-answers"](scratch, upstream, 0) == 0


def test_a_full_disk(scratch: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch.data.mkdir()
    (scratch.data / "store.db").write_bytes(bytes(1000))
    now_s = iter([0.0, 0.5, 2.0])
    monkeypatch.setattr(faults, "time", SimpleNamespace(monotonic=lambda: next(now_s)))
    scratch.answers = iter([201, 201, 507, 201, 200, 507, 200])
    scratch.waits = iter([2, 0])
    assert FAULTS["disk-full"](scratch, Embedded(scratch.data), 1) == 1
    assert scratch.done == [
        "PUT probe",
        "POST /v1/queue:pause",
        f"limit {1000 + faults.MARGIN_BYTES}",
        "PUT probe-0",
        "PUT probe-1",
        "PUT probe-2",
        "GET probe",
        "POST /v1/queue:resume",
        "free",
        "PUT probe",
        "PUT probe",
    ]


@pytest.mark.parametrize(
    ("answers", "what"),
    [([201, 500], "a write is answered with 500"), ([201, 507, *[503] * 5], "a read"), ([201, *[201] * 5], "a 507")],
)
def test_a_full_disk_that_says_something_else(scratch: Played, answers: list[int], what: str) -> None:
    scratch.data.mkdir()
    (scratch.data / "store.db").write_bytes(b"")
    scratch.answers = iter(answers)
    with pytest.raises(Broken, match=what):
        FAULTS["disk-full"](scratch, Embedded(scratch.data), 0)


def test_a_slow_disk_stands_still_in_pulses_and_goes_on(scratch: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[Any] = []
    now_s = iter([0.0, 0.0, 0.4, 2.0])
    monkeypatch.setattr(faults, "os", SimpleNamespace(kill=lambda pid, number: done.append((pid, number))))
    monkeypatch.setattr(faults, "time", SimpleNamespace(sleep=done.append, monotonic=lambda: next(now_s)))
    scratch.answers = iter([200])
    FAULTS["slow-disk"](scratch, Embedded(scratch.data), 1)
    pulse = [(3, signal.SIGSTOP), 0.4, (3, signal.SIGCONT), pytest.approx(0.1)]
    assert done == [*pulse, *pulse, (3, signal.SIGCONT)]


def test_a_store_that_was_replaced_is_a_broken_promise(scratch: Played, sleeper: subprocess.Popen[bytes]) -> None:
    scratch.pids["store"] = sleeper.pid
    sleeper.kill()
    sleeper.wait()
    with pytest.raises(Broken, match="ended"):
        FAULTS["slow-disk"](scratch, Embedded(scratch.data), 0.1)


def test_a_reload_changes_the_configuration_and_every_process(scratch: Played) -> None:
    def replace() -> None:
        scratch.pids = {name: pid + 10 for name, pid in scratch.pids.items()}

    scratch.reload = replace  # type: ignore[method-assign]
    assert FAULTS["reload"](scratch, Embedded(scratch.data), 0) >= 0
    assert (scratch.data.parent / "config" / "queue.json").read_text() == '{"max_entries": 900000}'


def test_a_reload_that_leaves_an_old_process_is_a_broken_promise(scratch: Played) -> None:
    with pytest.raises(Broken, match="old process of zygote, primary, store"):
        FAULTS["reload"](scratch, Embedded(scratch.data), 0)
