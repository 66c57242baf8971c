"""A mapped table's row as a document, and the reading of such rows. Pure.

A row comes as `to_jsonb` of it, whose form does not depend on which columns were selected: a column that is added later
changes no statement. The id's column is no field, and neither is a column that is NULL. A double stays a double, a
timestamp becomes `$timestamp`, a bytea `$bytes`; docs/postgres.md has the whole table.

**Marks.** The transaction that last changed a row is its system column `xmin`; made 64 bits wide it orders the changes,
whoever made them. Transactions become visible in another order, so a reading goes no further than the oldest one that
was still under way.
"""

from __future__ import annotations

from binascii import b2a_base64
from typing import Any, Final

from deora.documents.tags import TAGS, TagFault
from deora.documents.values import canonical
from deora.errors import DeoraError
from deora.upstream.postgres.catalog import Column, Form, Table
from deora.upstream.postgres.jsonb import load
from deora.upstream.postgres.mapping import ids_cast

_NEXT: Final = "pg_snapshot_xmax(pg_current_snapshot())::text::bigint"
# The highest number below the next one that ends in these 32 bits.
_CHANGED: Final = f"({_NEXT} - (({_NEXT} - t.xmin::text::bigint) & 4294967295))"
_OLDEST: Final = "pg_snapshot_xmin(pg_current_snapshot())::text::bigint"


def read_sql(table: Table) -> str:
    """Takes the ids as a text array; gives id, data, version."""
    return f"{_select(table)} WHERE t.{table.id.sql} = ANY({ids_cast(table)})"


def list_sql(table: Table) -> str:
    """Takes the id to begin behind and a limit; gives id, data, version in the order of the ids' bytes."""
    return f"{_select(table)} WHERE {_id(table)} > $1 ORDER BY {_id(table)} LIMIT $2"


def names_sql(table: Table) -> str:
    """As `list_sql`, the ids alone."""
    return f"SELECT {_id(table)} AS id FROM {table.sql} AS t WHERE {_id(table)} > $1 ORDER BY {_id(table)} LIMIT $2"


def changes_sql(table: Table) -> str:
    """Takes a version and an id to begin behind, and a limit; gives id, data, version, oldest change first.

    A version that is still to come was given by another server, whose data this one may hold: then all is new.
    """
    return (
        f"{_select(table)} WHERE {_CHANGED} < {_OLDEST}"
        f" AND ($1 > {_NEXT} OR {_CHANGED} > $1 OR ({_CHANGED} = $1 AND {_id(table)} > $2))"
        f" ORDER BY version, id LIMIT $3"
    )


def document(table: Table, text: str) -> bytes:
    """The canonical text of the document that a row, as jsonb's text, is. Raises DeoraError where it is none."""
    row = load(text)
    fields = {}
    for name, value in row.items():
        column = table.columns.get(name)
        if value is None or name == table.id.name:
            continue
        # A column that came after the catalog was read: as it is, until the next look.
        fields[name] = value if column is None else _value(column, value)
    try:
        return canonical(fields)
    except (ValueError, TypeError) as error:
        raise DeoraError(f"it is no document: {error}") from None


def _value(column: Column, value: Any) -> Any:
    if column.form is Form.ARRAY and type(value) is list:
        return [_element(column.element_form, item) for item in value]
    return _element(column.form, value)


def _element(form: Form, value: Any) -> Any:
    if type(value) is list and form not in (Form.JSONB, Form.JSON):
        return [_element(form, item) for item in value]
    if form is Form.DOUBLE and type(value) is int:
        return float(value)
    if form is Form.BYTES and type(value) is str:
        return {"$bytes": b2a_base64(bytes.fromhex(value.removeprefix("\\x")), newline=False).decode("ascii")}
    if form is Form.TIMESTAMP and type(value) is str:
        return _timestamp(value)
    return value


def _timestamp(text: str) -> Any:
    """RFC 3339 is what to_jsonb writes, but without an offset for a timestamp without time zone; that is UTC here.

    What no document's timestamp can be (infinity, years beyond 9999) stays a text.
    """
    for written in (text, text + "Z"):
        try:
            return TAGS["$timestamp"]({"$timestamp": written})
        except TagFault:
            continue
    return text


def _select(table: Table) -> str:
    return f"SELECT {_id(table)} AS id, to_jsonb(t)::text AS data, {_CHANGED} AS version FROM {table.sql} AS t"


def _id(table: Table) -> str:
    """The id as text in the order of its bytes, whatever its own type's order is."""
    return f't.{table.id.sql}::text COLLATE "C"'
