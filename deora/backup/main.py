"""The process that makes one backup and ends: an operator's, or the one that is due.

What it says to the supervisor are EVENT frames: ["progress", phase, bytes done, of how many], and at last one of

    ["done", facts, seconds since]     the backup that is the newest now; made by this process, or found to be young
    enough ["failed", what, hint]
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from pathlib import Path
from typing import Any, Final

from deora.backup.names import UPSTREAM, name_of, of_node, surplus
from deora.backup.taking import Facts, check_place, embedded_upstreams, take
from deora.clock import Clock, SystemClock
from deora.config.schema import Backup, Config
from deora.errors import DeoraError
from deora.observe.logs import configure
from deora.wire.frames import Kind, encode, pack
from deora.wire.link import BlockingLink

_log = logging.getLogger("deora.backup")

TOLD_EVERY_S: Final = 0.1
# A backup that is almost due is made: the next look comes one interval later.
DUE_SHARE: Final = 0.9


class _Abandoned(BaseException):
    """The supervisor has gone."""


class Teller:
    """Tells the supervisor how far a backup has come, and ends it where there is none any more."""

    def __init__(self, link: BlockingLink, clock: Clock) -> None:
        self._link = link
        self._clock = clock
        self._told_s = 0.0

    def __call__(self, phase: str, done: int, total: int) -> None:
        now_s = self._clock.monotonic_s()
        if now_s - self._told_s >= TOLD_EVERY_S:
            self._told_s = now_s
            self.event("progress", phase, done, total)
            if self._link.receive(0.0) is None:
                raise _Abandoned

    def event(self, *parts: Any) -> None:
        """Sends an event."""
        self._link.send(encode(Kind.EVENT, 0, pack(list(parts))))


def run(sock: socket.socket, init: dict[str, Any]) -> int:
    """Makes the backup that `init["backup"]` describes: {"file", "force"} of an operator, or {"node"}: the one that is
    due. Returns the exit code."""
    config, data, task = Config.from_wire(init["config"]), Path(init["data"]), init["backup"]
    configure("backup", config.logger, data)
    _let_others_first()
    clock = SystemClock()
    teller = Teller(BlockingLink(sock), clock)
    try:
        if "file" in task:
            facts, age_s = to_file(config, data, Path(task["file"]), teller, force=task["force"]), 0.0
        else:
            facts, age_s = scheduled(config, data, task["node"], teller, int(clock.wall_us() // 10**6))
    except DeoraError as error:
        _log.error("no backup: %s", error.message, extra={"hint": error.hint})
        teller.event("failed", error.message, error.hint)
        return 1
    except _Abandoned:
        return 1
    teller.event("done", facts, age_s)
    return 0


def _let_others_first() -> None:
    """It has time: what it reads and writes waits for the store's, where the disk's scheduler heeds that."""
    import psutil  # 32 ms, which the zygote and its other children do without

    with contextlib.suppress(OSError, psutil.Error):
        psutil.Process().ionice(psutil.IOPRIO_CLASS_IDLE)


def to_file(config: Config, data: Path, file: Path, teller: Any, *, force: bool) -> dict[str, Any]:
    """An operator's backup. What it holds."""
    check_place(file, data, force=force)
    began_s = time.monotonic()
    facts = take(data, embedded_upstreams(config, data), file.parent, file.name, lambda _: file.name, teller)
    return _made(file.parent, facts, began_s)


def scheduled(config: Config, data: Path, node: str, teller: Any, now_s: int) -> tuple[dict[str, Any], float]:
    """The backup that is due, unless one is young enough; and the older ones go of which there are too many.

    What the newest one holds, and its age in seconds.
    """
    backup = config.operations.backup
    folder = _folder(backup, data)
    newest = of_node(_listed(folder), node)[-1:]
    if newest and 0 <= (age_s := now_s - newest[0].made_s) < backup.every_minutes * 60 * DUE_SHARE:
        return _found(folder, newest[0].name), float(age_s)
    began_s = time.monotonic()

    def name(facts: Facts) -> str:
        return name_of(facts.node, now_s, facts.commit)

    facts = take(data, embedded_upstreams(config, data), folder, f"deora-{node}", name, teller)
    for old in surplus(_listed(folder), node, backup.keep):
        try:
            (folder / old).unlink()
        except OSError as error:
            _log.warning("an old backup cannot be deleted: %s", error)
    return _made(folder, facts, began_s), 0.0


def _folder(backup: Backup, data: Path) -> Path:
    """Where backups go. One that is named by a whole path is another disk's, perhaps, which is to be mounted there."""
    assert backup.dir is not None
    folder = data / backup.dir
    try:
        if not Path(backup.dir).is_absolute():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.listdir(folder)
    except OSError as error:
        raise DeoraError(
            f"the folder for backups {folder} cannot be used: {error.strerror}",
            hint="make it, or mount its disk; it must belong to the user that runs DEORA (operations.json, backup.dir)",
        ) from error
    return folder


def _listed(folder: Path) -> list[str]:
    with contextlib.suppress(OSError):
        return os.listdir(folder)
    return []


def _made(folder: Path, facts: Facts, began_s: float) -> dict[str, Any]:
    took_s = round(time.monotonic() - began_s, 2)
    _log.info("backup made", extra={"file": str(folder / facts.file), "size": facts.size, "took_s": took_s})
    return {**facts.to_json(), "file": str(folder / facts.file), "took_s": took_s}


def _found(folder: Path, name: str) -> dict[str, Any]:
    size = sum(path.stat().st_size for path in folder.iterdir() if path.name.partition(UPSTREAM)[0] == name)
    return {"file": str(folder / name), "size": size, "took_s": None}
