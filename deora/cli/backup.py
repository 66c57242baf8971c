"""`deora backup` and `deora restore`: a copy of the store, and a box that begins anew with it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click

from deora.cli.client import ControlClient
from deora.cli.lifecycle import load_config
from deora.cli.options import config_option, data_option, json_option
from deora.cli.terminal import show_json
from deora.errors import DeoraError, NotRunningError

_LOOK_S: Final = 0.1
_MIB: Final = 1024 * 1024


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--force", is_flag=True, help="Replace FILE where it is a backup already.")
@config_option
@data_option
@json_option
def backup(file: Path, force: bool, config: Path | None, data: Path, as_json: bool) -> None:
    """Copy the store to FILE, while it works.

    It works without a running instance, too. The copy is of one moment and is verified before it gets its name. Where
    an upstream of type sqlite has its file in the data directory, FILE.upstream-NAME is written beside it. FILE holds
    what clients wrote, unencrypted. Where an instance runs, it is its user that writes FILE.

    \b
    Example:
      deora backup /mnt/stick/cafe.db
    """
    with _progress() as tell:
        try:
            made = _by_instance(ControlClient(data), file.absolute(), tell, force=force)
        except NotRunningError:
            made = _by_ourselves(load_config(config), data, file.absolute(), tell, force=force)
    if as_json:
        show_json(made)
        return
    beside = f", with {', '.join(made['upstreams'].values())} beside it" if made["upstreams"] else ""
    click.echo(f"{made['file']}: {made['size'] / _MIB:.1f} MiB in {made['took_s']:.1f} s{beside}")
    click.echo(f"{made['documents']} documents, {made['pending']} entries that wait, {made['dead']} dead; verified")


Tell = Callable[[str, int, int], None]


def _by_instance(client: ControlClient, file: Path, tell: Tell, *, force: bool) -> dict[str, Any]:
    number = client.post("/admin/backup", {"file": str(file), "force": force})["number"]
    while True:
        shown = client.get("/admin/backup")
        if shown["number"] != number:
            raise DeoraError(f"what became of {file} is not known: another backup has begun since", hint="look for it")
        tell(shown["phase"], shown["done"], shown["total"])
        if not shown["running"]:
            break
        time.sleep(_LOOK_S)
    if shown["error"] is not None:
        raise DeoraError(shown["error"], hint=shown["hint"])
    made: dict[str, Any] = shown["backup"]
    return made


def _by_ourselves(config: Any, data: Path, file: Path, tell: Tell, *, force: bool) -> dict[str, Any]:
    from deora.backup.main import to_file
    from deora.supervisor.lock import InstanceLock

    if not data.is_dir():
        raise DeoraError(f"there is no data directory {data}", hint="name it with --data")
    lock = InstanceLock(data, sys.argv)
    try:
        return to_file(config, data, file, tell, force=force)
    finally:
        lock.release()


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@config_option
@data_option
@json_option
def restore(file: Path, config: Path | None, data: Path, as_json: bool) -> None:
    """Make a store of FILE, a backup.

    The data directory must have no store: nothing is overwritten. At its start the box asks upstream which of the
    waiting entries it has already, and sends the others. A backup is for one box: of two that are restored from it the
    second one stops and says so.

    \b
    Example:
      deora restore /mnt/stick/cafe.db --data /var/lib/deora
    """
    from deora.backup.restoring import check_free, restore
    from deora.backup.taking import embedded_places
    from deora.supervisor.lock import InstanceLock

    places = embedded_places(load_config(config), data)
    check_free(data)
    lock = InstanceLock(data, sys.argv)
    try:
        with _progress() as tell:
            done = restore(file.absolute(), data, places, tell)
    finally:
        lock.release()
    facts, life = done.facts, done.life
    if as_json:
        show_json({**facts.to_json(), "epoch": life.epoch, "former_epoch": life.former, "restored": done.upstreams})
        return
    click.echo(
        f"restored into {data}: {facts.documents} documents, {facts.pending} entries that wait, {facts.dead} dead"
    )
    for name in done.upstreams:
        click.echo(f"the file of upstream {name} was restored, too")
    click.echo("next: `deora start`. What upstream has already is not sent again; `deora status` tells how it goes")


@contextmanager
def _progress() -> Iterator[Tell]:
    """Shows how far it is and how long it will take: on a terminal alone."""
    if not sys.stderr.isatty():
        yield lambda _phase, _done, _total: None
        return
    shown = Progress()
    try:
        yield shown.tell
    finally:
        click.echo("\r\033[K", nl=False, err=True)


class Progress:
    """One line that is written again: the phase, the share, the time left."""

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self._now_s = now_s
        self._phase = ""
        self._began_s = 0.0

    def tell(self, phase: str, done: int, total: int) -> None:
        """Shows it."""
        click.echo(f"\r\033[K{self.line(phase, done, total)}", nl=False, err=True)

    def line(self, phase: str, done: int, total: int) -> str:
        """The line."""
        now_s = self._now_s()
        if phase != self._phase:
            self._phase, self._began_s = phase, now_s
        if not total or not done:
            return f"{phase} .."
        left_s = (now_s - self._began_s) * (total - done) / done
        return f"{phase} {100 * done // total} % of {total / _MIB:.1f} MiB, {left_s:.0f} s left"
