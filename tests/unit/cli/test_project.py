"""`deora init` and `deora version`."""

from __future__ import annotations

import json
import platform
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from deora import __version__
from deora.config.schema import FILES

Deora = Callable[..., Result]


def test_init_makes_both_directories(deora: Deora, tmp_path: Path) -> None:
    result = deora("init")
    assert (result.exit_code, result.stderr) == (0, "")
    assert {file.name for file in (tmp_path / "config").glob("*.json")} == {f"{name}.json" for name in FILES}
    assert (tmp_path / "data").stat().st_mode & 0o777 == 0o700
    assert result.stdout.splitlines()[1:] == [f"made {tmp_path / 'data'}", "next: deora start"]
    assert deora("config", "check").exit_code == 0


def test_init_is_safe_to_repeat(deora: Deora, tmp_path: Path) -> None:
    deora("init")
    (tmp_path / "config/servers.json").write_text('{"port": 3100}')
    (tmp_path / "config/queue.json").unlink()
    result = deora("init")
    assert result.stdout.splitlines() == [
        f"wrote queue.json in {tmp_path / 'config'}",
        f"{tmp_path / 'data'} is there already",
        "next: deora start",
    ]
    assert (tmp_path / "config/servers.json").read_text() == '{"port": 3100}'
    assert "has all its files already" in deora("init").stdout


def test_init_elsewhere_says_how_to_start_there(deora: Deora, tmp_path: Path) -> None:
    result = deora("init", "--config", "a/c", "--data", "a/d e")
    assert result.stdout.splitlines()[-1] == "next: deora start --config a/c --data 'a/d e'"
    assert (tmp_path / "a/c/servers.json").exists()


@pytest.mark.parametrize("words", [["--config", "file/c"], ["--data", "file/d"]])
def test_init_where_nothing_can_be_made(deora: Deora, tmp_path: Path, words: list[str]) -> None:
    (tmp_path / "file").touch()
    result = deora("init", *words)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")
    assert words[1] in result.stderr
    assert "Not a directory" in result.stderr


def test_version(deora: Deora) -> None:
    found = {"version": __version__, "python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    assert json.loads(deora("version", "--json").stdout) == found
    line = f"deora {__version__} (Python {found['python']}, SQLite {found['sqlite']})\n"
    assert deora("version").stdout == line
    assert deora("version", "--data", "anywhere").stdout == line
