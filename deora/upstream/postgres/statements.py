"""The SQL of the generic table, the cursor and the change marks. Pure: texts and parameters.

Names without a schema go where the role's search_path says, so that the owner of the database decides. Identifiers of
the user's own are quoted; every value is a bound parameter.

**Versions.** The documents that one statement writes take the next number of `deora_version` together. It is taken
before its transaction commits, so a lower one may become visible after a higher one. A writer therefore holds, until it
ends, a shared advisory lock whose key carries the sequence's value at its start, and a reader of changes goes no
further than the lowest such value: what is behind it comes with the next reading, nothing is ever passed over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

import orjson

from deora.documents.paths import split
from deora.upstream.base import CarriedMove, CursorKey, Delivery
from deora.upstream.postgres.jsonb import to_jsonb

# The upper 16 bits of the advisory locks' keys, so that they meet nobody else's: "DE" in ASCII.
LOCK_SPACE: Final = 0x4445 << 48
_LOWER_BITS: Final = (1 << 48) - 1
CREATION_LOCK: Final = LOCK_SPACE | _LOWER_BITS

TABLES: Final = ("deora_cursor", "deora_documents", "deora_version")

FIND_TABLES: Final = "SELECT name FROM unnest($1::text[]) AS name WHERE to_regclass(name) IS NOT NULL"
# COLLATE "C": ids in the order of their bytes, whatever the database's language.
CREATE: Final = (
    f"SELECT pg_advisory_xact_lock({CREATION_LOCK})",
    "CREATE SEQUENCE IF NOT EXISTS deora_version",
    """CREATE TABLE IF NOT EXISTS deora_documents (
  path text COLLATE "C" PRIMARY KEY, collection text COLLATE "C" NOT NULL, id text COLLATE "C" NOT NULL,
  data jsonb NOT NULL CHECK (jsonb_typeof(data) = 'object'),
  version bigint NOT NULL DEFAULT nextval('deora_version'),
  updated_at timestamptz NOT NULL DEFAULT now())""",
    "CREATE INDEX IF NOT EXISTS deora_documents_version ON deora_documents (collection, version)",
    """CREATE TABLE IF NOT EXISTS deora_cursor (
  node text NOT NULL, epoch text NOT NULL, lane integer NOT NULL, seq bigint NOT NULL, batch_id text NOT NULL,
  applied bytea NOT NULL, taken_by text, PRIMARY KEY (node, epoch, lane))""",
)
WHO_AND_WHERE: Final = "SELECT current_user, current_schema()"

READ_CURSOR: Final = (
    "SELECT seq, batch_id, applied, taken_by FROM deora_cursor WHERE node = $1 AND epoch = $2 AND lane = $3"
)
_HOLD: Final = f"(SELECT pg_advisory_xact_lock_shared({LOCK_SPACE} + (SELECT last_value FROM deora_version))) AS held"
_START: Final = f"""INSERT INTO deora_cursor AS c (node, epoch, lane, seq, batch_id, applied)
  SELECT $1, $2, $3, $4, $5, $6 FROM {_HOLD}
  ON CONFLICT (node, epoch, lane) DO UPDATE SET seq = excluded.seq, batch_id = excluded.batch_id,
    applied = excluded.applied
  WHERE c.seq = 0 AND c.batch_id = '' AND c.taken_by IS NULL"""
_MOVE: Final = f"""UPDATE deora_cursor SET seq = $4, batch_id = $5, applied = $6 FROM {_HOLD}
  WHERE node = $1 AND epoch = $2 AND lane = $3 AND seq = $7 AND batch_id = $8 AND taken_by IS NULL"""
_CARRY: Final = """UPDATE deora_cursor SET seq = seq + 1, batch_id = $4, applied = $5
  WHERE node = $1 AND epoch = $2 AND lane = $3 AND seq = $6 AND batch_id = $7 AND taken_by = $8"""
TAKE_OVER: Final = """INSERT INTO deora_cursor AS c (node, epoch, lane, seq, batch_id, applied, taken_by)
  VALUES ($1, $2, $3, 0, '', '', $4)
  ON CONFLICT (node, epoch, lane) DO UPDATE SET taken_by = excluded.taken_by
  WHERE c.taken_by IS NULL OR c.taken_by = $5"""

LOCK_DOCUMENTS: Final = """SELECT path, data::text FROM deora_documents
  WHERE path = ANY($1::text[]) ORDER BY path FOR UPDATE"""
_INSERT: Final = """INSERT INTO deora_documents (path, collection, id, data, version, updated_at)
  SELECT path, collection, id, data, (SELECT nextval('deora_version')), now()
  FROM jsonb_to_recordset($1::jsonb) AS given (path text, collection text, id text, data jsonb) """
UPSERT: Final = f"""{_INSERT}ON CONFLICT (path) DO UPDATE
  SET data = excluded.data, version = excluded.version, updated_at = excluded.updated_at"""
INSERT_FRESH: Final = f"{_INSERT}ON CONFLICT (path) DO NOTHING"
DELETE: Final = "DELETE FROM deora_documents WHERE path = ANY($1::text[])"

READ_DOCUMENTS: Final = "SELECT path, data::text, version FROM deora_documents WHERE path = ANY($1::text[])"
LIST_DOCUMENTS: Final = """SELECT path, data::text, version FROM deora_documents
  WHERE path > $1 AND path < $2 AND collection = $3 ORDER BY path LIMIT $4"""
LIST_NAMES: Final = """SELECT path FROM deora_documents
  WHERE path > $1 AND path < $2 AND collection = $3 ORDER BY path LIMIT $4"""
LIST_CHANGES: Final = """SELECT path, data::text, version FROM deora_documents
  WHERE collection = $1 AND version >= $2 AND (version, path) > ($2, $3) AND version <= $4
  ORDER BY version, path LIMIT $5"""
# Last value first: who takes a number after that look is beyond the limit, who took one before it holds its lock.
LAST_VERSION: Final = "SELECT last_value FROM deora_version"
LOWEST_HELD: Final = f"""SELECT min(((classid::bigint << 32) | objid::bigint) - {LOCK_SPACE}) FROM pg_locks
  WHERE locktype = 'advisory' AND objsubid = 1 AND mode = 'ShareLock'
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND ((classid::bigint << 32) | objid::bigint) BETWEEN {LOCK_SPACE} AND {LOCK_SPACE | _LOWER_BITS}"""

MARK_DIGITS: Final = 20


def quoted(name: str) -> str:
    """An identifier in quotes."""
    escaped = name.replace('"', '""')
    return f'"{escaped}"'


def quoted_table(name: str) -> str:
    """A table's name in quotes, with its schema where it names one."""
    return ".".join(map(quoted, name.split(".")))


