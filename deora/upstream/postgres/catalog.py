"""A mapped table as the server's catalog describes it: its columns and what each can hold. Pure.

`READ_TABLE` gives one row for each column; `table_of` makes a Table of them, or says why the table cannot be used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from deora.upstream.postgres.statements import quoted, quoted_table

READ_TABLE: Final = """SELECT a.attname AS name, format_type(a.atttypid, NULL) AS type, t.typcategory::text AS category,
  format_type(nullif(t.typelem, 0), NULL) AS element,
  a.attgenerated <> '' AS generated, a.attidentity::text AS identity,
  coalesce(pg_get_expr(d.adbin, d.adrelid) LIKE 'nextval(%', false) AS serial,
  EXISTS (SELECT FROM pg_index i WHERE i.indrelid = a.attrelid AND i.indisunique AND i.indisvalid
    AND i.indpred IS NULL AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum) AS is_unique
  FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
  LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
  WHERE a.attrelid = to_regclass($1) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"""

PRIVILEGES: Final = """SELECT has_any_column_privilege($1, 'SELECT') AS "SELECT",
  has_any_column_privilege($1, 'INSERT') AS "INSERT", has_any_column_privilege($1, 'UPDATE') AS "UPDATE",
  current_user::text AS role"""

_INTEGER_RANGES: Final = {"smallint": 15, "integer": 31, "bigint": 63}

_UUID: Final = re.compile("([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})")


class Form(Enum):
    """How a column's values look as JSON."""

    JSONB = "jsonb"
    JSON = "json"
    INTEGER = "integer"
    NUMERIC = "numeric"
    DOUBLE = "double"
    TIMESTAMP = "timestamp"
    BYTES = "bytes"
    ARRAY = "array"
    PLAIN = "plain"


_FORMS: Final = {
    "jsonb": Form.JSONB,
    "json": Form.JSON,
    "smallint": Form.INTEGER,
    "integer": Form.INTEGER,
    "bigint": Form.INTEGER,
    "numeric": Form.NUMERIC,
    "real": Form.DOUBLE,
    "double precision": Form.DOUBLE,
    "timestamp with time zone": Form.TIMESTAMP,
    "timestamp without time zone": Form.TIMESTAMP,
    "bytea": Form.BYTES,
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column. `type` is without its modifiers; `element` is an array's element type.

    `computed`: nobody may write it. `kept`: a set that does not name it leaves it as it is in a row that exists (serial
    and identity columns: a fresh number would be wrong).
    """

    name: str
    type: str
    form: Form
    element: str | None = None
    computed: bool = False
    kept: bool = False

    @property
    def sql(self) -> str:
        """The name in quotes."""
        return quoted(self.name)

    @property
    def element_form(self) -> Form:
        """How the elements of an array look."""
        return _FORMS.get(self.element or "", Form.PLAIN)

    @property
    def is_json(self) -> bool:
        """Whether it holds JSON, so that a path may lead into it."""
        return self.form in (Form.JSONB, Form.JSON)

    @property
    def is_number(self) -> bool:
        """Whether it can be counted up."""
        return self.form in (Form.INTEGER, Form.NUMERIC, Form.DOUBLE)


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the user's own that holds a collection. `id` is the column of the documents' ids."""

    name: str
    id: Column
    columns: Mapping[str, Column]

    @property
    def sql(self) -> str:
        """The name in quotes."""
        return quoted_table(self.name)


def table_of(name: str, id_column: str, rows: Sequence[Mapping[str, Any]]) -> Table | str:
    """The table that READ_TABLE's rows describe, or why it cannot hold a collection, and what to do."""
    if not rows:
        return (
            f"there is no table {name} that this role can see: make it, or correct database.json's `tables` (names are"
            " taken as they are written, capital letters too)"
        )
    columns = {row["name"]: _column(row) for row in rows}
    if id_column not in columns:
        found = ", ".join(columns)
        return f"the table {name} has no column {id_column} for the documents' ids; it has {found}"
    (is_unique,) = (row["is_unique"] for row in rows if row["name"] == id_column)
    if not is_unique:
        return (
            f"the column {id_column} of the table {name} has no unique index of its own, so a document could be two"
            f" rows: ALTER TABLE {quoted_table(name)} ADD UNIQUE ({quoted(id_column)})"
        )
    return Table(name, columns[id_column], columns)


def missing_grants(table: Table, row: Mapping[str, Any]) -> str | None:
    """What PRIVILEGES says that the role lacks, with the GRANT; None where it lacks nothing that every write needs."""
    lacking = [name for name in ("SELECT", "INSERT", "UPDATE") if not row[name]]
    if not lacking:
        return None
    return f"the role lacks a grant: GRANT {', '.join(lacking)} ON {table.sql} TO {quoted(row['role'])}"


def id_fault(table: Table, name: str) -> str | None:
    """Why a document's id cannot be this table's, or None.

    A row's id must read back as the very same text, else one row would be several documents.
    """
    bits = _INTEGER_RANGES.get(table.id.type)
    if bits is not None:
        if re.fullmatch(r"0|-?[1-9][0-9]{0,18}", name) is None or not -(1 << bits) <= int(name) < 1 << bits:
            return f"the id {name!r} is no {table.id.type}, as column {table.id.name} of {table.name} holds"
    elif table.id.type == "uuid":
        digits = name.lower().strip("{}").replace("-", "")
        normal = "-".join(_UUID.findall(digits)[0]) if _UUID.fullmatch(digits) else ""
        if normal != name:
            how = f"; written as PostgreSQL writes it, it is {normal}" if normal else ""
            return f"the id {name!r} is no uuid, as column {table.id.name} of {table.name} holds{how}"
    return None


def _column(row: Mapping[str, Any]) -> Column:
    is_array = row["category"] == "A" and row["element"] is not None
    form = Form.ARRAY if is_array else _FORMS.get(row["type"], Form.PLAIN)
    return Column(
        row["name"],
        row["type"],
        form,
        element=row["element"] if is_array else None,
        computed=row["generated"] or row["identity"] == "a",
        kept=row["serial"] or bool(row["identity"]),
    )
