"""The body of an update: field paths with new values or operators, checked and put into one plain form.

    {"status": "paid", "guest.name": "Anna", "stock": {"$increment": -1}, "seenAt": {"$serverTimestamp": true}}

becomes a list of `[segments, operator, operand]`, sorted by segments:

    [[["guest", "name"], "value", "Anna"], [["seenAt"], "serverTimestamp", true], [["status"], "value", "paid"],
     [["stock"], "increment", -1]]

The order has no meaning: no path is a prefix of another one, as in Firestore.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

from deora.documents.fields import format_field_path, parse_field_path
from deora.documents.tags import TAGS
from deora.documents.values import MAX_DEPTH, canonical, check_value
from deora.documents.wording import kind_of, shown
from deora.errors import Problem

# Firestore's limit of field transformations for one document in one commit ("Quotas and limits").
MAX_TRANSFORMS: Final = 500

NUMBER_OPERATORS: Final = frozenset({"increment", "max", "min"})
ARRAY_OPERATORS: Final = frozenset({"arrayUnion", "arrayRemove"})
FLAG_OPERATORS: Final = frozenset({"serverTimestamp", "delete"})
_TRANSFORMS: Final = NUMBER_OPERATORS | ARRAY_OPERATORS | {"serverTimestamp"}
_OPERATOR_OF: Final = {
    f"${name}": name for name in ("increment", "max", "min", "arrayUnion", "arrayRemove", "serverTimestamp", "delete")
}

Operation = tuple[tuple[str, ...], str, Any]


def read_update(fields: Any) -> bytes:
    """The canonical JSON list of operations of a decoded update.

    Raises Problem("invalid-update") for the update's shape and its operators, Problem("invalid-document") for a value.
    """
    if type(fields) is not dict:
        raise Problem("invalid-update", f"an update is a flat object from field path to value; found {kind_of(fields)}")
    if not fields:
        raise Problem("invalid-update", "an update names at least one field")
    operations = [_operation(parse_field_path(text), value) for text, value in fields.items()]
    operations.sort(key=lambda operation: operation[0])
    _refuse_overlap(operations)
    transforms = sum(operator in _TRANSFORMS for _, operator, _ in operations)
    if transforms > MAX_TRANSFORMS:
        raise Problem("invalid-update", f"an update has {transforms} operators; at most {MAX_TRANSFORMS} are allowed")
    return canonical(operations)


def _operation(segments: tuple[str, ...], value: Any) -> Operation:
    """One field of an update, checked."""
    depth = len(segments) + 1
    if depth > MAX_DEPTH + 1:
        raise Problem(
            "invalid-update",
            f"the field path {shown(format_field_path(segments))} has {len(segments)} segments; "
            f"at most {MAX_DEPTH} are allowed",
        )
    if type(value) is dict:
        for name in value:
            if name.startswith("$") and name not in TAGS:
                return segments, _operator(segments, value, name), _operand(segments, value, name)
    return segments, "value", check_value(value, depth=depth, at=segments)


def _operator(segments: tuple[str, ...], value: dict[str, Any], name: str) -> str:
    """The operator that stands alone in this object under this name."""
    operator = _OPERATOR_OF.get(name)
    if operator is None:
        raise _refusal(
            segments,
            f"{shown(name)} is no operator; allowed are {', '.join(_OPERATOR_OF)} "
            f"and the tagged values {', '.join(TAGS)}",
        )
    if len(value) != 1:
        raise _refusal(segments, f"an operator stands alone in its object; beside {name} there are other members")
    return operator


def _operand(segments: tuple[str, ...], value: dict[str, Any], name: str) -> Any:
    """The operand of an operator, checked: a number, an array or `true`."""
    operand = value[name]
    operator = _OPERATOR_OF[name]
    if operator in NUMBER_OPERATORS:
        if type(operand) not in (int, float):
            raise _refusal(segments, f"{name} takes a number; found {kind_of(operand)}")
    elif operator in FLAG_OPERATORS:
        if operand is not True:
            raise _refusal(segments, f"{name} takes true; found {kind_of(operand)}")
        return True
    elif type(operand) is not list:
        raise _refusal(segments, f"{name} takes an array; found {kind_of(operand)}")
    return check_value(operand, depth=len(segments) + 1, at=segments)


def _refuse_overlap(operations: list[Operation]) -> None:
    """Refuses a path that stands twice or is a prefix of another one. In sorted order such paths are neighbours."""
    for (shorter, _, _), (longer, _, _) in pairwise(operations):
        if longer[: len(shorter)] == shorter:
            raise Problem(
                "invalid-update",
                f"the field paths {shown(format_field_path(shorter))} and {shown(format_field_path(longer))} overlap",
                hint="Update a field or fields inside it, not both",
            )


def _refusal(segments: tuple[str, ...], message: str) -> Problem:
    return Problem("invalid-update", f"in {format_field_path(segments)}: {message}")
