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
@click.option(
    "--accept-loss", is_flag=True, help="Upstream was restored: go on without the entries that it and this box lack."
)
@instance_options
@json_option
def resume(name: str, accept_loss: bool, data: Path, as_json: bool) -> None:
    """Go on sending to the upstream NAME.

    With --accept-loss also where it was restored from a backup that is older than what this box still keeps: what is
    kept is queued again, what is not kept is given up. `deora status` says how many entries that are.

    \b
    Example:
      deora upstream resume primary
      deora upstream resume primary --accept-loss
    """
    action = "acceptLoss" if accept_loss else "resume"
    answer = ControlClient(data).post(f"/admin/upstreams/{quote(name, safe='')}:{action}")
    if as_json:
        show_json(answer)
    elif accept_loss:
        count = answer["accepted"]
        click.echo(f"upstream {name} goes on without {count} entries; `deora queue` shows what is sent again")
    else:
        click.echo(f"upstream {name} is resumed; `deora queue` shows how its queue drains")
