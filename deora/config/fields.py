"""Field specifications: what one configuration key means, and which values it takes.

A section of the configuration is a frozen dataclass. Each of its fields carries a `Spec`, put there by one of the
functions below, so the schema reads as a table: name, type, meaning, default, range. Reading, displaying and
documenting a configuration are walks over these specifications; no key is known anywhere else.

Own code instead of a validation library: it reports every fault at once, and a library costs 13 to 190 ms of import.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field
from typing import Any, Final, Literal

Kind = Literal["text", "integer", "number", "size", "boolean", "choice", "list", "mapping", "section", "variant"]

Secrecy = Literal["", "password", "value"]
"""What of a value is secret: nothing, the password inside a URL, or all of it."""

KIB: Final = 1 << 10
MIB: Final = 1 << 20
GIB: Final = 1 << 30
TIB: Final = 1 << 40

REQUIRED: Final[Any] = object()
"""The default of a key that has none."""


@dataclass(frozen=True, slots=True)
class Spec:
    """One key, an item of a list, or a value of a mapping.

    `minimum` and `maximum` bound a number or a size (bytes), both inclusive. `rule` names an entry of
    `formats.RULES` for a text. `item` describes the members of a list or a mapping, `section` is the dataclass of a
    nested object, `variants` the dataclasses of an object whose `type` key chooses among them.
    """

    kind: Kind
    meaning: str = ""
    default: Any = REQUIRED
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    rule: str = "text"
    nullable: bool = False
    secret: Secrecy = ""
    item: Spec | None = None
    section: type[Any] | None = None
    variants: Mapping[str, type[Any]] | None = None


def text(
    meaning: str, *, default: Any = REQUIRED, rule: str = "text", nullable: bool = False, secret: Secrecy = ""
) -> Any:
    """A field that holds a text which follows `rule`."""
    return _field(Spec("text", meaning, default, rule=rule, nullable=nullable, secret=secret))


def integer(meaning: str, *, default: Any = REQUIRED, minimum: int, maximum: int) -> Any:
    """A field that holds a whole number within its range."""
    return _field(Spec("integer", meaning, default, minimum, maximum))


def number(meaning: str, *, default: Any = REQUIRED, minimum: float, maximum: float) -> Any:
    """A field that holds a number within its range; durations have their unit in the key's name."""
    return _field(Spec("number", meaning, default, minimum, maximum))


def size(meaning: str, *, default: Any = REQUIRED, minimum: int, maximum: int) -> Any:
    """A field that holds a number of bytes; its input may be a text like "10MiB"."""
    return _field(Spec("size", meaning, default, minimum, maximum))


def boolean(meaning: str, *, default: Any = REQUIRED) -> Any:
    """A field that holds true or false."""
    return _field(Spec("boolean", meaning, default))


def choice(meaning: str, choices: tuple[str, ...], *, default: Any = REQUIRED, nullable: bool = False) -> Any:
    """A field that holds one of a few words."""
    return _field(Spec("choice", meaning, default, choices=choices, nullable=nullable))


def list_of(item: Spec, meaning: str, *, default: tuple[Any, ...]) -> Any:
    """A field that holds a tuple of items, each at most once."""
    return _field(Spec("list", meaning, default, item=item))


def mapping_of(item: Spec, meaning: str, *, rule: str, default_factory: Callable[[], dict[str, Any]]) -> Any:
    """A field that holds a dict from names (which follow `rule`) to items."""
    spec = Spec("mapping", meaning, default_factory(), rule=rule, item=item)
    return field(default_factory=default_factory, metadata={"spec": spec})


def nested(section: type[Any], meaning: str, *, default: Any) -> Any:
    """A field that holds another section; `default` is an instance."""
    return _field(Spec("section", meaning, default, section=section))


def variant(variants: Mapping[str, type[Any]], meaning: str, *, default: Any, nullable: bool = False) -> Any:
    """A field that holds one of several sections, chosen by the object's `type` key."""
    return _field(Spec("variant", meaning, default, variants=variants, nullable=nullable))


def _field(spec: Spec) -> Any:
    return field(default=MISSING if spec.default is REQUIRED else spec.default, metadata={"spec": spec})


def item_of(spec: Spec) -> Spec:
    """The specification of the members of a list or a mapping."""
    if spec.item is None:
        raise TypeError(f"a {spec.kind} has no items")
    return spec.item
