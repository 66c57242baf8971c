"""List queries: the parameters of a list call, compiled to one SQLite statement.

    where=total:gte:20&where=status:in:["open","ready"]&orderBy=-createdAt,table&limit=50&cursor=..

Comparisons are typed as in Cloud Firestore: a number matches only numbers (and 3 equals 3.0), a string only strings,
and so on. `orderBy` ranks the types as Firestore does, with a missing field first; ties go by name, in the direction of
the last field.

| op | matches |
|---|---|
| eq, in | an equal value; objects and arrays by their canonical text |
| ne | a value that exists, is not null and is not equal |
| lt lte gt gte | a value of the same type; not for null, objects, arrays and geopoints |
| contains | an array that has an equal element |

The statement needs SQLite 3.38 or newer for `->`, and `view` stored as TEXT. Nothing of the user stands in its text:
values and JSON paths are bound. Where it is coarser than Firestore: bytes compare by their base64, geopoints are
ordered by latitude alone, arrays and objects by their canonical text, and of any text the first 256 characters count
for the order (so that a cursor fits into a URL).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from deora.documents.cursors import decode_cursor, pack_cursor
from deora.documents.fields import format_field_path, parse_field_path
from deora.documents.paths import check_collection_path
from deora.documents.selection import behind, condition, sort_keys
from deora.documents.values import canonical, check_value, decode_json, is_tagged
from deora.documents.wording import kind_of, shown
from deora.errors import Problem

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1000
MAX_FILTERS: Final = 20
MAX_ORDERS: Final = 4
MAX_IN_VALUES: Final = 100

OPS: Final = ("eq", "ne", "lt", "lte", "gt", "gte", "in", "contains")
COLUMNS: Final = "name, version, created_us, updated_us, pending, view"
ORDERED_TAGS: Final = ("$timestamp", "$bytes", "$reference")
_PARAMETERS: Final = ("where", "orderBy", "limit", "cursor")
_QUOTED: Final = r"`(?:[^`\\]|\\[`\\])*`"
_WHERE: Final = re.compile(rf"((?:{_QUOTED}|[^`:])+):([^:]*):(.*)", re.DOTALL)
_ORDER: Final = re.compile(rf"(-?+)((?:{_QUOTED}|[^`,])+)(,|\Z)")
_NOT_IN_JSON_PATH: Final = re.compile(r'["\\\x00-\x1f\x7f-\x9f]')


@dataclass(frozen=True, slots=True)
class Filter:
    """One `where`: a field, one of OPS and a checked operand."""

    field: tuple[str, ...]
    op: str
    operand: Any


@dataclass(frozen=True, slots=True)
class Order:
    """One field of `orderBy`."""

    field: tuple[str, ...]
    descending: bool


@dataclass(frozen=True, slots=True)
class Query:
    """A list query. `after` is where the page begins: the sort keys and the name of the last row before it."""

    collection: str
    filters: tuple[Filter, ...]
    orders: tuple[Order, ...]
    limit: int
    after: tuple[Any, ...] | None = None

    def digest(self) -> bytes:
        """8 bytes that tell this query from others, whatever the page and the limit: what a cursor is bound to."""
        filters = [[item.field, item.op, item.operand] for item in self.filters]
        orders = [[item.field, item.descending] for item in self.orders]
        return blake2b(canonical([self.collection, filters, orders]), digest_size=8).digest()


def parse_query(collection: str, params: list[tuple[str, str]]) -> Query:
    """The query of `GET /v1/documents/{collection}`; `params` are the decoded parameters of the URL.

    Raises Problem("invalid-path", "invalid-query").
    """
    check_collection_path(collection)
    filters: list[Filter] = []
    orders: list[Order] = []
    single: dict[str, str] = {}
    for name, text in params:
        if name == "where":
            filters.append(_parse_filter(text))
        elif name == "orderBy":
            orders.extend(_parse_orders(text))
        elif name not in _PARAMETERS:
            raise _refusal(f"there is no parameter {shown(name)}; allowed are {', '.join(_PARAMETERS)}")
        elif name in single:
            raise _refusal(f"the parameter {name} is given twice")
        else:
            single[name] = text
    if len(filters) > MAX_FILTERS:
        raise _refusal(f"there are {len(filters)} where parameters; at most {MAX_FILTERS} are allowed")
    _check_orders(orders)
    query = Query(collection, tuple(filters), tuple(orders), _parse_limit(single.get("limit")))
    if "cursor" not in single:
        return query
    after = decode_cursor(query.digest(), len(orders), single["cursor"])
    return Query(query.collection, query.filters, query.orders, query.limit, after)


def compile_query(query: Query) -> tuple[str, list[Any]]:
    """The SELECT of one page over the table `documents`, and its parameters.

    Its columns are COLUMNS and then the sort keys `k0, k1, ..`, two for each field of `orderBy`. It gives up to
    `limit + 1` rows: the one too many says that there is a next page.
    """
    columns = [COLUMNS]
    parameters: list[Any] = []
    order: list[tuple[str, bool]] = []
    for item in query.orders:
        for text, values in sort_keys(item.field):
            name = f"k{len(order)}"
            columns.append(f"{text} AS {name}")
            parameters += values
            order.append((name, item.descending))
    names = [COLUMNS, *(name for name, _ in order)]
    order.append(("name", bool(query.orders) and query.orders[-1].descending))

    conditions = ["collection = ?", "view IS NOT NULL"]
    parameters.append(query.collection)
    for where in query.filters:
        text, values = condition(where.field, where.op, where.operand)
        conditions.append(text)
        parameters += values

    page = ""
    if query.after is not None:
        text, values = behind(order, query.after)
        page = f"WHERE {text} "
        parameters += values
    parameters.append(query.limit + 1)
    directions = ", ".join(f"{name} DESC" if descending else name for name, descending in order)
    inner = f"SELECT {', '.join(columns)} FROM documents WHERE {' AND '.join(conditions)}"
    if query.orders:
        # Keeps SQLite from putting the sort keys' expressions wherever their names stand, and so from computing them
        # again and again; without sort keys the statement must stay one, to begin its page in the index.
        inner += " LIMIT -1"
    return f"SELECT {', '.join(names)} FROM ({inner}) {page}ORDER BY {directions} LIMIT ?", parameters


def encode_cursor(query: Query, row: Sequence[Any]) -> str:
    """The cursor of the page that follows this row of `compile_query`'s statement."""
    return pack_cursor(query.digest(), row[6 : 6 + 2 * len(query.orders)], row[0])


