"""`deora reload` and `deora upgrade`: the running instance takes over its configuration and what is installed, under
load."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import click

from deora.cli.client import ControlClient, ControlError
from deora.cli.options import instance_options, json_option
from deora.cli.terminal import show_json
from deora.errors import DeoraError

# Each worker may take its drain_timeout_s to finish what it holds: ten minutes at most, ten seconds by default.
PATIENCE_S: Final = 900.0
PROBE_S: Final = 5.0
LOOK_S: Final = 0.05


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


@click.command()
@instance_options
@json_option
def upgrade(data: Path, as_json: bool) -> None:
    """Become the version that is installed now, under load.

    The new version is asked first whether it would start; where it would not, nothing is changed. For one to three
    seconds requests wait; the process id stays. New settings are taken over, too, but for the address.

    \b
    Example:
      deora upgrade
    """
    client = ControlClient(data, timeout_s=PATIENCE_S)
    asked_s = time.monotonic()
    version = client.post("/admin/upgrade")["upgrading"]
    pid = _wait_until_new(ControlClient(data, timeout_s=PROBE_S), asked_s)
    took_s = round(time.monotonic() - asked_s, 2)
    if as_json:
        show_json({"version": version, "pid": pid, "took_s": took_s})
    else:
        click.echo(f"upgraded in {took_s:.1f} s: {version}, pid {pid}")


def _wait_until_new(client: ControlClient, asked_s: float) -> int:
    """Returns the process id once the program that serves is one that began after it was asked to."""
    while True:
        with suppress(ControlError):
            status = client.get("/status")
            since_s = time.monotonic() - asked_s
            if status["supervisor"]["uptime_s"] < since_s and client.ask("GET", "/health/ready").status == 200:
                return int(status["supervisor"]["pid"])
        if time.monotonic() - asked_s > PATIENCE_S:
            raise DeoraError("the new version is not ready", hint="`deora status` and its log tell more")
        time.sleep(LOOK_S)


def counted(slots: list[str]) -> str:
    """`["primary", "secondary", "store"]` as "2 workers, store"."""
    others = [slot for slot in slots if slot in ("store", "replayer")]
    workers = len(slots) - len(others)
    return ", ".join([f"{workers} worker{'s' if workers != 1 else ''}", *others])
