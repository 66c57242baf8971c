"""An update as SQL expressions: what becomes of each column it touches. Pure.

The operators mean what `deora.documents.apply` says they mean; the contract suite holds both against each other. A
path's first segment is a column. Where a path leads into a JSON column, or an operator stands on one, the new value is
an expression over jsonb; else it is one over the column's own type, so `$increment` on a numeric is exact.

`t` is the row as it is, `r` the operands of plain columns as `jsonb_populate_record` typed them, `x.o` the operands of
all operations as a jsonb array. Names of members are bound, too: `$2` is the list of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from deora.documents.fields import format_field_path
from deora.documents.tags import TAGS
from deora.documents.values import INT_MAX, INT_MIN
from deora.upstream.postgres.catalog import Column, Form, Table

Operation = tuple[Sequence[str], str, Any]

_TAGS_SQL: Final = "ARRAY[" + ", ".join(f"'{tag}'" for tag in TAGS) + "]"


class FieldFault(Exception):
    """A field that the table cannot take, and why."""


@dataclass(slots=True)
class Node:
    """What happens at one place of a JSON column: an operator with its operand's number, or changes to its members."""

    operator: str | None = None
    operand: int = 0
    is_double: bool = False
    members: dict[str, Node] = field(default_factory=dict)

    def deletes_only(self) -> bool:
        """Whether nothing is put here: then nothing is made either."""
        if self.operator is not None:
            return self.operator == "delete"
        return all(node.deletes_only() for node in self.members.values())


def check_operation(table: Table, operation: Operation) -> Column:
    """The column that an operation touches. Raises FieldFault."""
    segments, operator, _ = operation
    column = writable(table, segments[0])
    if column.is_json:
        return column
    at = format_field_path(segments)
    if len(segments) > 1:
        raise FieldFault(f"in {at}: the column {column.name} of {table.name} is of type {column.type}, not jsonb")
    if operator in ("increment", "max", "min") and not column.is_number:
        raise FieldFault(
            f"in {at}: ${operator} takes a column of numbers; {column.name} of {table.name} is of type {column.type}"
        )
    if operator in ("arrayUnion", "arrayRemove") and column.form is not Form.ARRAY:
        raise FieldFault(
            f"in {at}: ${operator} takes an array or jsonb column; {column.name} of {table.name} is of type"
            f" {column.type}"
        )
    return column


def writable(table: Table, name: str) -> Column:
    """The column of a field. Raises FieldFault where there is none, or where it is not the document's to write."""
    column = table.columns.get(name)
    at = format_field_path((name,))
    if column is None:
        raise FieldFault(f"in {at}: the table {table.name} has no column {name}; it has {', '.join(table.columns)}")
    if column.computed:
        raise FieldFault(f"in {at}: the column {name} of {table.name} is computed by PostgreSQL and cannot be written")
    if name == table.id.name:
        raise FieldFault(f"in {at}: the column {name} of {table.name} holds the document's id, which does not change")
    return column


def assignments(
    table: Table, operations: Sequence[Operation], names: list[str], *, fresh: bool
) -> list[tuple[Column, str]]:
    """Column and new value for each column that the operations touch.

    `fresh`: for a row that does not exist yet. The names of members that are to be bound are added to `names`. The
    operands of JSON columns are numbered by their place in `operations`.
    """
    found: list[tuple[Column, str]] = []
    trees: dict[str, Node] = {}
    for number, (segments, operator, operand) in enumerate(operations):
        column = table.columns[segments[0]]
        if not column.is_json:
            found.append((column, _typed(column, operator, fresh)))
            continue
        node = trees.setdefault(column.name, Node())
        for segment in segments[1:]:
            node = node.members.setdefault(segment, Node())
        node.operator, node.operand, node.is_double = operator, number, type(operand) is float
    for name, tree in trees.items():
        column = table.columns[name]
        current = "NULL::jsonb" if fresh else f"t.{column.sql}" + ("::jsonb" if column.form is Form.JSON else "")
        result = "NULL" if tree.operator == "delete" else _new(current, tree, names)
        if tree.operator is None and tree.deletes_only():
            result = f"CASE WHEN jsonb_typeof({current}) = 'object' THEN {result} ELSE {current} END"
        if column.form is Form.JSON:
            result = f"({result})::json"
        found.append((column, result))
    return found


# -- columns of a type of their own