def cursor_arguments(key: CursorKey) -> tuple[Any, ...]:
    """What READ_CURSOR takes."""
    return key.node, key.epoch, key.lane


def move(delivery: Delivery) -> tuple[str, tuple[Any, ...]]:
    """The compare-and-set of the cursor: the statement changes one row where the cursor is as expected, else none."""
    moved = (*cursor_arguments(delivery.key), delivery.seq, delivery.batch_id, delivery.applied)
    if delivery.expected_seq == 0 and delivery.expected_batch_id == "":
        return _START, moved
    return _MOVE, (*moved, delivery.expected_seq, delivery.expected_batch_id)


def carry(delivery: Delivery, move: CarriedMove) -> tuple[str, tuple[Any, ...]]:
    """The same for a cursor that was taken over and whose entries the batch carries."""
    expected = (move.expected_seq, move.expected_batch_id, delivery.key.box)
    return _CARRY, (*cursor_arguments(move.key), delivery.batch_id, move.applied, *expected)


def saved(documents: Iterable[tuple[str, bytes]]) -> str:
    """What UPSERT and INSERT_FRESH take, for paths with their canonical text, sorted: all boxes lock in one order.

    One JSON text: asyncpg packs it four times as fast as arrays of 500 texts.
    """
    rows = []
    for path, data in sorted(documents):
        collection, name = split(path)
        rows.append({"path": path, "collection": collection, "id": name, "data": orjson.Fragment(to_jsonb(data))})
    return orjson.dumps(rows).decode()


def bounds(collection: str, after: str | None) -> tuple[str, str, str]:
    """What LIST_DOCUMENTS and LIST_NAMES take before their limit. `after` is an id.

    '0' follows '/' in the order of bytes, so all below the collection lies between the two.
    """
    return f"{collection}/{after or ''}", f"{collection}0", collection


def mark_of(version: int) -> str:
    """A version as a mark: marks sort as text in the order of their numbers."""
    return f"{version:0{MARK_DIGITS}d}"


def since_of(since: str) -> tuple[int, str]:
    """Version and name to begin behind: of a mark (all of that version again), or of what a page said comes next.

    The empty mark stands before all changes.
    """
    mark, _, name = since.partition("/")
    return int(mark) if mark else 0, name


def next_of(version: int, name: str) -> str:
    """What a page of changes says comes next, behind the document or row of this name."""
    return f"{mark_of(version)}/{name}"


def rows_of(status: str) -> int:
    """How many rows a statement changed, by its command tag: `INSERT 0 3`."""
    return int(status.rpartition(" ")[2])


def grants(tables: Sequence[str], role: str, schema: str | None) -> str:
    """What to say to a role that may not use DEORA's tables, or may not make the missing ones."""
    to = quoted(role)
    within = quoted(schema) if schema is not None else "the schema of its search_path"
    if tables:
        return (
            f"the tables {', '.join(tables)} are missing and the role {to} may not make them: GRANT USAGE, CREATE ON"
            f" SCHEMA {within} TO {to}, or let their owner make them as docs/postgres.md shows"
        )
    return (
        f"the role {to} needs: GRANT USAGE ON SCHEMA {within} TO {to}; GRANT SELECT, INSERT, UPDATE ON deora_cursor TO"
        f" {to}; GRANT SELECT, INSERT, UPDATE, DELETE ON deora_documents TO {to}; GRANT USAGE, SELECT ON SEQUENCE"
        f" deora_version TO {to}"
    )
