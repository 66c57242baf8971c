"""`deora config`: checking and showing the configuration as `deora start` would read it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deora.cli.lifecycle import load_config
from deora.cli.options import config_option, json_option, unused_config_option, unused_data_option
from deora.cli.terminal import show_json
from deora.errors import ConfigError

if TYPE_CHECKING:
    from deora.config.schema import Config


@click.group()
def config() -> None:
    """Check, show and compare the configuration.

    Its files, the environment and .env are taken together, as `deora start` does.

    \b
    Example:
      deora config check
      deora config show
      deora config diff
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


@config.command()
@config_option
@unused_data_option
@json_option
def diff(config: Path | None, as_json: bool) -> None:
    """Show what differs from the defaults; secrets are hidden.

    \b
    Example:
      deora config diff
    """
    changed = differences(load_config(config))
    if as_json:
        show_json(changed)
        return
    click.echo(f"# {_source(config)}, the environment, .env")
    for key, values in changed.items():
        click.echo(f"{key} = {_json(values['value'])}  # default: {_json(values['default'])}")
    if not changed:
        click.echo("# all is as by default")


@config.command()
@click.argument("name", required=False)
@unused_config_option
@unused_data_option
def schema(name: str | None) -> None:
    """Print the JSON Schema of a configuration file; of all without NAME.

    NAME is the file's name, with or without ".json". The schemas are of draft 2020-12, for editors.

    \b
    Example:
      deora config schema queue > queue.schema.json
    """
    from deora.config.json_schema import schema_of
    from deora.config.schema import FILES

    if name is None:
        show_json({each: schema_of(each) for each in FILES})
        return
    wanted = name.removesuffix(".json")
    if wanted not in FILES:
        raise click.BadParameter(f"there is no {wanted}.json; the files are {', '.join(FILES)}", param_hint="NAME")
    show_json(schema_of(wanted))


def differences(config: Config) -> dict[str, dict[str, Any]]:
    """Key -> its `value` and its `default`, of those that differ. A key that only one of them has is null in the
    other."""
    from deora.config.schema import Config

    default = Config.from_wire({})
    now, then = _flat(config.to_wire()), _flat(default.to_wire())
    shown, shown_then = _flat(config.to_display()), _flat(default.to_display())
    # By the values themselves: two secrets look alike.
    changed = [key for key in {**now, **then} if now.get(key) != then.get(key)]
    return {key: {"value": shown.get(key), "default": shown_then.get(key)} for key in changed}


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, dict) and value:
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def _json(value: Any) -> str:
    import json

    return json.dumps(value, ensure_ascii=False)


def _source(config: Path | None) -> str:
    return "the built-in defaults" if config is None else str(config.absolute())


def lines_of(values: dict[str, Any]) -> list[str]:
    """One line `section.key = JSON` for each value; an empty object is a value."""
    return [f"{key} = {_json(value)}" for key, value in _flat(values).items()]
