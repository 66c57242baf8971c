"""The options that commands share, and how each of them finds its value.

`--config` and `--data` stand after the command's name. `deora queue` is a command and a group of commands, so there
they may stand after either name: `deora queue --data D ls` means what `deora queue ls --data D` means. A value comes
from the command line first, then from `DEORA_CONFIG` and `DEORA_DATA`, then from the default.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

F = TypeVar("F", bound=Callable[..., Any])

DEFAULT_CONFIG = Path("config")
DEFAULT_DATA = Path("data")


def default_data() -> Path:
    """`./data`; under systemd the (first) state directory of the unit (systemd.exec(5), STATE_DIRECTORY)."""
    state = os.environ.get("STATE_DIRECTORY")
    return Path(state.split(":")[0]) if state else DEFAULT_DATA


def inherited(ctx: click.Context, param: click.Parameter, value: Any) -> Any:
    """The value of the same option after the group's name, unless the command names its own."""
    group = ctx.parent
    name = param.name
    if group is None or name is None or ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
        return value
    # Where the group's value is its default or the environment's, it is what the command would have found, too.
    return group.params.get(name, value)


def _existing_config(ctx: click.Context, param: click.Parameter, value: Path | None) -> Path | None:
    """The configuration directory; None means the built-in defaults. One that was named must be there."""
    value = inherited(ctx, param, value)
    if value is None:
        return DEFAULT_CONFIG if DEFAULT_CONFIG.is_dir() else None
    if not value.is_dir():
        raise click.BadParameter(
            f"there is no directory {str(value)!r}; `deora init --config DIR` makes one.", ctx=ctx, param=param
        )
    return value


def config_option(command: F) -> F:
    """Adds `--config`; the command gets `config: Path | None`, None for the built-in defaults."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        envvar="DEORA_CONFIG",
        callback=_existing_config,
        metavar="DIR",
        help="Configuration directory.  [default: ./config if it exists, else built-in defaults; env: DEORA_CONFIG]",
    )(command)


def new_config_option(command: F) -> F:
    """Adds `--config` of a directory that may yet have to be made; the command gets `config: Path`."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="DEORA_CONFIG",
        default=DEFAULT_CONFIG,
        metavar="DIR",
        help="Configuration directory.  [default: ./config; env: DEORA_CONFIG]",
    )(command)


def data_option(command: F) -> F:
    """Adds `--data`; the command gets `data: Path`."""
    return click.option(
        "--data",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="DEORA_DATA",
        default=default_data,
        callback=inherited,
        metavar="DIR",
        help="Data directory.  [default: ./data, under systemd the state directory; env: DEORA_DATA]",
    )(command)


def unused_config_option(command: F) -> F:
    """Adds `--config` to a command that does not read the configuration, since every command takes it."""
    return click.option(
        "--config",
        type=click.Path(path_type=Path),
        envvar="DEORA_CONFIG",
        callback=_existing_config,
        metavar="DIR",
        expose_value=False,
        help="Configuration directory; this command does not read it.",
    )(command)


def unused_data_option(command: F) -> F:
    """Adds `--data` to a command that does not touch the data directory, since every command takes it."""
    return click.option(
        "--data",
        type=click.Path(path_type=Path),
        metavar="DIR",
        expose_value=False,
        help="Data directory; this command does not touch it.",
    )(command)


def instance_options(command: F) -> F:
    """Adds `--config` and `--data` to a command that speaks to a running instance; it gets `data: Path` alone."""
    return unused_config_option(data_option(command))


def json_option(command: F) -> F:
    """Adds `--json`; the command gets `as_json: bool`."""
    return click.option(
        "--json", "as_json", is_flag=True, callback=inherited, help="Print JSON and nothing else on standard output."
    )(command)
