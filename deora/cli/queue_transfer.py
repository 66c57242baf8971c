"""`deora queue export` and `deora queue import`: a queue as a file, on its way to another box."""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import click

from deora.cli.client import ControlClient, ControlError
from deora.cli.options import instance_options, json_option
from deora.cli.terminal import show_json

# A page goes to upstream and to the disk before it is answered.
IMPORT_TIMEOUT_S: Final = 60.0
_PAGE: Final = 1000


@click.command("export")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option("--state", type=click.Choice(["pending", "dead"]), help="Only what waits (or is inflight), or only dead.")
@click.option("--upstream", metavar="NAME", help="Only entries for this upstream.")
@click.option("--force", is_flag=True, help="Replace FILE where it is there already.")
@instance_options
@json_option
def export_queue(file: Path, state: str | None, upstream: str | None, force: bool, data: Path, as_json: bool) -> None:
    """Write the queue to FILE, for another box to import; `-` is standard output.

    The queue stays as it is. What is accepted while the export runs is in the file, or not: stop the tills first, or
    export again and import both files. FILE holds what clients wrote, unencrypted.

    \b
    Example:
      deora queue export queue.jsonl
      deora queue export --state dead dead.jsonl
    """
    from deora.cli.queue_file import STDOUT, Writer

    writer = Writer(file, force=force)
    try:
        _write(writer, ControlClient(data), state, upstream)
        writer.finish()
    finally:
        writer.give_up()
    if as_json and file != STDOUT:
        show_json({"file": str(file), "entries": writer.entries})
    else:
        click.echo(f"{writer.entries} entries written to {file}", err=file == STDOUT)


def _write(writer: Any, client: ControlClient, state: str | None, upstream: str | None) -> None:
    from deora.clock import SystemClock
    from deora.documents.values import timestamp_text

    asked = {"limit": _PAGE, "state": "dead" if state == "dead" else None, "upstream": upstream}
    query = {name: value for name, value in asked.items() if value is not None}
    page = client.get(f"/v1/queue:export?{urlencode(query)}")
    who = {name: page[name] for name in ("node", "epoch", "upstreams")}
    writer.header({**who, "created": timestamp_text(SystemClock().wall_us()), "state": state})
    waiting = sum(each["pending"] + each["dead"] for each in who["upstreams"].values())
    with _progress("exporting", waiting) as bar:
        while True:
            for entry in page["entries"]:
                if state != "pending" or entry["state"] != "dead":
                    writer.entry(entry)
            if bar is not None:
                bar.update(len(page["entries"]))
            if page["cursor"] is None:
                return
            page = client.get(f"/v1/queue:export?{urlencode({**query, 'cursor': page['cursor']})}")


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--upstream", metavar="NAME", help="Only the entries for this upstream.")
@instance_options
@json_option
def import_queue(file: Path, upstream: str | None, data: Path, as_json: bool) -> None:
    """Take over the queue in FILE: what upstream lacks of it is sent by this box.

    The box that wrote FILE sends nothing any more from then on, should it still run, and says who took its queue. A
    file that is cut off or changed is refused as a whole. Importing again is safe and brings in nothing twice; so an
    import that was interrupted is simply repeated.

    \b
    Example:
      deora queue import queue.jsonl
    """
    from deora.cli.queue_file import read

    queue = read(file, upstream)
    client = ControlClient(data, timeout_s=IMPORT_TIMEOUT_S)
    counts: Counter[str] = Counter(imported=0, alreadyUpstream=0, alreadyHere=0)
    with _progress("importing", queue.entries) as bar:
        for entries, body in queue.pages():
            try:
                counts.update(client.post("/v1/queue:import", body))
            except ControlError as error:
                if counts.total():
                    error.message += f" ({_phrase(counts)} before that)"
                    error.hint = f"{error.hint}; then run the same command again" if error.hint else "run it again"
                raise
            if bar is not None:
                bar.update(entries)
    if as_json:
        show_json(dict(counts))
    else:
        click.echo(_phrase(counts))


def _phrase(counts: Counter[str]) -> str:
    here, there = counts["alreadyHere"], counts["alreadyUpstream"]
    return f"{counts['imported']} entries imported, {there} already upstream, {here} already here"


def _progress(label: str, length: int) -> AbstractContextManager[Any]:
    """A bar on a terminal; None elsewhere."""
    if not sys.stderr.isatty():
        return nullcontext()
    return click.progressbar(length=length, label=label, file=sys.stderr)
