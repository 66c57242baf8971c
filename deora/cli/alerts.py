"""Alerts: `deora alerts` shows them, `deora alerts test` finds out whether they reach anybody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from deora.cli.client import ControlClient
from deora.cli.figures import duration, printable, word
from deora.cli.options import instance_options, json_option
from deora.cli.screens import record, records
from deora.cli.terminal import show_json, wants_colour


@click.group(invoke_without_command=True)
@instance_options
@json_option
@click.pass_context
def alerts(ctx: click.Context, data: Path, as_json: bool) -> None:
    """Show the alerts; test that they arrive.

    Each alert is explained in docs/operations.md.

    \b
    Example:
      deora alerts
      deora alerts test
    """
    if ctx.invoked_subcommand is not None:
        return
    found = record(ControlClient(data).get("/status")).get("alerts")
    if as_json:
        show_json(found)
        return
    rows = records(found)
    colour = wants_colour()
    for row in rows:
        severity = word(row.get("severity"))
        name = click.style(f"{severity} {word(row.get('name'))}", fg="red" if severity == "critical" else "yellow")
        going = "" if row.get("holds", True) else ", quiet now"
        click.echo(f"{name}  for {duration(row.get('for_s'))}{going}", color=colour)
        click.echo(f"  {printable(word(row.get('detail')))}")
        click.echo(f"  hint: {printable(word(row.get('hint')))}")
    if not rows:
        click.echo("no alerts")


@alerts.command()
@instance_options
@json_option
@click.pass_context
def test(ctx: click.Context, data: Path, as_json: bool) -> None:
    """Send a test to the webhook and to Sentry, and show what came back.

    Exit code 0 where each has taken it, else 1.

    \b
    Example:
      deora alerts test
    """
    answer = record(ControlClient(data).post("/admin/alerts:test"))
    rows = records(answer.get("sent"))
    if as_json:
        show_json(answer)
    else:
        for row in rows:
            click.echo(_told(row))
    if not rows or not all(row.get("sent") is True for row in rows):
        ctx.exit(1)


def _told(row: dict[str, Any]) -> str:
    name, place, detail = (printable(word(row.get(key))) for key in ("target", "place", "detail"))
    if row.get("sent") is True:
        return f"{name}: {place} has taken it ({word(row.get('status'))})"
    return f"{name}: not sent: {detail}"
