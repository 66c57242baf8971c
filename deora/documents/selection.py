"""The pieces of SQL that a list query is put together from: conditions, sort keys, the place where a page begins.

Each piece is `(text, parameters)`, the parameters in the order of the text's question marks, so that pieces can be put
together without counting. No piece of a user's input is ever part of the text.

`view` is a document's canonical text, and `view -> path` the canonical text of one of its values. So two values are
equal where these texts are; only a number may have a second text, its twin of the other type (3 and 3.0).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from deora.documents.values import INT_MAX, INT_MIN, canonical

SORT_CHARACTERS: Final = 256

Sql = tuple[str, list[Any]]

_COMPARISONS: Final = {"lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
# References compare segment by segment: what separates them sorts before any character of a path.
_REFERENCE: Final = "replace({}, '/', char(1))"

# The rank of a value's type, as Firestore sorts ("Data types": value type ordering), and 0 for a missing field.
_RANK: Final = """CASE json_type(view, ?)
    WHEN 'text' THEN 5 WHEN 'integer' THEN 3 WHEN 'real' THEN 3 WHEN 'true' THEN 2 WHEN 'false' THEN 2
    WHEN 'null' THEN 1 WHEN 'array' THEN 9
    WHEN 'object' THEN CASE
      WHEN json_type(view, ?) IS NOT NULL THEN 4 WHEN json_type(view, ?) IS NOT NULL THEN 6
      WHEN json_type(view, ?) IS NOT NULL THEN 7 WHEN json_type(view, ?) IS NOT NULL THEN 8 ELSE 10 END
    ELSE 0 END"""
_KEY: Final = f"""CASE json_type(view, ?)
    WHEN 'text' THEN substr(json_extract(view, ?), 1, {SORT_CHARACTERS})
    WHEN 'integer' THEN json_extract(view, ?) WHEN 'real' THEN json_extract(view, ?)
    WHEN 'true' THEN 1 WHEN 'array' THEN substr(view -> ?, 1, {SORT_CHARACTERS})
    WHEN 'object' THEN coalesce(
      json_extract(view, ?), substr(json_extract(view, ?), 1, {SORT_CHARACTERS}),
      substr({_REFERENCE.format("json_extract(view, ?)")}, 1, {SORT_CHARACTERS}),
      json_extract(view, ?), substr(view -> ?, 1, {SORT_CHARACTERS}))
    ELSE 0 END"""


def condition(field: Sequence[str], op: str, operand: Any) -> Sql:
    """The condition of one `where` on the row of a document; the operator suits the operand."""
    path = _json_path(field)
    if op == "contains":
        return _contains(path, operand)
    if op in _COMPARISONS:
        return _comparison(field, _COMPARISONS[op], operand)
    texts = [text for value in (operand if op == "in" else [operand]) for text in _texts(value)]
    marks = ", ".join("?" * len(texts))
    if op == "ne":
        return f"(json_type(view, ?) <> 'null' AND (view -> ?) NOT IN ({marks}))", [path, path, *texts]
    return f"((view -> ?) IN ({marks}))", [path, *texts]


def sort_keys(field: Sequence[str]) -> tuple[Sql, Sql]:
    """Rank and value of one field of `orderBy`: two expressions that are never NULL."""
    path = _json_path(field)
    timestamp, binary, reference, geopoint = (
        _json_path((*field, tag)) for tag in ("$timestamp", "$bytes", "$reference", "$geopoint")
    )
    latitude = _json_path((*field, "$geopoint", "latitude"))
    return (
        (_RANK, [path, timestamp, binary, reference, geopoint]),
        (_KEY, [path, path, path, path, path, timestamp, binary, reference, latitude, path]),
    )


def behind(columns: Sequence[tuple[str, bool]], position: Sequence[Any]) -> Sql:
    """The condition that a row stands behind a position in the order of these columns, each (name, descending)."""
    (name, descending), *rest = columns
    comparison = f"{name} {'<' if descending else '>'} ?"
    if not rest:
        return comparison, [position[0]]
    text, parameters = behind(rest, position[1:])
    return f"({comparison} OR ({name} = ? AND {text}))", [position[0], position[0], *parameters]


def _json_path(field: Sequence[str]) -> str:
    """SQLite's path of a field; its names have no double quote (query.py sees to it)."""
    return "$" + "".join(f'."{segment}"' for segment in field)


def _texts(value: Any) -> list[str]:
    """The canonical texts of all values that equal this one."""
    text = canonical(value).decode()
    if type(value) not in (int, float):
        return [text]
    if value == 0:
        return ["0", "0.0", "-0.0"]
    twin: int | float = float(value) if type(value) is int else int(value)
    if twin == value and INT_MIN <= twin <= INT_MAX:
        return [text, canonical(twin).decode()]
    return [text]


def _comparison(field: Sequence[str], comparison: str, operand: Any) -> Sql:
    path = _json_path(field)
    if type(operand) is bool:
        condition = f"(json_type(view, ?) IN ('true', 'false') AND (json_type(view, ?) = 'true') {comparison} ?)"
        return condition, [path, path, operand]
    if type(operand) is str:
        return f"(json_type(view, ?) = 'text' AND json_extract(view, ?) {comparison} ?)", [path, path, operand]
    if type(operand) is dict:
        ((tag, text),) = operand.items()
        path = _json_path((*field, tag))
        if tag == "$reference":
            left, right = _REFERENCE.format("json_extract(view, ?)"), _REFERENCE.format("?")
            return f"({left} {comparison} {right})", [path, text]
        return f"(json_extract(view, ?) {comparison} ?)", [path, text]
    # The operand goes through SQLite's own reader of decimals too, so equal texts are equal numbers in any version.
    return (
        f"(json_type(view, ?) IN ('integer', 'real') AND json_extract(view, ?) {comparison} json_extract(?, '$'))",
        [path, path, canonical(operand).decode()],
    )


def _contains(path: str, operand: Any) -> Sql:
    text = canonical(operand).decode()
    element: Sql
    if operand is None or type(operand) is bool:
        element = "e.type = ?", [text]
    elif type(operand) is str:
        element = "e.type = 'text' AND e.value = ?", [operand]
    elif type(operand) is list or type(operand) is dict:
        element = "e.type IN ('array', 'object') AND e.value = ?", [text]
    else:
        element = "e.type IN ('integer', 'real') AND e.value = json_extract(?, '$')", [text]
    # json_each gives one row for a value that is no array: hence the first condition.
    return (
        f"(json_type(view, ?) = 'array' AND EXISTS (SELECT 1 FROM json_each(view, ?) AS e WHERE {element[0]}))",
        [path, path, *element[1]],
    )
