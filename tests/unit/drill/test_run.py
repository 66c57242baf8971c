"""One scenario from start to verdict, as far as it can be had without an instance; tests/process has the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from deora.drill import faults, run, scratch
from deora.drill.firestore import Firestore
from deora.drill.judge import Findings, Outcome, Sent
from deora.drill.promises import PROMISES, Verdict
from deora.drill.run import Drill, audit, drill_folder
from deora.drill.scratch import Broken, Scratch
from deora.drill.tills import Tills
from deora.drill.upstreams import Embedded, Upstream

BY_NAME = {promise.name: promise for promise in PROMISES}
OK = Outcome.OK


class Held:
    """An upstream and a queue of which it is known what they hold."""

    def __init__(self, counts: dict[str, tuple[list[str], int]], queued: dict[str, list[str]]) -> None:
        self._counts = counts
        self._queued = queued

    def documents(self) -> dict[str, dict[str, object]]:
        return {path: {"log": log, "n": n} for path, (log, n) in self._counts.items()}

    def queued(self) -> dict[str, list[str]]:
        return self._queued


def found(held: Held) -> Findings:
    tills = Tills("http://127.0.0.1:1")
    tills.history = [Sent("a", "tills/1", OK, 1), Sent("b", "tills/1", OK, 2)]
    return audit(held, held, tills)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("held", "findings"),
    [
        (Held({"tills/1": (["a", "b"], 2)}, {}), Findings()),
        (Held({"tills/1": (["a"], 1), "probes/x": (["z"], 9)}, {"tills/1": ["b"], "probes/y": ["z"]}), Findings()),
        (Held({"tills/1": (["a"], 1)}, {}), Findings(lost=["b"])),
        (Held({"tills/1": (["a", "b"], 3)}, {}), Findings(doubled=["b"])),
    ],
)
def test_the_load_is_judged_and_nothing_else(held: Held, findings: Findings) -> None:
    assert found(held) == findings


@pytest.mark.parametrize(
    ("name", "has_client", "kind"),
    [
        ("kill-store", True, Embedded),
        ("upstream-outage", True, Firestore),
        ("upstream-outage", False, Embedded),
        ("lost-answers", True, Firestore),
    ],
)
def test_which_upstream_a_scenario_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, has_client: bool, kind: type[Upstream]
) -> None:
    seen: list[Upstream] = []

    class Noted(Scratch):
        """It does not start."""

        def start(self) -> None:
            raise Broken("it does not start")

    monkeypatch.setattr(run, "Scratch", Noted)

    def note(_: Scratch, upstream: Upstream, __: Tills) -> Findings:
        seen.append(upstream)
        return Findings()

    monkeypatch.setattr(run, "drained", lambda _: 0.0)
    monkeypatch.setattr(run, "audit", note)
    result = Drill(tmp_path, 1, has_client, lambda _: None).run(BY_NAME[name])
    assert isinstance(seen[0], kind)
    assert result.complaints == ["it does not start", "no request was sent"]


def test_without_a_client_there_is_no_network_to_cut(tmp_path: Path) -> None:
    result = Drill(tmp_path, 1, False, lambda _: None).run(BY_NAME["network-partition"])
    assert result.verdict is Verdict.NOT_RUN
    assert "deora[firestore]" in result.complaints[0]
    assert not any(tmp_path.iterdir())


@pytest.fixture
def broken_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scratch, "program", lambda: ["false"])
    monkeypatch.setattr(faults, "PATIENCE_S", 0)


@pytest.mark.usefixtures("broken_program")
def test_one_that_does_not_start_is_broken_and_its_folder_is_kept(tmp_path: Path) -> None:
    said: list[str] = []
    result = Drill(tmp_path, 1, True, said.append).run(BY_NAME["kill-all"])
    assert result.verdict is Verdict.BROKEN
    assert result.complaints[0].startswith("the scratch instance ended with 1")
    assert result.kept is not None
    assert Path(result.kept).parent == tmp_path
    assert (Path(result.kept) / "log").exists()
    assert said[0] == "starts a scratch instance"


def test_an_interrupted_drill_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), drill_folder(tmp_path) as folder:
        Drill(folder, 1, True, interrupt).run(BY_NAME["kill-all"])
    assert not any(tmp_path.iterdir())


def test_a_folder_that_holds_something_is_kept(tmp_path: Path) -> None:
    with drill_folder(tmp_path) as folder:
        (folder / "kept").mkdir()
    assert (folder / "kept").is_dir()
