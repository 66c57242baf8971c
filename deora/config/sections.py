"""Sections: the frozen dataclasses that the configuration is made of, and how they become plain values. Pure."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, dataclass_transform

from deora.config import fields as specifiers
from deora.config.fields import REQUIRED, Spec, item_of
from deora.config.formats import HIDDEN, mask_url

SectionT = TypeVar("SectionT", bound="Section")


class Section:
    """A part of the configuration: immutable, equal by value, with a `repr` that shows no secret.

    `specs` specifies its fields, in their order. What `dataclass` would generate for each class is written here once:
    generating and compiling it for 29 sections made the schema's import take 24 to 39 ms; so it takes 7 to 12.
    """

    __slots__ = ()
    specs: ClassVar[dict[str, Spec]] = {}

    def __init__(self, *values: Any, **members: Any) -> None:
        if len(values) > len(self.specs):
            raise TypeError(f"{type(self).__name__} takes {len(self.specs)} values, not {len(values)}")
        given = dict(zip(self.specs, values, strict=False))
        wrong = [name for name in members if name not in self.specs or name in given]
        given |= members
        missing = [name for name, spec in self.specs.items() if name not in given and spec.default is REQUIRED]
        if wrong or missing:
            raise TypeError(f"{type(self).__name__}: unknown or given twice: {wrong}, missing: {missing}")
        for name, spec in self.specs.items():
            value = given.get(name, spec.default)
            object.__setattr__(self, name, dict(value) if isinstance(value, dict) else value)

    if not TYPE_CHECKING:  # a class with __setattr__ may have any attribute, as type checkers see it

        def __setattr__(self, name: str, value: Any) -> None:
            raise FrozenInstanceError(f"cannot assign to {name!r}: a configuration does not change")

        def __delattr__(self, name: str) -> None:
            raise FrozenInstanceError(f"cannot delete {name!r}: a configuration does not change")

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and self._values() == other._values()

    def __hash__(self) -> int:
        return hash(self._values())

    def __reduce__(self) -> tuple[type[Section], tuple[Any, ...]]:
        return type(self), self._values()

    def __repr__(self) -> str:
        members = ((name, spec, getattr(self, name)) for name, spec in self.specs.items())
        shown = (f"{name}={(v if isinstance(v, Section) else _displayed(spec, v))!r}" for name, spec, v in members)
        return f"{type(self).__name__}({', '.join(shown)})"

    def _values(self) -> tuple[Any, ...]:
        return tuple(getattr(self, name) for name in self.specs)


@dataclass_transform(
    frozen_default=True,
    field_specifiers=(
        specifiers.text,
        specifiers.integer,
        specifiers.number,
        specifiers.size,
        specifiers.boolean,
        specifiers.choice,
        specifiers.list_of,
        specifiers.mapping_of,
        specifiers.nested,
        specifiers.variant,
    ),
)
def section(cls: type[SectionT]) -> type[SectionT]:
    """Make a class whose fields come from `fields` a section: a frozen dataclass with slots and `specs`."""
    made = dataclass(init=False, repr=False, eq=False, slots=True)(cls)
    made.specs = {each.name: each.metadata["spec"] for each in fields(made)}  # type: ignore[arg-type]
    return made


def plain(value: Any) -> Any:
    """A section, or any value inside one, as dicts, lists and scalars; `reading.read_section` is the inverse."""
    if isinstance(value, Section):
        return {name: plain(getattr(value, name)) for name in value.specs}
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, tuple) else value


def display(section: Section) -> dict[str, Any]:
    """The section as plain data with each secret replaced by "***", also passwords inside URLs."""
    return {name: _displayed(spec, getattr(section, name)) for name, spec in section.specs.items()}


def _displayed(spec: Spec, value: Any) -> Any:
    if value is None:
        return None
    if isinstance(value, Section):
        return display(value)
    if isinstance(value, tuple):
        return [_displayed(item_of(spec), item) for item in value]
    if isinstance(value, dict):
        return {name: _displayed(item_of(spec), item) for name, item in value.items()}
    if spec.secret:
        return HIDDEN if spec.secret == "value" else mask_url(value)
    return value
