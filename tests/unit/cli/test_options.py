"""Where `--config` and `--data` find their values."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from deora.cli.options import config_option, data_option, default_data, new_config_option


@click.command()
@config_option
@data_option
def _show(config: Path | None, data: Path) -> None:
    click.echo(f"{config} {data}")


@click.command()
@new_config_option
def _make(config: Path) -> None:
    click.echo(str(config))


def _run(*words: str, **variables: str) -> Result:
    return CliRunner().invoke(_show, words, env=variables)


def test_defaults(tmp_path: Path) -> None:
    assert _run().stdout == "None data\n"
    (tmp_path / "config").mkdir()
    assert _run().stdout == "config data\n"


def test_the_command_line_wins_over_the_environment(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    assert _run(DEORA_CONFIG="a", DEORA_DATA="x").stdout == "a x\n"
    assert _run("--config", "b", "--data", "y", DEORA_CONFIG="a", DEORA_DATA="x").stdout == "b y\n"


def test_the_state_directory_of_systemd(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _run(STATE_DIRECTORY="/var/lib/deora").stdout == "None /var/lib/deora\n"
    assert _run("--data", "y", STATE_DIRECTORY="/var/lib/deora").stdout == "None y\n"
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/deora:/var/lib/more")
    assert default_data() == Path("/var/lib/deora")


@pytest.mark.parametrize("variables", [{}, {"DEORA_CONFIG": "missing"}])
def test_a_configuration_that_was_named_must_be_there(variables: dict[str, str]) -> None:
    result = _run(**variables) if variables else _run("--config", "missing")
    assert result.exit_code == 2
    assert "there is no directory 'missing'" in result.stderr


def test_a_configuration_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert _run("--config", "file").exit_code == 2
    assert _run("--data", "file").exit_code == 2
    assert CliRunner().invoke(_make, ["--config", "file"]).exit_code == 2


def test_a_configuration_to_be_made_need_not_be_there() -> None:
    assert CliRunner().invoke(_make, []).stdout == "config\n"
    assert CliRunner().invoke(_make, ["--config", "new"]).stdout == "new\n"
