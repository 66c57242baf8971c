"""The default configuration as files: what `deora init` writes, and the repository's `config/` holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

from deora.config.fields import Spec
from deora.config.formats import format_size
from deora.config.schema import FILES, Config
from deora.config.sections import Section, plain

_WIDTH: Final = 120
_INDENT: Final = "  "


def template_files() -> dict[str, str]:
    """The text of each default file by its name, like "servers.json"."""
    defaults = Config()
    return {f"{name}.json": _rendered(as_written(Config.specs[name], getattr(defaults, name))) + "\n" for name in FILES}


def write_template(directory: Path) -> list[Path]:
    """Write the default files into `directory`, which is made if it is missing.

    A file that exists is left as it is. Returns the files that were written. Raises OSError, with the name of the file
    or directory, if one cannot be written.
    """
    directory.mkdir(parents=True, exist_ok=True)
    return [file for name, text in template_files().items() if _write_new(file := directory / name, text)]


def _write_new(file: Path, text: str) -> bool:
    try:
        stream = file.open("x", encoding="utf-8")
    except FileExistsError:
        return False
    try:
        with stream:
            stream.write(text)
    except OSError as error:
        # A file cut short would be refused at the next start; none at all means the defaults.
        file.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(file)) from error
    return True


def as_written(spec: Spec, value: Any) -> Any:
    """The plain value of a key as a person writes it: sizes with their unit."""
    if isinstance(value, Section):
        return {name: as_written(child, getattr(value, name)) for name, child in value.specs.items()}
    return format_size(value) if spec.kind == "size" else plain(value)


def _rendered(value: dict[str, Any]) -> str:
    """JSON with one line for each key of the file; an object that is too long for a line is broken up in turn."""
    return _object_lines(value, _INDENT)


def _object_lines(value: dict[str, Any], indent: str) -> str:
    lines = []
    for name, member in value.items():
        line = f"{indent}{json.dumps(name)}: {json.dumps(member)}"
        if len(line) >= _WIDTH and isinstance(member, dict):
            line = f"{indent}{json.dumps(name)}: {_object_lines(member, indent + _INDENT)}"
        lines.append(line)
    return "{\n" + ",\n".join(lines) + f"\n{indent.removesuffix(_INDENT)}}}"
