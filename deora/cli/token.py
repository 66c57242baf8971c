"""`deora token`: who may use this instance."""

from __future__ import annotations

from pathlib import Path

import click

from deora.cli.options import json_option, new_config_option, unused_data_option
from deora.cli.terminal import show, show_json

_IN_FORCE = "`deora reload` puts it in force"


@click.group()
def token() -> None:
    """Add, list and remove the bearer tokens of security.json.

    \b
    Example:
      deora token add till-3 --scope write
      deora token ls
    """


@token.command()
@click.argument("name")
@click.option(
    "--scope",
    type=click.Choice(["read", "write", "admin"]),
    required=True,
    help="What it may do: admin includes write, which includes read.",
)
@new_config_option
@unused_data_option
@json_option
def add(name: str, scope: str, config: Path, as_json: bool) -> None:
    """Make a token for NAME and print it, this once: only its hash is kept.

    \b
    Example:
      deora token add till-3 --scope write
    """
    from deora.config.tokens import add_token

    secret = add_token(config, name, scope)
    if as_json:
        show_json({"name": name, "scope": scope, "token": secret})
        return
    click.echo(secret)
    click.echo(f"the token of {name}, scope {scope}: it is not shown again; {_IN_FORCE}", err=True)


@token.command("ls")
@new_config_option
@unused_data_option
@json_option
def list_all(config: Path, as_json: bool) -> None:
    """List the tokens: name, scope, and the first digits of the hash.

    \b
    Example:
      deora token ls --json
    """
    from deora.config.tokens import list_tokens

    tokens = list_tokens(config)
    if as_json:
        show_json([{"name": one.name, "scope": one.scope, "fingerprint": one.fingerprint} for one in tokens])
        return
    from deora.cli.blocks import Cell, Column, Flow, Table

    if not tokens:
        show([Flow([[Cell("no tokens: only loopback may be listened on, and every scope is open there")]])])
        return
    rows = [[Cell(one.name), Cell(one.scope), Cell(one.fingerprint, "faint")] for one in tokens]
    show([Table((Column("NAME"), Column("SCOPE"), Column("SHA-256", rank=1)), rows)])


@token.command("rm")
@click.argument("name")
@new_config_option
@unused_data_option
@json_option
def remove(name: str, config: Path, as_json: bool) -> None:
    """Take the token of NAME away.

    \b
    Example:
      deora token rm till-3
    """
    from deora.config.tokens import remove_token

    remove_token(config, name)
    if as_json:
        show_json({"removed": name})
    else:
        click.echo(f"the token of {name} is gone; `deora reload` puts that in force")