def _typed(column: Column, operator: str, fresh: bool) -> str:
    """The new value of a column that holds no JSON."""
    old, given = f"t.{column.sql}", f"r.{column.sql}"
    if operator == "delete":
        return "NULL"
    if operator == "arrayUnion":
        kept = f"NULL::{column.type}" if fresh else old
        return (
            f"coalesce({kept}, '{{}}') || ARRAY(SELECT v FROM (SELECT DISTINCT ON (v) v, n"
            f" FROM unnest({given}) WITH ORDINALITY AS u (v, n)"
            f" WHERE NOT EXISTS (SELECT FROM unnest({kept}) AS w (v) WHERE w.v IS NOT DISTINCT FROM u.v)"
            f" ORDER BY v, n) AS d ORDER BY n)"
        )
    if operator == "arrayRemove":
        if fresh:
            return f"'{{}}'::{column.type}"
        return (
            f"ARRAY(SELECT v FROM unnest({old}) WITH ORDINALITY AS u (v, n)"
            f" WHERE NOT EXISTS (SELECT FROM unnest({given}) AS w (v) WHERE w.v IS NOT DISTINCT FROM u.v) ORDER BY n)"
        )
    if fresh or operator == "value":
        return given
    if operator == "increment":
        return f"coalesce({old} + {given}, {given})"
    return f"{'greatest' if operator == 'max' else 'least'}({old}, {given})"


# -- JSON columns


def _new(current: str, node: Node, names: list[str]) -> str:
    """The new value at a place whose present value is the expression `current` (SQL NULL where there is none)."""
    if node.operator is not None:
        return _operated(current, node)
    base = (
        f"CASE WHEN jsonb_typeof({current}) = 'object' AND NOT {current} ?| {_TAGS_SQL} THEN {current}"
        " ELSE '{}'::jsonb END"
    )
    # Where something is only deleted, nothing is made; a tagged value has no members that could be.
    changed, deleted = [current if node.deletes_only() else base], []
    for name, child in node.members.items():
        names.append(name)
        key = f"($2::text[])[{len(names)}]"
        inner = f"({current} -> {key})"
        if child.operator == "delete":
            deleted.append(key)
        elif child.deletes_only():
            made = f"jsonb_build_object({key}, {_new(inner, child, names)})"
            changed.append(f"CASE WHEN jsonb_typeof({inner}) = 'object' THEN {made} ELSE '{{}}'::jsonb END")
        else:
            changed.append(f"jsonb_build_object({key}, {_new(inner, child, names)})")
    whole = " || ".join(f"({part})" for part in changed)
    return f"(({whole}) - ARRAY[{', '.join(deleted)}])" if deleted else f"({whole})"


def _operated(current: str, node: Node) -> str:
    operand = f"(x.o -> {node.operand})"
    if node.operator == "value":
        return operand
    if node.operator in ("arrayUnion", "arrayRemove"):
        return _array(current, operand, node.operator)
    number = f"{current}::numeric"
    if node.operator in ("max", "min"):
        compared = ">=" if node.operator == "max" else "<="
        chosen = f"CASE WHEN {number} {compared} {operand}::numeric THEN {current} ELSE {operand} END"
    else:
        # By way of its shortest text, as a double's numeric would have 15 digits; adding 0.0 keeps it a double.
        double = f"to_jsonb(to_jsonb({current}::float8 + {operand}::float8)::numeric + 0.0)"
        whole = f"to_jsonb(greatest(least({number} + {operand}::numeric, {INT_MAX}), {INT_MIN}))"
        chosen = double if node.is_double else f"CASE WHEN scale({number}) = 0 THEN {whole} ELSE {double} END"
    return f"CASE WHEN jsonb_typeof({current}) = 'number' THEN {chosen} ELSE {operand} END"


def _array(current: str, operand: str, operator: str | None) -> str:
    """jsonb compares as the view does: numbers by value, `true` is not 1."""
    array = f"CASE WHEN jsonb_typeof({current}) = 'array' THEN {current} ELSE '[]'::jsonb END"
    if operator == "arrayRemove":
        return (
            f"coalesce((SELECT jsonb_agg(v ORDER BY n) FROM jsonb_array_elements({array}) WITH ORDINALITY AS u (v, n)"
            f" WHERE NOT EXISTS (SELECT FROM jsonb_array_elements({operand}) AS w (v) WHERE w.v = u.v)), '[]')"
        )
    return (
        f"(({array}) || coalesce((SELECT jsonb_agg(v ORDER BY n) FROM (SELECT DISTINCT ON (v) v, n"
        f" FROM jsonb_array_elements({operand}) WITH ORDINALITY AS u (v, n)"
        f" WHERE NOT EXISTS (SELECT FROM jsonb_array_elements({array}) AS w (v) WHERE w.v = u.v)"
        " ORDER BY v, n) AS d), '[]'))"
    )
