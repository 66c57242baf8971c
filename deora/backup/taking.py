"""Taking a backup: copied beside its place, verified, and only then given its name.

A `sqlite` upstream whose file is in the data directory shares the store's disk, and its fate. So it is copied, too,
after the store: what the store had settled is in it. It stands beside the backup, as `FILE.upstream-<name>`.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from deora.backup.copying import Copier
from deora.backup.names import UPSTREAM
from deora.config.checks import STORE_FILE
from deora.config.database import SqliteUpstream
from deora.config.schema import Config, upstreams
from deora.errors import DeoraError, StoreError
from deora.store.database import check_schema
from deora.store.sums import sync_folder

MAGIC: Final = b"SQLite format 3\0"
# On the store's own disk a backup leaves this free, or a quarter of a small disk: below 32 MiB the store takes no
# writes.
LEFT_FREE_BYTES: Final = 256 * 1024 * 1024
_CHECKED_EVERY: Final = 100_000  # steps of SQLite's machine: some milliseconds

Tell = Callable[[str, int, int], None]
"""Told of the phase ("copying", "verifying"), and how many bytes of how many are done. May raise to end it."""


@dataclass(slots=True)
class Facts:
    """What a backup holds. `upstreams`: the files beside it, by upstream. Sizes are bytes."""

    node: str
    epoch: str
    commit: int
    schema: int
    documents: int
    pending: int
    dead: int
    size: int
    file: str = ""
    upstreams: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Its members."""
        return asdict(self)


def embedded_places(config: Config, data: Path) -> dict[str, Path]:
    """Where upstreams have their files in the data directory, by upstream."""
    found = {}
    for name, upstream in upstreams(config).items():
        if isinstance(upstream, SqliteUpstream):
            path = data / upstream.file
            if path.resolve().is_relative_to(data.resolve()):
                found[name] = path
    return found


def embedded_upstreams(config: Config, data: Path) -> dict[str, Path]:
    """Those of these files that are there."""
    return {name: path for name, path in embedded_places(config, data).items() if path.exists()}


def take(
    data: Path,
    files: Mapping[str, Path],
    folder: Path,
    part_name: str,
    name_of: Callable[[Facts], str],
    tell: Tell,
) -> Facts:
    """Backs up the store in `data`, and the upstreams' files, into a folder. `part_name` tells backups apart that are
    made at once; `name_of` makes the name from what the backup holds.

    Raises DeoraError; then nothing is left behind.
    """
    store = data / STORE_FILE
    if not store.exists():
        raise DeoraError(f"there is no store in {data}", hint="name the data directory with --data")
    part = folder / f".{part_name}.part"
    parts = {upstream: part.with_name(part.name + UPSTREAM + upstream) for upstream in files}
    try:
        with _locked(part) as descriptor:
            try:
                check = _Room(store, files, folder).check

                def told(phase: str, done: int, total: int) -> None:
                    check()
                    tell(phase, done, total)

                _copy(store, files, descriptor, parts, told)
                facts = _verified(part, parts, told)
                facts.file = name_of(facts)
                _give_names(folder, part, parts, facts)
            except BaseException:
                for left in (part, *parts.values()):
                    left.unlink(missing_ok=True)
                raise
    except (OSError, sqlite3.Error) as error:
        raise _failed(folder, error) from error
    return facts


def check_place(file: Path, data: Path, *, force: bool) -> None:
    """Raises DeoraError where a backup must not be written to `file`: only a backup is ever replaced."""
    if file.parent.resolve() == data.resolve() and file.name.startswith(STORE_FILE):
        raise DeoraError(f"{file} is the store's own", hint="name another file, best on another disk")
    if not file.exists():
        return
    if not force:
        raise DeoraError(f"{file} is there already", hint="name another file, or replace it with --force")
    with suppress(OSError), open(file, "rb") as old:
        if old.read(len(MAGIC)) == MAGIC:
            return
    raise DeoraError(f"{file} is there already and is no backup", hint="it is not replaced: name another file")


def verify(path: Path, tell: Callable[[int, int], None]) -> Facts:
    """Looks through a backup, and changes nothing. Raises StoreError where it is none, or not whole, or of a newer
    DEORA."""
    try:
        return _verified_store(path, tell)
    except (sqlite3.Error, ValueError) as error:
        raise StoreError(f"{path} is no whole backup: {error}", hint="use another one; nothing was changed") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read: {error.strerror}") from error


def _copy(store: Path, files: Mapping[str, Path], descriptor: int, parts: Mapping[str, Path], tell: Tell) -> None:
    copier = Copier(store, descriptor, lambda done, total: tell("copying", done, total))
    try:
        copier.run()
    finally:
        copier.close()
    for upstream, file in files.items():
        _copy_upstream(file, parts[upstream], tell)


