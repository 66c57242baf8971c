"""Plain values into sections of the configuration, along their specifications. Pure.

A wrong value never stops the reading: the fault is noted, the default takes its place, and reading goes on. So a
caller sees every fault at once, and checks across sections still have a whole configuration to look at.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

from deora.config.fields import REQUIRED, Spec, item_of
from deora.config.formats import RULES, follows, format_size, mask_url, parse_size
from deora.config.sections import Section

Path = tuple[str | int, ...]
"""Where a value stands: keys, and the indexes of lists."""

SectionT = TypeVar("SectionT", bound=Section)

_FOUND_LIMIT: Final = 60
_PLACEHOLDERS: Final[dict[str, Any]] = {
    "text": "",
    "choice": "",
    "integer": 0,
    "number": 0,
    "size": 0,
    "boolean": False,
}


class Fault(NamedTuple):
    """One wrong value: its place, what is wrong, and the place whose source is to be named (else its own)."""

    path: Path
    detail: str
    source: Path | None = None


def dotted(path: Path) -> str:
    """A path as people write it: `security.tokens[1].hash`; a name that is no identifier is quoted."""
    written = ""
    for step in path:
        if isinstance(step, int):
            written += f"[{step}]"
        elif re.fullmatch(r"[A-Za-z0-9_-]+", step):
            written += f".{step}" if written else step
        else:
            written += f"[{_shortened(json.dumps(step))}]"
    return written


def allowed(spec: Spec) -> str:
    """What a specification allows, in words, for faults and for the documentation."""
    or_null = ", or null" if spec.nullable else ""
    match spec.kind:
        case "text":
            return RULES[spec.rule].allowed + or_null
        case "integer" | "number":
            kind = "a whole number" if spec.kind == "integer" else "a number"
            return f"{kind} from {_plain_number(spec.minimum)} to {_plain_number(spec.maximum)}{or_null}"
        case "size":
            bounds = (format_size(int(bound or 0)) for bound in (spec.minimum, spec.maximum))
            return 'a size from {} to {}, in bytes or like "10MiB"'.format(*bounds) + or_null
        case "boolean":
            return "true or false" + or_null
        case "choice":
            words = ", ".join(f'"{word}"' for word in spec.choices)
            return (f"one of {words}" if len(spec.choices) > 1 else words) + or_null
        case "list":
            return f"a list; each item {allowed(item_of(spec))}"
        case "mapping":
            return f"an object; each name {RULES[spec.rule].allowed}, each value {allowed(item_of(spec))}"
        case "section":
            return "an object with the keys " + ", ".join(spec.section.specs if spec.section else ())
        case "variant":
            return 'an object with a "type", one of ' + ", ".join(f'"{name}"' for name in spec.variants or ()) + or_null


def read_section(
    section: type[SectionT],
    value: dict[Any, Any],
    path: Path,
    faults: list[Fault],
    base: SectionT | None = None,
    siblings: Spec | None = None,
) -> SectionT:
    """The section that `value` (a plain object) describes; what it leaves out comes from `base`, else the defaults.

    Faults are appended to `faults`; then the result is only a stand-in. `siblings` is the variant specification that
    chose `section`, so that a key of another variant is recognised as such.
    """
    specs = section.specs
    faults += [Fault((*path, str(key)), _unknown_key(str(key), specs, siblings)) for key in value if key not in specs]
    members: dict[str, Any] = {}
    for name, spec in specs.items():
        default = spec.default if base is None else getattr(base, name)
        if name in value:
            members[name] = read_value(spec, value[name], (*path, name), faults, default)
            continue
        if default is REQUIRED:
            source = (*path, "type") if "type" in value else path
            faults.append(Fault((*path, name), f"missing; it must be {allowed(spec)}", source))
        members[name] = _stand_in(spec, default)
    return section(**members)


def read_value(spec: Spec, value: object, path: Path, faults: list[Fault], default: Any = REQUIRED) -> Any:
    """The value that a key takes from plain data, or `default` after a fault; for the arguments see `read_section`."""
    if value is None and spec.nullable:
        return None
    fault_count = len(faults)
    if spec.kind in _SCALARS:
        result = _SCALARS[spec.kind](spec, value)
    else:
        result = _CONTAINERS[spec.kind](spec, value, path, faults, default)
    if result is _WRONG:
        if len(faults) == fault_count:
            faults.append(Fault(path, f"found {found(spec, value)}; allowed is {allowed(spec)}"))
        return _stand_in(spec, default)
    return result


def found(spec: Spec, value: object) -> str:
    """A wrong value in words that are safe to print: short, escaped, and nothing of a secret."""
    if value is None or isinstance(value, dict | list) or not _holds_secret(spec):
        return _described(value)
    scheme = re.match(r"[a-z]{1,15}://", value) if spec.secret == "password" and isinstance(value, str) else None
    if scheme:
        return f"{scheme[0]}... (the rest is not shown)"
    return "a text (not shown)" if isinstance(value, str) else "a value of another kind (not shown)"


def _holds_secret(spec: Spec) -> bool:
    """Whether a secret may stand here or inside: then a scalar in the place of an object may be that secret."""
    sections = [*filter(None, [spec.section]), *(spec.variants or {}).values()]
    inner = [*filter(None, [spec.item]), *(member for section in sections for member in section.specs.values())]
    return spec.secret != "" or any(_holds_secret(member) for member in inner)


def _described(value: object) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if value is None or isinstance(value, bool | int | float):
        return _shortened(json.dumps(value))
    # A secret may have been put under the wrong key: at least a URL's password is recognised.
    return _shortened(json.dumps(mask_url(value))) if isinstance(value, str) else f"a {type(value).__name__}"


def _shortened(text: str) -> str:
    return text if len(text) <= _FOUND_LIMIT else text[: _FOUND_LIMIT - 3] + "..."


def _plain_number(value: float | None) -> str:
    return f"{int(value):d}" if value is not None and value == int(value) else str(value)


def _stand_in(spec: Spec, default: Any) -> Any:
    return _PLACEHOLDERS.get(spec.kind) if default is REQUIRED else default


def _unknown_key(key: str, specs: dict[str, Spec], siblings: Spec | None) -> str:
    """What to say of a key that the section does not have. Its value is never shown: nothing is known of it."""
    variants = {name: section.specs for name, section in ((siblings and siblings.variants) or {}).items()}
    owner = next((name for name, keys in variants.items() if key in keys), None)
    here = next((name for name, keys in variants.items() if keys is specs), None)
    if owner:
        return f'the type "{here}" has no such key, the type "{owner}" has; the keys here are {", ".join(specs)}'
    return f"unknown key{did_you_mean(key, list(specs))}; the keys here are {', '.join(specs)}"


def did_you_mean(name: str, known: list[str], cutoff: float = 0.6) -> str:
    """`; did you mean "port"?` where `name` is nearly one of `known`, else nothing."""
    from difflib import get_close_matches  # only a wrong configuration pays for its import

    close = get_close_matches(name.lower(), [each.lower() for each in known], n=1, cutoff=cutoff)
    original = next((each for each in known if close and each.lower() == close[0]), None)
    return f'; did you mean "{original}"?' if original else ""


_WRONG: Final = object()


def _read_text(spec: Spec, value: Any) -> Any:
    return value if isinstance(value, str) and follows(spec.rule, value) else _WRONG


def _read_number(spec: Spec, value: Any) -> Any:
    kinds = (int,) if spec.kind == "integer" else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds):
        return _WRONG
    return value if _within(spec, value) else _WRONG


def _read_size(spec: Spec, value: Any) -> Any:
    size_bytes = parse_size(value) if isinstance(value, str) else value
    if isinstance(size_bytes, bool) or not isinstance(size_bytes, int):
        return _WRONG
    return size_bytes if _within(spec, size_bytes) else _WRONG


def _within(spec: Spec, value: float) -> bool:
    # Written so that NaN, for which every comparison is false, is outside.
    return spec.minimum is not None and spec.maximum is not None and spec.minimum <= value <= spec.maximum


def _read_boolean(_: Spec, value: Any) -> Any:
    return value if isinstance(value, bool) else _WRONG


def _read_choice(spec: Spec, value: Any) -> Any:
    return value if isinstance(value, str) and value in spec.choices else _WRONG


def _read_list(spec: Spec, value: Any, path: Path, faults: list[Fault], _: Any) -> Any:
    if not isinstance(value, list):
        return _WRONG
    items: list[Any] = []
    fault_count = len(faults)
    for index, plain_item in enumerate(value):
        fault_count_before = len(faults)
        item = read_value(item_of(spec), plain_item, (*path, index), faults)
        if len(faults) == fault_count_before and item in items:
            faults.append(Fault((*path, index), f"stands twice in the list, first at [{items.index(item)}]"))
        items.append(item if len(faults) == fault_count_before else _WRONG)
    return tuple(items) if len(faults) == fault_count else _WRONG


def _read_mapping(spec: Spec, value: Any, path: Path, faults: list[Fault], _: Any) -> Any:
    if not isinstance(value, dict):
        return _WRONG
    name_spec = Spec("text", rule=spec.rule)
    fault_count = len(faults)
    result = {
        read_value(name_spec, name, (*path, str(name)), faults): read_value(
            item_of(spec), item, (*path, str(name)), faults
        )
        for name, item in value.items()
    }
    return result if len(faults) == fault_count else _WRONG


def _read_nested(spec: Spec, value: Any, path: Path, faults: list[Fault], default: Any) -> Any:
    if not isinstance(value, dict) or spec.section is None:
        return _WRONG
    return read_section(spec.section, value, path, faults, default if isinstance(default, Section) else None)


def _read_variant(spec: Spec, value: Any, path: Path, faults: list[Fault], default: Any) -> Any:
    if not isinstance(value, dict):
        return _WRONG
    variants = spec.variants or {}
    type_spec = Spec("choice", choices=tuple(variants))
    name = value.get("type", getattr(default, "type", REQUIRED))
    if name is REQUIRED:
        faults.append(Fault((*path, "type"), f"missing; it must be {allowed(type_spec)}", path))
        return _WRONG
    chosen = read_value(type_spec, name, (*path, "type"), faults)
    if chosen not in variants:
        return _WRONG
    section = variants[chosen]
    return read_section(section, value, path, faults, default if isinstance(default, section) else None, spec)


_SCALARS: Final[dict[str, Callable[[Spec, Any], Any]]] = {
    "text": _read_text,
    "integer": _read_number,
    "number": _read_number,
    "size": _read_size,
    "boolean": _read_boolean,
    "choice": _read_choice,
}
_CONTAINERS: Final[dict[str, Callable[[Spec, Any, Path, list[Fault], Any], Any]]] = {
    "list": _read_list,
    "mapping": _read_mapping,
    "section": _read_nested,
    "variant": _read_variant,
}
