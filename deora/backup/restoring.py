"""A backup becomes the store of a data directory that has none, and begins a new life there (`store.lives`).

It is made whole under another name first; the rename is the one step that counts. A restore that was killed before it
has changed nothing, and is simply run again.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from deora.backup.names import UPSTREAM
from deora.backup.taking import Facts, verify
from deora.config.checks import STORE_FILE
from deora.errors import DeoraError
from deora.store.database import migrate
from deora.store.lives import Life, begin_life
from deora.store.sums import sync_folder

RESTORING: Final = ".restoring"
_CHUNK_BYTES: Final = 1024 * 1024
_BESIDE: Final = ("", "-wal", "-journal")


@dataclass(frozen=True, slots=True)
class Restored:
    """What was restored, and the life that begins. `upstreams`: those whose file came back, too."""

    facts: Facts
    life: Life
    upstreams: list[str]


def restore(file: Path, data: Path, upstream_files: dict[str, Path], tell: Callable[[str, int, int], None]) -> Restored:
    """Puts a backup into `data`, whose lock the caller holds. `upstream_files`: where `sqlite` upstreams have theirs,
    by upstream; one that is there stays. Raises DeoraError; then `data` is as it was."""
    store = data / STORE_FILE
    check_free(data)
    facts = verify(file, lambda done, total: tell("verifying", done, total))
    copies = {name: file.with_name(file.name + UPSTREAM + name) for name in upstream_files}
    missing = {name: path for name, path in upstream_files.items() if copies[name].exists() and not path.exists()}
    temporary = data / (STORE_FILE + RESTORING)
    try:
        _copy(file, temporary, tell)
        life = _begin(temporary)
        for name, path in missing.items():
            coming = path.with_name(path.name + RESTORING)
            _copy(copies[name], coming, tell)
            _own(coming, data)
            coming.rename(path)
            sync_folder(path.parent)
        _own(temporary, data)
        # What knew the store that was here speaks of other pages.
        for ending in ("-sums", "-mark", "-suspect"):
            store.with_name(STORE_FILE + ending).unlink(missing_ok=True)
        temporary.rename(store)
        sync_folder(data)
    except (OSError, sqlite3.Error) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise DeoraError(f"{file} could not be restored into {data}: {why}", hint="nothing was changed") from error
    finally:
        for ending in _BESIDE:
            temporary.with_name(temporary.name + ending).unlink(missing_ok=True)
    return Restored(facts, life, sorted(missing))


def check_free(data: Path) -> None:
    """Raises DeoraError where there is a store already."""
    for ending in _BESIDE:
        there = data / (STORE_FILE + ending)
        if there.exists():
            raise DeoraError(
                f"{there} is there already; a restore overwrites nothing",
                hint="name a new data directory with --data, or move the old one away and keep it",
            )


def _copy(source: Path, target: Path, tell: Callable[[str, int, int], None]) -> None:
    total = source.stat().st_size
    target.unlink(missing_ok=True)
    with open(source, "rb") as old, open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as new:
        while chunk := old.read(_CHUNK_BYTES):
            new.write(chunk)
            tell("copying", new.tell(), total)
        new.flush()
        os.fsync(new.fileno())


def _begin(path: Path) -> Life:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = DELETE").fetchall()
        migrate(db)
        db.execute("BEGIN IMMEDIATE")
        life = begin_life(db)
        db.execute("COMMIT")
    return life


def _own(path: Path, data: Path) -> None:
    """What root restores belongs to whom the data directory does."""
    if os.geteuid() == 0:
        owner = data.stat()
        shutil.chown(path, owner.st_uid, owner.st_gid)
