"""How a benchmark judges what it measured, and how it ends what it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from bench.instance import PROJECT
from bench.measure import Bar, Row
from bench.processes import BenchError, NotMeasuredError, Process, find_program
from bench.table import as_json, render


def test_a_peer_is_judged_by_the_ratio_of_each_pair() -> None:
    row = Row("work", "requests/s", Bar(1.5), [200, 300, 400], [100, 300, 100], "somebody")
    assert row.judged == [2.0, 1.0, 4.0]
    assert row.verdict == "met"
    assert Row("work", "requests/s", Bar(2.5), row.deora, row.peer).verdict == "MISSED"


def test_without_a_peer_the_value_is_judged() -> None:
    assert Row("claim", "ms", Bar(10, at_most=True), [9, 30, 8]).verdict == "met"
    assert Row("claim", "ms", Bar(10, at_most=True), [11, 30, 8]).verdict == "MISSED"
    assert Row("claim", "ms", None, [11]).verdict == ""


def test_what_was_not_measured_is_said_in_table_and_json() -> None:
    row = Row("work", "", missing="wrk is not installed (Debian: apt-get install wrk)")
    assert "not measured: wrk is not installed (Debian: apt-get install wrk)" in render([row])
    [written] = as_json([row], {})["rows"]
    assert written["median"] is None
    assert written["verdict"].startswith("not measured")


def test_the_table_shows_median_and_spread() -> None:
    text = render([Row("work", "requests/s", Bar(1.0), [10_000, 12_000, 11_000], [10_000] * 3, "nginx")])
    cells = " ".join(text.splitlines()[2].split())
    assert cells == "work 11,000 requests/s 10,000 requests/s 1.10 1.00 to 1.20 >= 1.00 met"
    assert text.endswith("peer: nginx")


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NotMeasuredError, match=r"no-such-program is not installed \(Debian: apt-get install"):
        find_program("no-such-program")


def test_a_process_takes_its_children_along(tmp_path: Path) -> None:
    parent = "import subprocess, time; print(subprocess.Popen(['sleep', '100']).pid, flush=True); time.sleep(100)"
    with Process("parent", [sys.executable, "-c", parent], tmp_path) as process:
        process.wait_until(lambda: process.log.read_text().endswith("\n"))
        child = psutil.Process(int(process.log.read_text()))
        assert child.is_running()
    assert process.ended() == -signal.SIGTERM
    _, alive = psutil.wait_procs([child], timeout=5)
    assert not alive


def test_a_program_that_ends_early_is_shown_with_what_it_printed(tmp_path: Path) -> None:
    failing = [sys.executable, "-c", "import sys; sys.exit('the port is taken')"]
    with Process("failing", failing, tmp_path) as process, pytest.raises(BenchError, match="the port is taken"):
        process.wait_until(lambda: False)


@pytest.mark.parametrize("arguments", [["nonsense"], ["--pairs", "0"], ["--json", "no/such/directory/file"]])
def test_wrong_usage_ends_with_2(arguments: list[str]) -> None:
    finished = subprocess.run(
        [sys.executable, "-m", "bench", *arguments], cwd=PROJECT, capture_output=True, text=True, check=False
    )
    assert finished.returncode == 2
    assert "Traceback" not in finished.stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 1), (signal.SIGTERM, 128 + signal.SIGTERM)])
def test_an_interrupted_run_leaves_neither_process_nor_file(tmp_path: Path, number: int, code: int) -> None:
    load = tmp_path / "bin" / "wrk"
    load.parent.mkdir()
    load.write_text("#!/bin/sh\nexec sleep 100\n")
    load.chmod(0o755)
    data = tmp_path / "data"
    data.mkdir()
    command = [sys.executable, "-m", "bench", "drain", "--directory", str(data)]
    path = os.pathsep.join([str(load.parent), os.environ["PATH"]])
    with subprocess.Popen(command, cwd=PROJECT, env={**os.environ, "PATH": path}) as bench:
        process = psutil.Process(bench.pid)
        deadline = time.monotonic() + 30
        while not any(child.name() == "sleep" for child in process.children()) and time.monotonic() < deadline:
            time.sleep(0.01)
        started = process.children(recursive=True)
        bench.send_signal(number)
        assert bench.wait(30) == code
    assert len(started) > 1  # the load and an instance
    _, alive = psutil.wait_procs(started, timeout=5)
    assert not alive
    assert list(data.iterdir()) == []
