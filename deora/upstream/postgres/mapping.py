"""The writes of a batch on mapped tables, grouped into few statements. Pure.

Writes of one shape (table, operation, columns) become one statement, unless that would change the order of two writes
to one document. Writes to different documents may change places: where a constraint of the user's minds, the statement
fails, and the batch is run again in ever smaller parts, in the end write by write in its own order
(deora.upstream.postgres.applying).

* set: the row is what a new one would be: columns that the document lacks get their default, else NULL. Serial and
  identity columns keep their value.
* create: the same, but it fails where the row exists.
* update: touches the columns that are written, and no other.
* delete: deletes the row.
"""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from deora.documents.paths import split
from deora.documents.values import canonical, is_tagged
from deora.documents.writes import Write
from deora.upstream.postgres.catalog import Column, Form, Table, id_fault
from deora.upstream.postgres.expressions import FieldFault, Operation, assignments, check_operation, writable
from deora.upstream.postgres.jsonb import to_jsonb

# Of each row its id as text, its typed values, the operands of JSON columns.
_SOURCE: Final = (
    "FROM jsonb_array_elements($1::jsonb) AS e (v)"
    " CROSS JOIN LATERAL jsonb_populate_record(NULL::{table}, e.v -> 'r') AS r"
    " CROSS JOIN LATERAL (SELECT e.v -> 'o' AS o) AS x"
)
# Compared as they are: the cast would cut a text off, or add spaces to it.
_TEXTS: Final = frozenset({"text", "character varying", "character"})


class EntryFault(Exception):
    """An entry that cannot be written. `index` is its payload; `unknown_field`: the catalog may have changed."""

    def __init__(self, index: int, message: str, *, unknown_field: bool = False) -> None:
        super().__init__(message)
        self.index = index
        self.message = message
        self.unknown_field = unknown_field


@dataclass(frozen=True, slots=True)
class Shape:
    """What writes must have in common to be one statement. `columns` of a set or create, `steps` of an update."""

    table: str
    op: str
    upsert: bool = False
    columns: tuple[str, ...] = ()
    steps: tuple[tuple[tuple[str, ...], str, bool], ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    """One write within a statement: its payload's index, the document's path and id, the values."""

    index: int
    path: str
    id: str
    values: dict[str, Any]
    operands: list[Any] = field(default_factory=list)


@dataclass(slots=True)
class Group:
    """Writes of one shape to different documents."""

    shape: Shape
    table: Table
    operations: list[Operation] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)

    def arguments(self, ids: Iterable[str] | None = None) -> str:
        """The rows as a jsonb array, sorted by id so that all boxes lock in one order; only `ids` where given."""
        chosen = None if ids is None else set(ids)
        return to_jsonb(
            canonical(
                [
                    {"i": row.id, "r": row.values, "o": row.operands}
                    for row in sorted(self.rows, key=lambda row: row.id)
                    if chosen is None or row.id in chosen
                ]
            )
        ).decode()


def groups_of(tables: Mapping[str, Table], writes: Iterable[tuple[int, Write]], *, strict: bool = False) -> list[Group]:
    """The statements for these writes (payload's index and write), in order. `tables`: collection to table.

    `strict`: each write by itself. Raises EntryFault for what a table cannot take.
    """
    groups: list[Group] = []
    latest: dict[Shape, int] = {}
    touched: dict[str, int] = {}
    for index, write in writes:
        collection, name = split(write.path)
        try:
            shape, operations, row = _row(tables[collection], index, name, write)
        except FieldFault as fault:
            raise EntryFault(index, str(fault), unknown_field=True) from None
        at = latest.get(shape)
        if strict or at is None or at <= touched.get(write.path, -1):
            groups.append(Group(shape, tables[collection], operations))
            at = latest[shape] = len(groups) - 1
        groups[at].rows.append(row)
        touched[write.path] = at
    return groups


def set_sql(group: Group) -> str:
    """Takes the rows as $1."""
    table = group.table
    names = [table.id.name, *group.shape.columns]
    columns = ", ".join(table.columns[name].sql for name in names)
    values = ", ".join(f"r.{table.columns[name].sql}" for name in names)
    insert = f"INSERT INTO {table.sql} AS t ({columns}) SELECT {values} {_source(table)}"
    if group.shape.op == "create":
        return insert
    replaced = [
        f"{column.sql} = excluded.{column.sql}"
        for column in table.columns.values()
        if column.name in group.shape.columns or not (column.name == table.id.name or column.computed or column.kept)
    ]
    then = f"UPDATE SET {', '.join(replaced)}" if replaced else "NOTHING"
    return f"{insert} ON CONFLICT ({table.id.sql}) DO {then}"


