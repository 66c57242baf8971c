"""Putting a new file in the place of a damaged one, so that a kill at any point leaves one of the two whole.

    1. the damaged files are linked into a folder of their own, from which nothing is ever deleted
    2. the note says that the new file is to take their place, and with it stands what is to be told
    3. what stood beside the damaged file goes, the new file is renamed into its place, the note is closed

A start that finds the note open does the third step again, which changes nothing where it was done.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from deora.store.image import sums_of
from deora.store.sums import save_sums, sync_folder

_PAGE_BYTES: Final = 4096
_PARTS: Final = ("", "-wal", "-shm", "-sums", "-mark", "-suspect")


@dataclass(slots=True)
class Report:
    """What was found and done, for operators. `folder`: beside the store, with the damaged files in it."""

    when: str
    folder: str
    found: list[str]
    outcome: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    @property
    def hint(self) -> str:
        """What to do."""
        return (
            "look after the disk; compare what is missing with the tills. The damaged files are kept:"
            f" move or delete {self.folder} in the data directory, and this notice goes"
        )

    def text(self) -> str:
        """What happened, in a few sentences."""
        lost = "; lost: " + "; ".join(self.lost) if self.lost else "; nothing is lost"
        return f"{self.when}: {'; '.join(self.found)}. {'; '.join(self.outcome) or 'The file was begun anew'}{lost}"


def reports_path(path: Path) -> Path:
    """Where the reports on a store's file are kept."""
    return path.with_name(path.name + "-damage.json")


def reports(path: Path) -> list[Report]:
    """Those that nobody has put away yet: whose folder is still there."""
    found = [Report(**each) for each in _read(path)["reports"]]
    return [report for report in found if path.with_name(report.folder).is_dir()]


def replace(path: Path, target: Path, report: Report) -> None:
    """Sets the files of `path` aside and puts `target`, which is whole and synced, in its place."""
    folder = path.with_name(report.folder)
    folder.mkdir(mode=0o700, exist_ok=True)
    for ending in _PARTS:
        part = path.with_name(path.name + ending)
        aside = folder / part.name
        if part.exists() and not aside.exists():
            os.link(part, aside)
    sync_folder(folder)
    kept = [asdict(each) for each in reports(path)]
    _write(path, {"reports": [*kept, asdict(report)], "new": target.name})
    finish(path)


def finish(path: Path) -> None:
    """Does the last step of a replacement that was decided on, where there is one."""
    note = _read(path)
    if note["new"] is None:
        return
    target = path.with_name(note["new"])
    if target.exists():
        for ending in _PARTS[1:]:
            path.with_name(path.name + ending).unlink(missing_ok=True)
        sync_folder(path.parent)
        target.rename(path)
        sync_folder(path.parent)
    save_sums(path, sums_of(path, _PAGE_BYTES))
    _write(path, {**note, "new": None})


def _read(path: Path) -> dict[str, Any]:
    try:
        note = orjson.loads(reports_path(path).read_bytes())
        [Report(**each) for each in note["reports"]]
        return {"reports": note["reports"], "new": note["new"]}
    except (OSError, ValueError, TypeError, KeyError):
        return {"reports": [], "new": None}


def _write(path: Path, note: dict[str, Any]) -> None:
    target = reports_path(path)
    temporary = target.with_name(target.name + ".next")
    with open(temporary, "wb") as file:
        file.write(orjson.dumps(note, option=orjson.OPT_INDENT_2))
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(target)
    sync_folder(target.parent)
