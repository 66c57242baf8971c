"""Looking at a running instance: `deora status` and `deora health`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from deora.cli.client import ControlClient, ControlError
from deora.cli.figures import duration, word
from deora.cli.options import instance_options, json_option
from deora.cli.terminal import report, show, show_json, wants_colour

# /health is the supervisor's own answer and takes a millisecond; one that needs longer is not well.
HEALTH_TIMEOUT_S: Final = 5.0
EXIT_OF_STATUS: Final = {"healthy": 0, "degraded": 1, "down": 2}
_COLOUR_OF_STATUS: Final = {"healthy": "green", "degraded": "yellow", "down": "red"}


@click.command()
@instance_options
@json_option
def status(data: Path, as_json: bool) -> None:
    """Show children, upstreams, queue and alerts.

    \b
    Example:
      deora status
      deora status --json | jq .queue.pending
    """
    document = ControlClient(data).get("/status")
    if as_json:
        show_json(document)
        return
    from deora.cli.screens import status_screen

    show(status_screen(document))


@click.command()
@instance_options
@json_option
@click.pass_context
def health(ctx: click.Context, data: Path, as_json: bool) -> None:
    """Say by words and exit code whether the instance is well.

    Exit code 0 means healthy, 1 degraded (requests are served, but something is out), 2 down, 3 not running.

    \b
    Example:
      deora health
      deora health --json >/dev/null || echo "look at DEORA"
    """
    try:
        document = ControlClient(data, timeout_s=HEALTH_TIMEOUT_S).ask("GET", "/health").json()
    except ControlError as error:  # it listens and cannot say how it is: that is down
        report(error)
        ctx.exit(EXIT_OF_STATUS["down"])
    document = document if isinstance(document, dict) else {}
    state = document.get("status")
    if as_json:
        show_json(document)
    else:
        show_health(document)
    ctx.exit(EXIT_OF_STATUS.get(str(state), EXIT_OF_STATUS["down"]))


def show_health(document: dict[str, Any]) -> None:
    """Prints the answer of GET /health, one line for each service. Without rich: a probe runs this often."""
    colour = wants_colour()
    state = word(document.get("status"))
    head = click.style(state, fg=_COLOUR_OF_STATUS.get(state))
    click.echo(f"{head}  up {duration(document.get('uptime'))}", color=colour)
    services, reasons = (
        value if isinstance(value, dict) else {} for value in (document.get("services"), document.get("reasons"))
    )
    for name, well in services.items():
        said = click.style("ok", fg="green") if well else click.style("OUT", fg="red")
        reason = f"  {word(reasons[name])}" if name in reasons else ""
        click.echo(f"  {word(name):<12}{said}{reason}", color=colour)
