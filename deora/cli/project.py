"""`deora init` and `deora version`."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from deora import __version__
from deora.cli.options import (
    DEFAULT_CONFIG,
    DEFAULT_DATA,
    data_option,
    json_option,
    new_config_option,
    unused_config_option,
    unused_data_option,
)
from deora.cli.terminal import show_json
from deora.errors import DeoraError


@click.command()
@new_config_option
@data_option
def init(config: Path, data: Path) -> None:
    """Write the configuration files and make the data directory.

    Each file gets its defaults. What is there already stays as it is, so this is safe to repeat.

    \b
    Example:
      deora init
      deora init --config /etc/deora --data /srv/deora
    """
    from deora.config.template import write_template

    try:
        written = write_template(config)
        made = not data.exists()
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DeoraError(
            f"{error.filename} cannot be made: {error.strerror}", hint="name other directories with --config and --data"
        ) from error
    if written:
        click.echo(f"wrote {', '.join(sorted(path.name for path in written))} in {config.absolute()}")
    else:
        click.echo(f"{config.absolute()} has all its files already; none was changed")
    click.echo(f"made {data.absolute()}" if made else f"{data.absolute()} is there already")
    click.echo(f"next: {_next_command(config, data)}")


def _next_command(config: Path, data: Path) -> str:
    words = ["deora", "start"]
    words += [] if config == DEFAULT_CONFIG else ["--config", str(config)]
    words += [] if data == DEFAULT_DATA else ["--data", str(data)]
    return shlex.join(words)


def versions() -> dict[str, str]:
    """The versions of DEORA, of Python, and of the SQLite library that is linked in."""
    import platform
    import sqlite3

    return {"version": __version__, "python": platform.python_version(), "sqlite": sqlite3.sqlite_version}


def version_line() -> str:
    """The versions in one line."""
    found = versions()
    return f"deora {found['version']} (Python {found['python']}, SQLite {found['sqlite']})"


@click.command()
@unused_config_option
@unused_data_option
@json_option
def version(as_json: bool) -> None:
    """Print the versions of DEORA, Python and SQLite.

    \b
    Example:
      deora version --json
    """
    if as_json:
        show_json(versions())
    else:
        click.echo(version_line())
