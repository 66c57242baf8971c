"""Reading the configuration: defaults, then the files, then .env, then the environment; every fault in one go.

The order of strength, weakest first: the defaults of the schema; the JSON files; the named variables of .env, its
`DEORA_` variables; the named variables of the environment, its `DEORA_` variables. At the end the named variables
that depend on the rest (`named.complete`) find their place by the same ranks.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from deora.config.checks import check_listen_address, conflicts
from deora.config.layers import Layers, Origin
from deora.config.named import NAMED, complete, put_named
from deora.config.reading import Fault, did_you_mean, dotted, read_section
from deora.config.reading import Path as KeyPath
from deora.config.schema import FILES, Config
from deora.config.texts import parse_dotenv, parse_json
from deora.config.variables import Setting, is_setting, put_setting
from deora.errors import ConfigError

__all__ = ["check_listen_address", "load"]

_FILE_RANK: Final = 0
_DOTENV_RANK: Final = 1
_ENVIRONMENT_RANK: Final = 3
_SETTING_BONUS: Final = 1
"""A `DEORA_` variable ranks this much above the named ones of its source."""


def load(directory: Path | None, *, environ: Mapping[str, str], dotenv: Path | None) -> Config:
    """The configuration from `directory` (None: built-in defaults), the .env file (one that is missing is none), and
    the environment.

    Raises ConfigError with every fault at once. Each names its file, variable or line, the key, what was found (of a
    secret nothing) and what is allowed. Checks across keys leave out keys that are wrong by themselves.
    """
    layers = Layers()
    _put_files(layers, directory)
    settings = _dotenv_settings(layers, dotenv)
    settings += [
        Setting(name, text, Origin(_ENVIRONMENT_RANK, f"{name} (environment)")) for name, text in environ.items()
    ]
    _put_variables(layers, settings)
    faults: list[Fault] = []
    config = read_section(Config, layers.tree, (), faults)
    for fault in faults:
        layers.report(fault)
    for conflict in conflicts(config):
        if not any(_touches(path, broken) for path in conflict.paths for broken in layers.broken):
            origins = {layers.origin(path): None for path in conflict.paths}
            labels = ", ".join(origin.label for origin in origins if origin)
            keys = " and ".join(dotted(path) for path in conflict.paths)
            layers.refuse(None, (), ": ".join(part for part in (labels, keys, conflict.detail) if part))
    if layers.problems:
        raise ConfigError(layers.problems)
    return config


def _touches(path: KeyPath, broken: KeyPath) -> bool:
    """Whether one of the two places holds the other. An empty path is about a source, not about a place."""
    length = min(len(path), len(broken))
    return length > 0 and path[:length] == broken[:length]


def _put_files(layers: Layers, directory: Path | None) -> None:
    if directory is None:
        return
    place = Origin(_FILE_RANK, str(directory))
    try:
        present = sorted(entry.name for entry in directory.iterdir())
    except OSError as error:
        layers.refuse(place, (), f"the configuration directory cannot be read: {error.strerror}")
        return
    for name in FILES:
        if f"{name}.json" in present:
            _put_file(layers, name, directory / f"{name}.json")
    known = [f"{name}.json" for name in FILES]
    for name in present:
        # Other files may lie here, a key file for one; a misspelt name would be a whole file that nobody reads.
        suggestion = did_you_mean(name, known, cutoff=0.85) if name.endswith(".json") and name not in known else ""
        if suggestion:
            layers.refuse(Origin(_FILE_RANK, str(directory / name)), (), f"no file of this name is read{suggestion}")


def _put_file(layers: Layers, name: str, file: Path) -> None:
    origin = Origin(_FILE_RANK, str(file))
    text = _read_text(layers, file, origin, (name,))
    if text is None:
        return
    try:
        value = parse_json(text)
    except ValueError as error:
        layers.refuse(origin, (name,), str(error))
        return
    layers.put((name,), value, origin)


def _dotenv_settings(layers: Layers, dotenv: Path | None) -> list[Setting]:
    if dotenv is None:
        return []
    text = _read_text(layers, dotenv, Origin(_DOTENV_RANK, str(dotenv)), (), missing_ok=True)
    lines, faults = parse_dotenv(text or "")
    for number, detail in faults:
        layers.refuse(Origin(_DOTENV_RANK, f"{dotenv} line {number}"), (), detail)
    strongest = {line.name: line for line in lines}
    return [
        Setting(line.name, line.value, Origin(_DOTENV_RANK, f"{dotenv} line {line.number} ({line.name})"))
        for line in strongest.values()
    ]


def _read_text(layers: Layers, file: Path, origin: Origin, path: KeyPath, missing_ok: bool = False) -> str | None:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        if not (missing_ok and isinstance(error, FileNotFoundError)):
            layers.refuse(origin, path, f"cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        layers.refuse(origin, path, f"is not UTF-8: byte {error.start + 1}")
    return None


def _put_variables(layers: Layers, settings: list[Setting]) -> None:
    """Lay the variables over the files, the weakest first, an object before what is inside it."""
    keyed = [
        setting._replace(origin=setting.origin._replace(rank=setting.origin.rank + _SETTING_BONUS))
        for setting in settings
        if is_setting(setting.name)
    ]
    # An empty named variable counts as not set: that is what `PORT=${PORT}` in a compose file leaves behind.
    named = [setting for setting in settings if setting.name in NAMED and setting.text.strip()]
    for setting in sorted(keyed + named, key=lambda each: (each.origin.rank, each.name.lower())):
        if is_setting(setting.name):
            put_setting(layers, setting)
        else:
            put_named(layers, setting)
    complete(layers, {setting.name: setting for setting in sorted(named, key=lambda each: each.origin.rank)})