def _parse_filter(text: str) -> Filter:
    match = _WHERE.fullmatch(text)
    if match is None:
        raise _refusal(
            f"where={shown(text)} is not of the form field:op:json",
            'For example where=status:eq:"open"; quote a field name that has a colon by backquotes',
        )
    field, op, value = match.groups()
    if op not in OPS:
        raise _refusal(f"where={shown(text)} has the operator {shown(op)}; allowed are {', '.join(OPS)}")
    try:
        operand = check_value(decode_json(value.encode("utf-8", "surrogatepass")), depth=2)
    except Problem as problem:
        hint = 'A string stands in quotes: where=status:eq:"open"' if problem.kind == "invalid-json" else problem.hint
        raise _refusal(f"the value in where={shown(text)}: {problem.detail}", hint) from None
    if op == "in":
        _check_in(operand)
    elif op in ("lt", "lte", "gt", "gte"):
        _check_ordered(op, operand)
    return Filter(_parse_field(field), op, operand)


def _check_in(operand: Any) -> None:
    if type(operand) is not list:
        raise _refusal(f"in takes an array of values; found {kind_of(operand)}")
    if not 1 <= len(operand) <= MAX_IN_VALUES:
        raise _refusal(f"in takes 1 to {MAX_IN_VALUES} values; found {len(operand)}")


def _check_ordered(op: str, operand: Any) -> None:
    if type(operand) is dict and is_tagged(operand) and next(iter(operand)) in ORDERED_TAGS:
        return
    if operand is None or type(operand) in (list, dict):
        found = "a geopoint" if type(operand) is dict and is_tagged(operand) else kind_of(operand)
        raise _refusal(
            f"{op} compares booleans, numbers, strings, timestamps, bytes and references; found {found}",
        )


def _parse_field(text: str) -> tuple[str, ...]:
    """The segments of a field path that SQLite's JSON path can express."""
    field = parse_field_path(text, "invalid-query")
    for segment in field:
        if _NOT_IN_JSON_PATH.search(segment) is not None:
            raise _refusal(
                f"the field name {shown(segment)} cannot be queried: it has a double quote, a backslash "
                "or a control character"
            )
    return field


def _parse_orders(text: str) -> list[Order]:
    orders = []
    position = 0
    while True:
        match = _ORDER.match(text, position)
        if match is None:
            raise _refusal(
                f"orderBy={shown(text)} is not a list of fields separated by commas",
                "For example orderBy=-createdAt,name; quote a field name that has a comma by backquotes",
            )
        minus, field, comma = match.groups()
        orders.append(Order(_parse_field(field), minus == "-"))
        if not comma:
            return orders
        position = match.end()


def _check_orders(orders: list[Order]) -> None:
    if len(orders) > MAX_ORDERS:
        raise _refusal(f"orderBy has {len(orders)} fields; at most {MAX_ORDERS} are allowed")
    fields = [order.field for order in orders]
    for field in fields:
        if fields.count(field) > 1:
            raise _refusal(f"orderBy has the field {shown(format_field_path(field))} twice")


def _parse_limit(text: str | None) -> int:
    if text is None:
        return DEFAULT_LIMIT
    if not (text.isascii() and text.isdigit() and len(text) <= 4 and 1 <= int(text) <= MAX_LIMIT):
        raise _refusal(f"limit is {shown(text)}; 1 to {MAX_LIMIT} are allowed")
    return int(text)


def _refusal(detail: str, hint: str | None = None) -> Problem:
    return Problem("invalid-query", detail, hint=hint)
