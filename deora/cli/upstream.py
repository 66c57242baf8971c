"""`deora upstream`: pausing and resuming the replay into one upstream."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import click

from deora.cli.client import ControlClient
from deora.cli.options import instance_options, json_option
from deora.cli.terminal import show_json


@click.group()
def upstream() -> None:
    """Pause and resume the replay into an upstream.

    \b
    Example:
      deora upstream pause primary
    """


@upstream.command()
@click.argument("name")
@instance_options
@json_option
def pause(name: str, data: Path, as_json: bool) -> None:
    """Send nothing more to the upstream NAME, until it is resumed.

    Writes are still accepted and kept in the queue. NAME is as `deora status` lists it.

    \b
    Example:
      deora upstream pause primary
    """
    answer = ControlClient(data).post(f"/admin/upstreams/{quote(name, safe='')}:pause")
    if as_json:
        show_json(answer)
    else:
        click.echo(f"upstream {name} is paused; its writes wait in the queue until `deora upstream resume {name}`")


@upstream.command()
@click.argument("name")
@instance_options
@json_option
def resume(name: str, data: Path, as_json: bool) -> None:
    """Go on sending to the upstream NAME.

    \b
    Example:
      deora upstream resume primary
    """
    answer = ControlClient(data).post(f"/admin/upstreams/{quote(name, safe='')}:resume")
    if as_json:
        show_json(answer)
    else:
        click.echo(f"upstream {name} is resumed; `deora queue` shows how its queue drains")
