"""`deora logs`: the logs of an instance, those of several files as one, also while they are written and put away.

The files are read, not the instance: so it works while none runs, when logs are wanted most.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import click

from deora.cli.figures import printable, word
from deora.cli.lifecycle import load_config
from deora.cli.options import config_option, data_option, json_option
from deora.cli.terminal import wants_colour
from deora.errors import ConfigError, DeoraError
from deora.observe.log_reading import LogReader

LOGS: Final = ("app", "error", "audit", "access")
LEVELS: Final = ("debug", "info", "warning", "error", "critical")
_COLOURS: Final = {"debug": "bright_black", "warning": "yellow", "error": "red", "critical": "red"}
LOOK_S: Final = 0.2
# What stands in a line by itself, or is of use to machines alone.
_SHOWN: Final = frozenset({"time", "level", "process", "pid", "logger", "message", "exception"})
_OF_ACCESS: Final = frozenset({"time", "method", "path", "status", "ms"})


@click.command()
@config_option
@data_option
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written; Ctrl-C ends it.")
@click.option(
    "-n", "--lines", "number", type=click.IntRange(0), default=20, metavar="N", help="Lines to begin with.  [20]"
)
@click.option("--level", type=click.Choice(LEVELS), default="debug", help="The least level that is shown.  [debug]")
@click.option(
    "--log",
    "names",
    type=click.Choice(LOGS),
    multiple=True,
    default=("app",),
    help="Which log; may be repeated.  [app]",
)
@json_option
def logs(
    config: Path | None, data: Path, follow: bool, number: int, level: str, names: tuple[str, ...], as_json: bool
) -> None:
    """Show the logs of the instance, and follow them.

    \b
    Example:
      deora logs -f
      deora logs -n 100 --level warning
      deora logs --log access --log audit --json
    """
    folder = data / _folder(config)
    if not folder.is_dir():
        raise DeoraError(
            f"there are no logs in {folder.absolute()}",
            hint="name the data directory with --data; without the output `file` in logger.json none are written",
        )
    readers = [LogReader(folder / f"{name}.log") for name in dict.fromkeys(names)]
    wanted = LEVELS.index(level)
    colour = wants_colour()

    def show(lines: Iterable[bytes]) -> None:
        for line in lines:
            click.echo(line.decode("utf-8", "replace") if as_json else text_of(line, colour=colour), color=colour)

    try:
        found = merged(reader.last(number if not wanted else _ENOUGH) for reader in readers)
        show([line for line in found if level_of(line) >= wanted][-number:] if number else [])
        if follow:
            _follow(readers, lambda line: level_of(line) >= wanted, show)
    except KeyboardInterrupt:
        click.echo(err=True)
    finally:
        for reader in readers:
            reader.close()


def _folder(config: Path | None) -> str:
    """Where logs are; a configuration that is wrong is no reason to show none."""
    try:
        return load_config(config).logger.dir
    except ConfigError:
        from deora.config.schema import Logger

        return Logger().dir


# Among so many lines those of a level are looked for.
_ENOUGH: Final = 100_000


def _follow(
    readers: list[LogReader], is_wanted: Callable[[bytes], bool], show: Callable[[Iterable[bytes]], None]
) -> None:
    while True:
        show(line for line in merged(reader.read() for reader in readers) if is_wanted(line))
        time.sleep(LOOK_S)


def merged(logs: Iterable[list[bytes]]) -> list[bytes]:
    """The lines of several logs by their times; those of one log stay in their order, and what is no JSON stays behind
    the line before it."""
    keyed: list[tuple[str, bytes]] = []
    for lines in logs:
        latest = ""
        for line in lines:
            # Clocks are set back, and lines of several processes come a little out of turn.
            latest = max(latest, str(_members(line).get("time", "")))
            keyed.append((latest, line))
    return [line for _, line in sorted(keyed, key=lambda each: each[0])]


def level_of(line: bytes) -> int:
    """The level of a line as a place in LEVELS: that of an access by its status, of what has none that of an info."""
    members = _members(line)
    status = members.get("status")
    if "level" not in members and isinstance(status, int):
        return LEVELS.index("error" if status >= 500 else "warning" if status >= 400 else "info")
    level = members.get("level")
    return LEVELS.index(level) if level in LEVELS else LEVELS.index("info")


def text_of(line: bytes, *, colour: bool) -> str:
    """A line for people."""
    members = _members(line)
    at = str(members.get("time", ""))[11:23]
    if "method" in members:
        said = f"{word(members.get('method'))} {word(members.get('path'))} {word(members.get('status'))}"
        head, hidden, process = f"{said} {word(members.get('ms'))} ms", _OF_ACCESS, "access"
    elif "message" in members:
        head, hidden, process = word(members["message"]), _SHOWN, word(members.get("process"))
    else:
        return printable(line.decode("utf-8", "replace"))
    level = LEVELS[level_of(line)]
    more = " ".join(
        f"{name}={_value(value)}" for name, value in members.items() if name not in hidden and value is not None
    )
    text = f"{at} {level:7} {process:10} {head}" + (f"  {printable(more)}" if more else "")
    for each in str(members.get("exception", "")).splitlines():
        text += f"\n    {printable(each)}"
    return click.style(text, fg=_COLOURS[level]) if colour and level in _COLOURS else text


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _members(line: bytes) -> dict[str, Any]:
    try:
        members = json.loads(line)
    except ValueError:
        return {}
    return members if isinstance(members, dict) else {}
