"""`deora drill`: what is asked for, what is said, and the exit code."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.testing import Result as Ran

from deora.cli import drill as module
from deora.cli.drill import chosen_promises, ended_by_signals
from deora.drill.promises import NAMES, PROMISES, Promise, Result, Verdict
from deora.drill.run import Drill
from deora.errors import DeoraError

Deora = Callable[..., Ran]


@pytest.fixture
def verdicts(monkeypatch: pytest.MonkeyPatch) -> dict[str, Verdict]:
    """What the next drill comes to, by scenario; held where it is not named. Nothing is run."""
    told: dict[str, Verdict] = {}

    def run(self: Drill, promise: Promise) -> Result:
        self.say("is played")
        verdict = told.get(promise.name, Verdict.HELD)
        complaints = ["1 acknowledged writes are lost: a"] if verdict is Verdict.BROKEN else []
        return Result(promise, verdict, 1000, 0, len(complaints), 0, 0.25, complaints, "/x" if complaints else None)

    monkeypatch.setattr(Drill, "run", run)
    return told


def without_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "missing_packages", lambda _: ["aiohttp"])


@pytest.mark.usefixtures("verdicts")
def test_all_is_the_default(deora: Deora, tmp_path: Path) -> None:
    result = deora("drill", "--directory", str(tmp_path))
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.stdout.splitlines()[1:-2]] == [*NAMES]
    assert result.stdout.endswith("9 of 9 promises held\n")
    assert [line.split(" ")[0] for line in result.stderr.splitlines()[1:]] == [f"{n}/9" for n in range(1, 10)]
    assert not any(tmp_path.iterdir())


def test_a_broken_promise_is_exit_code_1(deora: Deora, verdicts: dict[str, Verdict]) -> None:
    verdicts["kill-store"] = Verdict.BROKEN
    result = deora("drill", "--scenario", "kill-store", "--scenario", "reload", "--seconds", "1")
    assert result.exit_code == 1
    assert "kill-store: 1 acknowledged writes are lost: a" in result.stdout
    assert result.stdout.endswith("1 of 2 promises broken\n")


def test_json(deora: Deora, verdicts: dict[str, Verdict]) -> None:
    verdicts["reload"] = Verdict.BROKEN
    result = deora("drill", "--scenario", "reload", "--json")
    assert result.exit_code == 1
    said = json.loads(result.stdout)
    assert said["held"] is False
    [row] = said["scenarios"]
    promise = PROMISES[-1]
    assert row == {
        "scenario": "reload",
        "verdict": "broken",
        "requests": 1000,
        "failed": 0,
        "lost": 1,
        "doubled": 0,
        "recovered_s": 0.25,
        "promise": promise.words,
        "complaints": ["1 acknowledged writes are lost: a"],
        "look_at": promise.look,
        "kept": "/x",
    }


@pytest.mark.parametrize(
    "words", [["--scenario", "meteor"], ["--seconds", "0"], ["--seconds", "x"], ["--directory", "/nowhere"]]
)
def test_wrong_usage(deora: Deora, words: list[str]) -> None:
    assert deora("drill", *words).exit_code == 2


def test_a_wrong_scenario_is_told_the_right_ones(deora: Deora) -> None:
    assert all(name in deora("drill", "--scenario", "meteor").stderr for name in NAMES)


def test_what_cannot_be_run_here_is_refused_by_name(deora: Deora, monkeypatch: pytest.MonkeyPatch) -> None:
    without_client(monkeypatch)
    result = deora("drill", "--scenario", "lost-answers")
    assert result.exit_code == 1
    assert "aiohttp" in result.stderr
    assert "deora[firestore]" in result.stderr
    with pytest.raises(DeoraError):
        chosen_promises(["all", "network-partition"])


def test_of_all_it_is_left_out_and_said(
    deora: Deora, verdicts: dict[str, Verdict], monkeypatch: pytest.MonkeyPatch
) -> None:
    without_client(monkeypatch)
    verdicts.update({"lost-answers": Verdict.NOT_RUN, "network-partition": Verdict.NOT_RUN})
    result = deora("drill")
    assert result.exit_code == 0
    assert result.stdout.endswith("7 of 7 promises held (2 not put to the test)\n")


@pytest.mark.parametrize(
    ("scenarios", "names"), [(["reload", "kill-all"], ["kill-all", "reload"]), (["reload", "all"], [*NAMES])]
)
def test_the_order_is_the_tables(scenarios: Sequence[str], names: list[str]) -> None:
    assert [promise.name for promise in chosen_promises(scenarios)] == names


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_by_way_of_the_cleaning_up(number: signal.Signals) -> None:
    outer = signal.signal(number, signal.SIG_DFL)
    try:
        with pytest.raises(SystemExit) as ended, ended_by_signals():
            os.kill(os.getpid(), number)
        assert ended.value.code == 143
        assert signal.getsignal(number) is signal.SIG_DFL
    finally:
        signal.signal(number, outer)


def test_what_nohup_ignores_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with ended_by_signals():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
