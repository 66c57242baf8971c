"""`deora queue`: what waits to be sent upstream, and what upstream refused."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

import click

from deora.cli.client import ControlClient, ControlError
from deora.cli.options import instance_options, json_option
from deora.cli.queue_transfer import export_queue, import_queue
from deora.cli.terminal import show, show_json

_COMMANDS: Final = {'{"force": true}': "--force", "GET /v1/queue/entries lists them": "`deora queue ls` lists them"}


@click.group(invoke_without_command=True)
@instance_options
@json_option
@click.pass_context
def queue(ctx: click.Context, data: Path, as_json: bool) -> None:
    """Show the queue; list and mend its entries.

    An entry is one commit on its way to one upstream. It is pending, inflight, or dead, which means that upstream
    refused it. Without a command: depth, age and rates of the queue, by priority and by upstream.

    \b
    Example:
      deora queue
      deora queue ls --state dead
      deora queue export queue.jsonl
    """
    if ctx.invoked_subcommand is not None:
        return
    summary = ControlClient(data).get("/v1/queue")
    if as_json:
        show_json(summary)
        return
    from deora.cli.queue_screens import queue_screen

    show(queue_screen(summary))


@queue.command("ls")
@click.option("--state", type=click.Choice(["pending", "inflight", "dead"]), help="Only entries in this state.")
@click.option("--upstream", metavar="NAME", help="Only entries for this upstream.")
@click.option("--path", metavar="PATH", help="Only entries that write this document.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True, help="At most so many entries.")
@click.option("--cursor", metavar="CURSOR", help="Go on where an earlier page ended.")
@instance_options
@json_option
def list_entries(
    state: str | None,
    upstream: str | None,
    path: str | None,
    limit: int,
    cursor: str | None,
    data: Path,
    as_json: bool,
) -> None:
    """List entries.

    \b
    Example:
      deora queue ls
      deora queue ls --state dead --upstream primary
      deora queue ls --path orders/o1 --json
    """
    wanted = {"state": state, "upstream": upstream, "path": path, "limit": limit, "cursor": cursor}
    query = urlencode({name: value for name, value in wanted.items() if value is not None})
    page = ControlClient(data).get(f"/v1/queue/entries?{query}")
    if as_json:
        show_json(page)
        return
    from deora.cli.queue_screens import entries_screen

    show(entries_screen(page))
    following = page.get("cursor") if isinstance(page, dict) else None
    if following:
        click.echo(f"more follow: add --cursor {shlex.quote(str(following))}", err=True)


@queue.command("show")
@click.argument("entry_id", metavar="ID")
@instance_options
@json_option
def show_entry(entry_id: str, data: Path, as_json: bool) -> None:
    """Show the entry ID with its writes, its attempts and its error.

    \b
    Example:
      deora queue show 1204
    """
    with _in_words_of_commands():
        entry = ControlClient(data).get(_entry_path(entry_id))
    if as_json:
        show_json(entry)
        return
    from deora.cli.queue_screens import entry_screen

    show(entry_screen(entry))


@queue.command("retry")
@click.argument("entry_id", metavar="ID")
@click.option("--force", is_flag=True, help="Although its documents have later writes, which it would then follow.")
@instance_options
@json_option
def retry_entry(entry_id: str, force: bool, data: Path, as_json: bool) -> None:
    """Send the dead entry ID again.

    \b
    Example:
      deora queue retry 1204
    """
    with _in_words_of_commands():
        answer = ControlClient(data).post(f"{_entry_path(entry_id)}:retry", {"force": True} if force else None)
    _say(answer, as_json, f"entry {entry_id} is in the queue again")


@queue.command("drop")
@click.argument("entry_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@instance_options
@json_option
def drop_entry(entry_id: str, yes: bool, data: Path, as_json: bool) -> None:
    """Give up the dead entry ID: its writes never reach that upstream.

    On a terminal it asks first.

    \b
    Example:
      deora queue show 1204
      deora queue drop 1204
    """
    if not yes and can_ask():
        click.confirm(f"Drop entry {entry_id}? Its writes will never reach that upstream.", abort=True, err=True)
    with _in_words_of_commands():
        answer = ControlClient(data).delete(_entry_path(entry_id))
    _say(answer, as_json, f"entry {entry_id} is dropped")


@queue.command("pause")
@instance_options
@json_option
def pause_queue(data: Path, as_json: bool) -> None:
    """Send nothing upstream until the queue is resumed.

    Writes are still accepted and kept.

    \b
    Example:
      deora queue pause
    """
    answer = ControlClient(data).post("/v1/queue:pause")
    _say(answer, as_json, "the queue is paused; writes are kept in it until `deora queue resume`")


@queue.command("resume")
@instance_options
@json_option
def resume_queue(data: Path, as_json: bool) -> None:
    """Go on sending upstream.

    \b
    Example:
      deora queue resume
    """
    answer = ControlClient(data).post("/v1/queue:resume")
    _say(answer, as_json, "the queue is resumed; `deora queue` shows how it drains")


queue.add_command(export_queue)
queue.add_command(import_queue)


def can_ask() -> bool:
    """Whether a person can be asked: a script's command must not wait for an answer."""
    return sys.stdin.isatty() and sys.stderr.isatty()


@contextmanager
def _in_words_of_commands() -> Iterator[None]:
    """Hints as an operator can follow them: the server speaks to whoever sends HTTP."""
    try:
        yield
    except ControlError as error:
        if error.hint is not None:
            for spoken, meant in _COMMANDS.items():
                error.hint = error.hint.replace(spoken, meant)
        raise


def _entry_path(entry_id: str) -> str:
    return f"/v1/queue/entries/{quote(entry_id, safe='')}"


def _say(answer: Any, as_json: bool, words: str) -> None:
    """The server's answer as JSON where it was asked for, else `words`."""
    if as_json:
        show_json(answer)
    else:
        click.echo(words)
