"""The root of the commands: errors, exit codes, help."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from deora import __version__
from deora.cli.main import Commands, cli
from deora.errors import ConfigError, DeoraError, NotRunningError

Deora = Callable[..., Result]
ROOT = Path(__file__).parents[3]


def _commands(group: click.Group, prefix: str = "") -> list[tuple[str, click.Command]]:
    found: list[tuple[str, click.Command]] = []
    for name, command in group.commands.items():
        found.append((prefix + name, command))
        if isinstance(command, click.Group):
            found += _commands(command, f"{prefix}{name} ")
    return found


@pytest.mark.parametrize(
    ("error", "exit_code", "stderr"),
    [
        (DeoraError("no"), 1, "error: no\n"),
        (DeoraError("no", hint="do"), 1, "error: no\nhint: do\n"),
        (ConfigError(["a", "b"]), 1, "error: the configuration is wrong:\n  - a\n  - b\n"),
        (NotRunningError("none"), 3, "error: none\n"),
        (FileNotFoundError(2, "No such file", "x"), 1, "error: x: No such file\n"),
        (OSError("odd"), 1, "error: odd\n"),
        (click.UsageError("what?"), 2, "Usage: root fail [OPTIONS]\n\nError: what?\n"),
    ],
)
def test_an_error_becomes_words_and_an_exit_code(error: Exception, exit_code: int, stderr: str) -> None:
    def fail() -> None:
        raise error

    root = Commands("root", commands={"fail": click.Command("fail", callback=fail, add_help_option=False)})
    result = CliRunner().invoke(root, ["fail"], prog_name="root")
    assert (result.exit_code, result.stdout, result.stderr) == (exit_code, "", stderr)


def test_a_fault_of_the_program_is_not_hidden() -> None:
    def fail() -> None:
        raise KeyError("x")

    root = Commands("root", commands={"fail": click.Command("fail", callback=fail)})
    with pytest.raises(KeyError):
        CliRunner().invoke(root, ["fail"], catch_exceptions=False)


@pytest.mark.parametrize(("path", "command"), [pytest.param(*found, id=found[0]) for found in _commands(cli)])
def test_every_command_says_what_it_does_with_an_example(path: str, command: click.Command) -> None:
    text = command.help or ""
    assert "Example:\n" in text
    assert f"deora {path.split()[0]}" in text
    help_lines = command.get_help(click.Context(command, info_name=path, terminal_width=80)).splitlines()
    assert max(map(len, help_lines)) <= 80


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(command, id=path)
        for path, command in _commands(cli)
        if not isinstance(command, click.Group) or command.invoke_without_command
    ],
)
def test_every_command_takes_config_and_data(command: click.Command) -> None:
    assert {"--config", "--data"} <= {option for parameter in command.params for option in parameter.opts}


def test_the_list_of_commands_is_not_cut(deora: Deora) -> None:
    output = deora("--help").stdout
    listed = output[output.index("Commands:") :]
    assert "..." not in listed
    expected = (
        "init start stop restart reload upgrade status health alerts logs queue failover recover worker upstream token"
        " backup restore doctor drill support-bundle config version"
    )
    assert [line.split()[0] for line in listed.splitlines()[1:]] == expected.split()


@pytest.mark.parametrize("words", [["nope"], ["--nope"], ["status", "--nope"], ["status", "x"], ["queue", "nope"]])
def test_wrong_usage(deora: Deora, words: list[str]) -> None:
    result = deora(*words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Traceback" not in result.stderr


def test_version_option(deora: Deora) -> None:
    result = deora("--version")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"deora {__version__} (Python 3.")


def test_python_m_deora(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "deora", "--version"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.startswith("deora ")


def test_words_that_the_terminal_cannot_show_are_escaped(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "deora", "status", "--data", "茶店"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 3
    assert "\\u8336\\u5e97" in result.stderr