def _copy_upstream(file: Path, target: Path, tell: Tell) -> None:
    """In one step, so within one read transaction: who writes there meanwhile waits for nobody."""
    size = file.stat().st_size
    tell("copying", 0, size)
    target.unlink(missing_ok=True)
    os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    source = sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)
    with closing(source) as db, closing(sqlite3.connect(target)) as copy:
        copy.execute("PRAGMA synchronous = OFF")
        db.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE").fetchall()
    descriptor = os.open(target, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    tell("copying", size, size)


def _verified(part: Path, parts: Mapping[str, Path], tell: Tell) -> Facts:
    facts = verify(part, lambda done, total: tell("verifying", done, total))
    for upstream, copy in parts.items():
        with closing(_opened(copy)) as db:
            _check_integrity(db, copy)
        facts.upstreams[upstream] = copy.name
        facts.size += copy.stat().st_size
    return facts


def _verified_store(path: Path, tell: Callable[[int, int], None]) -> Facts:
    with open(path, "rb") as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise StoreError(f"{path} is no backup of a store", hint="`deora backup FILE` makes one")
    size = path.stat().st_size
    with closing(_opened(path)) as db:
        tell(0, size)
        db.set_progress_handler(lambda: tell(0, size), _CHECKED_EVERY)
        _check_integrity(db, path)
        [(schema,)] = db.execute("PRAGMA user_version").fetchall()
        check_schema(schema)
        identity = db.execute("SELECT node, epoch FROM identity").fetchall()
        if len(identity) != 1:
            raise StoreError(f"{path} is of a store that has never been started", hint="use another backup")
        [(commit,)] = db.execute("SELECT commit_no FROM progress").fetchall()
        [(documents,)] = db.execute("SELECT count(*) FROM documents WHERE view IS NOT NULL").fetchall()
        [(pending, dead)] = db.execute("SELECT coalesce(sum(pending), 0), coalesce(sum(dead), 0) FROM upstreams")
        tell(size, size)
    node, epoch = identity[0]
    return Facts(node, epoch, commit, schema, documents, pending, dead, size)


def _opened(path: Path) -> sqlite3.Connection:
    """A file that nobody writes to."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro&immutable=1", uri=True, isolation_level=None)


def _check_integrity(db: sqlite3.Connection, path: Path) -> None:
    faults = [fault for (fault,) in db.execute("PRAGMA integrity_check")]
    if faults != ["ok"]:
        raise StoreError(f"{path} is no whole backup: {faults[0]}", hint="use another one; nothing was changed")


def _give_names(folder: Path, part: Path, parts: Mapping[str, Path], facts: Facts) -> None:
    """The upstreams' copies first: one that is younger than its backup is as good."""
    for old in folder.glob(f"{_escaped(facts.file)}{UPSTREAM}*"):
        if old.name.rpartition(UPSTREAM)[2] not in parts:
            old.unlink()
    for upstream, copy in parts.items():
        facts.upstreams[upstream] = f"{facts.file}{UPSTREAM}{upstream}"
        copy.rename(folder / facts.upstreams[upstream])
    part.rename(folder / facts.file)
    sync_folder(folder)


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


@contextmanager
def _locked(part: Path) -> Iterator[int]:
    """The file that is written, which one backup at a time has. One that a killed backup left is begun anew."""
    while True:
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Whoever had it may just have given it its name.
            if part.exists() and part.stat().st_ino == os.fstat(descriptor).st_ino:
                os.fchmod(descriptor, 0o600)
                os.ftruncate(descriptor, 0)
                yield descriptor
                return
        except BlockingIOError:
            raise DeoraError(f"another backup is being written to {part.parent}", hint="wait for its end") from None
        finally:
            os.close(descriptor)


class _Room:
    """Whether the disk has room for a backup, before it and while it is made."""

    def __init__(self, store: Path, files: Mapping[str, Path], folder: Path) -> None:
        self._folder = folder
        disk = os.statvfs(folder)
        shared = os.stat(folder).st_dev == os.stat(store).st_dev
        total = disk.f_blocks * disk.f_frsize
        self._left_free = min(LEFT_FREE_BYTES, total // 4) if shared else 0
        needed = sum(path.stat().st_size for path in (store, *files.values())) + self._left_free
        free = disk.f_bavail * disk.f_frsize
        if free < needed:
            kept = f", {self._left_free} of which stay free for the store" if shared else ""
            raise DeoraError(
                f"the disk of {folder} has {free} bytes free, and a backup needs {needed}{kept}",
                hint="make room, keep fewer backups (operations.json, backup.keep), or use another disk",
            )

    def check(self) -> None:
        """Raises DeoraError where the disk has become so full meanwhile that the store would suffer."""
        if self._left_free:
            disk = os.statvfs(self._folder)
            if disk.f_bavail * disk.f_frsize < self._left_free // 2:
                raise DeoraError(f"the disk of {self._folder} is almost full", hint="make room, or use another disk")


def _failed(folder: Path, error: OSError | sqlite3.Error) -> DeoraError:
    if isinstance(error, sqlite3.Error):
        return DeoraError(f"the store cannot be copied: {error}", hint="`deora doctor` tells more")
    hints = {
        errno.ENOENT: "make the folder, or mount its disk",
        errno.ENOTDIR: "name a folder",
        errno.ENOSPC: "make room, or use another disk",
        errno.EDQUOT: "make room, or use another disk",
        errno.EROFS: "a service may write to its own folders alone: name one of these, or allow it in its unit"
        " (ReadWritePaths=)",
        errno.EACCES: "the folder must belong to the user that runs DEORA",
    }
    why = os.strerror(error.errno) if error.errno is not None else str(error)
    return DeoraError(f"no backup could be written to {folder}: {why}", hint=hints.get(error.errno or 0))
