"""`deora logs`: lines of several files in order, by level, for people and for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from deora.cli.logs import merged, text_of
from deora.cli.main import cli


def line(second: int, message: str, level: str = "info", **more: Any) -> bytes:
    members = {"time": f"2026-01-31T12:00:{second:02d}.000Z", "level": level, "process": "store", "pid": 7}
    return json.dumps(members | {"logger": "deora.store", "message": message} | more).encode()


ACCESS = {"method": "GET", "path": "/x", "ms": 0.5, "client": "1.2.3.4"}


def access(second: int, status: int) -> bytes:
    return json.dumps({"time": f"2026-01-31T12:00:{second:02d}.500Z", "status": status, **ACCESS}).encode()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "app.log.1").write_bytes(line(1, "one") + b"\n" + line(2, "two", "warning") + b"\n")
    (folder / "app.log").write_bytes(line(3, "three", n=1, nothing=None) + b"\n" + line(4, "four", "error") + b"\n")
    (folder / "access.log").write_bytes(access(1, 200) + b"\n" + access(3, 503) + b"\n")
    return tmp_path


def run(data: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli, ["logs", "--data", str(data), *arguments])


def test_the_last_lines_for_people(data: Path) -> None:
    assert run(data, "-n", "3").stdout.splitlines() == [
        "12:00:02.000 warning store      two",
        "12:00:03.000 info    store      three  n=1",
        "12:00:04.000 error   store      four",
    ]
    assert run(data, "-n", "0").stdout == ""


def test_by_level(data: Path) -> None:
    found = run(data, "--level", "warning", "--log", "app", "--log", "access").stdout
    assert [each.split()[0] for each in found.splitlines()] == ["12:00:02.000", "12:00:03.500", "12:00:04.000"]
    assert "GET /x 503 0.5 ms  client=1.2.3.4" in found
    assert run(data, "--level", "error", "-n", "1").stdout.splitlines() == ["12:00:04.000 error   store      four"]


def test_several_logs_as_json_are_as_they_stand(data: Path) -> None:
    found = run(data, "--json", "--log", "access", "--log", "app").stdout.splitlines()
    assert [json.loads(each)["time"][17:22] for each in found] == ["01.00", "01.50", "02.00", "03.00", "03.50", "04.00"]
    assert found[0].encode() == line(1, "one")


def test_where_there_are_none_that_is_said(tmp_path: Path) -> None:
    found = run(tmp_path)
    assert found.exit_code == 1
    assert "there are no logs in" in found.stderr


def test_it_follows_until_it_is_interrupted(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = data / "logs" / "app.log"
    steps = iter(range(3))

    def sleep(_: float) -> None:
        step = next(steps, None)
        if step is None:
            raise KeyboardInterrupt
        if step == 1:
            log.with_name("app.log.1").rename(log.with_name("app.log.2"))
            log.rename(log.with_name("app.log.1"))
        with log.open("ab") as file:
            file.write(line(10 + step, f"new {step}", "warning" if step else "debug") + b"\n")

    monkeypatch.setattr("deora.cli.logs.time.sleep", sleep)
    found = run(data, "-f", "-n", "1", "--level", "warning")
    assert (found.exit_code, [each.split(maxsplit=3)[3] for each in found.stdout.splitlines()]) == (
        0,
        ["four", "new 1", "new 2"],
    )


def test_colours_are_for_terminals_and_by_level() -> None:
    assert "\x1b[31m" in text_of(line(1, "x", "error"), colour=True)
    assert "\x1b" not in text_of(line(1, "x", "error"), colour=False)
    assert "\x1b" not in text_of(line(1, "x"), colour=True)


def test_no_line_commands_the_terminal() -> None:
    for bad in (line(1, "a\x1b[31mb\nc", who="\x1b]0;title\x07"), b'{"x": "\x1b[31m', b"\x1b[31m no JSON", b"[1]"):
        assert "\x1b" not in text_of(bad, colour=False)
    assert text_of(b"no JSON", colour=False) == "no JSON"


def test_an_exception_follows_its_line() -> None:
    made = line(1, "failed", "error", exception="Traceback\n  ValueError: x")
    assert text_of(made, colour=False).split("\n")[1:] == ["    Traceback", "      ValueError: x"]


def test_lines_of_one_log_keep_their_order_though_the_clock_was_set_back() -> None:
    app = [line(5, "a"), line(1, "b"), b"torn", line(7, "c")]
    found = merged([app, [line(6, "d", process="audit")]])
    assert found == [*app[:3], line(6, "d", process="audit"), app[3]]


def test_a_wrong_configuration_hides_no_log(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "servers.json").write_text("{")
    assert "four" in run(data, "--config", str(folder)).stdout
    (folder / "servers.json").unlink()
    (folder / "logger.json").write_text('{"dir": "elsewhere"}')
    assert "elsewhere" in run(data, "--config", str(folder)).stderr
