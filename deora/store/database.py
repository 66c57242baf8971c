"""Opening the store's file: durability first, then the schema.

One connection writes and checkpoints, this one. Every other is a worker's (`worker.reader`): query-only, never
checkpointing, no read transaction held, because SQLite up to 3.51.2 can lose commits when two connections write and
checkpoint at once, and a held reader grows the WAL without bound.
"""

from __future__ import annotations

import os
import re
import sqlite3
from importlib import resources
from pathlib import Path
from typing import Final

import msgpack
import orjson

from deora.errors import StoreError

# Pages of 4 KiB in the WAL before a commit also checkpoints: 94 MiB. A page that many writes share is written to the
# file once for all of them, so fewer checkpoints are less work (bench: 65 us of CPU a write against 71 with 31 MiB).
CHECKPOINT_PAGES: Final = 24_000
WAL_LIMIT_BYTES: Final = 128 * 1024 * 1024
_MIGRATION: Final = re.compile(r"^(\d{4})_\w+\.sql$")


def open_writer(path: Path) -> sqlite3.Connection:
    """The one connection that writes. Creates and migrates the file. Raises StoreError with a hint.

    What a killed writer left visible in the WAL may not be on the disk yet, so the WAL is synced before anything is
    read from it: nothing is answered from a row that a power cut could still take away.
    """
    sync_files(path)
    try:
        db = sqlite3.connect(path, isolation_level=None, cached_statements=512, check_same_thread=False)
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        db.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
        db.execute("PRAGMA cache_size = -40960")
        db.execute("PRAGMA temp_store = MEMORY")
        migrate(db)
    except sqlite3.Error as error:
        raise StoreError(
            f"the store's file {path} cannot be opened: {error}",
            hint="check the disk and the file's permissions; a copy of the file is worth taking before anything else",
        ) from error
    return db


def sync_files(path: Path) -> None:
    """fsync of the file and its WAL, where they exist."""
    for file in (path, path.with_name(path.name + "-wal")):
        try:
            descriptor = os.open(file, os.O_RDWR)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StoreError(
                f"{file} cannot be opened for writing: {error.strerror}",
                hint="the data directory and its files must belong to the user that runs DEORA",
            ) from error
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def migrations() -> list[tuple[int, str]]:
    """(version, SQL) of all migrations, in order."""
    folder = resources.files("deora.store").joinpath("migrations")
    found = []
    for file in folder.iterdir():
        match = _MIGRATION.match(file.name)
        if match:
            found.append((int(match[1]), file.read_text(encoding="utf-8")))
    return sorted(found)


def migrate(db: sqlite3.Connection) -> None:
    """Brings the schema to this program's version, one transaction a step: a kill leaves a whole version behind.

    Raises StoreError for a file that a newer DEORA wrote.
    """
    steps = migrations()
    latest = steps[-1][0]
    [(version,)] = db.execute("PRAGMA user_version").fetchall()
    if version > latest:
        raise StoreError(
            f"the store's file has schema {version}; this DEORA knows schemas up to {latest}",
            hint="start the DEORA that wrote it, or a newer one; nothing has been changed in the file",
        )
    add_functions(db)
    for number, sql in steps:
        if number > version:
            db.execute("BEGIN IMMEDIATE")
            try:
                for statement in statements_of(sql):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {number}")
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise


def add_functions(db: sqlite3.Connection) -> None:
    """What migrations call that SQLite does not have: `json_of_msgpack(blob)`, a packed list as JSON text."""
    db.create_function("json_of_msgpack", 1, lambda packed: orjson.dumps(msgpack.unpackb(packed)).decode())


def statements_of(sql: str) -> list[str]:
    """The single statements of a script. `executescript` would commit before its first one.

    Raises ValueError where the last one lacks its semicolon: it would be passed over.
    """
    statements, current = [], ""
    for line in sql.splitlines(keepends=True):
        if line.startswith("--"):
            continue
        current += line
        if sqlite3.complete_statement(current):
            statements.append(current.strip())
            current = ""
    if current.strip():
        raise ValueError(f"a script's last statement does not end: {current.strip()[:60]}")
    return statements
