"""The variables `DEORA_<FILE>__<KEY>__<KEY>`, which set any key of the configuration. Pure."""

from __future__ import annotations

from typing import Final, NamedTuple

from deora.config.fields import Spec
from deora.config.layers import Layers, Origin, child_spec, from_text
from deora.config.reading import Path, did_you_mean, dotted
from deora.config.schema import Config

PREFIX: Final = "DEORA_"
ROOT: Final = Spec("section", section=Config)
"""The specification of the whole configuration."""


class Setting(NamedTuple):
    """A variable as it was found: its name, its text, and where."""

    name: str
    text: str
    origin: Origin


def is_setting(name: str) -> bool:
    """Whether a variable claims to set a key: DEORA_CONFIG and its like, without a "__", do not."""
    return name.startswith(PREFIX) and "__" in name


def put_setting(layers: Layers, setting: Setting) -> None:
    """Lay a variable over the layers, or note why it is wrong."""
    segments = setting.name.removeprefix(PREFIX).split("__")
    resolved = _resolve(ROOT, segments, (), "")
    if isinstance(resolved, str):
        layers.refuse(setting.origin, (), resolved)
        return
    path, spec = resolved
    try:
        value = from_text(spec, setting.text)
    except ValueError as error:
        layers.refuse(setting.origin, path, str(error))
        return
    layers.put(path, value, setting.origin)


def _resolve(spec: Spec, segments: list[str], path: Path, written: str) -> tuple[Path, Spec] | str:
    """The key that the parts of a variable's name mean, or what is wrong with the name.

    `written` is the name of the object at `path` as a variable, with what joins it to a key's name.
    """
    if not segments:
        return path, spec
    if spec.kind == "mapping" and spec.item is not None:
        # A name in a mapping is the user's own: it keeps its case, and may hold "__" itself.
        if spec.item.section is None or len(segments) == 1:
            return (*path, "__".join(segments)), spec.item
        name = "__".join(segments[:-1])
        return _resolve(spec.item, segments[-1:], (*path, name), f"{written}{name}__")
    if spec.kind not in ("section", "variant"):
        return f"{dotted(path)} has no keys of its own; set it whole, by {PREFIX}{written.removesuffix('__')}"
    key = segments[0].lower()
    child = child_spec(spec, key)
    if child is not None:
        return _resolve(child, segments[1:], (*path, key), f"{written}{key.upper()}__")
    name = f"{PREFIX}{written}{'__'.join(segments)}"
    return f"there is no such key{did_you_mean(name, _variables(spec, PREFIX + written), cutoff=0.8)}"


def _variables(spec: Spec, written: str) -> list[str]:
    """The names of the variables for the keys of an object, and for those further inside."""
    sections = [spec.section] if spec.section else list((spec.variants or {}).values())
    members = [(f"{written}{key.upper()}", child) for section in sections for key, child in section.specs.items()]
    return [name for key, child in members for name in (key, *_variables(child, f"{key}__"))]
