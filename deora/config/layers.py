"""Sources of the configuration laid over each other: what is set where, and by whom. Pure.

A layer has a rank; a higher one wins. Objects are merged key by key, anything else is replaced. The origin of each
value is kept, so that a fault names the file or the variable that it came from.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from deora.config.fields import Spec
from deora.config.reading import Fault, Path, dotted, read_value
from deora.config.schema import Config
from deora.config.sections import Section
from deora.config.texts import parse_json

_WORDS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


class Origin(NamedTuple):
    """Where a value came from: its rank, and its name in messages."""

    rank: int
    label: str


class Layers:
    """The tree of values as merged so far, and the faults that were found on the way.

    `tree` holds plain values by file name. `problems` are finished lines; `broken` are the paths that they are about.
    """

    def __init__(self) -> None:
        self.tree: dict[str, Any] = {}
        self.problems: list[str] = []
        self.broken: list[Path] = []
        self._origins: dict[Path, Origin] = {}

    def put(self, path: Path, value: Any, origin: Origin) -> None:
        """Lay `value` over what stands at `path`. A value that is thereby replaced is still checked."""
        nested = value
        for step in reversed(path):
            nested = {step: nested}
        root = Spec("section", section=Config)
        around = [path[:length] for length in range(1, len(path))]
        gaps = [place for place in around if not isinstance(self.value(place), dict)]
        self.tree = self._merged(root, self.tree, nested, ())
        self._origins.update((place, origin) for place in gaps if isinstance(self.value(place), dict))
        self._origins.update((place, origin) for place in _places(value, path))

    def value(self, path: Path) -> Any:
        """The value at `path`, or None where no layer has set one."""
        value: Any = self.tree
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        return value

    def rank(self, path: Path) -> int:
        """The rank of the layer that set the value at `path`, null included; -1 if none has."""
        parent = self.value(path[:-1])
        origin = self.origin(path) if isinstance(parent, dict) and path[-1] in parent else None
        return origin.rank if origin else -1

    def origin(self, path: Path) -> Origin | None:
        """Where the value at `path` came from, else the nearest object around it."""
        places = (path[:length] for length in range(len(path), 0, -1))
        return next((self._origins[place] for place in places if place in self._origins), None)

    def report(self, fault: Fault) -> None:
        """Note a fault of the value at its path, with the name of the source that it came from."""
        self.refuse(self.origin(fault.source or fault.path), fault.path, fault.detail)

    def refuse(self, origin: Origin | None, path: Path, detail: str) -> None:
        """Note that what `origin` says of `path` is wrong; an empty path is about the source itself."""
        problem = ": ".join(part for part in (origin.label if origin else "", dotted(path), detail) if part)
        self.broken.append(path)
        if problem not in self.problems:
            self.problems.append(problem)

    def _merged(self, spec: Spec | None, base: Any, value: Any, path: Path) -> Any:
        if not isinstance(value, dict) or not isinstance(base, dict):
            self._check_replaced(spec, base, path)
            # What should be an object and is none stays, for the reader to refuse it.
            fills_gap = base is None and spec is not None and spec.nullable
            return base if isinstance(value, dict) and not fills_gap else value
        if spec is not None and spec.kind == "variant":
            base = self._without_other_type(spec, base, value, path)
        result = dict(base)
        for name, member in value.items():
            child = child_spec(spec, name) if spec else None
            step = (*path, name)
            result[name] = self._merged(child, base[name], member, step) if name in base else member
        return result

    def _without_other_type(
        self, spec: Spec, base: dict[str, Any], value: dict[str, Any], path: Path
    ) -> dict[str, Any]:
        """`base` without the keys that only its present type has, where `value` brings another type."""
        before, after = _variant_of(spec, base), _variant_of(spec, {**base, **value})
        if before is None or after is None:
            return base
        stale = [name for name in base if name in before.specs and name not in after.specs]
        for name in stale:
            self._check_replaced(before.specs[name], base[name], (*path, name))
        return {name: member for name, member in base.items() if name not in stale}

    def _check_replaced(self, spec: Spec | None, value: Any, path: Path) -> None:
        """A wrong value is an error even where a stronger source hides it: it would come back with the other gone."""
        faults: list[Fault] = []
        if spec is not None and spec.kind not in ("section", "variant"):
            read_value(spec, value, path, faults, None)
        for fault in faults:
            self.report(fault)


def child_spec(spec: Spec, name: str) -> Spec | None:
    """The specification of the member `name` of an object; of a variant, of any type's; None if there is none."""
    if spec.kind == "mapping":
        return spec.item
    if spec.variants is not None and name == "type":
        return Spec("choice", choices=tuple(spec.variants))
    sections = [spec.section] if spec.section else list((spec.variants or {}).values())
    found: list[Spec] = [section.specs[name] for section in sections if name in section.specs]
    return found[0] if found else None


def _variant_of(spec: Spec, value: dict[str, Any]) -> type[Section] | None:
    name = value.get("type", getattr(spec.default, "type", None))
    return (spec.variants or {}).get(name) if isinstance(name, str) else None


def from_text(spec: Spec, text: str) -> Any:
    """The plain value that a variable's text means for a key of this kind; what means nothing stays a text.

    Raises ValueError where JSON is wanted and the text is none.
    """
    if spec.nullable and text in ("", "null"):
        return None
    match spec.kind:
        case "integer" | "number":
            try:
                value = parse_json(text)
            except ValueError:
                return text
            return value if isinstance(value, int | float) else text
        case "boolean":
            return _WORDS.get(text.strip().lower(), text)
        case "list" | "mapping" | "section" | "variant":
            return parse_json(text)
        case _:
            return text


def _places(value: Any, path: Path) -> Iterator[Path]:
    yield path
    if isinstance(value, dict):
        for name, member in value.items():
            yield from _places(member, (*path, name))
