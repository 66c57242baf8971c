"""JSON Schema (draft 2020-12) of each file of the configuration, for editors and for whoever makes the files. Pure.

A schema says what it can: types, ranges, words, keys. What a text has to look like beyond that, and what must hold
between keys, only `deora config check` knows; the description of each key has it in words.
"""

from __future__ import annotations

from typing import Any, Final

from deora.config.fields import REQUIRED, Spec, item_of
from deora.config.reading import allowed
from deora.config.schema import FILES, Config
from deora.config.sections import Section
from deora.config.template import as_written

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_SIZE: Final = r"^[0-9]{1,18} ?([kKmMgGtT]?[iI]?[bB])?$"


def schema_of(name: str) -> dict[str, Any]:
    """The schema of the file `name` (without ".json")."""
    if name not in FILES:
        raise KeyError(name)
    section = Config.specs[name].section
    assert section is not None
    return {"$schema": DRAFT, "title": f"DEORA: {name}.json", **_object(section)}


def _object(section: type[Section], *, constants: dict[str, str] | None = None) -> dict[str, Any]:
    properties = {
        name: {"const": constants[name]} if constants and name in constants else _value(spec)
        for name, spec in section.specs.items()
    }
    required = [name for name, spec in section.specs.items() if spec.default is REQUIRED]
    found: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**found, "required": required} if required else found


def _value(spec: Spec) -> dict[str, Any]:
    found = _shape(spec)
    if spec.nullable:
        found = {"anyOf": [found, {"type": "null"}]}
    if spec.meaning:
        described = spec.kind not in ("section", "variant")
        found["description"] = f"{spec.meaning} Allowed: {allowed(spec)}." if described else spec.meaning
    if spec.default is not REQUIRED and not spec.secret:
        found["default"] = as_written(spec, spec.default)
    return found


def _shape(spec: Spec) -> dict[str, Any]:
    match spec.kind:
        case "text":
            return {"type": "string"}
        case "integer" | "number":
            return {"type": spec.kind, "minimum": spec.minimum, "maximum": spec.maximum}
        case "size":
            whole = {"type": "integer", "minimum": spec.minimum, "maximum": spec.maximum}
            return {"anyOf": [whole, {"type": "string", "pattern": _SIZE}]}
        case "boolean":
            return {"type": "boolean"}
        case "choice":
            return {"enum": list(spec.choices)}
        case "list":
            return {"type": "array", "items": _value(item_of(spec)), "uniqueItems": True}
        case "mapping":
            return {"type": "object", "additionalProperties": _value(item_of(spec))}
        case "section":
            assert spec.section is not None
            return _object(spec.section)
        case "variant":
            assert spec.variants is not None
            return {"anyOf": [_object(section, constants={"type": name}) for name, section in spec.variants.items()]}