def update_sql(group: Group) -> tuple[str, list[str]]:
    """The statement, which takes the rows as $1, and the names that it takes as $2, if any. It gives the ids found."""
    table, names = group.table, list[str]()
    found = assignments(table, group.operations, names, fresh=False)
    changes = ", ".join(f"{column.sql} = {value}" for column, value in found)
    return (
        f"UPDATE {table.sql} AS t SET {changes} {_source(table)}"
        f" WHERE t.{table.id.sql} = {_id(table)} RETURNING e.v ->> 'i' AS id"
    ), names


def upsert_sql(group: Group) -> tuple[str, list[str]]:
    """As `update_sql`, for rows that do not exist yet."""
    table, names = group.table, list[str]()
    found = [
        (column, value)
        for column, value in assignments(table, group.operations, names, fresh=True)
        if value != "NULL"  # what is deleted before it was there gets its default
    ]
    columns = ", ".join([table.id.sql, *(column.sql for column, _ in found)])
    values = ", ".join([f"r.{table.id.sql}", *(value for _, value in found)])
    return (
        f"INSERT INTO {table.sql} AS t ({columns}) SELECT {values} {_source(table)}"
        f" ON CONFLICT ({table.id.sql}) DO NOTHING"
    ), names


def delete_sql(table: Table) -> str:
    """Takes the ids as a text array."""
    return f"DELETE FROM {table.sql} AS t WHERE t.{table.id.sql} = ANY({ids_cast(table)})"


def ids_cast(table: Table) -> str:
    """The text array $1 as ids."""
    return "$1::text[]" if table.id.type in _TEXTS else f"$1::text[]::{table.id.type}[]"


def _id(table: Table) -> str:
    return "(e.v ->> 'i')" if table.id.type in _TEXTS else f"(e.v ->> 'i')::{table.id.type}"


def _source(table: Table) -> str:
    return _SOURCE.format(table=table.sql)


def _row(table: Table, index: int, name: str, write: Write) -> tuple[Shape, list[Operation], Row]:
    """What a write has in common with others, and what is its own. Raises FieldFault."""
    fault = id_fault(table, name)
    if fault is not None:
        raise EntryFault(index, fault)
    if write.op == "delete":
        return Shape(table.name, "delete"), [], Row(index, write.path, name, {})
    identity = {table.id.name: name}
    if write.op in ("set", "create"):
        values = {
            field_name: _value(writable(table, field_name), value)
            for field_name, value in orjson.loads(write.data or b"{}").items()
            if not (field_name == table.id.name and str(value) == name)
        }
        shape = Shape(table.name, write.op, columns=tuple(values))
        return shape, [], Row(index, write.path, name, values | identity)
    operations: list[Operation] = orjson.loads(write.data or b"[]")
    steps = tuple((tuple(segments), operator, type(operand) is float) for segments, operator, operand in operations)
    values = _typed_operands(table, operations)
    operands = [operand for _, _, operand in operations]
    return (
        Shape(table.name, "update", write.upsert, steps=steps),
        operations,
        Row(index, write.path, name, values | identity, operands),
    )


def _typed_operands(table: Table, operations: Sequence[Operation]) -> dict[str, Any]:
    """The operands of columns that hold no JSON. Raises FieldFault."""
    values = {}
    for operation in operations:
        column = check_operation(table, operation)
        if not column.is_json and operation[1] != "delete":
            values[column.name] = _value(column, operation[2])
    return values


def _value(column: Column, value: Any) -> Any:
    """A document's value as JSON that `jsonb_populate_record` can type. Raises FieldFault."""
    if column.is_json:
        return value
    if type(value) is list and column.form is Form.ARRAY:
        return [_element(column, column.element_form, item) for item in value]
    return _element(column, column.form, value)


def _element(column: Column, form: Form, value: Any) -> Any:
    """A tagged value as the text that PostgreSQL reads."""
    if type(value) is list:
        return [_element(column, form, item) for item in value]
    if type(value) is not dict or not is_tagged(value) or form in (Form.JSONB, Form.JSON):
        return value
    ((tag, content),) = value.items()
    if tag == "$bytes" and form is Form.BYTES:
        return "\\x" + a2b_base64(content).hex()
    if tag == "$timestamp" and form in (Form.TIMESTAMP, Form.PLAIN):
        return content
    if tag == "$reference" and form is Form.PLAIN:
        return content
    raise FieldFault(f"in {column.name}: the column is of type {column.type}, which holds no {tag}")
