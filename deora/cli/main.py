"""`deora`: the commands, and what becomes of their errors."""

from __future__ import annotations

import sys
from typing import Any, Final

import click

from deora.cli import (
    alerts,
    backup,
    config,
    doctor,
    drill,
    lifecycle,
    logs,
    observe,
    project,
    queue,
    reload,
    support,
    token,
    upstream,
    worker,
)
from deora.cli.terminal import report
from deora.errors import DeoraError, NotRunningError

EXIT_FAILED: Final = 1
EXIT_NOT_RUNNING: Final = 3


class Commands(click.Group):
    """The root of the commands. An error of DEORA or of the operating system ends in two lines, never in a trace."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except DeoraError as error:
            report(error)
            ctx.exit(EXIT_NOT_RUNNING if isinstance(error, NotRunningError) else EXIT_FAILED)
        except BrokenPipeError:
            raise
        except OSError as error:
            report(DeoraError(f"{error.filename}: {error.strerror}" if error.filename else str(error)))
            ctx.exit(EXIT_FAILED)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order in which a new operator needs them, not by name."""
        return list(self.commands)


def _print_version(ctx: click.Context, _param: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        click.echo(project.version_line())
        ctx.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print the versions of DEORA, Python and SQLite.",
)
def cli() -> None:
    """DEORA: the redundant, offline-first backend of a venue.

    \b
    A first start:
      deora init
      deora start

    Exit codes: 0 fine, 1 failed, 2 wrong usage, 3 not running.
    """


for _command in (
    project.init,
    lifecycle.start,
    lifecycle.stop,
    lifecycle.restart,
    reload.reload,
    reload.upgrade,
    observe.status,
    observe.health,
    alerts.alerts,
    logs.logs,
    queue.queue,
    worker.failover,
    worker.recover,
    worker.worker,
    upstream.upstream,
    token.token,
    backup.backup,
    backup.restore,
    doctor.doctor,
    drill.drill,
    support.support_bundle,
    config.config,
    project.version,
):
    cli.add_command(_command)


def main() -> None:
    """The entry point of the program `deora`."""
    for stream in (sys.stdout, sys.stderr):
        # A document path or an upstream's message may hold what the terminal's encoding does not have.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    cli.main(prog_name="deora")
