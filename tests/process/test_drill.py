"""`deora drill` for real: it passes here, and it notices when a promise is broken by hand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from bench.instance import PROJECT
from deora.drill.promises import NAMES

# Loaded by every process of the scratch instance: its upstream drops one write in fifty, which is confirmed all the
# same, and applies another one twice.
DISHONEST = textwrap.dedent(
    """
    import itertools
    from dataclasses import replace
    from deora.upstream.sqlite import SqliteUpstream

    honest, numbers = SqliteUpstream.apply, itertools.count()

    async def apply(self, delivery):
        times = {10: 0, 20: 2}
        payloads = [payload for payload in delivery.payloads for _ in range(times.get(next(numbers) % 50, 1))]
        return await honest(self, replace(delivery, payloads=payloads))

    SqliteUpstream.apply = apply
    """
)


def drill(folder: Path, *words: str, path: Sequence[Path] = ()) -> subprocess.Popen[str]:
    """A drill whose scratch instances are below `folder`; `path` is looked through for modules first."""
    # What configures an operator's instance is not for the scratch one.
    foreign = {"DEORA_QUEUE__MAX_ENTRIES": "1", "COLUMNS": "400"}
    modules = os.pathsep.join(map(str, [*path, PROJECT]))
    return subprocess.Popen(
        [sys.executable, "-m", "deora", "drill", "--directory", str(folder), *words],
        cwd=folder.parent,
        env={**os.environ, **foreign, "PYTHONPATH": modules},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str], timeout_s: float = 150) -> tuple[int, str, str]:
    """Exit code and what it printed. One that does not end is ended as an operator would, so that it cleans up."""
    try:
        out, err = process.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        process.terminate()
        process.communicate(timeout=60)
        raise
    finally:
        process.kill()
    return process.returncode, out, err


def left_behind(folder: Path) -> list[str]:
    """The processes that run in a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if folder in Path(process.cwd()).parents and process.status() != psutil.STATUS_ZOMBIE:
                found.append(str(process))
        except psutil.Error:
            continue
    return found


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "scratch"
    made.mkdir()
    return made


def rows(out: str) -> dict[str, Any]:
    return {row["scenario"]: row for row in json.loads(out)["scenarios"]}


def test_promises_hold(folder: Path) -> None:
    code, out, err = ended(
        drill(folder, "--scenario", "kill-store", "--scenario", "lost-answers", "--seconds", "1", "--json")
    )
    assert code == 0, out + err
    found = rows(out)
    assert [*found] == ["kill-store", "lost-answers"]
    for row in found.values():
        assert row["requests"] > 50
        assert (row["failed"], row["lost"], row["doubled"], row["complaints"]) == (0, 0, 0, [])
    assert not any(folder.iterdir())
    assert left_behind(folder) == []


def test_a_promise_that_is_broken_by_hand_is_noticed(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(DISHONEST)
    code, out, err = ended(drill(folder, "--scenario", "reload", "--seconds", "1", path=[tmp_path]))
    print(out, err)
    assert code == 1
    assert "acknowledged writes are lost: " in out
    assert "writes took effect twice: " in out
    assert out.endswith("1 of 1 promises broken\n")
    [kept] = [line.split()[1] for line in out.splitlines() if line.startswith("kept: ")]
    assert (Path(kept) / "log").stat().st_size
    assert left_behind(folder) == []


def test_an_interrupted_drill_ends_what_it_began(folder: Path) -> None:
    process = drill(folder, "--scenario", "kill-all", "--seconds", "600")
    try:
        while len(left_behind(folder)) < 4:
            assert process.poll() is None
        # Not SIGINT, which a shell's background jobs ignore.
        process.send_signal(signal.SIGTERM)
    finally:
        code, out, _ = ended(process)
    assert (code, out) == (143, "")
    assert left_behind(folder) == []
    assert not any(folder.iterdir())


@pytest.mark.torture
@pytest.mark.timeout(600)
def test_every_promise_holds(folder: Path) -> None:
    code, out, err = ended(drill(folder, "--json"), 500)
    assert code == 0, out + err
    assert [*rows(out)] == [*NAMES]
