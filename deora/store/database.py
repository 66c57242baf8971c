"""Opening the store's file: durability first, then the schema.

One connection writes and checkpoints, this one. Every other is a worker's (`worker.reader`): query-only, never
checkpointing, no read transaction held, because SQLite up to 3.51.2 can lose commits when two connections write and
checkpoint at once, and a held reader grows the WAL without bound.
"""

from __future__ import annotations

import re
import sqlite3
from importlib import resources
from pathlib import Path
from typing import Final

import msgpack
import orjson

from deora.errors import StoreError
from deora.store.durability import sync_files
from deora.store.reserve import CHECKPOINT_PAGES, WAL_KEPT_BYTES

# For another program that writes to the file, and for a reader that rebuilds the index of the WAL.
BUSY_TIMEOUT_MS: Final = 5000
_MIGRATION: Final = re.compile(r"^(\d{4})_\w+\.sql$")


def open_writer(path: Path) -> sqlite3.Connection:
    """The one connection that writes. Creates and migrates the file. Raises StoreError with a hint.

    What an earlier writer left visible is made durable first (`durability`). The WAL's limits are set for a large disk;
    `space` fits them to the one that is there.
    """
    sync_files(path)
    try:
        db = sqlite3.connect(path, isolation_level=None, cached_statements=512, check_same_thread=False)
        db.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.execute(f"PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}")
        db.execute(f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}")
        db.execute("PRAGMA cache_size = -40960")
        db.execute("PRAGMA temp_store = MEMORY")
        migrate(db)
    except sqlite3.Error as error:
        raise StoreError(
            f"the store's file {path} cannot be opened: {error}",
            hint="check the disk and the file's permissions; a copy of the file is worth taking before anything else",
        ) from error
    return db


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
    [(version,)] = db.execute("PRAGMA user_version").fetchall()
    check_schema(version)
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


def check_schema(version: int) -> None:
    """Raises StoreError for the schema of a newer DEORA."""
    latest = migrations()[-1][0]
    if version > latest:
        raise StoreError(
            f"the store's file has schema {version}; this DEORA knows schemas up to {latest}",
            hint="start the DEORA that wrote it, or a newer one; nothing has been changed in the file",
        )


def check_version(path: Path) -> None:
    """Raises StoreError for a file that a newer DEORA wrote. Reads only; one that is not there yet is fine."""
    if not path.exists():
        return
    db = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
    try:
        [(version,)] = db.execute("PRAGMA user_version").fetchall()
        check_schema(version)
    finally:
        db.close()


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
