"""What can be read of a damaged store, put into a new one.

The rows go over as they were, table by table, into a file of the same schema, which is then migrated as any other.
`rebuild` puts right what depends on all of them.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson

from deora.documents.writes import decode_writes
from deora.errors import StoreError
from deora.outbox.heads import decode_heads
from deora.store.btree import Reading, Values
from deora.store.database import add_functions, check_schema, migrate, migrations, statements_of
from deora.store.image import Image

# Worked out from the others: the queues of documents.
DERIVED: Final = frozenset({"heads", "followers"})
# Tables whose leaves can be told by their rows where the way to them is lost: the types of the first columns, and how
# many there are at least, as of the first schema.
_ORPHANS: Final = {"documents": ((type(None), str, str, str), 12), "entries": ((type(None), int, int, int), 13)}


@dataclass(slots=True)
class Salvaged:
    """What went over: rows by table. What did not: `pages` that could not be read, `rows` whose values are damaged,
    and `unclear`, tables of which not all was read."""

    rows: dict[str, int] = field(default_factory=dict)
    damaged: dict[str, int] = field(default_factory=dict)
    pages: int = 0
    unclear: set[str] = field(default_factory=set)


def schema_version(image: Image) -> int:
    """The version of the image's schema; the newest one where its first page is lost. Raises StoreError for a newer."""
    latest = migrations()[-1][0]
    first = image.page(1)
    version = int.from_bytes(first[60:64], "big") if first is not None else latest
    check_schema(version)
    return version or latest


def salvage(image: Image, target: Path) -> tuple[sqlite3.Connection, Salvaged]:
    """A new file at `target`, of the newest schema, with every row of `image` that can be read; not yet rebuilt.

    Raises StoreError where the file is of a newer DEORA.
    """
    version = schema_version(image)
    db = sqlite3.connect(target, isolation_level=None)
    db.execute("PRAGMA synchronous = OFF")  # synced as a whole before it is put into its place
    add_functions(db)
    db.execute("BEGIN")
    for number, sql in migrations():
        if number <= version:
            for statement in statements_of(sql):
                db.execute(statement)
    salvaged = _copy(image, db)
    db.execute(f"PRAGMA user_version = {version}")
    db.execute("COMMIT")
    migrate(db)
    return db, salvaged


def can_be_sent(payload: bytes) -> bool:
    """Whether an entry's writes can be unpacked."""
    try:
        decode_writes(payload)
    except StoreError:
        return False
    return True


def sync(target: Path) -> None:
    """Makes a finished file durable."""
    descriptor = os.open(target, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _copy(image: Image, db: sqlite3.Connection) -> Salvaged:
    first = image.page(1)
    reserved = first[20] if first is not None else 0
    reading = Reading(image.page, image.page_bytes - reserved)
    salvaged = Salvaged()
    declared = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    roots = _roots(reading) if first is not None else _doubtful_roots(image, db)
    if first is None:
        reading.reached.clear()
    for name in declared:
        db.execute(f"DELETE FROM {name}")
        if name in roots:
            before = len(reading.lost_pages), reading.lost_cells
            rows = reading.rows(roots[name])
            if name not in DERIVED:
                _insert(db, name, rows, salvaged)
            else:
                for _ in rows:
                    continue
            if (len(reading.lost_pages), reading.lost_cells) != before and name not in DERIVED:
                salvaged.unclear.add(name)
        else:
            salvaged.unclear.add(name)
    if salvaged.unclear & _ORPHANS.keys():
        _adopt_orphans(image, db, reading, first, salvaged)
    salvaged.pages = len(image.bad)
    return salvaged


def _roots(reading: Reading) -> dict[str, int]:
    roots = {}
    for _, row in reading.rows(1):
        if len(row) == 5 and row[0] == "table" and isinstance(row[3], int) and isinstance(row[1], str):
            roots[row[1]] = row[3]
    return roots


def _doubtful_roots(image: Image, db: sqlite3.Connection) -> dict[str, int]:
    """Where the tables begin, by a first page that is not as it was: each row is believed that declares its table as
    our schema does."""
    declared = dict(db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table'").fetchall())
    reading = Reading(lambda number: image.doubtful(number) if number == 1 else image.page(number), image.page_bytes)
    try:
        rows = [row for _, row in reading.rows(1) if len(row) == 5]
    except IndexError:
        return {}
    return {row[1]: row[3] for row in rows if row[0] == "table" and declared.get(row[1]) == row[4]}


def _adopt_orphans(
    image: Image, db: sqlite3.Connection, reading: Reading, first: bytes | None, salvaged: Salvaged
) -> None:
    """Takes the rows of leaves to which the way is lost. What may be a page that was given up is left alone: its rows
    were deleted, or are elsewhere in a newer form."""
    free = reading.free_pages(int.from_bytes(first[32:36], "big")) if first is not None else None
    if free is None:
        return
    for number in range(2, image.size_pages + 1):
        if number in free:
            continue
        for rowid, values in reading.leaf_rows(number):
            for name, (types, least) in _ORPHANS.items():
                kinds = tuple(type(value) for value in values[: len(types)])
                if name in salvaged.unclear and len(values) >= least and kinds == types:
                    _insert(db, name, iter([(rowid, values)]), salvaged)


def _insert(db: sqlite3.Connection, name: str, rows: Iterator[tuple[int, Values]], salvaged: Salvaged) -> None:
    columns = db.execute(f"PRAGMA table_info({name})").fetchall()
    key = [index for index, column in enumerate(columns) if column[5]]
    has_rowid_key = len(key) == 1 and columns[key[0]][2] == "INTEGER"
    defaults = [_default(column[4]) for column in columns]
    statement = f"INSERT OR IGNORE INTO {name} VALUES ({', '.join('?' * len(columns))})"
    for rowid, found in rows:
        values = [*found, *defaults[len(found) :]]
        if has_rowid_key and values:
            values[key[0]] = rowid
        if len(values) == len(columns) and _is_sound(name, [column[1] for column in columns], values):
            went = db.execute(statement, values).rowcount
            salvaged.rows[name] = salvaged.rows.get(name, 0) + went
        else:
            salvaged.damaged[name] = salvaged.damaged.get(name, 0) + 1
            salvaged.unclear.add(name)


def _default(text: str | None) -> Any:
    """A column's default, which a row written before the column was added does not hold."""
    if text is None:
        return None
    return int(text) if text.lstrip("-").isdigit() else text.strip("'")


def _is_sound(name: str, columns: list[str], values: list[Any]) -> bool:
    """Whether what a row says can be used: JSON where JSON belongs, writes that can be unpacked."""
    row = dict(zip(columns, values, strict=True))
    try:
        if name == "documents":
            for text in (row["view"], row["base"]):
                if text is not None and not isinstance(orjson.loads(text), dict):
                    return False
        elif name == "entries":
            if not isinstance(row["heads"], bytes):
                decode_heads(row["heads"])
            return can_be_sent(row["payload"])
        elif name == "batches" and isinstance(row["members"], str):
            orjson.loads(row["members"])
    except (ValueError, TypeError, StoreError):
        return False
    return True
