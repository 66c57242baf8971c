"""`deora drill`: faults against a scratch instance of this installation, and what came of the promises."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

import click

from deora.cli.figures import printable
from deora.cli.options import json_option, unused_config_option, unused_data_option
from deora.cli.terminal import show, show_json
from deora.drill.promises import NAMES, PROMISES, Needs, Promise, Result, all_held
from deora.errors import DeoraError
from deora.supervisor.abilities import missing_packages

if TYPE_CHECKING:
    pass

ALL: Final = "all"
SECONDS: Final = 5.0
EXIT_TERMINATED: Final = 143  # 128 + SIGTERM, as a shell says it
_ERASE_LINE: Final = "\r\x1b[2K"


@click.command()
@click.option(
    "--scenario",
    "scenarios",
    type=click.Choice([*NAMES, ALL]),
    multiple=True,
    default=[ALL],
    metavar="NAME",
    help=f"What is to go wrong: {', '.join(NAMES)}, or all, the default. May be given more than once.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(1, 3600),
    default=SECONDS,
    metavar="S",
    help=f"How long each scenario has load.  [default: {SECONDS:g}]",
)
@click.option(
    "--directory",
    type=click.Path(path_type=Path, exists=True, file_okay=False, writable=True),
    metavar="DIR",
    help="Where the scratch instances keep their data: on the disk that is to be put to the test.  [default: the "
    "system's folder for temporary files]",
)
@unused_config_option
@unused_data_option
@json_option
@click.pass_context
def drill(
    ctx: click.Context, scenarios: tuple[str, ...], seconds: float, directory: Path | None, as_json: bool
) -> None:
    """Kill, cut off, fill up, and count what is lost.

    A scratch instance of this installation is started beside the running one, which is not touched, and gets load.
    Something goes wrong, and what its clients were told is compared with what arrived upstream. Exit code 0 only if
    every promise held.

    \b
    Example:
      deora drill
      deora drill --scenario kill-store --seconds 30 --directory /var/lib
    """
    chosen = chosen_promises(scenarios)
    if not as_json and len(chosen) > 1:
        click.echo(f"{len(chosen)} scenarios of about {seconds:g} s of load each; Ctrl-C ends the drill", err=True)
    with ended_by_signals():
        results = run_all(chosen, seconds, directory)
    if as_json:
        show_json({"held": all_held(results), "scenarios": [as_wire(result) for result in results]})
    else:
        from deora.cli.drill_screen import drill_screen

        show(drill_screen(results))
    ctx.exit(0 if all_held(results) else 1)


def chosen_promises(scenarios: Sequence[str]) -> list[Promise]:
    """The scenarios that were asked for, in the order of the table. Raises DeoraError for one that cannot be run here.

    Of `all`, one that cannot be run is left for the table to say.
    """
    missing = missing_packages("firestore")
    named = [promise for promise in PROMISES if promise.name in scenarios]
    impossible = [promise.name for promise in named if promise.needs is Needs.NETWORK]
    if missing and impossible:
        raise DeoraError(
            f"{', '.join(impossible)} needs an upstream behind a network, and its client lacks {', '.join(missing)}",
            hint="install it: pip install 'deora[firestore]'; the bundle has it",
        )
    return list(PROMISES) if ALL in scenarios else named


def run_all(chosen: Sequence[Promise], seconds: float, directory: Path | None) -> list[Result]:
    """Runs one scenario after the other, and tells of it on standard error."""
    from deora.drill.run import Drill, drill_folder

    results = []
    with drill_folder(directory) as folder, _progress() as progress:
        for number, promise in enumerate(chosen, 1):
            progress.begin(f"{number}/{len(chosen)} {promise.name}")
            one = Drill(folder, seconds, not missing_packages("firestore"), progress.say)
            results.append(one.run(promise))
    return results


def as_wire(result: Result) -> dict[str, Any]:
    """A row as JSON."""
    return {
        "scenario": result.promise.name,
        "verdict": result.verdict.value,
        "requests": result.requests,
        "failed": result.failed,
        "lost": result.lost,
        "doubled": result.doubled,
        "recovered_s": None if result.recovered_s is None else round(result.recovered_s, 3),
        "promise": result.promise.words,
        "complaints": result.complaints,
        "look_at": result.promise.look,
        "kept": result.kept,
    }


class _Progress:
    """One line that is written anew on a terminal; a line for each scenario where nobody watches."""

    def __init__(self, *, live: bool) -> None:
        self._live = live
        self._doing = ""

    def begin(self, doing: str) -> None:
        self._doing = doing
        if not self._live:
            click.echo(doing, err=True)

    def say(self, what: str) -> None:
        if self._live:
            line = printable(f"{self._doing}: {what}")[: _columns() - 1]
            click.echo(f"{_ERASE_LINE}{line}", nl=False, err=True)

    def end(self) -> None:
        if self._live:
            click.echo(_ERASE_LINE, nl=False, err=True)


@contextmanager
def _progress() -> Iterator[_Progress]:
    progress = _Progress(live=sys.stderr.isatty())
    try:
        yield progress
    finally:
        progress.end()


def _columns() -> int:
    import shutil

    return shutil.get_terminal_size().columns


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end the drill as Ctrl-C does: what it has started is ended and removed first."""

    def end(*_: object) -> NoReturn:
        raise SystemExit(EXIT_TERMINATED)

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    # What nohup(1) has ignored stays so.
    before = {number: handler for number, handler in handlers.items() if handler is not signal.SIG_IGN}
    for number in before:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
