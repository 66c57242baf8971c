"""`deora reload`: the running instance takes over its configuration and the code that is installed, under load."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from deora.cli.client import ControlClient, ControlError
from deora.cli.options import instance_options, json_option
from deora.cli.terminal import show_json

# Each worker may take its drain_timeout_s to finish what it holds: ten minutes at most, ten seconds by default.
PATIENCE_S: Final = 900.0


@click.command()
@instance_options
@json_option
@click.pass_context
def reload(ctx: click.Context, data: Path, as_json: bool) -> None:
    """Take over the configuration without a failed request.

    It is checked first; where it is wrong, every fault is named and nothing is changed. Every worker, the store and the
    replayer are started anew, with the code that is installed now.

    \b
    Example:
      deora reload
      deora reload --json
    """
    try:
        done = ControlClient(data, timeout_s=PATIENCE_S).post("/admin/reload")
    except ControlError as error:
        if not as_json or error.status is None:
            raise
        problems = error.fields.get("problems", [])
        show_json({"reloaded": [], "error": error.message, "hint": error.hint, "problems": problems})
        ctx.exit(1)
    if as_json:
        show_json(done)
        return
    click.echo(f"reloaded in {done['took_s']:.1f} s: {counted(done['reloaded'])}")
    for key in done["restart_needed"]:
        click.echo(f"not yet in force, it needs `deora restart`: {key}")


def counted(slots: list[str]) -> str:
    """`["primary", "secondary", "store"]` as "2 workers, store"."""
    others = [slot for slot in slots if slot in ("store", "replayer")]
    workers = len(slots) - len(others)
    return ", ".join([f"{workers} worker{'s' if workers != 1 else ''}", *others])
