"""`deora config`: checking and showing the configuration as `deora start` would read it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from deora.cli.lifecycle import load_config
from deora.cli.options import config_option, json_option, unused_data_option
from deora.cli.terminal import show_json
from deora.errors import ConfigError


@click.group()
def config() -> None:
    """Check and show the configuration.

    Its files, the environment and .env are taken together, as `deora start` does.

    \b
    Example:
      deora config check
      deora config show
    """


@config.command()
@config_option
@unused_data_option
@json_option
@click.pass_context
def check(ctx: click.Context, config: Path | None, as_json: bool) -> None:
    """Check the configuration; every fault is named at once.

    \b
    Example:
      deora config check --config /etc/deora
    """
    try:
        load_config(config)
    except ConfigError as error:
        if not as_json:
            raise
        show_json({"valid": False, "problems": error.problems})
        ctx.exit(1)
    if as_json:
        show_json({"valid": True, "problems": []})
    else:
        click.echo(f"{_source(config)}: no faults")


@config.command("show")
@config_option
@unused_data_option
@json_option
def show_config(config: Path | None, as_json: bool) -> None:
    """Show every key with the value that is in force; secrets are hidden.

    \b
    Example:
      deora config show
      deora config show --json | jq .servers.port
    """
    shown = load_config(config).to_display()
    if as_json:
        show_json(shown)
        return
    click.echo(f"# {_source(config)}, the environment, .env")
    for line in lines_of(shown):
        click.echo(line)


def _source(config: Path | None) -> str:
    return "the built-in defaults" if config is None else str(config.absolute())


def lines_of(values: dict[str, Any], prefix: str = "") -> list[str]:
    """One line `section.key = JSON` for each value; an empty object is a value."""
    import json

    lines: list[str] = []
    for name, value in values.items():
        if isinstance(value, dict) and value:
            lines += lines_of(value, f"{prefix}{name}.")
        else:
            lines.append(f"{prefix}{name} = {json.dumps(value, ensure_ascii=False)}")
    return lines
